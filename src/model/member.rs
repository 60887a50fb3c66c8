//! What is known of a person.

use super::{EmailAddress, EntryId};

/// A person as the store knows them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// The store's own number for the row, `0` while it has none.
    pub row: i64,
    /// Who it is.
    pub id: EntryId,
    /// The DN last seen.
    pub dn: String,
    /// The address last found usable; it stays when the person leaves or loses it.
    pub address: Option<EmailAddress>,
    /// How the person stands to the configured filter.
    pub standing: Standing,
    /// They left, and have not been a member since: what was sent to them before does not count.
    pub returning: bool,
}

/// How a person stands to the configured filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// Matches, and has a usable address.
    Member,
    /// Matches, but cannot be invited, for the reason given: no usable address, or an account that is disabled.
    WithoutAddress(String),
    /// Matched once and does so no more.
    Left,
}
