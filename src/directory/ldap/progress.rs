//! How a search that takes long goes on: told in the log within a minute, and again ever more rarely.

use std::time::Duration;

use tokio::time::Instant;

/// When it is told first; each time after that it takes so many times as long.
const FIRST: Duration = Duration::from_secs(45);
const TIMES: u32 = 4;
/// The longest time between two tellings.
const RARELY: Duration = Duration::from_secs(60 * 60);
/// A page that is asked for later than this after the one before begins anew.
const PAUSE: Duration = Duration::from_secs(30);

/// A search, or the pages of one, from the first message to the last.
#[derive(Debug)]
pub(crate) struct Progress {
    doing: &'static str,
    began: Instant,
    /// When it was last waited for.
    waited: Instant,
    messages: u64,
    pause: Duration,
    log_at: Instant,
}

impl Default for Progress {
    fn default() -> Self {
        Self::new("", Instant::now())
    }
}

impl Progress {
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

    /// The next message is waited for.
    pub(crate) fn wait(&mut self, doing: &'static str, now: Instant) {
        if self.doing != doing || now.duration_since(self.waited) > PAUSE {
            *self = Self::new(doing, now);
        }
        self.waited = now;
    }

    /// A message came.
    pub(crate) fn message(&mut self) {
        self.messages += 1;
    }

    /// When it is to be told.
    pub(crate) fn log_at(&self) -> Instant {
        self.log_at
    }

    /// Tells it.
    pub(crate) fn log(&mut self, directory: &str, server: &str, now: Instant) {
        self.waited = now;
        self.pause = (self.pause * TIMES).min(RARELY);
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
    async fn pages_are_one_course_and_another_question_or_a_pause_begins_anew() {
        let began = Instant::now();
        let at = |seconds| began + Duration::from_secs(seconds);
        let mut progress = Progress::default();
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
