//! What a change means for a person: pure decisions, each with a reason that a person can read.

mod address;
mod decide;
mod disabled;
mod facts;

use crate::clock::Timestamp;
use crate::model::{EmailAddress, Entry, EntryId, Member};

pub use decide::decide;
pub use disabled::DISABLED_ATTRIBUTES;
pub use facts::{Account, EntryFacts};

use disabled::disabled;

/// What the administrator decided about membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The attributes that may hold an address, in order of preference.
    pub mail_attributes: Vec<String>,
    /// Whether a new address of someone who was invited is invited, too (`[invite] on_address_change`).
    pub invite_changed_address: bool,
    /// Whether an account that its directory calls disabled may be a member nevertheless (`disabled_accounts`).
    pub disabled_are_members: bool,
    /// When this is decided: accounts expire. See [`Policy::at`].
    pub now: Timestamp,
}

impl Policy {
    /// The same at another time.
    pub fn at(&self, now: Timestamp) -> Self {
        Self { now, ..self.clone() }
    }

    /// The address at which the person is to be invited: the one by which they are `known`, as long as it is there.
    ///
    /// # Errors
    /// Why they cannot be a member, as a person would put it.
    pub fn address(&self, entry: &Entry, known: Option<&EmailAddress>) -> Result<EmailAddress, String> {
        self.facts(entry).address(known)
    }

    /// Why the account counts as disabled, where it does.
    pub fn disabled(&self, entry: &Entry) -> Option<String> {
        (!self.disabled_are_members)
            .then(|| disabled(entry, self.now))
            .flatten()
    }
}

/// What a directory says about one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sighting {
    /// The entry matches the filter; this is what [`Policy::facts`] saw in it when it was told.
    Entry(EntryFacts),
    /// The entry is still there, unchanged (RFC 4533 present phase).
    Present(EntryId),
    /// The entry matches no more.
    Gone(EntryId),
}

impl Sighting {
    /// Whom it is about.
    pub fn id(&self) -> EntryId {
        match self {
            Self::Entry(facts) => facts.id,
            Self::Present(id) | Self::Gone(id) => *id,
        }
    }
}

/// What is to be done about a sighting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nobody we know, and nothing to learn.
    Ignore,
    /// A known person, just as known.
    Unchanged,
    /// Present, but we do not know the entry: read it.
    Fetch,
    /// The person is brought to this state, because of this.
    Change(Member, Reason),
}

/// Why a person's state changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// Has a usable address, for the first time or again: an invitation is owed, unless it was sent before.
    Joined(EmailAddress),
    /// Left before and came back: an invitation is owed again.
    Rejoined(EmailAddress),
    /// Matches, but has no usable address yet, or is disabled.
    Waiting(String),
    /// Had a usable address and has none any more: not a leaver, but an unsent invitation is void.
    LostAddress(EmailAddress),
    /// Has another usable address than before.
    ChangedAddress {
        /// The address before.
        from: EmailAddress,
        /// The address now.
        to: EmailAddress,
        /// Whether `to` is invited even though `from` was.
        invite: bool,
    },
    /// Only the DN differs.
    Moved,
    /// Matches no more.
    Left,
    /// The account was switched off, as this says: a leaver like any other.
    Disabled(String),
}
