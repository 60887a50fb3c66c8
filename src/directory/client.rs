//! [`LdapDirectory`]: a directory that is reached by LDAP. Each call opens a connection, resolves the settings, and lists
//! everyone, looks people up, or opens the best stream that the server offers.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use tokio::time::Instant;

use crate::directory::ldap::access::{self, Access};
use crate::directory::ldap::credentials::PasswordSource;
use crate::directory::ldap::endpoint::Endpoint;
use crate::directory::ldap::schema::Schema;
use crate::directory::ldap::search::check_base;
use crate::directory::ldap::session::Session;
use crate::directory::ldap::{connect, replication};
use crate::directory::people::groups::{self, Identities};
use crate::directory::people::query::Query;
use crate::directory::people::warnings::Warnings;
use crate::directory::people::{listing, lookup};
use crate::directory::settings::{DirectorySettings, StreamKind};
use crate::directory::streams;
use crate::directory::streams::select;
use crate::directory::{Changes, Directory, DirectoryError, Filter, Opened};
use crate::foreign;
use crate::model::{Cursor, Entry, EntryId};
use crate::traces::Span;

/// A directory that is reached by LDAP.
#[derive(Debug)]
pub struct LdapDirectory {
    settings: RwLock<Arc<DirectorySettings>>,
    access: Arc<Access>,
    /// The server of the open stream, while it is open.
    reached: Mutex<Weak<Endpoint>>,
    /// Kinds of stream that a server offers and that did not work, and when they failed.
    unfit: Arc<Mutex<Unfit>>,
    /// The last known identities of groups.
    groups: Mutex<Identities>,
    /// The present DNs of renamed groups that were logged.
    renamed: Mutex<HashMap<String, String>>,
    warnings: Arc<Warnings>,
    /// The server's schema; read again for each stream that is opened.
    schema: Mutex<Option<Arc<Schema>>>,
}

/// The key has the URL of the server.
type Unfit = HashMap<(String, StreamKind), Instant>;

/// How long a kind of stream that did not work is not tried again on that server.
const UNFIT: Duration = Duration::from_secs(60 * 60);

impl LdapDirectory {
    /// A directory with these settings. Reads the files of the TLS options; nothing is contacted yet.
    ///
    /// # Errors
    /// [`DirectoryError::Settings`] if the TLS options cannot be used.
    pub fn new(settings: DirectorySettings) -> Result<Self, DirectoryError> {
        let access = Arc::new(Access::new(&settings)?);
        Ok(Self::with_access(settings, access))
    }

    /// A directory whose connections share `access` with others.
    pub(super) fn with_access(settings: DirectorySettings, access: Arc<Access>) -> Self {
        Self {
            access,
            settings: RwLock::new(Arc::new(settings)),
            reached: Mutex::default(),
            unfit: Arc::default(),
            groups: Mutex::default(),
            renamed: Mutex::default(),
            warnings: Arc::default(),
            schema: Mutex::default(),
        }
    }

    /// The same directory with fewer people: those who match `filter`, too. It shares what this one knows of servers and
    /// credentials.
    #[must_use]
    pub fn narrowed_by(&self, filter: &Filter) -> Self {
        let mut settings = (*self.settings()).clone();
        settings.filter = settings.filter.and(filter.clone());
        Self {
            reached: Mutex::new(lock(&self.reached).clone()),
            groups: Mutex::new(lock(&self.groups).clone()),
            ..Self::with_access(settings, self.access.clone())
        }
    }

    /// Sets the source from which the bind password is read again when a server refuses it.
    pub fn reread_password_from(&self, source: PasswordSource) {
        self.access.credentials.come_from(source);
    }

