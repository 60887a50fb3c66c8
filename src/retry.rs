//! The wait after a failure: exponential growth with full jitter.
//!
//! The only file that imports `backoff`, and only for its arithmetic: the crate's clock ignores tokio's paused time, and
//! it gives up after 15 minutes by default.

use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff;
use tokio::sync::watch;

/// A retry policy. The wait after the `n`-th consecutive failure is random between zero and
/// `min(ceiling, first * 2^(n-1))` ("full jitter"), but at least `floor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// The upper bound of the first wait.
    pub first: Duration,
    /// The upper bound of every wait.
    pub ceiling: Duration,
    /// The lower bound of every wait.
    pub floor: Duration,
}

impl Retry {
    /// The wait after `failures` consecutive failures (1 after the first one).
    ///
    /// `jitter` is a random number from `0.0..1.0`. The same number gives the same wait, so that tests can choose it.
    pub fn wait(&self, failures: u32, jitter: f64) -> Duration {
        self.bound(failures)
            .mul_f64(jitter.clamp(0.0, 1.0))
            .max(self.floor)
    }

    /// The upper bound of the wait after `failures` consecutive failures.
    pub fn bound(&self, failures: u32) -> Duration {
        let mut growth = ExponentialBackoff {
            current_interval: self.first,
            initial_interval: self.first,
            max_interval: self.ceiling,
            multiplier: 2.0,
            randomization_factor: 0.0,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        // After 64 doublings every interval has reached the ceiling.
        (0..failures.clamp(1, 64))
            .filter_map(|_| growth.next_backoff())
            .last()
            .unwrap_or(self.ceiling)
    }
}

/// Ends the waits after failures, because their cause may be fixed (SIGHUP).
#[derive(Debug, Clone, Default)]
pub struct RetryNow(watch::Sender<()>);

impl RetryNow {
    /// Makes everyone who waits try again at once.
    pub fn notify(&self) {
        self.0.send_replace(());
    }

    /// A receiver that changes at every later [`RetryNow::notify`].
    pub fn subscribe(&self) -> watch::Receiver<()> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Retry = Retry {
        first: Duration::from_secs(1),
        ceiling: Duration::from_secs(60),
        floor: Duration::from_millis(100),
    };

    #[test]
    fn the_bound_doubles_up_to_its_ceiling() {
        let bounds: Vec<u64> = [1, 2, 3, 4, 7, 8, 1000, u32::MAX]
            .map(|n| RETRY.bound(n).as_secs())
            .into();
        assert_eq!(bounds, [1, 2, 4, 8, 60, 60, 60, 60]);
    }

    #[test]
    fn the_jitter_spreads_the_wait_between_floor_and_bound() {
        assert_eq!(RETRY.wait(3, 0.0), Duration::from_millis(100));
        assert_eq!(RETRY.wait(3, 0.5), Duration::from_secs(2));
        assert_eq!(RETRY.wait(3, 0.999).as_millis(), 3996);
    }
}
