//! Sessions with one LDAP directory. The only folder that knows `ldap3`.
//!
//! `discover` finds the servers of a domain; `connect` makes an authenticated connection whose every message passes
//! the `guard`, which asks `verdict` of each and stops where too many wait in `traffic`; `session` runs operations on
//! it. What the connections of a directory share is its `access`: the `credentials`, and by `freshness` how far its
//! servers have come. `root_dse` tells what the server can do, and `pick` what to do with it. `syncrepl`, `poll` and `scan`
//! turn its answers into [`Change`]s, and so does `doorbell` with the mere hints of `persistent_search`,
//! `active_directory` and `groups`: `lookup` reads single people again. `diagnose` goes the same way step by step and says
//! where it ends. `decode` reads foreign bytes without ever panicking. `pages` asks in pages as far as the server takes
//! them, and `remarks` holds what is no failure and yet worth a word. Texts of LDAP are compared by what they mean:
//! `filter` and `dn` read them, `schema` knows what attribute types are called, and `asked` gives those of an answer the
//! names by which they were asked for.

mod access;
mod active_directory;
mod asked;
mod connect;
mod course;
mod credentials;
mod decode;
pub mod diagnose;
mod discover;
mod dn;
mod doorbell;
mod error;
mod filter;
mod freshness;
#[cfg(fuzzing)]
pub mod fuzzing;
mod groups;
mod guard;
mod lookup;
mod pages;
mod password_policy;
mod persistent_search;
mod pick;
mod poll;
mod references;
mod remarks;
mod root_dse;
mod scan;
mod schema;
mod search;
mod session;
mod settings;
mod syncrepl;
mod traffic;
mod verdict;
mod wanted;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, BoxStream};
use futures::{FutureExt, StreamExt, TryStreamExt};
use tokio::time::Instant;

use crate::foreign;
use crate::model::{Change, Cursor, Entry, EntryId};
use access::{Access, Reached};
use doorbell::Rings;
use groups::Identities;
use remarks::Remarks;
use root_dse::{Capabilities, Identity};
use schema::Schema;
use session::Session;
use wanted::Wanted;

pub use credentials::PasswordSource;
pub use error::DirectoryError;
pub use filter::{Filter, FilterError};
pub use pick::StreamKind;
pub use settings::{Bind, HostPattern, Server, Settings, StreamChoice};

/// What a session says, until it ends with its first error.
pub type Changes = BoxStream<'static, Result<Change, DirectoryError>>;

/// One directory as configured. Each call works on a connection of its own and never reconnects by itself.
///
/// As long as a stream of [`Directory::open`] or [`Directory::list`] lives, every other call asks the server of that
/// stream and no other one, since another one may not have heard yet of what this one told.
pub trait Directory: Send + Sync {
    /// Opens the stream that tells of changes, resuming after `from` where there is a cursor.
    ///
    /// The stream begins with [`Change::ListingBegin`] .. [`Change::ListingEnd`], which bring the caller up to
    /// date, and ends only with an error.
    fn open(&self, from: Option<Cursor>) -> BoxFuture<'_, Result<Opened, DirectoryError>>;

    /// One full listing, beside whatever stream is open; the stream ends after [`Change::ListingEnd`].
    fn list(&self) -> BoxFuture<'_, Result<Changes, DirectoryError>>;

    /// Those of `who` that match the filter right now, read by identity.
    fn lookup<'a>(&'a self, who: &'a [EntryId]) -> BoxFuture<'a, Result<Vec<Entry>, DirectoryError>>;
}

/// An open stream of changes.
pub struct Opened {
    /// The server that was reached.
    pub server: String,
    /// How it tells of changes.
    pub stream: StreamKind,
    /// Why this kind of stream, for the log.
    pub why: &'static str,
    /// What did not work of the better ways that the server offers.
    pub refused: Vec<String>,
    /// It goes on from the cursor, and does not name everyone first.
    pub resumed: bool,
    /// Its own account of what happened before it began may lack something: everyone is to be listed beside it at once.
    pub reconcile: bool,
    /// What it says.
    pub changes: Changes,
}

/// A directory behind LDAP.
#[derive(Debug)]
pub struct LdapDirectory {
    settings: RwLock<Arc<Settings>>,
    access: Arc<Access>,
    /// The server of the stream that is open, as long as it is.
    reached: Mutex<Weak<Reached>>,
    /// Kinds of stream that a server offers and did not keep to, and when that was seen.
    unfit: Arc<Mutex<Unfit>>,
    /// The identities of groups as they were last found.
    groups: Mutex<Identities>,
    /// The groups that were said to have another name now.
    renamed: Mutex<HashMap<String, String>>,
    /// What is no failure and was said once.
    remarks: Arc<Remarks>,
    /// What the server's attribute types are called, as the last stream that was opened has read it.
    schema: Mutex<Option<Arc<Schema>>>,
}

