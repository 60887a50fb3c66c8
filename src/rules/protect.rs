//! Accounts that are never touched.

use crate::model::EmailAddress;

/// Accounts that are never touched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Protect {
    /// placeholder
    pub addresses: Vec<EmailAddress>,
}

impl Protect {
    /// Why, for people.
    pub fn reason(&self, address: &EmailAddress) -> Option<String> {
        self.addresses.contains(address).then(|| "protected".to_owned())
    }
}
