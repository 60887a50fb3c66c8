//! The ping: a request at intervals while all is well, for services that alert when it stays away.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::target::Target;
use crate::telemetry::Observer;

const NAME: &str = "ping";

/// How often to look whether all is well.
const TICK: Duration = Duration::from_secs(1);

/// Requests a URL while all is well, as `/readyz` judges it, and not otherwise.
pub(super) struct Ping {
    target: Mutex<Arc<Target>>,
    interval: Duration,
    observer: Observer,
}

impl Ping {
    pub(super) fn new(target: Target, interval: Duration, observer: Observer) -> Self {
        Self {
            target: Mutex::new(Arc::new(target)),
            interval,
            observer,
        }
    }

    /// Uses this URL from the next ping on.
    pub(super) fn renew(&self, target: Target) {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(target);
    }

    /// Pings until `stop`. The first one is sent as soon as all is well. One that fails is not repeated before the next is
    /// due.
    ///
    /// # Cancellation
    /// Safe.
    pub(super) async fn run(&self, stop: &CancellationToken) {
        let pinging = async {
            let mut due = Instant::now();
            loop {
                if Instant::now() >= due && self.observer.ready().is_ok() {
                    due = Instant::now() + self.interval;
                    self.ping().await;
                }
                sleep(TICK.min(self.interval)).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = pinging => {}
        }
    }

    /// Pings once, if all is well.
    pub(super) async fn once(&self) {
        if self.observer.ready().is_ok() {
            self.ping().await;
        }
    }

    async fn ping(&self) {
        let target = self.target.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match target.get().await {
            Ok(_) => self.observer.notified(NAME),
            Err(error) => self.observer.notification_failed(NAME, &error, self.interval),
        }
    }
}
