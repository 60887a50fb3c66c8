//! Accounts in Vaultwarden that are in the care of this program.

use super::EmailAddress;
use crate::clock::Timestamp;

/// An account that this program invited or adopted. It changes no other account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagedAccount {
    /// Why it is in our care.
    pub care: Care,
    /// Vaultwarden's id of the account, once it is known. The address of an account may change, its id does not.
    pub id: Option<String>,
    /// Its last known state.
    pub state: AccountState,
    /// When the invitation was sent, or the account was adopted.
    pub since: Timestamp,
    /// The number of reminders that were sent.
    pub reminders: u32,
    /// When the last reminder was sent.
    pub reminded: Option<Timestamp>,
}

/// Why an account is in the care of this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Care {
    /// It was invited.
    Invited,
    /// An administrator adopted it.
    Adopted,
}

/// The last known state of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccountState {
    /// Invited; the person has not registered yet, as far as is known.
    Invited,
    /// The person has registered.
    Registered,
    /// Disabled by this program, which enables it if the person comes back.
    Disabled,
    /// Disabled by somebody else, which is respected.
    DisabledByOthers,
    /// Deleted by this program, which invites the person again if they come back.
    Deleted,
    /// Deleted by somebody else.
    DeletedByOthers,
}

impl ManagedAccount {
    /// An account whose invitation was just sent.
    pub fn invited(id: Option<String>, now: Timestamp) -> Self {
        Self {
            care: Care::Invited,
            id,
            state: AccountState::Invited,
            since: now,
            reminders: 0,
            reminded: None,
        }
    }
}

impl Care {
    /// All reasons.
    pub const ALL: [Self; 2] = [Self::Invited, Self::Adopted];

    /// The name in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invited => "invited",
            Self::Adopted => "adopted",
        }
    }
}

impl AccountState {
    /// All states.
    pub const ALL: [Self; 6] = [
        Self::Invited,
        Self::Registered,
        Self::Disabled,
        Self::DisabledByOthers,
        Self::Deleted,
        Self::DeletedByOthers,
    ];

    /// The name in the store and in `explain --json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invited => "invited",
            Self::Registered => "registered",
            Self::Disabled => "disabled",
            Self::DisabledByOthers => "disabled-by-others",
            Self::Deleted => "deleted",
            Self::DeletedByOthers => "deleted-by-others",
        }
    }

    /// Whether the account exists, as far as is known.
    pub fn exists(self) -> bool {
        !matches!(self, Self::Deleted | Self::DeletedByOthers)
    }

    /// Whether the account is disabled, as far as is known.
    pub fn is_disabled(self) -> bool {
        matches!(self, Self::Disabled | Self::DisabledByOthers)
    }
}

/// An account as Vaultwarden lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedAccount {
    /// Its id.
    pub id: String,
    /// Its address.
    pub address: EmailAddress,
    /// Whether the person was invited and has not registered yet.
    pub invited: bool,
    /// Whether it is enabled; `None` if the version does not say.
    pub enabled: Option<bool>,
}
