//! Reduces an entry to the facts on which decisions depend.

use super::Policy;
use super::address::usable_addresses;
use crate::model::{EmailAddress, Entry, EntryId};

/// Part of every [`EntryFacts::digest`]. Increase it when the rules change their decision on the same facts, so that
/// everyone is decided on again.
const VERSION: u8 = 1;

/// The facts in an entry on which decisions depend.
///
/// Entries with equal facts lead to the same decision. Facts depend on the [`Policy`] and its time, because accounts
/// expire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryFacts {
    /// The identity of the person.
    pub id: EntryId,
    /// The DN.
    pub dn: String,
    /// Whether the person can be invited.
    pub account: Account,
}

/// Whether the person of an entry can be invited.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Account {
    /// They can, at any of these addresses; the preferred one comes first. Never empty.
    Usable(Vec<EmailAddress>),
    /// They have no usable address that is accepted, for this reason.
    WithoutAddress(String),
    /// The account is disabled, for this reason.
    Disabled(String),
}

impl Policy {
    /// Extracts the facts from an entry.
    pub fn facts(&self, entry: &Entry) -> EntryFacts {
        EntryFacts {
            id: entry.id,
            dn: entry.dn.clone(),
            account: self.account(entry),
        }
    }

    fn account(&self, entry: &Entry) -> Account {
        if let Some(why) = self.disabled(entry) {
            return Account::Disabled(why);
        }
        match usable_addresses(entry, &self.mail_attributes, &self.accept) {
            Ok(addresses) => Account::Usable(addresses),
            Err(why) => Account::WithoutAddress(why),
        }
    }
}

impl EntryFacts {
    /// The address to invite: the `known` one if the entry still has it, otherwise the preferred one.
    ///
    /// # Errors
    /// Why there is none, for people.
    pub(super) fn address(&self, known: Option<&EmailAddress>) -> Result<EmailAddress, String> {
        match &self.account {
            Account::Usable(addresses) => known
                .filter(|known| addresses.contains(known))
                .or_else(|| addresses.first())
                .cloned()
                .ok_or_else(|| "has no address".to_owned()),
            Account::WithoutAddress(why) | Account::Disabled(why) => Err(why.clone()),
        }
    }

    /// A hash of the facts except `id` (64-bit FNV-1a). The store keeps it, so it must be the same in every build.
    pub fn digest(&self) -> i64 {
        let mut hash = Fnv::default();
        hash.field(&[VERSION]);
        hash.field(self.dn.as_bytes());
        match &self.account {
            Account::Usable(addresses) => {
                hash.field(b"usable");
                for address in addresses {
                    hash.field(address.as_str().as_bytes());
                }
            }
            Account::WithoutAddress(why) => {
                hash.field(b"without");
                hash.field(why.as_bytes());
            }
            Account::Disabled(why) => {
                hash.field(b"disabled");
                hash.field(why.as_bytes());
            }
        }
        hash.0.cast_signed()
    }
}

/// The FNV-1a hash (RFC 9923).
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    /// Adds a field and a terminator: no byte of UTF-8 text is 255.
    fn field(&mut self, bytes: &[u8]) {
        for byte in bytes.iter().chain(&[255]) {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(dn: &str, account: Account) -> EntryFacts {
        EntryFacts {
            id: EntryId::from_slice(&[1; 16]).unwrap(),
            dn: dn.into(),
            account,
        }
    }

    fn usable(addresses: &[&str]) -> Account {
        let parse = |text: &&str| EmailAddress::parse(text.as_bytes()).unwrap();
        Account::Usable(addresses.iter().map(parse).collect())
    }

    #[test]
    fn the_digest_is_the_same_in_every_build() {
        let ann = facts("uid=ann", usable(&["ann@x.org"]));
        assert_eq!(ann.digest(), -9_079_174_136_540_055_119);
    }

    #[test]
    fn the_digest_differs_where_a_decision_may() {
        let all = [
            facts("uid=ann", usable(&["ann@x.org"])),
            facts("uid=annn", usable(&["ann@x.org"])),
            facts("uid=ann", usable(&["ann@x.org", "bob@x.org"])),
            facts("uid=ann", usable(&["bob@x.org", "ann@x.org"])),
            facts("uid=ann", Account::WithoutAddress("ann@x.org".into())),
            facts("uid=ann", Account::Disabled("ann@x.org".into())),
        ];
        let digests: std::collections::HashSet<i64> = all.iter().map(EntryFacts::digest).collect();
        assert_eq!(digests.len(), all.len());
    }
}
