//! How often to log in. Pure.

use std::time::Duration;

use crate::clock::Timestamp;

/// Vaultwarden allows three logins at once (`ADMIN_RATELIMIT_MAX_BURST`) ..
const BURST: u32 = 3;
/// .. and one more every 300 seconds (`ADMIN_RATELIMIT_SECONDS`); the second on top is for the way there.
const PERIOD: Duration = Duration::from_secs(301);

/// What is left of the logins that Vaultwarden's limiter allows.
///
/// The limiter is a "generic cell rate algorithm" (ITU-T I.371): it knows one moment, at which the burst is whole
/// again; each login moves it on by one period, and it may lie ahead by no more than the burst.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LoginBudget {
    /// When the whole burst is free again.
    pub(super) whole_at: Timestamp,
}

impl LoginBudget {
    /// No login has been made.
    pub(super) const UNTOUCHED: Self = Self {
        whole_at: Timestamp(0),
    };

    /// What is left after one more login.
    ///
    /// # Errors
    /// How long to wait until it is allowed.
    pub(super) fn spend(self, now: Timestamp) -> Result<Self, Duration> {
        // A clock that was set back must not lock us out for longer than the limiter would.
        let owed = self.whole_at.since(now).min(PERIOD * BURST);
        match owed.checked_sub(PERIOD * (BURST - 1)) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => Ok(Self {
                whole_at: now + owed + PERIOD,
            }),
        }
    }

    /// What is left when the server itself says that there were too many: others share the limit, or it is lower.
    pub(super) fn exhausted(now: Timestamp) -> Self {
        Self {
            whole_at: now + PERIOD * BURST,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp(1_000_000_000);

    fn after(seconds: u64) -> Timestamp {
        START + Duration::from_secs(seconds)
    }

    #[test]
    fn three_logins_may_follow_each_other_and_the_fourth_waits_a_whole_period() {
        let mut budget = LoginBudget::UNTOUCHED;
        for _ in 0..3 {
            budget = budget.spend(START).unwrap();
        }
        assert_eq!(budget.spend(START), Err(Duration::from_secs(301)));
        assert_eq!(budget.spend(after(300)), Err(Duration::from_secs(1)));
        assert!(budget.spend(after(301)).is_ok());
    }

    #[test]
    fn over_any_long_time_there_is_one_login_a_period_beside_the_burst() {
        let mut budget = LoginBudget::UNTOUCHED;
        let allowed = (0..3600)
            .filter(|&second| match budget.spend(after(second)) {
                Ok(left) => {
                    budget = left;
                    true
                }
                Err(_) => false,
            })
            .count();
        assert_eq!(allowed, 3 + 3600 / 301);
    }

    #[test]
    fn a_server_that_says_too_many_is_left_alone_for_a_whole_period() {
        let budget = LoginBudget::exhausted(START);
        assert_eq!(budget.spend(START), Err(Duration::from_secs(301)));
        assert!(budget.spend(after(301)).is_ok());
    }

    #[test]
    fn a_clock_that_was_set_back_by_years_costs_no_more_than_one_period() {
        let budget = LoginBudget::exhausted(after(1_000_000));
        assert_eq!(budget.spend(START), Err(Duration::from_secs(301)));
    }
}
