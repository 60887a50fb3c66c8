//! The circumstances of a decision about invitations.

use std::collections::HashMap;

use super::brake::{Limits, Verdict};
use crate::clock::Timestamp;
use crate::model::{EntryId, Source};

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
    /// For each person who is affected by the same change as other people: how many people that change affects.
    pub together: Option<&'a HashMap<EntryId, usize>>,
    /// The verdict on the new people of a listing as a whole ([`Brake::check_listing`](super::Brake::check_listing)).
    pub listing: Verdict,
}

impl<'a> DecisionContext<'a> {
    /// The context of a decision about a single invitation, which no report of a directory caused.
    pub(super) fn single(source: Source, arrived: Timestamp, now: Timestamp, limits: &'a Limits) -> Self {
        Self {
            source,
            arrived,
            now,
            limits,
            together: None,
            listing: Verdict::Invite,
        }
    }

    /// The time and the source of the resulting events.
    pub(super) fn stamp(&self) -> (Timestamp, Source) {
        (self.now, self.source)
    }
}
