//! What the service manager says to the process.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// What signals turn into.
#[derive(Debug, Clone, Default)]
pub struct Wishes {
    /// Cancelled by the first SIGTERM or SIGINT: finish what is in flight, then end.
    pub stop: CancellationToken,
    /// Cancelled by the second one: end at once.
    pub at_once: CancellationToken,
    /// Notified by each SIGHUP: read the configuration again.
    pub reload: Arc<Notify>,
}

/// The signals that this process handles from now on, instead of dying of them.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Takes over SIGTERM, SIGINT and SIGHUP. One that arrives before [`Signals::relay`] runs is not lost.
    ///
    /// # Errors
    /// The system refuses a handler.
    pub fn take() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Turns signals into wishes; returns after the second SIGTERM or SIGINT.
    ///
    /// # Cancellation
    /// Safe; no signal that has arrived is lost for a later call.
    pub async fn relay(&mut self, wishes: &Wishes) {
        while !wishes.at_once.is_cancelled() {
            tokio::select! {
                _ = self.terminate.recv() => end("SIGTERM", wishes),
                _ = self.interrupt.recv() => end("SIGINT", wishes),
                _ = self.hangup.recv() => {
                    info!("SIGHUP: reading the configuration again");
                    wishes.reload.notify_one();
                }
            }
        }
    }
}

fn end(name: &str, wishes: &Wishes) {
    if wishes.stop.is_cancelled() {
        warn!("{name} again: stopping at once");
        wishes.at_once.cancel();
    } else {
        info!("{name}: finishing what is in flight; the same again stops at once");
        wishes.stop.cancel();
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, id};
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    fn send(name: &str) {
        let kill = Command::new("sh")
            .args(["-c", &format!("kill -{name} {}", id())])
            .status();
        assert!(kill.unwrap().success());
    }

    /// One test for all, as signals belong to the process that all tests may share.
    #[tokio::test]
    async fn hangup_reloads_the_first_term_stops_and_the_second_one_stops_at_once() {
        let mut signals = Signals::take().unwrap();
        let wishes = Wishes::default();
        send("HUP");
        let reloaded = async {
            wishes.reload.notified().await;
            assert!(!wishes.stop.is_cancelled());
            send("TERM");
            wishes.stop.cancelled().await;
            assert!(!wishes.at_once.is_cancelled());
            send("INT");
        };
        let both = async { tokio::join!(signals.relay(&wishes), reloaded) };
        timeout(Duration::from_secs(10), both).await.unwrap();
        assert!(wishes.at_once.is_cancelled());
    }
}
