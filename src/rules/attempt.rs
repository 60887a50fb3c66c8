//! What becomes of an invitation after an attempt, and when the whole server is left alone.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::clock::Timestamp;
use crate::model::{Action, Disposition, Outcome, Settlement};
use crate::retry::Retry;

/// The wait of one action between its own failures.
const ACTION_RETRY: Retry = Retry {
    first: Duration::from_secs(2),
    ceiling: Duration::from_secs(3600),
    floor: Duration::from_millis(500),
};
/// The wait after trouble of the whole server.
const SERVER_RETRY: Retry = Retry {
    first: Duration::from_secs(1),
    ceiling: Duration::from_secs(60),
    floor: Duration::from_millis(200),
};
/// So many failures in a row, each by itself nobody's but its own, are the server's.
const SERVER_FAILURE_AFTER: u32 = 5;
/// The shortest wait where a human has to mend something first: an attempt may cost one of few logins.
const OPERATOR_WAIT: Duration = Duration::from_secs(60);

/// The bounds of the pause between two look-ups of an attempt whose outcome is unknown.
const LOOK_UP_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The longest that a stored invitation waits for its next attempt.
pub fn longest_wait() -> Duration {
    ACTION_RETRY.ceiling
}

/// Decides what becomes of an invitation. `attempt` is `Ok(None)` where an earlier attempt was looked up and no account
/// found.
///
/// `now` is the time, `jitter` a random number from `0.0..1.0`, and `breaker` has recorded this attempt already. The
/// wait grows with the failures that the store has stored, so a restart forgets nothing. An attempt whose outcome is
/// unknown is looked up for `resend_after` before anything is sent again: a mail server that takes its time may be the
/// reason.
pub fn settlement_for(
    action: &Action,
    attempt: Result<Option<Outcome>, (Disposition, String)>,
    breaker: &Breaker,
    resend_after: Duration,
    now: Timestamp,
    jitter: f64,
) -> Settlement {
    let in_doubt = action.in_doubt.is_some();
    let (disposition, error) = match attempt {
        Ok(Some(outcome)) => return Settlement::Done(outcome),
        Ok(None) if in_doubt && now.since(action.in_doubt.unwrap_or(now)) < resend_after => {
            let waited = now.since(action.in_doubt.unwrap_or(now));
            let pause = waited
                .clamp(LOOK_UP_PAUSE.0, LOOK_UP_PAUSE.1)
                .min(resend_after - waited);
            return Settlement::RetryAt {
                at: now + pause,
                failed: false,
                in_doubt: true,
                error: "the last attempt was not answered; whether it was carried out is looked up until it may be sent again"
                    .into(),
            };
        }
        // Nothing had been sent: at once again, unless the store knows by now that nothing is owed.
        Ok(None) => {
            return Settlement::RetryAt {
                at: now,
                failed: false,
                in_doubt: false,
                error: String::new(),
            };
        }
        Err(failure) => failure,
    };
    let own_wait = now + ACTION_RETRY.wait(action.attempts.saturating_add(1), jitter);
    match disposition {
        Disposition::Reject(rejection) => Settlement::Quarantine {
            reason: rejection.reason,
            fault: rejection.key,
        },
        // What looks like trouble of the whole server and follows a success may be this action's own doing: with each
        // time that it proves to be so, the action is tried less often, and the others are left in peace.
        Disposition::Outage | Disposition::Operator if breaker.failures() <= 1 => Settlement::RetryAt {
            at: own_wait,
            failed: true,
            in_doubt,
            error,
        },
        // The breaker makes everyone wait, and whoever restarts the service has perhaps mended it.
        Disposition::Outage | Disposition::RetryAfter(_) | Disposition::Operator => Settlement::RetryAt {
            at: now,
            failed: false,
            in_doubt,
            error,
        },
        Disposition::Ambiguous => Settlement::RetryAt {
            at: own_wait,
            failed: true,
            in_doubt: true,
            error,
        },
        Disposition::Retry | Disposition::Relist => Settlement::RetryAt {
            at: own_wait,
            failed: true,
            in_doubt,
            error,
        },
    }
}

/// So many different people who are refused for one reason, with nobody invited in between, prove it to be the server's.
const SERVER_FAULT_AFTER: usize = 3;

/// Remembers the refusals that may be the server's doing, since somebody was last invited.
#[derive(Debug, Default)]
pub struct FaultDetector(HashMap<String, HashSet<i64>>);

impl FaultDetector {
    /// Takes a refusal of this invitation for a reason that others may share ([`crate::model::Rejection::key`]). Returns
    /// whether the reason is proven to be the server's.
    pub fn record(&mut self, key: &str, invitation: i64) -> bool {
        if !self.0.contains_key(key) && self.0.len() >= 100 {
            // As many reasons as that are nobody's but their own.
            self.0.clear();
        }
        let refused = self.0.entry(key.to_owned()).or_default();
        if refused.len() < SERVER_FAULT_AFTER {
            refused.insert(invitation);
        }
        refused.len() >= SERVER_FAULT_AFTER
    }

