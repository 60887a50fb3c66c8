//! Keeps the loops of the service running: restarts each one that ends before the service stops.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error};

use crate::panics::contain;
use crate::retry::{Retry, RetryNow};
use crate::store::StoreError;
use crate::telemetry::Observer;

/// The wait before a loop is restarted.
pub const RESTART: Retry = Retry {
    first: Duration::from_secs(1),
    ceiling: Duration::from_secs(60),
    floor: Duration::from_millis(100),
};

/// Runs named loops until its token is cancelled.
///
/// # Guarantees
/// A loop that panics, fails or returns early is logged once per failure and restarted after a wait of [`Retry`]. The
/// wait grows with each failure and is reset when the loop has run for [`Retry::ceiling`].
#[derive(Debug)]
pub struct Supervisor {
    retry: Retry,
    jitter: fn() -> f64,
    stop: CancellationToken,
    retry_now: RetryNow,
    loops: JoinSet<String>,
    names: Vec<String>,
    observer: Option<Observer>,
}

impl Supervisor {
    /// Creates a supervisor without loops. `jitter` returns random numbers from `0.0..1.0`; `stop` requests every loop to
    /// end; `retry_now` ends the waits before restarts.
    pub fn new(retry: Retry, jitter: fn() -> f64, stop: CancellationToken, retry_now: RetryNow) -> Self {
        Self {
            retry,
            jitter,
            stop,
            retry_now,
            loops: JoinSet::new(),
            names: Vec::new(),
            observer: None,
        }
    }

    /// Tells `observer` which loops run and which have failed, for `/healthz`.
    #[must_use]
    pub fn watched_by(mut self, observer: Observer) -> Self {
        self.observer = Some(observer);
        self
    }

    /// Runs a loop. `work` creates its future, once more after each failure; the future returns `Ok` when the token is
    /// cancelled.
    pub fn spawn<F, Work>(&mut self, name: impl Into<String>, work: F)
    where
        F: FnMut() -> Work + Send + 'static,
        Work: Future<Output = anyhow::Result<()>> + Send,
    {
        let (retry, jitter, stop) = (self.retry, self.jitter, self.stop.clone());
        let retried = self.retry_now.subscribe();
        let name = name.into();
        self.names.push(name.clone());
        let observer = self.observer.clone();
        let tell = move |name: &str, runs| {
            if let Some(observer) = &observer {
                observer.part_runs(name, runs);
            }
        };
        self.loops.spawn(async move {
            keep_running(&name, work, (retry, retried), jitter, (&stop, &tell)).await;
            name
        });
    }

    /// Waits until every loop has ended. After the token is cancelled, the loops have the time `grace` to end, or until
    /// `abort` is cancelled. Returns the names of the loops that were aborted.
    pub async fn finish(mut self, grace: Duration, abort: &CancellationToken) -> Vec<String> {
        let stop = self.stop.clone();
        let deadline = async {
            stop.cancelled().await;
            tokio::select! {
                () = sleep(grace) => {}
                () = abort.cancelled() => {}
            }
        };
        tokio::pin!(deadline);
        loop {
            tokio::select! {
                biased;
                ended = self.loops.join_next() => match ended {
                    Some(Ok(name)) => self.names.retain(|running| *running != name),
                    // Unreachable: panics are contained, and nothing else aborts a loop.
                    Some(Err(failed)) => error!(%failed, "a part of the service ended without a result"),
                    None => break,
                },
                () = &mut deadline => break,
            }
        }
        self.loops.shutdown().await;
        self.names
    }
}

