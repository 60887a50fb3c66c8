//! Limits how many accounts of leavers are touched before an administrator has to approve more: a directory may answer
//! wrongly, and a script may remove everyone.

use super::brake::{HOUR, Limits, QUIET};
use crate::clock::Timestamp;
use crate::model::Hold;

/// From more members than this on, it is suspicious if more than half of them leave at once.
const FEW: u64 = 10;

/// Counts the people who left a directory recently. People who are held count as well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeaverBrake {
    /// People whom listings found to have left, since the last quiet hour.
    pub listed: u32,
    /// When `listed` was last used.
    pub listed_at: Timestamp,
    /// People who left by single changes, in the hour that began at `changed_since`.
    pub changed: u32,
    /// When that hour began.
    pub changed_since: Timestamp,
}

impl LeaverBrake {
    /// Decides on the `found` leavers of a listing as a whole, of a directory with `members` people before it. Counts nobody.
    /// Returns the limit that is exceeded.
    pub fn check_listing(&self, found: u64, members: u64, limits: &Limits, now: Timestamp) -> Option<Hold> {
        if found == 0 {
            return None;
        }
        let mut after = *self;
        after.rest(now);
        let all = u64::from(after.listed).saturating_add(found);
        let before = members.saturating_add(u64::from(after.listed));
        exceeds_half(all, before).or_else(|| {
            let limit = listing_limit(before, limits)?;
            (all > limit).then_some(Hold::LeaversListing)
        })
    }

    /// Counts one leaver of a listing, of a directory with `members` people without them. Returns the limit that is exceeded.
    pub fn admit_listed(&mut self, members: u64, limits: &Limits, now: Timestamp) -> Option<Hold> {
        self.rest(now);
        self.listed = self.listed.saturating_add(1);
        self.listed_at = now;
        let all = u64::from(self.listed);
        let before = members.saturating_add(all);
        exceeds_half(all, before).or_else(|| {
            let limit = listing_limit(before, limits)?;
            (all > limit).then_some(Hold::LeaversListing)
        })
    }

    /// Counts one person who leaves by a single change, of a directory with `members` people without them. Returns the limit
    /// that is exceeded.
    pub fn admit_change(&mut self, members: u64, limits: &Limits, now: Timestamp) -> Option<Hold> {
        if now.since(self.changed_since) >= HOUR || now < self.changed_since {
            self.changed = 0;
            self.changed_since = now;
        }
        self.changed = self.changed.saturating_add(1);
        let all = u64::from(self.changed);
        exceeds_half(all, members.saturating_add(all)).or_else(|| {
            let limit = limits.leavers_per_hour?;
            (all > u64::from(limit)).then_some(Hold::LeaversHour)
        })
    }

    fn rest(&mut self, now: Timestamp) {
        if now.since(self.listed_at) >= QUIET {
            self.listed = 0;
        }
    }
}

/// The largest number of leavers that the listings of a directory with so many members may cause: the lesser of the two
/// limits. A share of less than one person counts as one.
fn listing_limit(members: u64, limits: &Limits) -> Option<u64> {
    let number = limits.leavers_per_listing.map(u64::from);
    let share = limits.leavers_percent.map(|percent| match percent {
        0 => 0,
        percent => (members.saturating_mul(u64::from(percent)) / 100).max(1),
    });
    match (number, share) {
        (Some(number), Some(share)) => Some(number.min(share)),
        (number, share) => number.or(share),
    }
}

fn exceeds_half(leavers: u64, members: u64) -> Option<Hold> {
    (members > FEW && leavers.saturating_mul(2) > members).then_some(Hold::LeaversHalf)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        invites_per_listing: None,
        invites_per_hour: None,
        addresses_per_person: None,
        hold_everyone: false,
        leavers_per_listing: Some(10),
        leavers_percent: Some(5),
        leavers_per_hour: Some(20),
    };
    const UNLIMITED: Limits = Limits {
        leavers_per_listing: None,
        leavers_percent: None,
        leavers_per_hour: None,
        ..LIMITS
    };

    fn at(minute: i64) -> Timestamp {
        Timestamp(1_800_000_000_000 + minute * 60_000)
    }

    #[test]
    fn the_lesser_of_number_and_share_counts_and_a_share_is_at_least_one_person() {
        let check = |found, members| LeaverBrake::default().check_listing(found, members, &LIMITS, at(0));
        for (members, allowed) in [
            (1, 1),
            (9, 1),
            (39, 1),
            (40, 2),
            (199, 9),
            (200, 10),
            (100_000, 10),
        ] {
            assert_eq!(check(allowed, members), None, "{allowed} of {members}");
            assert!(
                check(allowed + 1, members).is_some(),
                "{} of {members}",
                allowed + 1
            );
        }
    }

    #[test]
    fn a_limit_of_zero_holds_every_leaver() {
        for limits in [
            Limits {
                leavers_percent: Some(0),
                ..UNLIMITED
            },
            Limits {
                leavers_per_listing: Some(0),
                ..UNLIMITED
            },
        ] {
            let verdict = LeaverBrake::default().check_listing(1, 9, &limits, at(0));
            assert_eq!(verdict, Some(Hold::LeaversListing));
        }
    }

    #[test]
    fn more_than_half_of_more_than_ten_members_is_held_even_without_limits() {
        let check = |found, members| LeaverBrake::default().check_listing(found, members, &UNLIMITED, at(0));
        assert_eq!(check(10, 10), None);
        assert_eq!(check(11, 11), Some(Hold::LeaversHalf));
        assert_eq!(check(50, 100), None);
        assert_eq!(check(51, 100), Some(Hold::LeaversHalf));
        let mut brake = LeaverBrake::default();
        let verdicts: Vec<_> = (0..12)
            .map(|left| brake.admit_change(11 - left, &UNLIMITED, at(0)))
            .collect();
        assert_eq!(verdicts[5], None);
        assert_eq!(verdicts[6], Some(Hold::LeaversHalf));
    }

    #[test]
    fn listings_share_one_allowance_until_an_hour_without_leavers() {
        let mut brake = LeaverBrake::default();
        let mut leave = |minute| brake.admit_listed(1000, &LIMITS, at(minute));
        for minute in 0..10 {
            assert_eq!(leave(minute), None);
        }
        assert_eq!(leave(50), Some(Hold::LeaversListing));
        assert_eq!(leave(109), Some(Hold::LeaversListing));
        assert_eq!(leave(169), None);
    }

    #[test]
    fn single_changes_have_an_allowance_per_hour() {
        let mut brake = LeaverBrake::default();
        for _ in 0..20 {
            assert_eq!(brake.admit_change(1000, &LIMITS, at(0)), None);
        }
        assert_eq!(brake.admit_change(1000, &LIMITS, at(59)), Some(Hold::LeaversHour));
        assert_eq!(brake.admit_change(1000, &LIMITS, at(60)), None);
    }
}