    /// Somebody was invited: the server does not refuse everyone.
    pub fn reset(&mut self) {
        self.0.clear();
    }
}

/// Stops everyone from asking a server that is in trouble. After the wait one attempt tries; the next success
/// closes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Breaker {
    failures: u32,
    streak: u32,
    open_until: Option<Instant>,
}

impl Breaker {
    /// How many attempts may be under way now, of `concurrency`.
    pub fn permits(&self, concurrency: usize, now: Instant) -> usize {
        match self.open_until {
            None => concurrency,
            Some(until) if now >= until => 1,
            Some(_) => 0,
        }
    }

    /// When the server may be asked again, while it is in trouble.
    pub fn open_until(&self) -> Option<Instant> {
        self.open_until
    }

    /// Lets the server be asked again now: it may have been mended.
    pub fn half_open(&mut self, now: Instant) {
        self.open_until = self.open_until.map(|until| until.min(now));
    }

    /// How many times in a row the server was found in trouble.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Takes the outcome of a call into account. Failures that arrive while it is open count once: they were under
    /// way together. Returns the wait when this failure opened it.
    pub fn record(&mut self, failure: Option<&Disposition>, now: Instant, jitter: f64) -> Option<Duration> {
        let shortest = match failure {
            Some(Disposition::Outage) => Duration::ZERO,
            Some(Disposition::RetryAfter(wait)) => *wait,
            Some(Disposition::Operator) => OPERATOR_WAIT,
            // It answered sensibly, be it about one person's fault.
            None | Some(Disposition::Reject(_)) => {
                *self = Self::default();
                return None;
            }
            Some(Disposition::Retry | Disposition::Ambiguous | Disposition::Relist) => {
                self.streak += 1;
                if self.streak < SERVER_FAILURE_AFTER {
                    return None;
                }
                Duration::ZERO
            }
        };
        self.streak = 0;
        if self.open_until.is_some_and(|until| now < until) {
            return None;
        }
        self.failures = self.failures.saturating_add(1);
        let wait = SERVER_RETRY.wait(self.failures, jitter).max(shortest);
        self.open_until = Some(now + wait);
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ActionKind, EmailAddress};
    use tokio::time::Instant as Now;

    const NOW: Timestamp = Timestamp(1_000_000);
    const RESEND: Duration = Duration::from_secs(180);

    fn action(attempts: u32, in_doubt: bool) -> Action {
        let address = EmailAddress::parse(b"ann@example.org").unwrap();
        Action {
            id: 1,
            kind: ActionKind::Invite,
            address,
            dn: "uid=ann".into(),
            directory: "main".into(),
            attempts,
            in_doubt: in_doubt.then_some(NOW),
            arrived: NOW,
        }
    }

    fn after(action: &Action, disposition: Disposition, breaker: &Breaker) -> Settlement {
        settlement_for(
            action,
            Err((disposition, "why".into())),
            breaker,
            RESEND,
            NOW,
            0.999,
        )
    }

    #[test]
    fn success_is_done_and_a_persons_own_fault_is_quarantined() {
        let closed = Breaker::default();
        let done = settlement_for(
            &action(3, true),
            Ok(Some(Outcome::HadAccount)),
            &closed,
            RESEND,
            NOW,
            0.5,
        );
        assert_eq!(done, Settlement::Done(Outcome::HadAccount));
        let rejected = after(
            &action(0, false),
            Disposition::Reject("no such mailbox".into()),
            &closed,
        );
        assert_eq!(
            rejected,
            Settlement::Quarantine {
                reason: "no such mailbox".into(),
                fault: None,
            }
        );
    }

