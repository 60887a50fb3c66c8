//! Logs the progress of a long search: within the first minute, and then less and less often.

use std::time::Duration;

use tokio::time::Instant;

/// The time before the first message.
const FIRST: Duration = Duration::from_secs(45);
/// The factor by which each following pause is longer.
const FACTOR: u32 = 4;
/// The longest time between two messages.
const LONGEST: Duration = Duration::from_secs(60 * 60);
/// If the next page is requested later than this, a new search begins.
const PAUSE: Duration = Duration::from_secs(30);

/// The progress of a search, with all its pages.
#[derive(Debug)]
pub(crate) struct SearchProgress {
    doing: &'static str,
    began: Instant,
    /// When a message was last waited for.
    waited: Instant,
    messages: u64,
    pause: Duration,
    log_at: Instant,
}

impl Default for SearchProgress {
    fn default() -> Self {
        Self::new("", Instant::now())
    }
}

impl SearchProgress {
    fn new(doing: &'static str, now: Instant) -> Self {
        Self {
            doing,
            began: now,
            waited: now,
            messages: 0,
            pause: FIRST,
            log_at: now + FIRST,
        }
    }

    /// Records that the next message is waited for.
    pub(crate) fn wait(&mut self, doing: &'static str, now: Instant) {
        if self.doing != doing || now.duration_since(self.waited) > PAUSE {
            *self = Self::new(doing, now);
        }
        self.waited = now;
    }

    /// Records a message.
    pub(crate) fn message(&mut self) {
        self.messages += 1;
    }

    /// When the next log message is due.
    pub(crate) fn log_at(&self) -> Instant {
        self.log_at
    }

    /// Logs the progress.
    pub(crate) fn log(&mut self, directory: &str, server: &str, now: Instant) {
        self.waited = now;
        self.pause = (self.pause * FACTOR).min(LONGEST);
        self.log_at = now + self.pause;
        tracing::info!(
            directory,
            server,
            doing = self.doing,
            seconds = now.duration_since(self.began).as_secs(),
            messages = self.messages,
            "the server has not come to an end yet"
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn pages_are_one_search_and_another_operation_or_a_pause_begins_a_new_one() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut progress = SearchProgress::default();
        progress.wait("listing", at(0));
        progress.wait("listing", at(20));
        progress.wait("listing", at(40));
        assert_eq!(progress.log_at(), at(45));
        progress.log("main", "ldap://a", at(45));
        assert_eq!(progress.log_at(), at(45 + 180));
        progress.log("main", "ldap://a", at(225));
        assert_eq!(progress.log_at(), at(225 + 720));
        progress.wait("listing", at(256));
        assert_eq!(progress.log_at(), at(256 + 45), "a pause");
        progress.wait("looking for groups", at(257));
        assert_eq!(progress.log_at(), at(257 + 45));
    }
}
