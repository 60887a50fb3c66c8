//! One authenticated connection: operations with deadlines, and the driver that transfers its bytes.
//!
//! The driver has no task of its own. It runs only while an operation waits for an answer, so that nothing is read from the
//! network while the caller works. The messages of one search that arrive while another one waits are bounded (`traffic`).
//!
//! Deadlines hold even if the server never stops sending: they are checked before bytes are transferred, and outside tokio's
//! cooperative budget, which the transfer uses up.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use ldap3::{Ldap, LdapError, LdapResult, ResultEntry};
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, sleep, sleep_until};

use crate::ber;
use crate::directory::DirectoryError;
use crate::directory::ldap::capabilities::Capabilities;
use crate::directory::ldap::decode;
use crate::directory::ldap::driver::{Link, stuck};
use crate::directory::ldap::endpoint::Endpoint;
use crate::directory::ldap::password_policy;
use crate::directory::ldap::password_policy::Notice;
use crate::directory::ldap::references;
use crate::directory::ldap::references::References;
use crate::directory::ldap::request::{Ends, Item, Request, Search};
use crate::directory::ldap::requested_attributes::{RequestedAttributes, rename_as_requested};
use crate::directory::ldap::result::{bind_error, one_line, search_error};
use crate::directory::ldap::schema::Schema;
use crate::directory::ldap::search_progress::SearchProgress;
use crate::directory::ldap::traffic::{Skipped, Traffic};
use crate::foreign;

/// The longest wait for an answer of one message.
const ANSWER: Duration = Duration::from_secs(15);
/// The longest time for a small answer, from the first to the last entry.
const WHOLE_ANSWER: Duration = Duration::from_secs(60);
/// The largest number of entries in a small answer.
const SMALL_ANSWER: usize = 250;
/// The largest memory of a small answer in bytes. A single entry may need more.
const SMALL_ANSWER_WEIGHT: usize = 8 * 1024 * 1024;

/// One authenticated connection. Dropping it closes the connection.
pub(crate) struct Session {
    endpoint: Endpoint,
    server: String,
    /// The name of the directory, for the log.
    directory: String,
    ldap: Ldap,
    link: Link,
    traffic: Arc<Traffic>,
    progress: SearchProgress,
    capabilities: Arc<Capabilities>,
    schema: Arc<Schema>,
}

impl Session {
    /// A connection whose `driver` transfers the bytes of `ldap` through a relay that counts messages in `traffic`.
    pub(crate) fn new(
        endpoint: Endpoint,
        directory: &str,
        ldap: Ldap,
        driver: BoxFuture<'static, String>,
        traffic: Arc<Traffic>,
    ) -> Self {
        Self {
            server: endpoint.server.to_string(),
            endpoint,
            directory: directory.to_owned(),
            ldap,
            link: Link::new(driver),
            traffic,
            progress: SearchProgress::default(),
            capabilities: Arc::default(),
            schema: Arc::default(),
        }
    }

    /// The server's schema; the standard names only before it was read.
    pub(crate) fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// The server's capabilities; none before they were read.
    pub(crate) fn capabilities(&self) -> &Arc<Capabilities> {
        &self.capabilities
    }

    /// Sets the server's capabilities.
    pub(crate) fn set_capabilities(&mut self, capabilities: Capabilities) {
        self.capabilities = Arc::new(capabilities);
    }

    /// Sets the schema by which the names in later answers are compared.
    pub(crate) fn set_schema(&mut self, schema: Arc<Schema>) {
        self.schema = schema;
    }

    /// The server's URL.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// The server itself.
    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Simple bind (RFC 4513, 5.1.3).
    pub(crate) async fn bind(&mut self, dn: &str, password: &str) -> Result<(), DirectoryError> {
        let mut ldap = self.ldap.clone();
        ldap.with_controls(password_policy::request());
        let result = self.answer("binding", ldap.simple_bind(dn, password)).await?;
        self.bound(dn, &result)
    }

    /// SASL EXTERNAL (RFC 4422, appendix A).
    pub(crate) async fn bind_external(&mut self) -> Result<(), DirectoryError> {
        let mut ldap = self.ldap.clone();
        let result = self.answer("binding", ldap.sasl_external_bind()).await?;
        self.bound("SASL EXTERNAL", &result)
    }

    fn bound(&self, who: &str, result: &LdapResult) -> Result<(), DirectoryError> {
        let notice = password_policy::read(&result.ctrls);
        match (result.rc, notice) {
            // The server would refuse every search.
            (0, Some(Notice::MustChange)) => {}
            (0, notice) => {
                if let Some(notice) = notice {
                    tracing::warn!(server = self.server, who, "{}", notice.words());
                }
                return Ok(());
            }
            _ => {}
        }
        Err(bind_error(&self.server, who, result))
    }