    #[test]
    fn an_unknown_outcome_is_looked_up_for_minutes_and_then_given_back_at_once() {
        let doubt = action(2, true);
        let mut now = NOW;
        let mut looks = Vec::new();
        loop {
            match settlement_for(&doubt, Ok(None), &Breaker::default(), RESEND, now, 0.5) {
                Settlement::RetryAt {
                    at,
                    failed: false,
                    in_doubt: true,
                    ..
                } => {
                    now = at;
                    looks.push(now.since(NOW).as_secs());
                }
                // A leaver is not invited after all: the store decides anew.
                Settlement::RetryAt {
                    at,
                    failed: false,
                    in_doubt: false,
                    ..
                } => {
                    assert_eq!((at, now), (NOW + RESEND, NOW + RESEND));
                    break;
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(looks, [1, 2, 4, 8, 16, 32, 64, 124, 180]);
    }

    #[test]
    fn the_wait_of_a_task_grows_with_its_stored_failures() {
        let waits: Vec<i64> = [0, 1, 5, 30]
            .into_iter()
            .map(
                |attempts| match after(&action(attempts, false), Disposition::Retry, &Breaker::default()) {
                    Settlement::RetryAt { at, failed: true, .. } => (at.0 - NOW.0) / 1000,
                    other => panic!("{other:?}"),
                },
            )
            .collect();
        assert_eq!(waits, [1, 3, 63, 3596]);
    }

    #[test]
    fn an_unknown_outcome_asks_for_a_look_up_and_doubt_outlives_other_failures() {
        let in_doubt = |settlement| matches!(settlement, Settlement::RetryAt { in_doubt: true, .. });
        assert!(in_doubt(after(
            &action(0, false),
            Disposition::Ambiguous,
            &Breaker::default()
        )));
        assert!(in_doubt(after(
            &action(0, true),
            Disposition::Retry,
            &Breaker::default()
        )));
        assert!(!in_doubt(after(
            &action(0, false),
            Disposition::Retry,
            &Breaker::default()
        )));
    }

    #[test]
    fn one_reason_for_several_people_is_the_servers_unless_somebody_is_invited_in_between() {
        let mut faults = FaultDetector::default();
        assert!(
            ![1, 1, 1, 2]
                .map(|person| faults.record("550 go away", person))
                .contains(&true)
        );
        faults.reset();
        assert!(
            ![3, 4]
                .map(|person| faults.record("550 go away", person))
                .contains(&true)
        );
        assert!(!faults.record("554 something else", 5));
        assert!(faults.record("550 go away", 5));
        assert!(
            faults.record("550 go away", 3),
            "it stays so until somebody is invited"
        );
    }

    #[test]
    fn an_outage_that_lasts_is_nobodys_failure_and_leaves_the_wait_to_the_breaker() {
        let mut breaker = Breaker::default();
        let start = Now::now().into_std();
        breaker.record(Some(&Disposition::Outage), start, 0.5);
        assert!(
            breaker
                .record(Some(&Disposition::Outage), start + OPERATOR_WAIT, 0.5)
                .is_some()
        );
        let settlement = after(&action(4, false), Disposition::Outage, &breaker);
        let expected = Settlement::RetryAt {
            at: NOW,
            failed: false,
            in_doubt: false,
            error: "why".into(),
        };
        assert_eq!(settlement, expected);
    }

    #[test]
    fn a_task_that_alone_makes_the_server_fail_is_tried_less_and_less() {
        let start = Now::now().into_std();
        let mut breaker = Breaker::default();
        let waits: Vec<i64> = [0, 4, 30]
            .into_iter()
            .map(|attempts| {
                breaker.record(None, start, 0.5);
                breaker.record(Some(&Disposition::Outage), start, 0.5);
                match after(&action(attempts, false), Disposition::Outage, &breaker) {
                    Settlement::RetryAt { at, failed: true, .. } => (at.0 - NOW.0) / 1000,
                    other => panic!("{other:?}"),
                }
            })
            .collect();
        assert_eq!(waits, [1, 31, 3596]);
    }

    #[test]
    fn the_breaker_lets_one_attempt_try_after_its_wait_and_a_success_closes_it() {
        let start = Now::now().into_std();
        let mut breaker = Breaker::default();
        assert_eq!(breaker.permits(8, start), 8);
        let wait = breaker.record(Some(&Disposition::Outage), start, 0.5).unwrap();
        assert_eq!(
            breaker.record(Some(&Disposition::Outage), start, 0.5),
            None,
            "under way together"
        );
        assert_eq!((breaker.failures(), breaker.permits(8, start)), (1, 0));
        assert_eq!(breaker.permits(8, start + wait), 1);
        let longer = breaker
            .record(Some(&Disposition::Outage), start + wait, 0.5)
            .unwrap();
        assert!(longer > wait);
        breaker.record(None, start + wait + longer, 0.5);
        assert_eq!(breaker.permits(8, start), 8);
    }

    #[test]
    fn failures_of_single_tasks_open_the_breaker_only_when_nothing_succeeds_in_between() {
        let start = Now::now().into_std();
        let mut breaker = Breaker::default();
        for _ in 0..SERVER_FAILURE_AFTER - 1 {
            assert_eq!(breaker.record(Some(&Disposition::Retry), start, 0.5), None);
        }
        breaker.record(None, start, 0.5);
        for _ in 0..SERVER_FAILURE_AFTER - 1 {
            assert_eq!(breaker.record(Some(&Disposition::Ambiguous), start, 0.5), None);
        }
        assert!(breaker.record(Some(&Disposition::Retry), start, 0.5).is_some());
    }

    #[test]
    fn a_server_that_names_a_wait_gets_it_and_an_operator_gets_a_minute() {
        let start = Now::now().into_std();
        let mut breaker = Breaker::default();
        let asked = Duration::from_secs(300);
        assert_eq!(
            breaker.record(Some(&Disposition::RetryAfter(asked)), start, 0.5),
            Some(asked)
        );
        let mut breaker = Breaker::default();
        assert_eq!(
            breaker.record(Some(&Disposition::Operator), start, 0.5),
            Some(OPERATOR_WAIT)
        );
    }
}
