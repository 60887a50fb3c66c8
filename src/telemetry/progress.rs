//! Shows the progress of a long listing: on a terminal one line that changes, in a log further lines at growing
//! intervals.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use tokio::time::Instant;
use tracing::info;

/// The interval before the first log line. It doubles after each line.
const FIRST: Duration = Duration::from_secs(5);
/// The longest interval between two log lines.
const LONGEST: Duration = Duration::from_secs(10 * 60);
/// The interval between two updates on a terminal.
const TERMINAL: Duration = Duration::from_millis(200);

/// The progress of one listing.
#[derive(Debug)]
pub struct ListingProgress {
    began: Instant,
    /// When a line was last shown.
    shown_at: Instant,
    /// The interval before the next log line.
    interval: Duration,
    seen: u64,
    terminal: bool,
    /// Whether the terminal shows a line, which must be erased.
    on_terminal: bool,
}

impl ListingProgress {
    /// Starts with a listing.
    pub fn begin() -> Self {
        let now = Instant::now();
        Self {
            began: now,
            shown_at: now,
            interval: FIRST,
            seen: 0,
            terminal: io::stderr().is_terminal(),
            on_terminal: false,
        }
    }

    /// The number of entries seen.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// The time since the start.
    pub fn took(&self) -> Duration {
        self.began.elapsed()
    }

    /// `count` more entries of this directory were seen.
    pub fn advance(&mut self, directory: &str, count: usize) {
        self.seen += u64::try_from(count).unwrap_or(u64::MAX);
        if !self.is_due(Instant::now()) {
            return;
        }
        let (seen, rate) = (self.seen, self.rate());
        if self.terminal {
            // The cursor returns to the start of the line, where the next log line begins.
            let line = format!("\r\x1b[Klisting {directory}: {seen} entries, {rate} a second\r");
            let _ = io::stderr().lock().write_all(line.as_bytes());
            self.on_terminal = true;
        } else {
            info!(directory, seen, rate, "listing continues");
        }
    }

    fn is_due(&mut self, now: Instant) -> bool {
        let interval = if self.terminal { TERMINAL } else { self.interval };
        let due = now.duration_since(self.shown_at) >= interval;
        if due {
            self.shown_at = now;
            self.interval = (2 * self.interval).min(LONGEST);
        }
        due
    }

    /// Entries per second since the start.
    fn rate(&self) -> u64 {
        let ms = self.took().as_millis().max(1);
        u64::try_from(u128::from(self.seen) * 1000 / ms).unwrap_or(u64::MAX)
    }
}

impl Drop for ListingProgress {
    fn drop(&mut self) {
        if self.on_terminal {
            let _ = io::stderr().lock().write_all(b"\r\x1b[K");
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn log_lines_become_rarer_and_a_short_listing_has_none() {
        let mut progress = ListingProgress {
            terminal: false,
            ..ListingProgress::begin()
        };
        let mut due = Vec::new();
        for second in 1..=40 {
            advance(Duration::from_secs(1)).await;
            progress.advance("main", 100);
            if progress.shown_at == Instant::now() {
                due.push(second);
            }
        }
        assert_eq!(due, [5, 15, 35]);
        assert_eq!((progress.seen(), progress.rate()), (4000, 100));
    }
}
