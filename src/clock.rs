//! Wall time, for stored and displayed times. Waits use tokio's monotonic time instead.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The time since `earlier`; zero if `earlier` is later, because clocks may be set back.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl std::ops::Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, rhs: Duration) -> Self {
        Self(
            self.0
                .saturating_add(i64::try_from(rhs.as_millis()).unwrap_or(i64::MAX)),
        )
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339, UTC, to the second.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = UNIX_EPOCH + Duration::from_millis(u64::try_from(self.0).unwrap_or(0));
        write!(f, "{}", humantime::format_rfc3339_seconds(time))
    }
}

/// A source of wall time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// The machine's clock.
    #[expect(
        clippy::disallowed_methods,
        reason = "the only place that reads the machine's clock"
    )]
    pub fn system() -> Self {
        Self(Arc::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
        }))
    }

    /// A clock that calls `now`.
    pub fn read_by(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// A clock that starts at `start` and follows tokio's time, which tests can pause.
    pub fn following_tokio(start: Timestamp) -> Self {
        let began = Instant::now();
        Self(Arc::new(move || start + began.elapsed()))
    }

    /// The time now.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

/// A difference between wall clock and monotonic time above this counts as a set clock, in milliseconds.
const TOLERANCE: i64 = 5_000;

/// Detects that the wall clock was set, by comparing it with monotonic time.
#[derive(Debug)]
pub struct ClockJump {
    wall: Timestamp,
    monotonic: Instant,
}

impl ClockJump {
    /// Starts to compare.
    pub fn watch(clock: &Clock) -> Self {
        Self {
            wall: clock.now(),
            monotonic: Instant::now(),
        }
    }

    /// Returns by how many milliseconds the clock was set since the last call; `None` if it was not set, or only drifted
    /// slowly.
    pub fn detect(&mut self, clock: &Clock) -> Option<i64> {
        let (wall, monotonic) = (clock.now(), Instant::now());
        let passed = i64::try_from((monotonic - self.monotonic).as_millis()).unwrap_or(i64::MAX);
        let by = wall.0.saturating_sub(self.wall.0).saturating_sub(passed);
        (self.wall, self.monotonic) = (wall, monotonic);
        (by.abs() > TOLERANCE).then_some(by)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn setting_the_clock_is_detected_once_and_the_passing_of_time_is_not() {
        let offset = Arc::new(AtomicI64::new(0));
        let (real, set) = (Clock::following_tokio(Timestamp(1_000)), offset.clone());
        let clock = Clock(Arc::new(move || {
            Timestamp(real.now().0 + set.load(Ordering::Relaxed))
        }));
        let mut jump = ClockJump::watch(&clock);
        tokio::time::advance(Duration::from_secs(86_400)).await;
        assert_eq!(jump.detect(&clock), None);
        for to in [-3_600_000, 0, 7_200_000] {
            let by = to - offset.swap(to, Ordering::Relaxed);
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!((jump.detect(&clock), jump.detect(&clock)), (Some(by), None));
        }
    }
}
