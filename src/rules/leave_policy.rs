//! What the configuration says about the accounts of people who leave.

use std::collections::BTreeMap;
use std::time::Duration;

use super::protect::Protect;
use crate::model::{AccountState, ActionKind, EmailAddress, ManagedAccount};

/// What happens to the accounts of people who leave one directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeavePolicy {
    /// The action; `None` leaves their accounts alone.
    pub action: Option<ActionKind>,
    /// How long the person must have been gone.
    pub grace: Duration,
}

/// What happens to the accounts of people who leave.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeavePolicies {
    /// By the name of the directory.
    pub directories: BTreeMap<String, LeavePolicy>,
    /// For directories that are no longer configured and whose people an administrator declared to have left.
    pub forgotten: LeavePolicy,
    /// The accounts that are never touched.
    pub protect: Protect,
}

impl LeavePolicies {
    /// The policy for a directory.
    pub fn of(&self, directory: &str) -> LeavePolicy {
        self.directories.get(directory).copied().unwrap_or(self.forgotten)
    }
}

/// Whether an account may be touched because its person left.
///
/// # Errors
/// Why not, for people; `None` if there is nothing to touch.
pub fn may_touch(
    account: Option<&ManagedAccount>,
    address: &EmailAddress,
    protect: &Protect,
) -> Result<(), Option<String>> {
    let Some(account) = account else {
        return Err(Some(
            "it existed before and is not in our care; `ldap-usher adopt` takes such accounts into care"
                .into(),
        ));
    };
    if let Some(reason) = protect.reason(address) {
        return Err(Some(format!("it {reason}")));
    }
    match account.state {
        AccountState::Invited | AccountState::Registered => Ok(()),
        AccountState::DisabledByOthers => Err(Some("somebody else disabled it".into())),
        AccountState::Disabled | AccountState::Deleted | AccountState::DeletedByOthers => Err(None),
    }
}
