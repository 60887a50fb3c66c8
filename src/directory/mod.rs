//! Sessions with one LDAP directory. The only folder that knows `ldap3`.
//!
//! This file has the trait [`Directory`] and its types. Each of the other modules uses only those after it: `client`
//! ([`LdapDirectory`]) and [`diagnose`], `streams` (how changes are learned), `people` (whom the configuration selects),
//! `ldap` (the protocol). All of them use [`DirectorySettings`] and [`DirectoryError`].

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

/// Whether two texts are the same DN (RFC 4514), in any spelling that is equal in every schema.
pub fn same_dn(one: &str, other: &str) -> bool {
    ldap::dn::normal(one) == ldap::dn::normal(other)
}

/// The changes of a session. The stream ends with its first error.
pub type Changes = BoxStream<'static, Result<Change, DirectoryError>>;

/// One directory as configured. Each call works on a connection of its own and never reconnects by itself.
///
/// While a stream of [`Directory::open`] or [`Directory::list`] exists, every other call uses the server of that stream,
/// because another server may not have its changes yet.
pub trait Directory: Send + Sync {
    /// Opens the stream of changes, and resumes after `from` if there is a cursor.
    ///
    /// The stream begins with [`Change::ListingBegin`] .. [`Change::ListingEnd`], which bring the caller up to
    /// date, and ends only with an error.
    fn open(&self, from: Option<Cursor>) -> BoxFuture<'_, Result<Opened, DirectoryError>>;

    /// Lists everyone, beside an open stream if there is one. The stream ends after [`Change::ListingEnd`].
    fn list(&self) -> BoxFuture<'_, Result<Changes, DirectoryError>>;

    /// Those of `who` that match the filter right now, read by identity.
    fn lookup<'a>(&'a self, who: &'a [EntryId]) -> BoxFuture<'a, Result<Vec<Entry>, DirectoryError>>;
}

/// An open stream of changes.
pub struct Opened {
    /// The server that was reached.
    pub server: String,
    /// The kind of stream.
    pub stream: StreamKind,
    /// Why this kind of stream, for the log.
    pub why: &'static str,
    /// The errors of better kinds of stream that the server offers.
    pub refused: Vec<String>,
    /// Whether it continues after the cursor, without listing everyone first.
    pub resumed: bool,
    /// Whether it may have missed changes before it began, so that everyone must be listed beside it at once.
    pub reconcile: bool,
    /// The changes.
    pub changes: Changes,
}