    /// Checks other settings, such as another password, and reads the files of their TLS options again. Nothing changes
    /// before [`Renewal::apply`]. They must select the same people: cursors stay valid.
    ///
    /// # Errors
    /// [`DirectoryError::Settings`] if the TLS options cannot be used.
    pub fn renewal(&self, settings: DirectorySettings) -> Result<Renewal<'_>, DirectoryError> {
        Ok(Renewal {
            directory: self,
            tls: access::client_config(&settings)?,
            settings,
        })
    }

    /// The current warnings, each as "cause; remedy": some people are not found, or a search is slower than necessary.
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.all()
    }

    fn settings(&self) -> Arc<DirectorySettings> {
        let settings = self.settings.read().unwrap_or_else(PoisonError::into_inner);
        settings.clone()
    }

    /// Performs a call in a span of its own.
    async fn request<T>(
        &self,
        name: &'static str,
        call: impl Future<Output = Result<T, DirectoryError>>,
    ) -> Result<T, DirectoryError> {
        let span = Span::request(name).with("ldap_usher.directory", self.settings().name.clone());
        span.attempt(|error| error.disposition().as_str(), call).await
    }

    /// Connects to the server of the open stream, or else to the first server that is not behind.
    async fn connect(&self, settings: &DirectorySettings) -> Result<Session, DirectoryError> {
        let reached = lock(&self.reached).upgrade();
        match reached {
            Some(reached) => connect::connect_to(&reached, settings, &self.access).await,
            None => connect::connect(settings, &self.access).await,
        }
    }

    /// Opens a stream on the first server that is not behind the resume point or other servers.
    async fn open_stream(&self, from: Option<Cursor>) -> Result<Opened, DirectoryError> {
        let settings = self.settings();
        if let Some(from) = &from {
            self.access.raise(replication::Watermarks::of_cursor(from));
            lock(&self.groups).extend(groups::recall(from));
        }
        let session = connect::connect(&settings, &self.access).await?;
        self.open_best(session, settings, from).await
    }

    /// Opens the best stream that works on this server.
    async fn open_best(
        &self,
        mut session: Session,
        settings: Arc<DirectorySettings>,
        from: Option<Cursor>,
    ) -> Result<Opened, DirectoryError> {
        *lock(&self.schema) = None;
        self.load_schema(&mut session, &settings).await?;
        check_base(&mut session, &settings.base).await?;
        let query = self.resolve(&mut session, &settings).await?;
        *lock(&self.reached) = Arc::downgrade(query.endpoint());
        let server = session.server().to_owned();
        let mut candidates = select::candidates(settings.stream, session.capabilities());
        if settings.stream.is_none() {
            let mut unfit = lock(&self.unfit);
            unfit.retain(|_, since| since.elapsed() < UNFIT);
            candidates.retain(|(kind, _)| !unfit.contains_key(&(server.clone(), *kind)));
        }
        let mut candidates = candidates.into_iter().peekable();
        let mut refused = Vec::new();
        while let Some((kind, why)) = candidates.next() {
            match streams::open((kind, why), session, &query, from.clone()).await {
                Ok(opened) => {
                    return Ok(Opened {
                        refused,
                        changes: self.noting_unfit(server, kind, opened.changes, settings),
                        ..opened
                    });
                }
                Err(error) if candidates.peek().is_some() && falls_back(&error, &settings) => {
                    tracing::warn!(directory = settings.name, stream = kind.as_str(), %error, "the best stream does not work: trying the next one");
                    refused.push(error.to_string());
                }
                Err(error) => return Err(error),
            }
            session = query.connect().await?;
        }
        Err(DirectoryError::Settings(format!(
            "directory {} has no stream",
            settings.name
        )))
    }

    /// Gives the session the server's schema, which is read for each stream that is opened. If it cannot be read, the standard
    /// names are used.
    async fn load_schema(
        &self,
        session: &mut Session,
        settings: &DirectorySettings,
    ) -> Result<(), DirectoryError> {
        let known = lock(&self.schema).clone();
        if let Some(schema) = known {
            session.set_schema(schema);
            return Ok(());
        }
        connect::read_schema(session, settings, &self.access).await?;
        *lock(&self.schema) = Some(session.schema().clone());
        Ok(())
    }

    /// Resolves the settings: finds the groups that they name.
    async fn resolve(
        &self,
        session: &mut Session,
        settings: &DirectorySettings,
    ) -> Result<Arc<Query>, DirectoryError> {
        let known = lock(&self.groups).clone();
        let query = Query::resolve(session, settings, &self.access, &known, &self.warnings).await?;
        if let Some(groups) = &query.groups {
            lock(&self.groups).extend(groups.identities());
            for (group, now) in groups.renamed() {
                let logged = lock(&self.renamed).insert(group.to_owned(), now.to_owned());
                if logged.as_deref() != Some(now) {
                    tracing::warn!(
                        directory = settings.name,
                        group,
                        now = foreign::shown(now),
                        "a group was renamed: it is still followed, but write its new name into the configuration"
                    );
                }
            }
        }
        Ok(query)
    }

    /// Lists everyone, beside the open stream if there is one.
    async fn list_everyone(&self) -> Result<Changes, DirectoryError> {
        let settings = self.settings();
        let mut session = self.connect(&settings).await?;
        self.load_schema(&mut session, &settings).await?;
        let query = self.resolve(&mut session, &settings).await?;
        {
            let mut reached = lock(&self.reached);
            if reached.strong_count() == 0 {
                *reached = Arc::downgrade(query.endpoint());
            }
        }
        listing::open_on(session, query).await
    }

    async fn look_up(&self, who: &[EntryId]) -> Result<Vec<Entry>, DirectoryError> {
        let settings = self.settings();
        let mut session = self.connect(&settings).await?;
        self.load_schema(&mut session, &settings).await?;
        let query = self.resolve(&mut session, &settings).await?;
        if let Some(groups) = &query.groups {
            groups.look(&mut session, &settings).await?;
        }
        lookup::members_among(&mut session, &query, who).await
    }

    /// Records a failure that shows that this kind of stream does not work, so that it is not tried again for a while.
    fn noting_unfit(
        &self,
        server: String,
        kind: StreamKind,
        changes: Changes,
        settings: Arc<DirectorySettings>,
    ) -> Changes {
        let unfit = self.unfit.clone();
        changes
            .inspect_err(move |error| {
                if falls_back(error, &settings) {
                    lock(&unfit).insert((server.clone(), kind), Instant::now());
                }
            })
            .boxed()
    }
}