    /// Sends a search. [`Session::next`] returns its messages.
    pub(crate) async fn search(&mut self, request: Request<'_>) -> Result<Search, DirectoryError> {
        let mut ldap = self.ldap.clone();
        let asked = RequestedAttributes::new(self.schema.clone(), &request.attributes);
        if !request.controls.is_empty() {
            ldap.with_controls(request.controls);
        }
        let search = ldap.streaming_search(request.base, request.scope, request.filter, request.attributes);
        let mut stream = self.answer("sending a search", search).await?;
        Ok(Search {
            id: stream.ldap_handle().last_id().into(),
            stream,
            traffic: self.traffic.clone(),
            weight: 0,
            done: false,
            references: References::default(),
            asked,
        })
    }

    /// The next message of a search that ends by itself. The log shows the progress if the search, with its next pages, takes
    /// long.
    ///
    /// # Errors
    /// Those of the network; [`DirectoryError::Silent`] if the server sends nothing for `silence`; [`DirectoryError::Busy`] if
    /// the server sends so much for another search that its messages have to be taken first.
    ///
    /// # Cancellation
    /// Safe: no message is lost.
    pub(crate) async fn next(
        &mut self,
        search: &mut Search,
        silence: Duration,
        doing: &'static str,
    ) -> Result<Item, DirectoryError> {
        self.progress.wait(doing, Instant::now());
        let own = [search.id];
        let mut deadline = pin!(unconstrained(sleep(silence)));
        loop {
            let log_at = self.progress.log_at();
            tokio::select! {
                biased;
                item = search.stream.next() => if let Some(item) = self.item(search, item).await? {
                    return Ok(item);
                },
                () = &mut deadline => return Err(self.silent(doing, silence)),
                () = unconstrained(sleep_until(log_at)) => self.log_progress(),
                () = self.link.run() => {}
                () = stuck(&self.traffic, &own) => return Err(self.busy(doing)),
            }
        }
    }

    /// The next message of a search that never ends by itself.
    ///
    /// # Errors
    /// As [`Session::next`].
    ///
    /// # Cancellation
    /// Safe: no message is lost.
    pub(crate) async fn next_change(
        &mut self,
        search: &mut Search,
        silence: Duration,
        doing: &'static str,
    ) -> Result<Item, DirectoryError> {
        let one = std::slice::from_mut(search);
        let received = self.next_of(one, silence, doing, Ends::Never).await;
        received.map(|(_, item)| item)
    }

    /// The next message of any of several searches, and the index of its search. None of them may have ended.
    ///
    /// # Errors
    /// As [`Session::next`].
    ///
    /// # Cancellation
    /// Safe: no message is lost.
    pub(crate) async fn next_of(
        &mut self,
        searches: &mut [Search],
        silence: Duration,
        doing: &'static str,
        ends: Ends,
    ) -> Result<(usize, Item), DirectoryError> {
        let ids: Vec<i64> = searches.iter().map(|search| search.id).collect();
        if ends == Ends::Some {
            self.progress.wait(doing, Instant::now());
        }
        let mut deadline = pin!(unconstrained(sleep(silence)));
        loop {
            let log_at = self.progress.log_at();
            let received = {
                let numbered = searches.iter_mut().enumerate();
                let mut any: FuturesUnordered<_> = numbered
                    .map(|(at, search)| async move { (at, search.stream.next().await) })
                    .collect();
                tokio::select! {
                    biased;
                    Some(received) = any.next() => Some(received),
                    () = &mut deadline => return Err(self.silent(doing, silence)),
                    () = unconstrained(sleep_until(log_at)), if ends == Ends::Some => {
                        self.progress.log(&self.directory, &self.server, Instant::now());
                        continue;
                    }
                    () = self.link.run() => None,
                    () = stuck(&self.traffic, &ids) => return Err(self.busy(doing)),
                }
            };
            match received {
                Some((at, item)) => {
                    if let Some(item) = self.item(&mut searches[at], item).await? {
                        return Ok((at, item));
                    }
                }
                // Searches report the end of the connection themselves, but there may be none.
                None if searches.is_empty() => return Err(self.broken(&LdapError::EndOfStream).await),
                None => {}
            }
        }
    }

    /// Prepares a message for the caller. A reference is counted and not returned.
    async fn item(
        &mut self,
        search: &mut Search,
        item: Result<Option<ResultEntry>, LdapError>,
    ) -> Result<Option<Item>, DirectoryError> {
        search.weight = self.traffic.taken(search.id);
        self.log_skipped();
        match item {
            Ok(Some(message)) if message.is_ref() => {
                if search.references.record(&decode::reference(message)) {
                    return Ok(None);
                }
                Err(self.endless(
                    "searching",
                    format!(
                        "{} references to other servers, and more",
                        references::MAX_REFERENCES
                    ),
                ))
            }
            Ok(Some(mut message)) => {
                self.progress.message();
                rename_as_requested(&mut message, &mut search.asked);
                Ok(Some(Item::Message(message)))
            }
            Ok(None) => {
                search.done = true;
                let mut result = search.stream.finish().await;
                result.text = one_line(&result.text);
                Ok(Some(Item::Done(result)))
            }
            Err(error) => Err(self.broken(&error).await),
        }
    }

