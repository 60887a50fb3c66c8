//! All that is known of a person, for people.

use crate::clock::Timestamp;
use crate::model::{ActionState, EmailAddress, EntryId, Event, Member, Outcome};

/// One person with what is and was owed to them, and what happened to them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Story {
    /// The name of their directory.
    pub directory: String,
    /// Their directory is configured.
    pub configured: bool,
    /// Who they are, and how they stand.
    pub member: Member,
    /// The invitations for them, in the order in which they were opened first.
    pub invitations: Vec<Owed>,
    /// The DN of another person to whom the invitation to their address belongs.
    pub holder_dn: Option<String>,
    /// What happened to them, oldest first.
    pub events: Vec<Event>,
}

/// An invitation, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owed {
    /// Where to.
    pub address: EmailAddress,
    /// Its state.
    pub state: ActionState,
    /// How it was done, where it was.
    pub outcome: Option<Outcome>,
    /// The last error, or why it is held or in quarantine.
    pub reason: Option<String>,
    /// While queued: not before this.
    pub due: Timestamp,
    /// Failed attempts.
    pub attempts: u32,
    /// The outcome of an attempt is unknown, since then.
    pub in_doubt: Option<Timestamp>,
    /// When the change that caused it arrived.
    pub arrived: Timestamp,
    /// When it came to its present state.
    pub since: Timestamp,
}

/// Whose story is asked for.
#[derive(Debug, Clone)]
pub enum Whose {
    /// Everyone's whose present or former address, or whose invitation, is this.
    Address(EmailAddress),
    /// The entry's with this DN; the function says whether two texts are one DN.
    Dn(String, fn(&str, &str) -> bool),
    /// The entry's with this identity.
    Id(EntryId),
    /// Everyone's in the rows after this one, so many at a time.
    After(i64, u32),
}

/// A part of the journal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JournalPage {
    /// The events, oldest first.
    pub events: Vec<Event>,
    /// The number of the last one, after which the next part begins.
    pub last: i64,
}
