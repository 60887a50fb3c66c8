//! Limits log lines about single people, of which there can be thousands at once: logs the first of each kind, counts the
//! others, and logs their number in one line.

use std::collections::BTreeMap;
use std::mem;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{Level, info, warn};

/// The period in which lines are counted.
const WINDOW: Duration = Duration::from_secs(60);
/// The largest number of lines of one kind within it.
const IN_FULL: u64 = 100;

/// The lines of the last minute. Logs pending counts when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Storms(BTreeMap<(String, &'static str), Storm>);

#[derive(Debug)]
struct Storm {
    level: Level,
    began: Instant,
    count: u64,
}

/// The number of lines that were suppressed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rest {
    directory: String,
    kind: &'static str,
    level: Level,
    count: u64,
}

impl Storms {
    /// Counts a line of this kind. Returns whether to log it.
    pub(super) fn admits(&mut self, directory: &str, kind: &'static str, level: Level, now: Instant) -> bool {
        let new = || Storm {
            level,
            began: now,
            count: 0,
        };
        let storm = self.0.entry((directory.to_owned(), kind)).or_insert_with(new);
        storm.count += 1;
        storm.count <= IN_FULL
    }

    /// Ends the storms that began at least a minute ago, and returns the numbers to log.
    pub(super) fn over(&mut self, now: Instant) -> Vec<Rest> {
        let (over, goes_on) = mem::take(&mut self.0)
            .into_iter()
            .partition(|(_, storm)| now.duration_since(storm.began) >= WINDOW);
        self.0 = goes_on;
        Self(over).rest()
    }

    fn rest(&mut self) -> Vec<Rest> {
        let storms = mem::take(&mut self.0).into_iter();
        let rest = storms.filter_map(|((directory, kind), storm)| {
            let count = storm.count.checked_sub(IN_FULL).filter(|&count| count > 0)?;
            Some(Rest {
                directory,
                kind,
                level: storm.level,
                count,
            })
        });
        rest.collect()
    }
}

impl Drop for Storms {
    fn drop(&mut self) {
        for rest in self.rest() {
            rest.tell();
        }
    }
}

impl Rest {
    pub(super) fn tell(&self) {
        let Self {
            directory,
            kind,
            level,
            count,
        } = self;
        macro_rules! tell {
            ($line:ident) => {
                $line!(
                    directory,
                    kind,
                    count,
                    "and {count} more within a minute; the level `debug` has a line for each"
                )
            };
        }
        if *level == Level::WARN {
            tell!(warn);
        } else {
            tell!(info);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_of_each_kind_are_told_and_the_others_are_counted() {
        let (mut storms, began) = (Storms::default(), Instant::now());
        let mut told = |kind, times| {
            let lines = (0..times).filter(|_| storms.admits("main", kind, Level::INFO, began));
            lines.count() as u64
        };
        assert_eq!(told("left", 10_000), IN_FULL);
        assert_eq!(told("joined", IN_FULL), IN_FULL);
        assert_eq!(storms.over(began + WINDOW / 2), []);
        let rest = Rest {
            directory: "main".into(),
            kind: "left",
            level: Level::INFO,
            count: 10_000 - IN_FULL,
        };
        assert_eq!(storms.over(began + WINDOW), [rest]);
        assert!(storms.admits("main", "left", Level::INFO, began + WINDOW));
        assert_eq!(storms.over(began + 2 * WINDOW), []);
    }
}
