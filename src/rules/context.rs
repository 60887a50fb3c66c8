//! The circumstances of a decision about invitations.

use std::collections::HashMap;

use super::brake::{Limits, Verdict};
use super::leave_policy::LeavePolicies;
use crate::clock::Timestamp;
use crate::model::{EntryId, Hold, Source};

/// The circumstances of a decision about invitations.
#[derive(Debug, Clone, Copy)]
pub struct DecisionContext<'a> {
    /// The origin of the changes.
    pub source: Source,
    /// When the changes arrived.
    pub arrived: Timestamp,
    /// The current time.
    pub now: Timestamp,
    /// The administrator's limits.
    pub limits: &'a Limits,
    /// What happens to the accounts of leavers.
    pub leave: &'a LeavePolicies,
    /// For each person who is affected by the same change as other people: how many people that change affects.
    pub together: Option<&'a HashMap<EntryId, usize>>,
    /// The verdict on the new people of a listing as a whole ([`Brake::check_listing`](super::Brake::check_listing)).
    pub listing: Verdict,
    /// The limit that the leavers of a listing as a whole exceed ([`LeaverBrake::check_listing`](super::LeaverBrake::check_listing)).
    pub leaving: Option<Hold>,
}

impl<'a> DecisionContext<'a> {
    /// The context of a decision about single tasks, which no report of a directory caused.
    pub fn single(
        source: Source,
        arrived: Timestamp,
        now: Timestamp,
        limits: &'a Limits,
        leave: &'a LeavePolicies,
    ) -> Self {
        Self {
            source,
            arrived,
            now,
            limits,
            leave,
            together: None,
            listing: Verdict::Invite,
            leaving: None,
        }
    }

    /// The time and the source of the resulting events.
    pub(super) fn stamp(&self) -> (Timestamp, Source) {
        (self.now, self.source)
    }
}
