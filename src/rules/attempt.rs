//! Decides what happens to an invitation after an attempt, and when all calls to Vaultwarden pause.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::clock::Timestamp;
use crate::model::{Action, Disposition, Outcome, Settlement};
use crate::retry::Retry;

/// The wait of one action after its own failures.
const ACTION_RETRY: Retry = Retry {
    first: Duration::from_secs(2),
    ceiling: Duration::from_secs(3600),
    floor: Duration::from_millis(500),
};
/// The wait of all actions after failures of the server.
const SERVER_RETRY: Retry = Retry {
    first: Duration::from_secs(1),
    ceiling: Duration::from_secs(60),
    floor: Duration::from_millis(200),
};
/// This many consecutive per-action failures count as a failure of the server.
const SERVER_FAILURE_AFTER: u32 = 5;
/// The shortest wait if an administrator has to fix something first: each attempt may use up one of a few logins.
const OPERATOR_WAIT: Duration = Duration::from_secs(60);

/// The shortest and the longest pause between two look-ups while the outcome of an attempt is unknown.
const LOOK_UP_PAUSE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// The longest wait for the next attempt that [`settlement_for`] returns.
pub fn longest_wait() -> Duration {
    ACTION_RETRY.ceiling
}

/// Returns how to settle an action after an attempt. `attempt` is `Ok(None)` if the outcome of an earlier attempt was
/// unknown, the address was looked up, and it has no account.
///
/// `jitter` is a random number from `0.0..1.0`, and `breaker` has recorded this attempt already. The wait grows with the
/// stored number of failures, so it survives a restart. While the outcome of an attempt is unknown, the address is looked
/// up for `resend_after` before the call is repeated, because a slow mail server may have delayed the answer.
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
        Ok(Some(outcome)) => return outcome.into(),
        Ok(None) if in_doubt && now.since(action.in_doubt.unwrap_or(now)) < resend_after => {
            let waited = now.since(action.in_doubt.unwrap_or(now));
            let pause = waited
                .clamp(LOOK_UP_PAUSE.0, LOOK_UP_PAUSE.1)
                .min(resend_after - waited);
            return Settlement::RetryAt {
                at: now + pause,
                failed: false,
                in_doubt: true,
                error: "the last attempt was not answered; the account is looked up until the attempt can no longer take effect"
                    .into(),
            };
        }
        // The earlier call had no effect. Try again at once, unless the invitation was cancelled in the meantime.
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
        // The first failure of the server after a success may be caused by this action. Counting it against the action
        // lengthens its wait each time, so that it does not hold up the others again and again.
        Disposition::Outage | Disposition::Operator if breaker.failures() <= 1 => Settlement::RetryAt {
            at: own_wait,
            failed: true,
            in_doubt,
            error,
        },
        // The breaker delays all actions. It is not stored, so a restart tries again at once.
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

/// This many different people who are rejected for the same reason, with nobody invited in between, show that the reason
/// concerns the server.
const SERVER_FAULT_AFTER: usize = 3;

/// Detects rejections of single people that are in fact a fault of the server. Counts rejections since the last successful
/// invitation.
#[derive(Debug, Default)]
pub struct FaultDetector(HashMap<String, HashSet<i64>>);

impl FaultDetector {
    /// Records the rejection of an action with this key ([`crate::model::Rejection::key`]). Returns whether the reason
    /// concerns the server.
    pub fn record(&mut self, key: &str, action: i64) -> bool {
        if !self.0.contains_key(key) && self.0.len() >= 100 {
            // So many different reasons concern people, not the server.
            self.0.clear();
        }
        let refused = self.0.entry(key.to_owned()).or_default();
        if refused.len() < SERVER_FAULT_AFTER {
            refused.insert(action);
        }
        refused.len() >= SERVER_FAULT_AFTER
    }

    /// Forgets all rejections, after a successful invitation: the server does not reject everyone.
    pub fn reset(&mut self) {
        self.0.clear();
    }
}

/// A circuit breaker for Vaultwarden. A failure of the server opens it for a growing wait; after the wait it permits one
/// attempt at a time until one succeeds, which closes it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Breaker {
    failures: u32,
    streak: u32,
    open_until: Option<Instant>,
}

impl Breaker {
    /// The number of attempts that may be in progress now, at most `concurrency`.
    pub fn permits(&self, concurrency: usize, now: Instant) -> usize {
        match self.open_until {
            None => concurrency,
            Some(until) if now >= until => 1,
            Some(_) => 0,
        }
    }

    /// The end of the current wait; `None` while the breaker is closed.
    pub fn open_until(&self) -> Option<Instant> {
        self.open_until
    }

    /// Ends the current wait, because the cause may be fixed.
    pub fn half_open(&mut self, now: Instant) {
        self.open_until = self.open_until.map(|until| until.min(now));
    }

    /// The number of times that the breaker opened since the last success.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Records the outcome of a call; `None` is success. Failures that arrive while the breaker is open are ignored: their
    /// calls started before it opened. Returns the wait if this failure opened it.
    pub fn record(&mut self, failure: Option<&Disposition>, now: Instant, jitter: f64) -> Option<Duration> {
        let shortest = match failure {
            Some(Disposition::Outage) => Duration::ZERO,
            Some(Disposition::RetryAfter(wait)) => *wait,
            Some(Disposition::Operator) => OPERATOR_WAIT,
            // The server works, even if it rejects one person.
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
            entry: crate::model::EntryId::from_slice(&[1; 16]).unwrap(),
            directory: "main".into(),
            directory_row: 1,
            configured: true,
            forgotten: false,
            account: None,
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
    fn success_is_done_and_a_rejection_is_quarantined() {
        let closed = Breaker::default();
        let done = settlement_for(
            &action(3, true),
            Ok(Some(Outcome::HadAccount)),
            &closed,
            RESEND,
            NOW,
            0.5,
        );
        assert_eq!(done, Settlement::from(Outcome::HadAccount));
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
    fn an_unknown_outcome_is_looked_up_until_the_invitation_may_be_sent_again() {
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
                // The store decides again, in case the person has left.
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
    fn the_wait_of_an_action_grows_with_its_stored_failures() {
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
    fn an_unknown_outcome_asks_for_a_look_up_and_stays_unknown_after_other_failures() {
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
    fn one_reason_for_several_people_concerns_the_server_unless_somebody_is_invited_in_between() {
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
            "the server stays at fault until somebody is invited"
        );
    }

    #[test]
    fn a_lasting_outage_counts_against_no_action_and_only_the_breaker_waits() {
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
    fn an_action_that_alone_makes_the_server_fail_waits_longer_and_longer() {
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
    fn the_breaker_permits_one_attempt_after_its_wait_and_a_success_closes_it() {
        let start = Now::now().into_std();
        let mut breaker = Breaker::default();
        assert_eq!(breaker.permits(8, start), 8);
        let wait = breaker.record(Some(&Disposition::Outage), start, 0.5).unwrap();
        assert_eq!(
            breaker.record(Some(&Disposition::Outage), start, 0.5),
            None,
            "a call that started before the breaker opened"
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
    fn failures_of_single_actions_open_the_breaker_only_when_nothing_succeeds_in_between() {
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
    fn the_breaker_waits_as_long_as_the_server_asks_and_a_minute_for_an_operator() {
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
