//! Signals: SIGTERM and SIGINT stop the service, SIGHUP reloads its secrets.

use std::io;
use std::sync::Arc;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

/// The requests that signals make to the service.
#[derive(Debug, Clone, Default)]
pub struct Requests {
    /// Cancelled by the first SIGTERM or SIGINT: finish the work in progress, then stop.
    pub stop: CancellationToken,
    /// Cancelled by the second one: stop at once.
    pub abort: CancellationToken,
    /// Notified by each SIGHUP: read the configuration again.
    pub reload: Arc<Notify>,
}

/// The handlers of the signals.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

impl Signals {
    /// Installs handlers for SIGTERM, SIGINT and SIGHUP. A signal that arrives before [`Signals::relay`] runs is not
    /// lost.
    ///
    /// # Errors
    /// A handler cannot be installed.
    pub fn install() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    /// Turns signals into requests. Returns after the second SIGTERM or SIGINT.
    ///
    /// # Cancellation
    /// Safe: a signal that has arrived is not lost, a later call handles it.
    pub async fn relay(&mut self, requests: &Requests) {
        while !requests.abort.is_cancelled() {
            tokio::select! {
                _ = self.terminate.recv() => stop("SIGTERM", requests),
                _ = self.interrupt.recv() => stop("SIGINT", requests),
                _ = self.hangup.recv() => {
                    info!("SIGHUP: reading the configuration again");
                    requests.reload.notify_one();
                }
            }
        }
    }
}

fn stop(name: &str, requests: &Requests) {
    if requests.stop.is_cancelled() {
        warn!("{name} again: stopping at once");
        requests.abort.cancel();
    } else {
        info!("{name}: finishing the work in progress; a second one stops at once");
        requests.stop.cancel();
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

    /// One test for all signals, because they belong to the process, which several tests may share.
    #[tokio::test]
    async fn hangup_reloads_the_first_term_stops_and_the_second_one_stops_at_once() {
        let mut signals = Signals::install().unwrap();
        let requests = Requests::default();
        send("HUP");
        let reloaded = async {
            requests.reload.notified().await;
            assert!(!requests.stop.is_cancelled());
            send("TERM");
            requests.stop.cancelled().await;
            assert!(!requests.abort.is_cancelled());
            send("INT");
        };
        let both = async { tokio::join!(signals.relay(&requests), reloaded) };
        timeout(Duration::from_secs(10), both).await.unwrap();
        assert!(requests.abort.is_cancelled());
    }
}
