//! Listens to a directory, and leaves it to another instance if it cannot be reached from here.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::listener::Listener;
use crate::store::{BaseStore, Lease, StoreError};

/// How often to look whether the directory can be reached.
const INTERVAL: Duration = Duration::from_secs(2);
/// A directory that cannot be reached for so long is left to another instance.
const PATIENCE: Duration = Duration::from_secs(15);
/// The same after that, until it could be reached: perhaps nobody can.
const MORE_PATIENCE: Duration = Duration::from_secs(600);
/// How long the others have to take it.
const AWAY: Duration = Duration::from_secs(10);

/// What listens to one directory while this instance has the lease for that.
pub(super) struct Listening {
    pub(super) listener: Listener,
    pub(super) lease: Arc<dyn Lease>,
    pub(super) store: Arc<dyn BaseStore>,
    pub(super) stop: CancellationToken,
    /// Whether the directory was left to others and not reached since.
    pub(super) left: AtomicBool,
}

impl Listening {
    /// Listens until `held` is cancelled, or gives up the lease because this instance cannot reach the directory and another
    /// one may.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn run(&self, held: &CancellationToken) -> Result<(), StoreError> {
        let Listener { name, observer, .. } = &self.listener;
        observer.listens(name, true);
        let mut listening = pin!(self.listener.run(held));
        let ended = tokio::select! {
            ended = listening.as_mut() => Some(ended),
            () = self.is_unreachable() => None,
        };
        let is_left = ended.is_none();
        let ended = match ended {
            Some(ended) => ended,
            None => {
                observer.leaves(name);
                self.lease.release();
                held.cancel();
                listening.await
            }
        };
        observer.listens(name, false);
        if is_left {
            // Either way this instance may take it again.
            let _ = timeout(AWAY, self.stop.cancelled()).await;
        }
        ended
    }

    /// Waits until this instance has not reached the directory for a while and there is another one.
    async fn is_unreachable(&self) {
        let Listener { name, observer, .. } = &self.listener;
        loop {
            sleep(INTERVAL).await;
            let Some(unreachable) = observer.unreachable(name) else {
                self.left.store(false, Ordering::Relaxed);
                continue;
            };
            let patience = if self.left.load(Ordering::Relaxed) {
                MORE_PATIENCE
            } else {
                PATIENCE
            };
            // A store that fails says so itself.
            if unreachable >= patience
                && let Ok(report) = self.store.report().await
                && report.instances.len() > 1
            {
                self.left.store(true, Ordering::Relaxed);
                return;
            }
        }
    }
}
