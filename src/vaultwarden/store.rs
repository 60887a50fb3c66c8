//! Where a session is kept between runs.

use std::sync::{Mutex, PoisonError};

use futures::future::{BoxFuture, FutureExt};

/// Keeps one small note for the client: the session's cookie and how many logins are left. With a store that
/// survives a restart, a service that is restarted in a loop is not locked out by Vaultwarden's limiter.
///
/// The note is a secret for as long as the session in it lasts. A store that fails keeps its troubles to itself:
/// the worst that follows is a login more.
pub trait SessionStore: Send + Sync {
    /// The note last saved.
    fn load(&self) -> BoxFuture<'_, Option<Vec<u8>>>;

    /// Saves a note in place of the one before.
    fn save(&self, note: Vec<u8>) -> BoxFuture<'_, ()>;
}

/// A store that lasts as long as the process.
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
