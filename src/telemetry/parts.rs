//! Which parts of the service fail again and again, as `/healthz` shows it. No I/O; the time is passed in.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// A part that has failed within this time, and first did so longer ago, fails again and again.
const MINUTE: Duration = Duration::from_secs(60);

/// The parts that have failed.
#[derive(Debug, Default)]
pub(super) struct Parts(BTreeMap<String, Failures>);

#[derive(Debug)]
struct Failures {
    first: Instant,
    last: Instant,
    runs: bool,
}

impl Parts {
    /// A part begins to run, or has failed.
    pub(super) fn note(&mut self, name: &str, runs: bool, now: Instant) {
        let known = self.0.get_mut(name);
        match (known, runs) {
            (None, true) => {}
            (Some(known), true) => known.runs = true,
            // It ran for long enough since.
            (Some(known), false) if !known.runs || now.duration_since(known.last) <= 2 * MINUTE => {
                known.last = now;
                known.runs = false;
            }
            (_, false) => {
                let failures = Failures {
                    first: now,
                    last: now,
                    runs: false,
                };
                self.0.insert(name.to_owned(), failures);
            }
        }
    }

    /// The parts that fail again and again.
    pub(super) fn failing(&self, now: Instant) -> Vec<String> {
        let failing = self.0.iter().filter(|(_, failures)| {
            let recently = !failures.runs || now.duration_since(failures.last) <= MINUTE;
            recently && now.duration_since(failures.first) > MINUTE
        });
        failing.map(|(name, _)| name.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_fails_once_is_healthy_and_one_that_keeps_failing_is_not() {
        let (mut parts, start) = (Parts::default(), Instant::now());
        let second = Duration::from_secs(1);
        parts.note("worker", true, start);
        parts.note("worker", false, start);
        parts.note("worker", true, start + second);
        assert!(parts.failing(start + second).is_empty());
        for n in 1..70 {
            parts.note("worker", false, start + n * second);
            parts.note("worker", true, start + n * second);
        }
        assert_eq!(parts.failing(start + 70 * second), ["worker"]);
        // It runs since.
        assert!(parts.failing(start + 69 * second + 2 * MINUTE).is_empty());
        parts.note("worker", false, start + 600 * second);
        assert!(parts.failing(start + 601 * second).is_empty());
    }
}
