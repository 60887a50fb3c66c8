//! People as the store knows them.

use super::{EmailAddress, EntryId};

/// A stored person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The number of the row in the store; `0` if it is not stored yet.
    pub row: i64,
    /// The identity of their entry.
    pub id: EntryId,
    /// The last known DN.
    pub dn: String,
    /// The last usable address. It is kept when the person leaves or loses it.
    pub address: Option<EmailAddress>,
    /// Whether the person is a member.
    pub standing: Standing,
    /// Whether the person left and has not been a member since. Earlier invitations do not count then.
    pub returning: bool,
}

/// Whether a person is a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Matches the filter and has a usable address.
    Member,
    /// Matches the filter, but cannot be invited for the given reason: no usable address, or a disabled account.
    WithoutAddress(String),
    /// Matched the filter before and no longer does.
    Left,
}