/// Each with the server's URL.
type Unfit = HashMap<(String, StreamKind), Instant>;

/// How long a kind of stream that did not work is passed over on that server.
const UNFIT: Duration = Duration::from_secs(60 * 60);

impl LdapDirectory {
    /// A directory with these settings; nothing is contacted yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            access: Arc::new(Access::new(&settings)),
            settings: RwLock::new(Arc::new(settings)),
            reached: Mutex::default(),
            unfit: Arc::default(),
            groups: Mutex::default(),
            renamed: Mutex::default(),
            remarks: Arc::default(),
            schema: Mutex::default(),
        }
    }

    /// Says where the bind password is read again when a server refuses it.
    pub fn reread_password_from(&self, source: PasswordSource) {
        self.access.credentials.come_from(source);
    }

    /// Takes other settings, such as another password, for every connection from here on; what did not work with the
    /// former ones is tried again. They must describe the same people: cursors stay what they are.
    pub fn renew(&self, settings: Settings) {
        self.access.credentials.renew(settings.bind.clone());
        lock(&self.unfit).clear();
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    /// What the searches so far have noticed that is no failure, and yet keeps people from being found or costs more
    /// than it should. Each reads as "cause; remedy".
    pub fn remarks(&self) -> Vec<String> {
        self.remarks.all()
    }

    fn settings(&self) -> Arc<Settings> {
        let settings = self.settings.read().unwrap_or_else(PoisonError::into_inner);
        settings.clone()
    }

    /// A connection to the server of the stream that is open, where there is one, else to the first one that is not
    /// behind.
    async fn connect(&self, settings: &Settings) -> Result<Session, DirectoryError> {
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
            self.access.saw(freshness::Marks::of_cursor(from));
            lock(&self.groups).extend(groups::recall(from));
        }
        let session = connect::connect(&settings, &self.access).await?;
        self.open_best(session, settings, from).await
    }

    /// Opens the best stream that works on this server.
    async fn open_best(
        &self,
        mut session: Session,
        settings: Arc<Settings>,
        from: Option<Cursor>,
    ) -> Result<Opened, DirectoryError> {
        let can = root_dse::capabilities(&mut session, &settings).await?;
        *lock(&self.schema) = None;
        self.learn(&mut session, &can, &settings).await?;
        lookup::check_base(&mut session, &settings.base).await?;
        let wanted = self.resolve(&mut session, &can, &settings).await?;
        *lock(&self.reached) = Arc::downgrade(wanted.reached());
        let server = session.server().to_owned();
        let mut candidates = pick::candidates(settings.stream, &can);
        if settings.stream == StreamChoice::Auto {
            let mut unfit = lock(&self.unfit);
            unfit.retain(|_, since| since.elapsed() < UNFIT);
            candidates.retain(|(kind, _)| !unfit.contains_key(&(server.clone(), *kind)));
        }
        let mut candidates = candidates.into_iter().peekable();
        let mut refused = Vec::new();
        while let Some((kind, why)) = candidates.next() {
            match open_kind((kind, why), session, &can, &wanted, from.clone()).await {
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
            session = wanted.connect().await?;
        }
        Err(DirectoryError::Settings(format!(
            "directory {} has no stream",
            settings.name
        )))
    }

    /// Tells the session what the server's attribute types are called: read with each stream that is opened, and known
    /// from then on. Where it cannot be read, the names that the standards give them have to do.
    async fn learn(
        &self,
        session: &mut Session,
        can: &Capabilities,
        settings: &Settings,
    ) -> Result<(), DirectoryError> {
        let known = lock(&self.schema).clone();
        if let Some(schema) = known {
            session.learn(schema);
            return Ok(());
        }
        root_dse::learn_schema(session, can, settings, &self.access).await?;
        *lock(&self.schema) = Some(session.schema().clone());
        Ok(())
    }

    /// Whom the settings mean right now.
    async fn resolve(
        &self,
        session: &mut Session,
        can: &Capabilities,
        settings: &Settings,
    ) -> Result<Arc<Wanted>, DirectoryError> {
        let known = lock(&self.groups).clone();
        let wanted = Wanted::resolve(session, can, settings, &self.access, &known, &self.remarks).await?;
        if let Some(groups) = &wanted.groups {
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
        Ok(wanted)
    }

    /// A listing beside the stream that is open, or by itself.
    async fn list_everyone(&self) -> Result<Changes, DirectoryError> {
        let settings = self.settings();
        let mut session = self.connect(&settings).await?;
        let can = root_dse::capabilities(&mut session, &settings).await?;
        self.learn(&mut session, &can, &settings).await?;
        let wanted = self.resolve(&mut session, &can, &settings).await?;
        {
            let mut reached = lock(&self.reached);
            if reached.strong_count() == 0 {
                *reached = Arc::downgrade(wanted.reached());
            }
        }
        scan::open(wanted).await
    }

    async fn ask(&self, who: &[EntryId]) -> Result<Vec<Entry>, DirectoryError> {
        let settings = self.settings();
        let mut session = self.connect(&settings).await?;
        let can = root_dse::capabilities(&mut session, &settings).await?;
        self.learn(&mut session, &can, &settings).await?;
        let wanted = self.resolve(&mut session, &can, &settings).await?;
        if let Some(groups) = &wanted.groups {
            groups.look(&mut session, &can, &settings).await?;
        }
        lookup::Asker::new(wanted).ask(who).await
    }

    /// A stream that turns out not to be what the server promised is not picked again for a while.
    fn noting_what_is_unfit(
        &self,
        server: String,
        kind: StreamKind,
        changes: Changes,
        settings: Arc<Settings>,
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

/// Whether the next best kind of stream may do where this error ended the best. Few servers tell of changes below an
/// empty base, and each of them has a result of its own for that.
fn falls_back(error: &DirectoryError, settings: &Settings) -> bool {
    matches!(error, DirectoryError::Unsupported { .. }) || settings.base.is_empty() && error.is_refusal()
}

/// Opens one kind of stream, for a reason.
async fn open_kind(
    (kind, why): (StreamKind, &'static str),
    session: Session,
    can: &Capabilities,
    wanted: &Arc<Wanted>,
    from: Option<Cursor>,
) -> Result<Opened, DirectoryError> {
    let server = session.server().to_owned();
    // What happened to groups while nobody watched shows in no resume.
    let from = from.filter(|_| wanted.groups.is_none());
    // Whatever rings does so before people are listed, so that nothing falls between.
    let mut rings: Vec<Rings> = groups::rings(wanted, kind).await?.into_iter().collect();
    let (mut resumed, mut reconcile) = (false, false);
    let changes = match kind {
        StreamKind::Syncrepl if can.identity == Identity::EntryUuid && wanted.asks_for_groups() => {
            rings.push(syncrepl::rings_for_anyone(session, can, wanted).await?);
            scan::open(wanted.clone()).await?
        }
        StreamKind::Syncrepl => {
            resumed = from.is_some();
            // What 389-DS tells after a cookie lacks those who left by the filter.
            reconcile = can.identity == Identity::NsUniqueId;
            syncrepl::open(session, can, wanted, from).await?
        }
        StreamKind::PersistentSearch => {
            rings.push(persistent_search::open(session, can, wanted).await?);
            scan::open(wanted.clone()).await?
        }
        StreamKind::ActiveDirectory => {
            let (bells, goes_on) = active_directory::open(session, wanted, from).await?;
            rings.push(bells);
            (resumed, reconcile) = (goes_on, goes_on);
            if resumed {
                doorbell::only_changes()
            } else {
                scan::open(wanted.clone()).await?
            }
        }
        StreamKind::Poll => poll::open(wanted.clone()).await?,
    };
    let seen = wanted.clone();
    let changes = changes.inspect_ok(move |change| {
        if let Change::Checkpoint(cursor) = change {
            seen.access().saw(freshness::Marks::of_cursor(cursor));
        }
    });
    let changes = changes.boxed();
    let changes = if rings.is_empty() {
        changes
    } else {
        let rings = stream::select_all(rings).boxed();
        doorbell::answered(rings, changes, lookup::Asker::new(wanted.clone()))
    };
    let changes = match &wanted.groups {
        Some(groups) => groups::with_identities(changes, groups.cursor()),
        None => changes,
    };
    Ok(Opened {
        server,
        stream: kind,
        why,
        refused: Vec::new(),
        resumed,
        reconcile,
        changes,
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

/// The error for something that the server sent and that cannot be understood.
fn malformed(session: &Session, what: &str, error: &crate::ber::Malformed) -> DirectoryError {
    DirectoryError::Malformed {
        server: session.server().to_owned(),
        what: format!("the server sent {what}"),
        cause: error.to_string(),
    }
}
