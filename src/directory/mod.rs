//! Sessions with one LDAP directory. The only folder that knows `ldap3`.
//!
//! `discover` finds the servers of a domain; `connect` makes an authenticated connection whose every message passes the `guard`; `session` runs operations on
//! it; `root_dse` tells what the server can do and `pick` what to do with it; `syncrepl`, `poll` and `scan` turn its
//! answers into [`Change`]s, and so does `doorbell` with the mere hints of the other streams; `lookup` reads single
//! people again; `diagnose` goes the same way step by step and says where it ends. `ber` and `decode` read foreign bytes without ever panicking.

mod active_directory;
mod ber;
mod certificate;
mod connect;
mod decode;
pub mod diagnose;
mod discover;
mod doorbell;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod guard;
mod lookup;
mod pick;
mod poll;
mod root_dse;
mod scan;
mod session;
mod settings;
mod syncrepl;

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};

use crate::model::{Change, Cursor, Entry, EntryId};

pub use error::DirectoryError;
pub use settings::{Bind, Server, Settings, StreamChoice, check_filter};

/// What a session says, until it ends with its first error.
pub type Changes = BoxStream<'static, Result<Change, DirectoryError>>;

/// One directory as configured. Each call works on a connection of its own and never reconnects by itself.
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
    /// Its own account of what happened before it began may lack something: everyone is to be listed beside it at once.
    pub reconcile: bool,
    /// What it says.
    pub changes: Changes,
}

/// How changes are learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamKind {
    /// RFC 4533, refreshAndPersist: the server tells.
    Syncrepl,
    /// draft-ietf-ldapext-psearch-03: the server tells that an entry changed.
    PersistentSearch,
    /// Active Directory's change notification: the server tells that an object changed.
    ActiveDirectory,
    /// A full listing at an interval.
    Poll,
}

impl StreamKind {
    /// The word for it in the configuration, in `status` and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Syncrepl => "syncrepl",
            Self::PersistentSearch => "persistent-search",
            Self::ActiveDirectory => "active-directory",
            Self::Poll => "poll",
        }
    }
}

impl fmt::Display for StreamKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A directory behind LDAP.
#[derive(Debug)]
pub struct LdapDirectory {
    settings: RwLock<Arc<Settings>>,
    /// Kinds of stream that the server offers and did not keep to.
    unfit: Arc<Mutex<HashSet<StreamKind>>>,
}

impl LdapDirectory {
    /// A directory with these settings; nothing is contacted yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings: RwLock::new(Arc::new(settings)),
            unfit: Arc::default(),
        }
    }

    /// Takes other settings, such as another password, for every connection from here on. They must describe the same
    /// people: cursors stay what they are.
    pub fn renew(&self, settings: Settings) {
        *self.settings.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(settings);
    }

    fn settings(&self) -> Arc<Settings> {
        let settings = self.settings.read().unwrap_or_else(PoisonError::into_inner);
        settings.clone()
    }

    /// Opens the best stream that works.
    async fn open_stream(&self, from: Option<Cursor>) -> Result<Opened, DirectoryError> {
        let settings = self.settings();
        let mut session = connect::connect(&settings).await?;
        let capabilities = root_dse::read(&mut session).await?;
        lookup::check_base(&mut session, &settings.base).await?;
        let mut candidates = pick::candidates(settings.stream, &capabilities);
        if settings.stream == StreamChoice::Auto {
            let unfit = lock(&self.unfit);
            candidates.retain(|(kind, _)| !unfit.contains(kind));
        }
        let mut candidates = candidates.into_iter().peekable();
        while let Some((kind, why)) = candidates.next() {
            let server = session.server().to_owned();
            match open_kind(kind, session, &settings, from.clone()).await {
                Ok((changes, reconcile)) => {
                    return Ok(Opened {
                        server,
                        stream: kind,
                        why,
                        reconcile,
                        changes: self.noting_what_is_unfit(kind, changes),
                    });
                }
                Err(error @ DirectoryError::Unsupported { .. }) if candidates.peek().is_some() => {
                    tracing::warn!(directory = settings.name, stream = kind.as_str(), %error, "the best stream does not work; the next best is tried");
                }
                Err(error) => return Err(error),
            }
            session = connect::connect(&settings).await?;
        }
        Err(DirectoryError::Settings(format!(
            "directory {} has no stream",
            settings.name
        )))
    }

    /// A stream that turns out not to be what the server promised is not picked again.
    fn noting_what_is_unfit(&self, kind: StreamKind, changes: Changes) -> Changes {
        let unfit = self.unfit.clone();
        changes
            .inspect_err(move |error| {
                if matches!(error, DirectoryError::Unsupported { .. }) {
                    lock(&unfit).insert(kind);
                }
            })
            .boxed()
    }
}

/// Opens one kind of stream. Says, too, whether everyone is to be listed beside it at once.
async fn open_kind(
    kind: StreamKind,
    session: session::Session,
    settings: &Arc<Settings>,
    from: Option<Cursor>,
) -> Result<(Changes, bool), DirectoryError> {
    let changes = match kind {
        StreamKind::Syncrepl => syncrepl::open(session, settings, from).await?,
        StreamKind::ActiveDirectory => return active_directory::open(session, settings, from).await,
        StreamKind::PersistentSearch => {
            return Err(DirectoryError::Unsupported {
                server: session.server().to_owned(),
                cause: format!("{kind} is not in this version"),
            });
        }
        StreamKind::Poll => poll::open(settings.clone()).await?,
    };
    Ok((changes, false))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Directory for LdapDirectory {
    fn open(&self, from: Option<Cursor>) -> BoxFuture<'_, Result<Opened, DirectoryError>> {
        self.open_stream(from).boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Changes, DirectoryError>> {
        scan::open(self.settings()).boxed()
    }

    fn lookup<'a>(&'a self, who: &'a [EntryId]) -> BoxFuture<'a, Result<Vec<Entry>, DirectoryError>> {
        async move { lookup::Asker::new(self.settings()).ask(who).await }.boxed()
    }
}

/// The error for something that the server sent and that cannot be understood.
fn malformed(session: &session::Session, what: &str, error: &ber::Malformed) -> DirectoryError {
    DirectoryError::Malformed {
        server: session.server().to_owned(),
        what: format!("the server sent {what}"),
        cause: error.to_string(),
    }
}
