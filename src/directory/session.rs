//! One authenticated connection: operations with deadlines, and the driver that moves its bytes.
//!
//! The driver runs only while somebody waits for an answer here, never in a task of its own: `ldap3` passes search
//! results on through an unbounded channel, so a driver that ran while the caller works would queue the whole
//! answer in memory.

use std::future::pending;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt};
use ldap3::controls::RawControl;
use ldap3::{Ldap, LdapError, LdapResult, ResultEntry, Scope, SearchStream};
use tokio::time::{sleep, timeout};

use super::DirectoryError;
use super::decode;
use super::error::words;
use super::password_policy::{self, Notice};
use super::settings::Server;

/// An operation that answers with one message.
const ANSWER: Duration = Duration::from_secs(15);

/// One authenticated connection. Dropping it closes the connection.
pub(super) struct Session {
    address: Server,
    server: String,
    ldap: Ldap,
    link: Link,
}

/// What moves the bytes, until it ends with its reason.
struct Link {
    driver: Option<BoxFuture<'static, String>>,
    end: Option<String>,
}

impl Link {
    /// Moves bytes until the connection ends; once it has ended, never comes back.
    async fn run(&mut self) {
        match &mut self.driver {
            Some(driver) => {
                let end = driver.await;
                self.driver = None;
                self.end = Some(end);
            }
            None => pending().await,
        }
    }
}

/// What to search for.
pub(super) struct Request<'a> {
    pub base: &'a str,
    pub scope: Scope,
    pub filter: &'a str,
    pub attributes: Vec<String>,
    pub controls: Vec<RawControl>,
}

/// References that one search may meet; nobody splits a directory into as many parts.
const REFERENCES: u64 = 65_536;

/// A search under way.
pub(super) struct Search {
    stream: SearchStream<'static, String, Vec<String>>,
    references: References,
}

impl Search {
    /// The references that it met so far, none of which is followed.
    pub(super) fn references(&self) -> &References {
        &self.references
    }
}

/// Continuation references (RFC 4511, 4.5.3) to where people may be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct References {
    /// How many.
    pub count: u64,
    /// Where the first of them leads, for people.
    pub first: Option<String>,
    /// How many there were, those to where nobody is included.
    met: u64,
}

/// The partitions to which each domain of an Active Directory refers, and in which nobody is.
const WITHOUT_PEOPLE: [&str; 4] = [
    "/CN=Configuration,",
    "/CN=Schema,",
    "/DC=DomainDnsZones,",
    "/DC=ForestDnsZones,",
];

impl References {
    /// Takes one; says whether there are not too many.
    fn meet(&mut self, url: &str) -> bool {
        self.met += 1;
        let url = words(url);
        let folded = url.to_ascii_lowercase();
        if !WITHOUT_PEOPLE
            .iter()
            .any(|place| folded.contains(&place.to_ascii_lowercase()))
        {
            self.count += 1;
            self.first.get_or_insert(url);
        }
        self.met <= REFERENCES
    }

    /// Takes others.
    pub(super) fn add(&mut self, others: &Self) {
        self.count += others.count;
        self.met += others.met;
        self.first = self.first.take().or_else(|| others.first.clone());
    }
}

/// One message of a search.
pub(super) enum Item {
    /// An entry or an intermediate response.
    Message(ResultEntry),
    /// The result; nothing follows.
    Done(LdapResult),
}

impl Session {
    pub(super) fn new(address: Server, ldap: Ldap, driver: BoxFuture<'static, String>) -> Self {
        Self {
            server: address.to_string(),
            address,
            ldap,
            link: Link {
                driver: Some(driver),
                end: None,
            },
        }
    }

    /// The server's URL.
    pub(super) fn server(&self) -> &str {
        &self.server
    }

    /// The server itself.
    pub(super) fn address(&self) -> &Server {
        &self.address
    }

    /// Simple bind (RFC 4513, 5.1.3).
    pub(super) async fn bind(&mut self, dn: &str, password: &str) -> Result<(), DirectoryError> {
        let mut ldap = self.ldap.clone();
        ldap.with_controls(password_policy::request());
        let result = self.answer("binding", ldap.simple_bind(dn, password)).await?;
        self.bound(dn, &result)
    }

    /// SASL EXTERNAL (RFC 4422, appendix A).
    pub(super) async fn bind_external(&mut self) -> Result<(), DirectoryError> {
        let mut ldap = self.ldap.clone();
        let result = self.answer("binding", ldap.sasl_external_bind()).await?;
        self.bound("SASL EXTERNAL", &result)
    }

    fn bound(&self, who: &str, result: &LdapResult) -> Result<(), DirectoryError> {
        let notice = password_policy::read(&result.ctrls);
        match (result.rc, notice) {
            // No search would be answered.
            (0, Some(Notice::MustChange)) => {}
            (0, notice) => {
                if let Some(notice) = notice {
                    tracing::warn!(server = self.server, who, "{}", notice.words());
                }
                return Ok(());
            }
            _ => {}
        }
        Err(DirectoryError::from_bind_result(&self.server, who, result))
    }

    /// Sends a search; its messages come by [`Session::next`].
    pub(super) async fn search(&mut self, request: Request<'_>) -> Result<Search, DirectoryError> {
        let mut ldap = self.ldap.clone();
        if !request.controls.is_empty() {
            ldap.with_controls(request.controls);
        }
        let search = ldap.streaming_search(request.base, request.scope, request.filter, request.attributes);
        let stream = self.answer("sending a search", search).await?;
        Ok(Search {
            stream,
            references: References::default(),
        })
    }

