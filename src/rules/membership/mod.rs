//! Decides what a sighting of an entry means for the person.

mod accept;
mod address;
mod decide;
mod disabled;
mod facts;
mod standing;

use crate::clock::Timestamp;
use crate::model::{EmailAddress, Entry, EntryId, Member};

pub use accept::{Accept, Denied, DomainPattern};
pub use decide::decide;
pub use disabled::DISABLED_ATTRIBUTES;
pub use facts::{Account, EntryFacts};
pub use standing::Decided;

use disabled::disabled;

/// The administrator's settings for membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The attributes that may contain an address, in order of preference.
    pub mail_attributes: Vec<String>,
    /// Which addresses may be invited at all (`[accept]`).
    pub accept: Accept,
    /// Whether a person who was invited is invited again at a new address (`[invite] on_address_change`).
    pub invite_changed_address: bool,
    /// Whether people with a disabled account are members (`disabled_accounts`).
    pub disabled_are_members: bool,
    /// The time of the decision, which determines whether an account has expired. See [`Policy::at`].
    pub now: Timestamp,
}

impl Policy {
    /// The same policy at another time.
    pub fn at(&self, now: Timestamp) -> Self {
        Self { now, ..self.clone() }
    }

    /// The address to invite: the `known` one if the entry still has it, otherwise the preferred one.
    ///
    /// # Errors
    /// Why the person cannot be a member, for people.
    pub fn address(&self, entry: &Entry, known: Option<&EmailAddress>) -> Result<EmailAddress, String> {
        self.facts(entry).address(known)
    }

    /// Why the account counts as disabled, if it does.
    pub fn disabled(&self, entry: &Entry) -> Option<String> {
        (!self.disabled_are_members)
            .then(|| disabled(entry, self.now))
            .flatten()
    }
}

/// One report of a directory about one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sighting {
    /// The entry matches the filter. Contains the result of [`Policy::facts`] at the time of the report.
    Entry(EntryFacts),
    /// The entry exists and is unchanged (RFC 4533, present phase).
    Present(EntryId),
    /// The entry no longer matches.
    Gone(EntryId),
}

impl Sighting {
    /// The person.
    pub fn id(&self) -> EntryId {
        match self {
            Self::Entry(facts) => facts.id,
            Self::Present(id) | Self::Gone(id) => *id,
        }
    }
}

/// What to do about a sighting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing: the person is unknown or has left, and the entry does not match.
    Ignore,
    /// Nothing: the person is known and in the same state.
    Unchanged,
    /// Fetch the entry: it exists, but its contents are not known.
    Fetch,
    /// Change the person to this state, for this reason.
    Change(Member, Reason),
}

/// Why a person's state changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// The person has a usable address, for the first time or again. They are owed an invitation unless it was sent
    /// before.
    Joined(EmailAddress),
    /// The person had left and is back. They are owed a new invitation.
    Rejoined(EmailAddress),
    /// The person matches, but has no usable address yet or a disabled account, for this reason.
    Waiting(String),
    /// The person no longer has a usable address. They do not count as having left, but an unsent invitation to the former
    /// address, given here, is withdrawn.
    LostAddress(EmailAddress),
    /// The person has another usable address than before.
    ChangedAddress {
        /// The former address.
        from: EmailAddress,
        /// The new address.
        to: EmailAddress,
        /// Whether to invite `to` even if `from` was invited.
        invite: bool,
    },
    /// Only the DN changed.
    Moved,
    /// The entry no longer matches.
    Left,
    /// The account was disabled, for this reason. The person counts as having left.
    Disabled(String),
}
