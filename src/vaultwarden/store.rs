//! Stores a session between runs.

use std::sync::{Mutex, PoisonError};

use futures::future::{BoxFuture, FutureExt};

/// Stores one small note for the client: the session cookie and the login budget. If the store survives a restart, a
/// service that restarts in a loop does not exceed Vaultwarden's rate limit.
///
/// The note is a secret as long as its session is valid. A store that fails logs that, claims success and keeps the note in
/// memory: this process goes on with it, and the only consequence is one more login of another one.
pub trait SessionStore: Send + Sync {
    /// The last note that was saved by any process, or by this one if it could not be saved for others.
    fn load(&self) -> BoxFuture<'_, Option<Vec<u8>>>;

    /// Replaces the note if it is still the expected one; `None` stands for a missing one. Returns whether it was. Other
    /// processes may use the same store.
    fn replace(&self, expected: Option<Vec<u8>>, note: Vec<u8>) -> BoxFuture<'_, bool>;
}

/// A store in memory, for the lifetime of the process.
#[derive(Default)]
pub struct InMemory(Mutex<Option<Vec<u8>>>);

impl SessionStore for InMemory {
    fn load(&self) -> BoxFuture<'_, Option<Vec<u8>>> {
        let note = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        async { note }.boxed()
    }

    fn replace(&self, expected: Option<Vec<u8>>, note: Vec<u8>) -> BoxFuture<'_, bool> {
        let mut stored = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_expected = *stored == expected;
        if is_expected {
            *stored = Some(note);
        }
        async move { is_expected }.boxed()
    }
}
