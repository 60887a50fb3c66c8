//! How invitations are opened.

use std::collections::HashMap;

use super::brake::{Limits, Verdict};
use crate::clock::Timestamp;
use crate::model::{EntryId, Source};

/// How invitations are opened.
#[derive(Debug, Clone, Copy)]
pub struct DecisionContext<'a> {
    /// Where the changes come from.
    pub source: Source,
    /// When they arrived.
    pub arrived: Timestamp,
    /// The time now.
    pub now: Timestamp,
    /// The administrator's limits.
    pub limits: &'a Limits,
    /// People whom one change concerns together with others, and how many it concerns.
    pub together: Option<&'a HashMap<EntryId, usize>>,
    /// What becomes of the new people of a listing, judged by their number ([`Brake::listing`](super::Brake::listing)).
    pub listing: Verdict,
}

impl<'a> DecisionContext<'a> {
    /// For one invitation that no directory has just told of.
    pub(super) fn without_listing(
        source: Source,
        arrived: Timestamp,
        now: Timestamp,
        limits: &'a Limits,
    ) -> Self {
        Self {
            source,
            arrived,
            now,
            limits,
            together: None,
            listing: Verdict::Invite,
        }
    }

    /// What the events of it have in common.
    pub(super) fn stamp(&self) -> (Timestamp, Source) {
        (self.now, self.source)
    }
}
