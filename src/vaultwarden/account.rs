//! Accounts of Vaultwarden, and what an administrator can do to one.

use crate::model::{EmailAddress, ListedAccount, Outcome};

/// The parts of an account that this program uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Vaultwarden's id of the user, a UUID. It survives a changed address; a deleted account's id never comes back.
    pub id: String,
    /// The address, in lower case.
    pub email: String,
    /// Whether the person was invited and has not registered yet (`_status` 1).
    pub invited: bool,
    /// Whether the account is enabled; `None` before 1.25.1, and in the answer to an invitation.
    pub enabled: Option<bool>,
}

impl Account {
    /// The account as the rules see it; `None` if its address is not one that can be invited, so that it is nobody's in the
    /// directory.
    pub fn listed(self) -> Option<ListedAccount> {
        Some(ListedAccount {
            address: EmailAddress::parse(self.email.as_bytes()).ok()?,
            id: self.id,
            invited: self.invited,
            enabled: self.enabled,
        })
    }
}

/// The answer to an invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Whether the person was invited or already had an account.
    pub outcome: Outcome,
    /// The id of the account, if Vaultwarden names it: for an invitation since 1.22. A look-up by address finds the others.
    pub account: Option<String>,
}

/// A change of one account. [`AccountChange::Resend`] sends a mail each time; the others have the same effect once and
/// twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AccountChange {
    /// Ends all sessions and removes all devices. The person can log in again.
    Deauthorize,
    /// As `Deauthorize`, and refuses further logins.
    Disable,
    /// Undoes `Disable`.
    Enable,
    /// Deletes the account and its vault for good.
    Delete,
    /// Mails the invitation again, with a new link. Without mail, Vaultwarden accepts it and does nothing.
    Resend,
}

impl AccountChange {
    /// All changes.
    pub const ALL: [Self; 5] = [
        Self::Deauthorize,
        Self::Disable,
        Self::Enable,
        Self::Delete,
        Self::Resend,
    ];

    /// The end of the path in the admin API, below the account.
    pub(super) fn path(self) -> &'static [&'static str] {
        match self {
            Self::Deauthorize => &["deauth"],
            Self::Disable => &["disable"],
            Self::Enable => &["enable"],
            Self::Delete => &["delete"],
            Self::Resend => &["invite", "resend"],
        }
    }

    /// The version of Vaultwarden that brought it.
    pub(super) fn since(self) -> &'static str {
        match self {
            Self::Deauthorize => "1.7.0",
            Self::Disable | Self::Enable => "1.18.0",
            Self::Delete => "1.6.0",
            Self::Resend => "1.28.1",
        }
    }
}

/// The answer to an [`AccountChange`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Changed {
    /// It is done.
    Done,
    /// There is no account with this id. Vaultwarden says the same while it cannot read its database, so that a list of all
    /// accounts is a better proof.
    NoAccount,
    /// The person has registered, so no invitation was sent again.
    AlreadyRegistered,
}

/// Whether this is a UUID in the form that Vaultwarden issues. Nothing else becomes part of a URL.
pub(super) fn is_id(id: &str) -> bool {
    id.len() == 36
        && id.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_uuid_is_an_id() {
        assert!(is_id("63efca19-3103-4a59-8531-a0b1c2d3e4f5"));
        assert!(is_id("63EFCA19-3103-4A59-8531-A0B1C2D3E4F5"));
        for other in [
            "",
            "..",
            "63efca19-3103-4a59-8531-a0b1c2d3e4f",
            "63efca19-3103-4a59-8531-a0b1c2d3e4f56",
            "63efca1903103-4a59-8531-a0b1c2d3e4f5",
            "63efca19-3103-4a59-8531/a0b1c2d3e4f5",
            "63efca19-3103-4a59-8531-a0b1c2d3e4fü",
            "{63efca19-3103-4a59-8531-a0b1c2d3e4}",
        ] {
            assert!(!is_id(other), "{other:?}");
        }
    }
}
