//! How invitations are opened, and what comes of it.

use std::collections::HashMap;

use super::brake::Limits;
use crate::clock::Timestamp;
use crate::model::{EmailAddress, EntryId};

/// Whether changes come one by one or as part of a listing. What a listing finds waits (staged) for its end, so
/// that `limits.invites_per_listing` can judge it as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A single change, as it happened.
    Live,
    /// Found by a listing.
    Listing,
}

/// Two people with one address who are both there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicate {
    /// The address.
    pub address: EmailAddress,
    /// The DN of the entry that just came with it.
    pub dn: String,
    /// The DN of the entry that has it already.
    pub holder_dn: String,
}

/// What a decision brought about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    /// Addresses that more than one person has.
    pub duplicates: Vec<Duplicate>,
    /// How many invitations became queued (not staged or held ones).
    pub queued: u64,
    /// How many are held by `limits.invites_per_listing`, because one change brought them together with others.
    pub held_together: u64,
    /// How many are held by `limits.invites_per_hour`.
    pub held_by_hour: u64,
    /// DNs of entries whose invitation is held by `limits.addresses_per_person`.
    pub held_by_person: Vec<String>,
}

/// How invitations are opened.
#[derive(Debug, Clone, Copy)]
pub struct Opening<'a> {
    /// Where the changes come from.
    pub origin: Origin,
    /// When they arrived.
    pub arrived: Timestamp,
    /// The time now.
    pub now: Timestamp,
    /// The administrator's limits.
    pub limits: &'a Limits,
    /// People whom one change concerns together with others, and how many it concerns.
    pub together: Option<&'a HashMap<EntryId, usize>>,
}

impl<'a> Opening<'a> {
    /// For one invitation that no directory has just told of.
    pub(super) fn alone(arrived: Timestamp, now: Timestamp, limits: &'a Limits) -> Self {
        Self {
            origin: Origin::Live,
            arrived,
            now,
            limits,
            together: None,
        }
    }
}
