//! [`LdapDirectory`]: a directory behind LDAP. Each call makes a connection, resolves whom the settings mean, and lists,
//! looks up or opens the best stream that the server offers.

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
use crate::directory::{Changes, Directory, DirectoryError, Opened};
use crate::foreign;
use crate::model::{Cursor, Entry, EntryId};

/// A directory behind LDAP.
#[derive(Debug)]
pub struct LdapDirectory {
    settings: RwLock<Arc<DirectorySettings>>,
    access: Arc<Access>,
    /// The server of the stream that is open, as long as it is.
    reached: Mutex<Weak<Endpoint>>,
    /// Kinds of stream that a server offers and did not keep to, and when that was seen.
    unfit: Arc<Mutex<Unfit>>,
    /// The identities of groups as they were last found.
    groups: Mutex<Identities>,
    /// The groups that were said to have another name now.
    renamed: Mutex<HashMap<String, String>>,
    /// What is no failure and was said once.
    warnings: Arc<Warnings>,
    /// What the server's attribute types are called, as the last stream that was opened has read it.
    schema: Mutex<Option<Arc<Schema>>>,
}

/// Each with the server's URL.
type Unfit = HashMap<(String, StreamKind), Instant>;

/// How long a kind of stream that did not work is passed over on that server.
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

    /// Says where the bind password is read again when a server refuses it.
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

    /// What the searches so far have noticed that is no failure, and yet keeps people from being found or costs more
    /// than it should. Each reads as "cause; remedy".
    pub fn warnings(&self) -> Vec<String> {
        self.warnings.all()
    }

    fn settings(&self) -> Arc<DirectorySettings> {
        let settings = self.settings.read().unwrap_or_else(PoisonError::into_inner);
        settings.clone()
    }

    /// A connection to the server of the stream that is open, where there is one, else to the first one that is not
    /// behind.
    async fn connect(&self, settings: &DirectorySettings) -> Result<Session, DirectoryError> {
        let reached = lock(&self.reached).upgrade();
        match reached {
            Some(reached) => connect::connect_to(&reached, settings, &self.access).await,
            None => connect::connect(settings, &self.access).await,
        }
    }

    /// Opens a stream on the first server that is not behind, also of what the resume point covers.
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
        self.learn(&mut session, &settings).await?;
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
                        changes: self.noting_what_is_unfit(server, kind, opened.changes, settings),
                        ..opened
                    });
                }
                Err(error) if candidates.peek().is_some() && falls_back(&error, &settings) => {
                    tracing::warn!(directory = settings.name, stream = kind.as_str(), %error, "the best stream does not work; the next best is tried");
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

    /// Tells the session what the server's attribute types are called: read with each stream that is opened, and known
    /// from then on. Where it cannot be read, the names that the standards give them have to do.
    async fn learn(&self, session: &mut Session, settings: &DirectorySettings) -> Result<(), DirectoryError> {
        let known = lock(&self.schema).clone();
        if let Some(schema) = known {
            session.set_schema(schema);
            return Ok(());
        }
        connect::read_schema(session, settings, &self.access).await?;
        *lock(&self.schema) = Some(session.schema().clone());
        Ok(())
    }

    /// Whom the settings mean right now.
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
                let told = lock(&self.renamed).insert(group.to_owned(), now.to_owned());
                if told.as_deref() != Some(now) {
                    tracing::warn!(
                        directory = settings.name,
                        group,
                        now = foreign::shown(now),
                        "a group was renamed: it is still meant, but write its new name into the configuration"
                    );
                }
            }
        }
        Ok(query)
    }

    /// A listing beside the stream that is open, or by itself.
    async fn list_everyone(&self) -> Result<Changes, DirectoryError> {
        let settings = self.settings();
        let mut session = self.connect(&settings).await?;
        self.learn(&mut session, &settings).await?;
        let query = self.resolve(&mut session, &settings).await?;
        {
            let mut reached = lock(&self.reached);
            if reached.strong_count() == 0 {
                *reached = Arc::downgrade(query.endpoint());
            }
        }
        listing::open_on(session, query).await
    }

    async fn ask(&self, who: &[EntryId]) -> Result<Vec<Entry>, DirectoryError> {
        let settings = self.settings();
        let mut session = self.connect(&settings).await?;
        self.learn(&mut session, &settings).await?;
        let query = self.resolve(&mut session, &settings).await?;
        if let Some(groups) = &query.groups {
            groups.look(&mut session, &settings).await?;
        }
        lookup::members_among(&mut session, &query, who).await
    }

    /// A stream that turns out not to be what the server promised is not picked again for a while.
    fn noting_what_is_unfit(
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

/// Other settings for a directory, which were checked.
#[must_use = "the directory keeps its settings until they are applied"]
pub struct Renewal<'a> {
    directory: &'a LdapDirectory,
    settings: DirectorySettings,
    tls: Arc<rustls::ClientConfig>,
}

impl Renewal<'_> {
    /// Uses the settings for every connection from here on. What did not work with the former ones is tried again.
    pub fn apply(self) {
        let Self {
            directory,
            settings,
            tls,
        } = self;
        directory.access.renew(settings.bind.clone(), tls);
        lock(&directory.unfit).clear();
        *directory.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }
}

/// Whether the next best kind of stream may do where this error ended the best. Few servers tell of changes below an
/// empty base, and each of them has a result of its own for that.
fn falls_back(error: &DirectoryError, settings: &DirectorySettings) -> bool {
    matches!(error, DirectoryError::Unsupported { .. }) || settings.base.is_empty() && error.is_refusal()
}

impl Directory for LdapDirectory {
    fn open(&self, from: Option<Cursor>) -> BoxFuture<'_, Result<Opened, DirectoryError>> {
        self.open_stream(from).boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Changes, DirectoryError>> {
        self.list_everyone().boxed()
    }

    fn lookup<'a>(&'a self, who: &'a [EntryId]) -> BoxFuture<'a, Result<Vec<Entry>, DirectoryError>> {
        async move { self.ask(who).await }.boxed()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
