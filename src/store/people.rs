//! Everything that the store knows of a person, for `explain` and `plan`.

use crate::clock::Timestamp;
use crate::model::{ActionKind, ActionState, EmailAddress, EntryId, Event, ManagedAccount, Member, Outcome};

/// One person with their invitations and events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonReport {
    /// The name of their directory.
    pub directory: String,
    /// Whether this directory is configured.
    pub configured: bool,
    /// Their identity and membership.
    pub member: Member,
    /// Their actions, in the order of creation.
    pub actions: Vec<ActionReport>,
    /// The DN of another person who has the invitation to their address.
    pub holder_dn: Option<String>,
    /// Their events in the journal, oldest first.
    pub events: Vec<Event>,
}

/// One action of a [`PersonReport`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionReport {
    /// What is or was owed.
    pub kind: ActionKind,
    /// The address that it concerns.
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
    /// The account at the address, for an invitation whose account is in our care.
    pub account: Option<ManagedAccount>,
}

impl PersonReport {
    /// Their invitations.
    pub fn invitations(&self) -> impl Iterator<Item = &ActionReport> {
        self.actions.iter().filter(|action| action.kind.is_invite())
    }
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