async fn keep_running<F, Work>(
    name: &str,
    mut work: F,
    (retry, mut retried): (Retry, watch::Receiver<()>),
    jitter: fn() -> f64,
    (stop, tell): (&CancellationToken, &(impl Fn(&str, bool) + Sync)),
) where
    F: FnMut() -> Work,
    Work: Future<Output = anyhow::Result<()>>,
{
    let mut failures = 0_u32;
    loop {
        let began = Instant::now();
        retried.mark_unchanged();
        tell(name, true);
        let ended = contain(async { work().await }).await;
        let is_of_store = matches!(&ended, Ok(Err(error)) if error.is::<StoreError>());
        let error = match ended {
            Ok(Ok(())) if stop.is_cancelled() => return,
            Ok(Ok(())) => "it ended unexpectedly".to_owned(),
            Ok(Err(error)) => format!("{error:#}"),
            Err(panic) => panic.to_string(),
        };
        let was_stable = began.elapsed() >= retry.ceiling;
        failures = if was_stable { 1 } else { failures.saturating_add(1) };
        let wait = retry.wait(failures, jitter());
        let restart_in_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        if stop.is_cancelled() {
            error!(name, error, "a part of the service failed while it was stopping");
            return;
        }
        if is_of_store {
            // Whoever uses the store has reported that.
            debug!(
                name,
                error, restart_in_ms, "a part of the service waits for the state and will be restarted"
            );
        } else {
            tell(name, false);
            error!(
                name,
                error, restart_in_ms, "a part of the service failed and will be restarted"
            );
        }
        tokio::select! {
            () = sleep(wait) => {}
            _ = retried.changed() => {}
            () = stop.cancelled() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn supervisor() -> (Supervisor, CancellationToken) {
        let stop = CancellationToken::new();
        (
            Supervisor::new(RESTART, || 0.5, stop.clone(), RetryNow::default()),
            stop,
        )
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_panics_fails_or_returns_early_is_started_again() {
        let (mut supervisor, stop) = supervisor();
        let starts = Arc::new(AtomicU32::new(0));
        let (count, token) = (starts.clone(), stop.clone());
        supervisor.spawn("failing", move || {
            let (start, token) = (count.fetch_add(1, Ordering::Relaxed), token.clone());
            async move {
                match start {
                    0 => panic!("first"),
                    1 => anyhow::bail!("second"),
                    2 => Ok(()),
                    _ => {
                        // The fourth run stops the supervisor.
                        token.cancel();
                        Ok(())
                    }
                }
            }
        });
        let began = Instant::now();
        let aborted = supervisor.finish(Duration::ZERO, &CancellationToken::new()).await;
        assert_eq!((aborted.len(), starts.load(Ordering::Relaxed)), (0, 4));
        // Half of 1, 2 and 4 seconds, because the jitter is 0.5.
        assert_eq!(began.elapsed().as_millis(), 3500);
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_fails_again_and_again_is_named_and_one_that_waits_for_the_state_is_not() {
        let (supervisor, stop) = supervisor();
        let observer = Observer::new([], Duration::ZERO);
        let mut supervisor = supervisor.watched_by(observer.clone());
        supervisor.spawn("failing", || async { anyhow::bail!("again") });
        supervisor.spawn("waiting", || async { Err(StoreError::Undecided.into()) });
        let watch = async {
            sleep(Duration::from_secs(30)).await;
            assert!(observer.failing_parts().is_empty());
            sleep(Duration::from_secs(90)).await;
            assert_eq!(observer.failing_parts(), ["failing"]);
            stop.cancel();
        };
        let never = CancellationToken::new();
        tokio::join!(supervisor.finish(Duration::ZERO, &never), watch);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stable_run_resets_the_waits() {
        let (mut supervisor, stop) = supervisor();
        let (token, mut runs) = (stop.clone(), [1, 1, 3600, 1].into_iter());
        supervisor.spawn("flapping", move || {
            let (token, run) = (token.clone(), runs.next());
            async move {
                let Some(seconds) = run else {
                    token.cancel();
                    return Ok(());
                };
                sleep(Duration::from_secs(seconds)).await;
                anyhow::bail!("again")
            }
        });
        let began = Instant::now();
        supervisor.finish(Duration::ZERO, &CancellationToken::new()).await;
        // The runs themselves, and half of 1, 2, 1 and 2 seconds between them.
        assert_eq!(began.elapsed().as_millis(), 3_603_000 + 3000);
    }

    #[tokio::test(start_paused = true)]
    async fn loops_have_the_grace_period_to_end_and_aborted_ones_are_named() {
        let (mut supervisor, stop) = supervisor();
        supervisor.spawn("stubborn", std::future::pending);
        let token = stop.clone();
        supervisor.spawn("obedient", move || {
            let token = token.clone();
            async move {
                token.cancelled().await;
                sleep(Duration::from_secs(5)).await;
                Ok(())
            }
        });
        stop.cancel();
        let began = Instant::now();
        let aborted = supervisor
            .finish(Duration::from_secs(10), &CancellationToken::new())
            .await;
        assert_eq!(
            (aborted, began.elapsed().as_secs()),
            (vec!["stubborn".to_owned()], 10)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn the_second_token_ends_the_grace_period() {
        let (mut supervisor, stop) = supervisor();
        supervisor.spawn("stubborn", std::future::pending);
        let abort = CancellationToken::new();
        stop.cancel();
        abort.cancel();
        let began = Instant::now();
        let aborted = supervisor.finish(Duration::from_secs(10), &abort).await;
        assert_eq!(
            (aborted, began.elapsed()),
            (vec!["stubborn".to_owned()], Duration::ZERO)
        );
    }
}
