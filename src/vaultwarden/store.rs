//! Stores a session between runs.

use std::sync::{Mutex, PoisonError};

use futures::future::{BoxFuture, FutureExt};

/// Stores one small note for the client: the session cookie and the login budget. If the store survives a restart, a
/// service that restarts in a loop does not exceed Vaultwarden's rate limit.
///
/// The note is a secret as long as its session is valid. A store that fails logs that and returns no error: the only
/// consequence is one more login.
pub trait SessionStore: Send + Sync {
    /// The last note that was saved.
    fn load(&self) -> BoxFuture<'_, Option<Vec<u8>>>;

    /// Replaces the note.
    fn save(&self, note: Vec<u8>) -> BoxFuture<'_, ()>;
}

/// A store in memory, for the lifetime of the process.
#[derive(Default)]
pub struct InMemory(Mutex<Option<Vec<u8>>>);

impl SessionStore for InMemory {
    fn load(&self) -> BoxFuture<'_, Option<Vec<u8>>> {
        let note = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        async { note }.boxed()
    }

    fn save(&self, note: Vec<u8>) -> BoxFuture<'_, ()> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(note);
        async {}.boxed()
    }
}
