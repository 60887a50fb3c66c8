//! Which parts of the service fail again and again or do not proceed, as `/healthz` shows it. No I/O; the time is passed in.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// A part that has failed within this time, and first did so longer ago, fails again and again.
const MINUTE: Duration = Duration::from_secs(60);

/// A worker that takes no turn for so long does not work any more: each of its waits has a deadline that is shorter.
const STUCK: Duration = Duration::from_secs(15 * 60);

/// The progress of the invite worker. The other loops wait for what may never come, such as a change of the directory.
#[derive(Debug, Default)]
pub(super) struct Liveness {
    /// When the worker began its last turn, if it runs.
    turn: Option<Instant>,
}

impl Liveness {
    /// The worker begins a turn of its loop; `None` if it ends.
    pub(super) fn turns(&mut self, at: Option<Instant>) {
        self.turn = at;
    }

    /// Whether the worker proceeds, or does not run.
    ///
    /// # Errors
    /// What is wrong. Only a restart helps.
    pub(super) fn check(&self, now: Instant) -> Result<(), String> {
        match self.turn.map(|turn| now.duration_since(turn)) {
            Some(silent) if silent > STUCK => Err(format!(
                "the invite worker has not proceeded for {}; restart the service, and report this as a fault of ldap-usher",
                humantime::format_duration(Duration::from_secs(silent.as_secs()))
            )),
            _ => Ok(()),
        }
    }
}

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
    fn a_worker_that_takes_no_turn_for_long_is_not_alive_unless_it_has_ended() {
        let (mut liveness, now) = (Liveness::default(), Instant::now());
        assert_eq!(liveness.check(now), Ok(()));
        liveness.turns(Some(now));
        assert_eq!(liveness.check(now + STUCK), Ok(()));
        let error = liveness.check(now + STUCK * 2).unwrap_err();
        assert!(error.contains("has not proceeded for 30m"), "{error}");
        liveness.turns(None);
        assert_eq!(liveness.check(now + STUCK * 2), Ok(()));
    }

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
