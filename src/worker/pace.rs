//! The configured rate limit for invitations.

use std::time::Duration;

use tokio::time::Instant;

/// Spreads invitations evenly over the minute, because mail servers limit short bursts as well.
#[derive(Debug, Clone)]
pub(super) struct Pace {
    interval: Duration,
    /// The number of workers that share the limit.
    workers: u32,
    next: Instant,
}

impl Pace {
    /// Allows `per_minute` invitations per minute; `None` for no limit.
    pub(super) fn new(per_minute: Option<u32>) -> Self {
        let interval = per_minute.map_or(Duration::ZERO, |n| Duration::from_secs(60) / n.max(1));
        Self {
            interval,
            workers: 1,
            next: Instant::now(),
        }
    }

    /// Shares the limit with other workers, so that all together keep it.
    pub(super) fn share(&mut self, workers: u32) {
        self.workers = workers.max(1);
    }

    /// When the next invitation is allowed.
    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// The number of invitations that are allowed now.
    pub(super) fn permits(&self) -> usize {
        if self.interval.is_zero() {
            usize::MAX
        } else {
            usize::from(Instant::now() >= self.next)
        }
    }

    /// Records that an invitation was started.
    pub(super) fn started(&mut self) {
        self.next = Instant::now() + self.interval * self.workers;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn invitations_are_spread_evenly_over_the_minute() {
        let mut pace = Pace::new(Some(30));
        let began = Instant::now();
        for _ in 0..31 {
            tokio::time::sleep_until(pace.next()).await;
            assert_eq!(pace.permits(), 1);
            pace.started();
            assert_eq!(pace.permits(), 0);
        }
        assert_eq!(began.elapsed(), Duration::from_secs(60));
    }

    #[tokio::test(start_paused = true)]
    async fn workers_that_share_a_limit_keep_it_together() {
        let mut pace = Pace::new(Some(60));
        pace.share(3);
        pace.started();
        assert_eq!(pace.next() - Instant::now(), Duration::from_secs(3));
        pace.share(0);
        pace.started();
        assert_eq!(pace.next() - Instant::now(), Duration::from_secs(1));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_every_invitation_is_allowed() {
        let mut pace = Pace::new(None);
        pace.started();
        assert_eq!(pace.permits(), usize::MAX);
    }
}