    /// Makes a search with a small answer, and reads it to its end.
    ///
    /// # Errors
    /// Those of [`Session::next`]; [`DirectoryError::Endless`] if the answer is not small.
    pub(crate) async fn collect(
        &mut self,
        request: Request<'_>,
        doing: &'static str,
    ) -> Result<(Vec<ResultEntry>, LdapResult), DirectoryError> {
        self.progress = SearchProgress::default();
        let began = Instant::now();
        let mut search = self.search(request).await?;
        let mut entries = Vec::new();
        let mut weight = 0_usize;
        loop {
            let left = WHOLE_ANSWER.saturating_sub(began.elapsed());
            let late = || format!("{} entries in {} s", entries.len(), WHOLE_ANSWER.as_secs());
            if left.is_zero() {
                return Err(self.endless(doing, late()));
            }
            match self.next(&mut search, ANSWER.min(left), doing).await {
                Ok(Item::Message(entry)) => entries.push(entry),
                Ok(Item::Done(result)) => return Ok((entries, result)),
                Err(DirectoryError::Silent { .. }) if left < ANSWER => {
                    return Err(self.endless(doing, late()));
                }
                Err(error) => return Err(error),
            }
            weight += search.weight;
            if entries.len() > SMALL_ANSWER || (entries.len() > 1 && weight > SMALL_ANSWER_WEIGHT) {
                let received = format!("{} entries, and more to come", entries.len());
                return Err(self.endless(doing, received));
            }
        }
    }

    /// The error for malformed data of the server.
    pub(crate) fn malformed(&self, what: &str, error: &ber::Malformed) -> DirectoryError {
        DirectoryError::Malformed {
            server: self.server.clone(),
            what: format!("the server sent {what}"),
            cause: error.to_string(),
        }
    }

    /// The error for a search that ended with this result, which is not success.
    pub(crate) fn search_error(&self, doing: &'static str, result: &LdapResult) -> DirectoryError {
        search_error(&self.server, doing, result)
    }

    /// The error for an answer that is larger than any sensible one.
    pub(crate) fn endless(&self, doing: &'static str, received: String) -> DirectoryError {
        DirectoryError::Endless {
            server: self.server.clone(),
            doing,
            received,
        }
    }

    fn log_progress(&mut self) {
        self.progress.log(&self.directory, &self.server, Instant::now());
    }

    fn log_skipped(&self) {
        if let Some(Skipped { count, first }) = self.traffic.take_skipped() {
            tracing::warn!(
                directory = self.directory,
                server = self.server,
                count,
                first,
                "ignored entries whose DN is longer than 8192 bytes"
            );
        }
    }

    /// Waits for one answer, and drives the connection meanwhile.
    async fn answer<T>(
        &mut self,
        doing: &'static str,
        operation: impl Future<Output = Result<T, LdapError>>,
    ) -> Result<T, DirectoryError> {
        let mut operation = pin!(operation);
        let mut deadline = pin!(unconstrained(sleep(ANSWER)));
        loop {
            tokio::select! {
                biased;
                answer = &mut operation => return match answer {
                    Ok(answer) => Ok(answer),
                    Err(LdapError::FilterParsing) => Err(DirectoryError::Settings("a search filter is not well-formed".into())),
                    Err(error) => Err(self.broken(&error).await),
                },
                () = &mut deadline => return Err(self.silent(doing, ANSWER)),
                () = self.link.run() => {}
            }
        }
    }

    fn silent(&self, doing: &'static str, waited: Duration) -> DirectoryError {
        DirectoryError::Silent {
            server: self.server.clone(),
            doing,
            waited,
        }
    }

    fn busy(&self, doing: &'static str) -> DirectoryError {
        DirectoryError::Busy {
            server: self.server.clone(),
            doing,
        }
    }

    /// The error for an operation that failed because the connection ended.
    async fn broken(&mut self, error: &LdapError) -> DirectoryError {
        // The driver knows the reason, and ends a moment after the operation.
        let cause = self
            .link
            .end()
            .await
            .unwrap_or_else(|| format!("ended the operation: {}", foreign::shown(&error.to_string())));
        DirectoryError::Broken {
            server: self.server.clone(),
            cause,
        }
    }
}

/// The answer to a probe; `None` if the server is busy sending other messages, which shows as well that it is alive.
///
/// # Errors
/// All except [`DirectoryError::Busy`].
pub(crate) fn unless_busy<T>(answer: Result<T, DirectoryError>) -> Result<Option<T>, DirectoryError> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(DirectoryError::Busy { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}
