//! Sessions with one LDAP directory. The only folder that knows `ldap3`.
//!
//! This file is the face: the trait [`Directory`] and its types. Behind it, each room uses only those after it:
//! `client` ([`LdapDirectory`]) and [`diagnose`], `streams` (how changes are learned), `people` (who is meant), `ldap`
//! (the protocol). All of them know the [`DirectorySettings`] and [`DirectoryError`].

mod client;
pub mod diagnose;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod ldap;
mod people;
mod settings;
mod streams;

use futures::future::BoxFuture;
use futures::stream::BoxStream;

use crate::model::{Change, Cursor, Entry, EntryId};

pub use client::{LdapDirectory, Renewal};
pub use error::DirectoryError;
pub use ldap::credentials::PasswordSource;
pub use ldap::filter::{Filter, FilterError};
pub use settings::{Bind, DirectorySettings, HostPattern, Server, StreamKind};

/// Whether two texts are the same DN, however each is written (RFC 4514), as far as that is so in every schema.
pub fn same_dn(one: &str, other: &str) -> bool {
    ldap::dn::normal(one) == ldap::dn::normal(other)
}

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
