//! Limits how many new people are invited before an administrator has to approve more: mails cannot be recalled, and a
//! filter is easily too wide.

use std::time::Duration;

use crate::clock::Timestamp;

/// A directory whose listings found no new people, or no leavers, for this long has its whole allowance of them again.
pub(super) const QUIET: Duration = Duration::from_secs(3600);
/// The period of `invites_per_hour` and `leavers_per_hour`.
pub(super) const HOUR: Duration = Duration::from_secs(3600);

/// The `[limits]` of the configuration; `None` means no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    /// The number of new people that the listings of a directory may add until an hour passes without any.
    pub invites_per_listing: Option<u32>,
    /// The number of new people that the single changes of a directory may add in an hour.
    pub invites_per_hour: Option<u32>,
    /// The number of addresses at which one entry may be invited in a day.
    pub addresses_per_person: Option<u32>,
    /// Whether everyone new waits for approval (`[invite] hold`).
    pub hold_everyone: bool,
    /// The number of leavers that the listings of a directory may cause until an hour passes without any.
    pub leavers_per_listing: Option<u32>,
    /// The same as a share of the directory's members, in percent.
    pub leavers_percent: Option<u32>,
    /// The number of people who may leave a directory by single changes in an hour.
    pub leavers_per_hour: Option<u32>,
}

/// Counts the new people that a directory added recently. People whose invitations are held do not count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Brake {
    /// People added by listings, or together by one change, since the last quiet hour.
    pub listed: u32,
    /// When `listed` was last used.
    pub listed_at: Timestamp,
    /// People added by single changes, in the hour that began at `changed_since`.
    pub changed: u32,
    /// When that hour began.
    pub changed_since: Timestamp,
    /// A listing whose new people are held has not ended: it is too early to count how many of them have no account.
    pub holding: bool,
}

/// What to do with new people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Invite them.
    Invite,
    /// Hold their invitations until an administrator approves them.
    Hold,
}

impl Brake {
    /// Decides on the `found` new people of a listing as a whole. Counts nobody: [`Brake::admit_listed`] counts each person.
    ///
    /// A listing that was `cut_short` exactly at the limit exceeds it, since it would have found more people.
    pub fn check_listing(&self, found: u64, cut_short: bool, limits: &Limits, now: Timestamp) -> Verdict {
        let Some(limit) = limits.invites_per_listing.filter(|_| found > 0) else {
            return Verdict::Invite;
        };
        let before = if now.since(self.listed_at) >= QUIET {
            0
        } else {
            self.listed
        };
        let all = u64::from(before).saturating_add(found);
        if all > u64::from(limit) || cut_short && all == u64::from(limit) {
            return Verdict::Hold;
        }
        Verdict::Invite
    }

    /// Decides on one new person of a listing, after [`Brake::check_listing`] decided on the whole. Counts the person if invited.
    pub fn admit_listed(&mut self, listing: Verdict, limits: &Limits, now: Timestamp) -> Verdict {
        if now.since(self.listed_at) >= QUIET {
            self.listed = 0;
        }
        self.listed_at = now;
        let is_full = limits
            .invites_per_listing
            .is_some_and(|limit| self.listed >= limit);
        if listing == Verdict::Hold || is_full {
            self.holding = true;
            return Verdict::Hold;
        }
        self.listed = self.listed.saturating_add(1);
        Verdict::Invite
    }

    /// Decides on held people again, once the comparison with Vaultwarden shows how many of them have no account. Counts
    /// those if they are invited.
    pub fn admit_compared(&mut self, without_account: u64, limits: &Limits) -> Verdict {
        let all = u64::from(self.listed).saturating_add(without_account);
        if limits
            .invites_per_listing
            .is_some_and(|limit| all > u64::from(limit))
        {
            return Verdict::Hold;
        }
        self.listed = u32::try_from(all).unwrap_or(u32::MAX);
        Verdict::Invite
    }

    /// Decides on one of `among` people whom a single change adds together. Counts the person if invited.
    pub fn admit_together(&mut self, among: u64, limits: &Limits, now: Timestamp) -> Verdict {
        if now.since(self.listed_at) >= QUIET {
            self.listed = 0;
        }
        self.listed_at = now;
        // The earlier people of the same change are part of `among`, and are counted already.
        let limit = limits.invites_per_listing.map(u64::from);
        if limit.is_some_and(|limit| among > limit || u64::from(self.listed) >= limit) {
            return Verdict::Hold;
        }
        self.listed = self.listed.saturating_add(1);
        Verdict::Invite
    }

