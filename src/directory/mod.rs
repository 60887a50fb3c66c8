//! Sessions with one LDAP directory. The only folder that knows `ldap3`.
//!
//! `connect` makes an authenticated connection whose every message passes the `guard`; `session` runs operations on
//! it; `root_dse` tells what the server can do; `syncrepl`, `poll` and `scan` turn its answers into
//! [`Change`]s, `lookup` reads single people again; `diagnose` goes the same way step by
//! step and says where it ends. `decode` reads foreign bytes without ever panicking.

mod connect;
mod decode;
pub mod diagnose;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod guard;
mod lookup;
mod poll;
mod root_dse;
mod scan;
mod session;
mod settings;
mod syncrepl;

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::BoxStream;

use crate::model::{Change, Cursor, Entry, EntryId};
use root_dse::Identity;

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
    /// What it says.
    pub changes: Changes,
}

/// How changes are learned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// RFC 4533, refreshAndPersist: the server tells.
    Syncrepl,
    /// A full listing at an interval.
    Poll,
}

impl StreamKind {
    /// The word for it in the configuration, in `status` and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Syncrepl => "syncrepl",
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
}

impl LdapDirectory {
    /// A directory with these settings; nothing is contacted yet.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings: RwLock::new(Arc::new(settings)),
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

    async fn open_stream(&self, from: Option<Cursor>) -> Result<Opened, DirectoryError> {
        let settings = self.settings();
        let mut session = connect::connect(&settings).await?;
        let capabilities = root_dse::read(&mut session).await?;
        lookup::check_base(&mut session, &settings.base).await?;
        let server = session.server().to_owned();
        let why = match (settings.stream, capabilities.syncrepl) {
            (StreamChoice::Poll, _) => "the configuration asks for it",
            // At a size limit, or after ten seconds in which nobody reads, its stream ends without a word while the
            // connection lives on.
            (StreamChoice::Auto, _) if capabilities.identity == Identity::NsUniqueId => {
                "the content synchronisation of 389 Directory Server can fall silent unnoticed"
            }
            (StreamChoice::Auto, false) => "the server does not offer content synchronisation (RFC 4533)",
            (choice, _) => {
                let why = match choice {
                    StreamChoice::Auto => "the server offers content synchronisation (RFC 4533)",
                    _ => "the configuration asks for it",
                };
                match syncrepl::open(session, &settings, from).await {
                    Ok(changes) => {
                        return Ok(Opened {
                            server,
                            stream: StreamKind::Syncrepl,
                            why,
                            changes,
                        });
                    }
                    Err(DirectoryError::Unsupported { .. }) if choice == StreamChoice::Auto => {
                        "the server offers content synchronisation, but not for this base (is `overlay syncprov` missing?)"
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        let changes = poll::open(settings).await?;
        Ok(Opened {
            server,
            stream: StreamKind::Poll,
            why,
            changes,
        })
    }
}

impl Directory for LdapDirectory {
    fn open(&self, from: Option<Cursor>) -> BoxFuture<'_, Result<Opened, DirectoryError>> {
        self.open_stream(from).boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Changes, DirectoryError>> {
        scan::open(self.settings()).boxed()
    }

    fn lookup<'a>(&'a self, who: &'a [EntryId]) -> BoxFuture<'a, Result<Vec<Entry>, DirectoryError>> {
        async move { lookup::lookup(&self.settings(), who).await }.boxed()
    }
}

/// The error for something that the server sent and that cannot be understood.
fn malformed(session: &session::Session, what: &str, error: &crate::ber::Malformed) -> DirectoryError {
    DirectoryError::Malformed {
        server: session.server().to_owned(),
        what: format!("the server sent {what}"),
        cause: error.to_string(),
    }
}
