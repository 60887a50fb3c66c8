//! Whether the loops of the service proceed, as far as that can be told from outside of them. No I/O; the time is passed in.

use std::time::Duration;

use tokio::time::Instant;

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
}