    /// The next message of a search, or an error when the server says nothing for `silence`.
    ///
    /// # Cancellation
    /// Safe: a message is taken from the connection only when it is returned.
    pub(super) async fn next(
        &mut self,
        search: &mut Search,
        silence: Duration,
        doing: &'static str,
    ) -> Result<Item, DirectoryError> {
        let deadline = sleep(silence);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                biased;
                item = search.stream.next() => if let Some(item) = self.item(search, item).await? {
                    return Ok(item);
                },
                () = self.link.run() => {}
                () = &mut deadline => return Err(self.silent(doing, silence)),
            }
        }
    }

    /// The next message of any of several searches, none of which is done, with the place of that search among them.
    ///
    /// # Cancellation
    /// Safe, as [`Session::next`] is.
    pub(super) async fn next_of(
        &mut self,
        searches: &mut [Search],
        silence: Duration,
        doing: &'static str,
    ) -> Result<(usize, Item), DirectoryError> {
        let deadline = sleep(silence);
        tokio::pin!(deadline);
        loop {
            let heard = {
                let numbered = searches.iter_mut().enumerate();
                let mut any: FuturesUnordered<_> = numbered
                    .map(|(at, search)| async move { (at, search.stream.next().await) })
                    .collect();
                tokio::select! {
                    biased;
                    Some(heard) = any.next() => Some(heard),
                    () = self.link.run() => None,
                    () = &mut deadline => return Err(self.silent(doing, silence)),
                }
            };
            match heard {
                Some((at, item)) => {
                    if let Some(item) = self.item(&mut searches[at], item).await? {
                        return Ok((at, item));
                    }
                }
                // The searches say so themselves; where there are none, nobody else would.
                None if searches.is_empty() => return Err(self.broken(&LdapError::EndOfStream).await),
                None => {}
            }
        }
    }

    /// What a message is to whoever searches; `None` for a reference, which is counted and not followed.
    async fn item(
        &mut self,
        search: &mut Search,
        item: Result<Option<ResultEntry>, LdapError>,
    ) -> Result<Option<Item>, DirectoryError> {
        match item {
            Ok(Some(message)) if message.is_ref() => {
                if search.references.meet(&decode::reference(message)) {
                    return Ok(None);
                }
                Err(DirectoryError::Broken {
                    server: self.server.clone(),
                    cause: format!(
                        "answers a search with more than {REFERENCES} references to other servers"
                    ),
                })
            }
            Ok(Some(message)) => Ok(Some(Item::Message(message))),
            Ok(None) => Ok(Some(Item::Done(search.stream.finish().await))),
            Err(error) => Err(self.broken(&error).await),
        }
    }

    /// A search that is read to its end at once: for a handful of entries.
    pub(super) async fn collect(
        &mut self,
        request: Request<'_>,
        doing: &'static str,
    ) -> Result<(Vec<ResultEntry>, LdapResult), DirectoryError> {
        let mut search = self.search(request).await?;
        let mut entries = Vec::new();
        loop {
            match self.next(&mut search, ANSWER, doing).await? {
                Item::Message(entry) => entries.push(entry),
                Item::Done(result) => return Ok((entries, result)),
            }
        }
    }

    /// Waits for one answer while the driver runs.
    async fn answer<T>(
        &mut self,
        doing: &'static str,
        operation: impl Future<Output = Result<T, LdapError>>,
    ) -> Result<T, DirectoryError> {
        tokio::pin!(operation);
        let deadline = sleep(ANSWER);
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                biased;
                answer = &mut operation => return match answer {
                    Ok(answer) => Ok(answer),
                    Err(LdapError::FilterParsing) => Err(DirectoryError::Settings("a search filter is not well-formed".into())),
                    Err(error) => Err(self.broken(&error).await),
                },
                () = self.link.run() => {}
                () = &mut deadline => return Err(self.silent(doing, ANSWER)),
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

    /// The connection's own reason for an operation that failed.
    async fn broken(&mut self, error: &LdapError) -> DirectoryError {
        if self.link.end.is_none() {
            // The operation noticed first; the driver is about to end.
            let _ = timeout(Duration::from_secs(1), self.link.run()).await;
        }
        let cause = self
            .link
            .end
            .clone()
            .unwrap_or_else(|| format!("ended the operation: {error}"));
        DirectoryError::Broken {
            server: self.server.clone(),
            cause,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_counted_but_for_those_to_where_nobody_is() {
        let mut references = References::default();
        for url in [
            "ldap://lab.test/CN=Configuration,DC=lab,DC=test",
            "ldap://DomainDnsZones.lab.test/dc=DomainDnsZones,DC=lab,DC=test",
            "ldap://child.lab.test/DC=child,DC=lab,DC=test",
            "ldap://other\x1b[31m",
        ] {
            assert!(references.meet(url));
        }
        let first = references.first.as_deref();
        assert_eq!(first, Some("ldap://child.lab.test/DC=child,DC=lab,DC=test"));
        assert_eq!(references.count, 2);
        references.met = REFERENCES;
        assert!(!references.meet("ldap://one-too-many"));
    }
}
