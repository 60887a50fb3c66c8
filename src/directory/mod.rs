//! Sessions with one LDAP directory. The only folder that knows `ldap3`.

mod error;

use futures::future::BoxFuture;
use futures::stream::BoxStream;

use crate::model::{Change, Cursor, Entry, EntryId};

pub use error::DirectoryError;

/// What a session says, until it ends with its first error.
pub type Changes = BoxStream<'static, Result<Change, DirectoryError>>;

/// One directory as configured. Each call works on a connection of its own and never reconnects by itself.
pub trait Directory: Send + Sync {
    /// Opens the stream that tells of changes, resuming after `from` where there is a cursor.
    ///
    /// The stream begins with [`Change::ListingBegin`] .. [`Change::ListingEnd`], which bring the caller up to
    /// date, and ends only with an error.
    fn open(&self, from: Option<Cursor>) -> BoxFuture<'_, Result<Changes, DirectoryError>>;

    /// One full listing, beside whatever stream is open; the stream ends after [`Change::ListingEnd`].
    fn list(&self) -> BoxFuture<'_, Result<Changes, DirectoryError>>;

    /// Those of `who` that match the filter right now, read by identity.
    fn lookup<'a>(&'a self, who: &'a [EntryId]) -> BoxFuture<'a, Result<Vec<Entry>, DirectoryError>>;
}