    /// Decides on one new person whom a single change adds. Counts the person if invited.
    pub fn admit_change(&mut self, limits: &Limits, now: Timestamp) -> Verdict {
        if now.since(self.changed_since) >= HOUR || now < self.changed_since {
            self.changed = 0;
            self.changed_since = now;
        }
        if limits.invites_per_hour.is_some_and(|limit| self.changed >= limit) {
            return Verdict::Hold;
        }
        self.changed = self.changed.saturating_add(1);
        Verdict::Invite
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        invites_per_listing: Some(100),
        invites_per_hour: Some(3),
        addresses_per_person: None,
        hold_everyone: false,
        leavers_per_listing: None,
        leavers_percent: None,
        leavers_per_hour: None,
    };

    /// A listing that finds `found` new people.
    fn list(brake: &mut Brake, found: u32, cut_short: bool, minute: i64) -> Verdict {
        let verdict = brake.check_listing(found.into(), cut_short, &LIMITS, at(minute));
        for _ in 0..found {
            assert_eq!(brake.admit_listed(verdict, &LIMITS, at(minute)), verdict);
        }
        verdict
    }

    fn at(minute: i64) -> Timestamp {
        Timestamp(1_800_000_000_000 + minute * 60_000)
    }

    #[test]
    fn listings_that_are_cut_short_repeatedly_share_one_allowance() {
        let mut brake = Brake::default();
        let verdicts = [0, 1, 2, 3].map(|minute| list(&mut brake, 48, true, minute));
        assert_eq!(
            verdicts,
            [Verdict::Invite, Verdict::Invite, Verdict::Hold, Verdict::Hold]
        );
    }

    #[test]
    fn a_quiet_hour_refills_the_allowance_and_an_hour_in_which_people_were_held_is_not_quiet() {
        let mut brake = Brake::default();
        assert_eq!(list(&mut brake, 100, false, 0), Verdict::Invite);
        assert_eq!(list(&mut brake, 0, false, 50), Verdict::Invite);
        assert_eq!(list(&mut brake, 1, false, 59), Verdict::Hold);
        assert_eq!(list(&mut brake, 1, false, 61), Verdict::Hold);
        assert_eq!(list(&mut brake, 100, false, 121), Verdict::Invite);
    }

    #[test]
    fn a_listing_that_is_cut_short_exactly_at_the_limit_exceeds_it() {
        assert_eq!(
            Brake::default().check_listing(100, true, &LIMITS, at(0)),
            Verdict::Hold
        );
        assert_eq!(
            Brake::default().check_listing(100, false, &LIMITS, at(0)),
            Verdict::Invite
        );
    }

    #[test]
    fn people_without_an_account_are_counted_together_with_those_listed_before() {
        let mut brake = Brake::default();
        assert_eq!(list(&mut brake, 60, false, 0), Verdict::Invite);
        assert_eq!(list(&mut brake, 500, false, 1), Verdict::Hold);
        assert_eq!(brake.admit_compared(41, &LIMITS), Verdict::Hold);
        assert_eq!(brake.admit_compared(40, &LIMITS), Verdict::Invite);
    }

    #[test]
    fn single_changes_have_an_hourly_allowance_of_their_own_beside_that_of_listings() {
        let mut brake = Brake::default();
        list(&mut brake, 100, false, 0);
        let verdicts = [0, 1, 2, 59, 60].map(|minute| brake.admit_change(&LIMITS, at(minute)));
        let [
            Verdict::Invite,
            Verdict::Invite,
            Verdict::Invite,
            Verdict::Hold,
            Verdict::Invite,
        ] = verdicts
        else {
            panic!("{verdicts:?}")
        };
    }

    #[test]
    fn people_whom_one_change_adds_share_the_allowance_of_listings() {
        let mut brake = Brake::default();
        assert_eq!(brake.admit_together(101, &LIMITS, at(0)), Verdict::Hold);
        for _ in 0..100 {
            assert_eq!(brake.admit_together(50, &LIMITS, at(1)), Verdict::Invite);
        }
        assert_eq!(brake.admit_together(50, &LIMITS, at(2)), Verdict::Hold);
        assert_eq!(list(&mut brake, 1, false, 3), Verdict::Hold);
        assert_eq!(brake.admit_change(&LIMITS, at(3)), Verdict::Invite);
    }

    #[test]
    fn without_limits_nobody_is_held() {
        let mut brake = Brake::default();
        let none = Limits::default();
        assert_eq!(
            brake.check_listing(1_000_000, true, &none, at(0)),
            Verdict::Invite
        );
        assert_eq!(brake.admit_change(&none, at(0)), Verdict::Invite);
    }
}
