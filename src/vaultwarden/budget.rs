//! Tracks Vaultwarden's login rate limit. Pure.

use std::time::Duration;

use crate::clock::Timestamp;

/// Vaultwarden's login rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LoginLimits {
    /// Logins that are allowed at once (`ADMIN_RATELIMIT_MAX_BURST`).
    burst: u32,
    /// The time after which one more is allowed (`ADMIN_RATELIMIT_SECONDS`, plus one second for the network).
    pub(super) period: Duration,
}

impl LoginLimits {
    /// The limits in Vaultwarden's configuration; `None` stands for Vaultwarden's default.
    pub(super) fn new(burst: Option<u32>, period: Option<Duration>) -> Self {
        let period = period.map_or(Duration::from_secs(300), |told| told.min(LONGEST_PERIOD));
        Self {
            burst: burst.map_or(3, |told| told.clamp(1, LARGEST_BURST)),
            period: period + Duration::from_secs(1),
        }
    }
}

/// A larger burst counts as this one.
const LARGEST_BURST: u32 = 1000;
/// A longer period counts as this one. A login that comes too early is refused and has no other cost.
const LONGEST_PERIOD: Duration = Duration::from_secs(3600);

/// The logins that Vaultwarden's rate limit still allows.
///
/// The limiter is a "generic cell rate algorithm" (ITU-T I.371). Its state is one point in time, at which the whole burst
/// is available again. Each login moves it one period ahead; it is never more than the whole burst ahead of now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LoginBudget {
    /// When the whole burst is available again.
    pub(super) whole_at: Timestamp,
}

impl LoginBudget {
    /// No login has been made.
    pub(super) const UNTOUCHED: Self = Self {
        whole_at: Timestamp(0),
    };

    /// The budget after one more login.
    ///
    /// # Errors
    /// The login is not allowed yet; how long to wait.
    pub(super) fn spend(self, limits: LoginLimits, now: Timestamp) -> Result<Self, Duration> {
        let LoginLimits { burst, period } = limits;
        // After the clock was set back, waits no longer than the limiter can require.
        let owed = self.whole_at.since(now).min(period * burst);
        match owed.checked_sub(period * (burst - 1)) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => Ok(Self {
                whole_at: now + owed + period,
            }),
        }
    }

    /// Converts the budget to other limits; the logins so far still count.
    pub(super) fn under(self, to: LoginLimits, from: LoginLimits, now: Timestamp) -> Self {
        let owed = self.whole_at.since(now).min(from.period * from.burst);
        Self {
            whole_at: now + owed.mul_f64(to.period.as_secs_f64() / from.period.as_secs_f64()),
        }
    }

    /// The budget after Vaultwarden answered that there were too many logins: other clients share the limit, or it is
    /// lower than assumed.
    pub(super) fn exhausted(limits: LoginLimits, now: Timestamp) -> Self {
        Self {
            whole_at: now + limits.period * limits.burst,
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

    fn usual() -> LoginLimits {
        LoginLimits::new(None, None)
    }

    #[test]
    fn what_vaultwarden_tells_of_its_limiter_counts_unless_it_makes_no_sense() {
        let strict = LoginLimits::new(Some(1), Some(Duration::from_secs(3600)));
        let spent = LoginBudget::UNTOUCHED.spend(strict, START).unwrap();
        assert_eq!(spent.spend(strict, START), Err(Duration::from_secs(3601)));

        let lenient = LoginLimits::new(Some(50), Some(Duration::from_secs(2)));
        let mut budget = LoginBudget::UNTOUCHED;
        for _ in 0..50 {
            budget = budget.spend(lenient, START).unwrap();
        }
        assert_eq!(budget.spend(lenient, START), Err(Duration::from_secs(3)));

        let odd = LoginLimits::new(Some(u32::MAX), Some(Duration::from_secs(u64::MAX)));
        let wait = LoginBudget::exhausted(odd, START).spend(odd, START).unwrap_err();
        assert_eq!(wait, LONGEST_PERIOD + Duration::from_secs(1));
        assert!(
            LoginBudget::UNTOUCHED
                .spend(LoginLimits::new(Some(0), None), START)
                .is_ok()
        );
    }

    #[test]
    fn logins_that_were_made_before_the_limits_were_known_count_by_them() {
        let spent = LoginBudget::UNTOUCHED.spend(usual(), START).unwrap();
        let strict = LoginLimits::new(Some(1), Some(Duration::from_secs(3600)));
        let wait = spent.under(strict, usual(), START).spend(strict, START);
        assert_eq!(wait, Err(Duration::from_secs(3601)));
        let untouched = LoginBudget::UNTOUCHED.under(strict, usual(), START);
        assert!(untouched.spend(strict, START).is_ok());
    }

    #[test]
    fn three_logins_may_follow_each_other_and_the_fourth_waits_a_whole_period() {
        let mut budget = LoginBudget::UNTOUCHED;
        for _ in 0..3 {
            budget = budget.spend(usual(), START).unwrap();
        }
        assert_eq!(budget.spend(usual(), START), Err(Duration::from_secs(301)));
        assert_eq!(budget.spend(usual(), after(300)), Err(Duration::from_secs(1)));
        assert!(budget.spend(usual(), after(301)).is_ok());
    }

    #[test]
    fn over_any_long_time_there_is_one_login_a_period_beside_the_burst() {
        let mut budget = LoginBudget::UNTOUCHED;
        let allowed = (0..3600)
            .filter(|&second| match budget.spend(usual(), after(second)) {
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
        let budget = LoginBudget::exhausted(usual(), START);
        assert_eq!(budget.spend(usual(), START), Err(Duration::from_secs(301)));
        assert!(budget.spend(usual(), after(301)).is_ok());
    }

    #[test]
    fn a_clock_that_was_set_back_by_years_costs_no_more_than_one_period() {
        let budget = LoginBudget::exhausted(usual(), after(1_000_000));
        assert_eq!(budget.spend(usual(), START), Err(Duration::from_secs(301)));
    }
}