/// Checked settings that can replace those of a directory.
#[must_use = "the directory keeps its settings until they are applied"]
pub struct Renewal<'a> {
    directory: &'a LdapDirectory,
    settings: DirectorySettings,
    tls: Arc<rustls::ClientConfig>,
}

impl Renewal<'_> {
    /// Uses the settings for every connection from here on. Tries again what failed with the former ones, a password that was
    /// refused included.
    pub fn apply(self) {
        self.directory
            .access
            .credentials
            .renew(self.settings.bind.clone());
        self.apply_tls();
    }

    /// As [`Renewal::apply`], without the account: a password that was read again since the settings were made stays in use, and
    /// one that was refused is not tried again.
    pub fn apply_tls(self) {
        let Self {
            directory,
            settings,
            tls,
        } = self;
        directory.access.renew_tls(tls);
        lock(&directory.unfit).clear();
        *directory.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }
}

/// Whether to try the next kind of stream after this error. Few servers report changes below an empty base, and the others
/// refuse it with different results.
fn falls_back(error: &DirectoryError, settings: &DirectorySettings) -> bool {
    matches!(error, DirectoryError::Unsupported { .. }) || settings.base.is_empty() && error.is_refusal()
}

impl Directory for LdapDirectory {
    fn open(&self, from: Option<Cursor>) -> BoxFuture<'_, Result<Opened, DirectoryError>> {
        self.request("open stream", self.open_stream(from)).boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Changes, DirectoryError>> {
        self.request("list", self.list_everyone()).boxed()
    }

    fn lookup<'a>(&'a self, who: &'a [EntryId]) -> BoxFuture<'a, Result<Vec<Entry>, DirectoryError>> {
        self.request("look up", self.look_up(who)).boxed()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
