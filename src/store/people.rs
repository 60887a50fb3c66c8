//! Everything that the store knows of a person, for `explain` and `plan`.

use crate::clock::Timestamp;
use crate::model::{ActionState, EmailAddress, EntryId, Event, Member, Outcome};

/// One person with their invitations and events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonReport {
    /// The name of their directory.
    pub directory: String,
    /// Whether this directory is configured.
    pub configured: bool,
    /// Their identity and membership.
    pub member: Member,
    /// Their invitations, in the order of creation.
    pub invitations: Vec<InvitationReport>,
    /// The DN of another person who has the invitation to their address.
    pub holder_dn: Option<String>,
    /// Their events in the journal, oldest first.
    pub events: Vec<Event>,
}

/// One invitation of a [`PersonReport`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InvitationReport {
    /// The address that is invited.
    pub address: EmailAddress,
    /// Its state.
    pub state: ActionState,
    /// How it was completed; `None` unless it is done.
    pub outcome: Option<Outcome>,
    /// The last error, or why it is held or quarantined.
    pub reason: Option<String>,
    /// The earliest time of the next attempt; meaningful while it is queued.
    pub due: Timestamp,
    /// The number of failed attempts.
    pub attempts: u32,
    /// Since when the outcome of an attempt is unknown.
    pub in_doubt: Option<Timestamp>,
    /// When the change that caused it arrived.
    pub arrived: Timestamp,
    /// When it entered its state.
    pub since: Timestamp,
}

/// Which people to report.
#[derive(Debug, Clone)]
pub enum PersonQuery {
    /// Everyone who has or had this address, or an invitation to it.
    Address(EmailAddress),
    /// Those with this DN. The function returns whether two texts are the same DN.
    Dn(String, fn(&str, &str) -> bool),
    /// Those with this identity, which more than one directory may contain.
    Id(EntryId),
    /// Everyone in the rows after this one, up to this number.
    After(i64, u32),
}
