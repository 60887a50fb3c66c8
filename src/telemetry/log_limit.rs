//! Limits log lines about single people, of which there can be thousands at once: the first lines of each kind are logged,
//! the others are counted, and their number is logged in one line.

use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{Level, info, warn};

/// The period in which lines are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// The largest number of lines of one kind and directory within [`WINDOW`].
const MAX_LINES: u64 = 100;

/// Counts the lines of the last minute. Logs the numbers of suppressed lines when it is dropped.
#[derive(Debug, Default)]
pub(super) struct LogLimiter(BTreeMap<(String, &'static str), Lines>);

#[derive(Debug)]
struct Lines {
    level: Level,
    began: Instant,
    most: u64,
    count: u64,
}

/// The number of suppressed lines of one kind and directory.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Suppressed {
    directory: String,
    kind: &'static str,
    level: Level,
    count: u64,
}

impl LogLimiter {
    /// Counts a line of this kind. Returns whether to log it.
    pub(super) fn admits(&mut self, directory: &str, kind: &'static str, level: Level, now: Instant) -> bool {
        self.admits_up_to(MAX_LINES, directory, kind, level, now)
    }

    /// The same with another largest number of lines. `directory` is empty for what concerns none.
    pub(super) fn admits_up_to(
        &mut self,
        most: u64,
        directory: &str,
        kind: &'static str,
        level: Level,
        now: Instant,
    ) -> bool {
        let new = || Lines {
            level,
            began: now,
            most,
            count: 0,
        };
        let lines = self.0.entry((directory.to_owned(), kind)).or_insert_with(new);
        lines.count += 1;
        lines.count <= lines.most
    }

    /// Removes the counts that began at least a minute ago, and returns the numbers to log.
    pub(super) fn expired(&mut self, now: Instant) -> Vec<Suppressed> {
        let (expired, current) = mem::take(&mut self.0)
            .into_iter()
            .partition(|(_, storm)| now.duration_since(storm.began) >= WINDOW);
        self.0 = current;
        Self(expired).suppressed()
    }

    fn suppressed(&mut self) -> Vec<Suppressed> {
        let counts = mem::take(&mut self.0).into_iter();
        let suppressed = counts.filter_map(|((directory, kind), lines)| {
            let count = lines.count.checked_sub(lines.most).filter(|&count| count > 0)?;
            Some(Suppressed {
                directory,
                kind,
                level: lines.level,
                count,
            })
        });
        suppressed.collect()
    }
}

impl Drop for LogLimiter {
    fn drop(&mut self) {
        for line in self.suppressed() {
            line.log();
        }
    }
}

impl Suppressed {
    /// Logs the number at the level of the lines.
    pub(super) fn log(&self) {
        let Self {
            directory,
            kind,
            level,
            count,
        } = self;
        let directory = Some(directory.as_str()).filter(|name| !name.is_empty());
        macro_rules! line {
            ($log:ident) => {
                $log!(
                    directory,
                    kind,
                    count,
                    "and {count} more within a minute; the level `debug` has a line for each"
                )
            };
        }
        if *level == Level::WARN {
            line!(warn);
        } else {
            line!(info);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_lines_of_each_kind_are_logged_and_the_others_are_counted() {
        let (mut limiter, began) = (LogLimiter::default(), Instant::now());
        let mut logged = |kind, times| {
            let lines = (0..times).filter(|_| limiter.admits("main", kind, Level::INFO, began));
            lines.count() as u64
        };
        assert_eq!(logged("left", 10_000), MAX_LINES);
        assert_eq!(logged("joined", MAX_LINES), MAX_LINES);
        assert_eq!(limiter.expired(began + WINDOW / 2), []);
        let left = Suppressed {
            directory: "main".into(),
            kind: "left",
            level: Level::INFO,
            count: 10_000 - MAX_LINES,
        };
        assert_eq!(limiter.expired(began + WINDOW), [left]);
        assert!(limiter.admits("main", "left", Level::INFO, began + WINDOW));
        assert_eq!(limiter.expired(began + 2 * WINDOW), []);
        let began = began + 2 * WINDOW;
        let few = (0..9).filter(|_| limiter.admits_up_to(5, "", "sign-in", Level::WARN, began));
        assert_eq!(few.count(), 5);
        let rest = limiter.expired(began + WINDOW);
        assert_eq!((rest.len(), rest[0].count), (1, 4));
    }
}
