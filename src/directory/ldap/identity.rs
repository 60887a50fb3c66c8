//! The attribute that identifies entries: reads an identity, and finds an entry by it.

use std::fmt;

use crate::directory::ldap::decode::RawEntry;
use crate::directory::ldap::dn;
use crate::directory::ldap::filter::Filter;
use crate::model::EntryId;

/// The attribute whose value identifies an entry permanently.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Identity {
    /// RFC 4530.
    #[default]
    EntryUuid,
    /// 389-DS and its ancestors of Sun and Oracle.
    NsUniqueId,
    /// Active Directory, as 16 bytes, the first three fields in little-endian order.
    ObjectGuid,
    /// eDirectory, as 16 bytes.
    Guid,
    /// The attribute that the configuration names: a UUID or a short text. Groups lack it and are identified by their DNs.
    Attribute(String),
}

impl Identity {
    /// The attribute's name.
    pub(crate) fn attribute(&self) -> &str {
        match self {
            Self::EntryUuid => "entryUUID",
            Self::NsUniqueId => "nsUniqueId",
            Self::ObjectGuid => "objectGUID",
            Self::Guid => "GUID",
            Self::Attribute(name) => name,
        }
    }

    /// The identity of a person's entry; `None` if it cannot be read.
    pub(crate) fn of(&self, entry: &RawEntry) -> Option<EntryId> {
        entry.values(self.attribute()).find_map(|value| self.read(value))
    }

    /// The identity of a group's entry; `None` if it cannot be read.
    ///
    /// No [`filter`](Self::filter) finds a group that is identified by its DN.
    pub(crate) fn of_group(&self, entry: &RawEntry) -> Option<EntryId> {
        match self {
            Self::Attribute(_) => of_name(&entry.dn),
            _ => self.of(entry),
        }
    }

    /// Reads the attribute's value.
    fn read(&self, value: &[u8]) -> Option<EntryId> {
        match self {
            Self::EntryUuid | Self::NsUniqueId => EntryId::parse(value),
            Self::ObjectGuid => swap(value.try_into().ok()?),
            Self::Guid => EntryId::from_slice(value),
            Self::Attribute(_) => EntryId::parse(value).or_else(|| EntryId::from_text(value)),
        }
    }

    /// A filter that finds one entry by its identity.
    pub(crate) fn filter(&self, id: EntryId) -> Filter {
        let equal = |value: &[u8]| Filter::equal(self.attribute(), value);
        let dashed = id.to_string();
        match self {
            Self::EntryUuid => equal(dashed.as_bytes()),
            Self::NsUniqueId => {
                let hex = dashed.replace('-', "");
                let parts = [&hex[..8], &hex[8..16], &hex[16..24], &hex[24..]];
                equal(parts.join("-").as_bytes())
            }
            Self::ObjectGuid => equal(swap(*id.as_bytes()).unwrap_or(id).as_bytes()),
            Self::Guid => equal(id.as_bytes()),
            Self::Attribute(_) => match id.text() {
                Some(text) => equal(text.as_bytes()),
                // It is not known how the server writes a UUID, nor whether it compares case.
                None => {
                    let plain = dashed.replace('-', "");
                    let forms = [dashed.to_uppercase(), plain.to_uppercase(), dashed, plain];
                    Filter::any(forms.map(|form| equal(form.as_bytes())))
                }
            },
        }
    }

    /// The remedy if the identity cannot be read.
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            Self::Attribute(_) => {
                "`id_attribute` must name an attribute that the bind account may read, and that has a different value in each entry: a UUID, or at most 15 characters of ASCII"
            }
            _ => "let the bind account read that attribute",
        }
    }
}

/// An identity that is derived from a DN in normal form. It is stored, so the hash must be the same in every version of this
/// program and of the compiler: FNV-1a with 64 bits.
fn of_name(dn: &str) -> Option<EntryId> {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let hash = dn::normal(dn)
        .bytes()
        .fold(OFFSET, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME));
    EntryId::from_slice(&u128::from(hash).to_be_bytes())
}

/// Converts between Active Directory's byte order and that of the text form.
fn swap(mut bytes: [u8; 16]) -> Option<EntryId> {
    bytes[0..4].reverse();
    bytes[4..6].reverse();
    bytes[6..8].reverse();
    EntryId::from_slice(&bytes)
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.attribute())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Attribute;

    #[test]
    fn each_identity_finds_what_it_read() {
        let id = EntryId::parse(b"9d8e1f2e-91f1-4c5a-8d2e-00112233ff55").unwrap();
        assert_eq!(
            Identity::EntryUuid.filter(id).to_string(),
            "(entryUUID=9d8e1f2e-91f1-4c5a-8d2e-00112233ff55)"
        );
        assert_eq!(
            Identity::NsUniqueId.filter(id).to_string(),
            "(nsUniqueId=9d8e1f2e-91f14c5a-8d2e0011-2233ff55)"
        );
        assert_eq!(
            Identity::NsUniqueId.read(b"9d8e1f2e-91f14c5a-8d2e0011-2233ff55"),
            Some(id)
        );
        let guid = b"\x2e\x1f\x8e\x9d\xf1\x91\x5a\x4c\x8d\x2e\x00\x11\x22\x33\xff\x55";
        assert_eq!(Identity::ObjectGuid.read(guid), Some(id));
        assert!(
            Identity::ObjectGuid
                .filter(id)
                .to_string()
                .starts_with("(objectGUID=\\2e\\1f\\8e\\9d\\f1\\91\\5a\\4c\\8d")
        );
        assert_eq!(Identity::EntryUuid.read(b"nonsense"), None);
        assert_eq!(Identity::Guid.read(id.as_bytes()), Some(id));
        assert!(
            Identity::Guid
                .filter(id)
                .to_string()
                .starts_with("(GUID=\\9d\\8e\\1f\\2e")
        );
    }

    #[test]
    fn an_attribute_of_the_configuration_finds_what_it_read() {
        let number = Identity::Attribute("uidNumber".into());
        let filter_of = |value: &[u8]| number.read(value).map(|id| number.filter(id).to_string());
        assert_eq!(filter_of(b"5001").as_deref(), Some("(uidNumber=5001)"));
        assert_eq!(
            filter_of(b"*)(cn=*").as_deref(),
            Some("(uidNumber=\\2a\\29\\28cn=\\2a)")
        );
        assert_eq!(
            filter_of(b"9D8E1F2E91F14C5A8D2E00112233FF55").as_deref(),
            Some(
                "(|(uidNumber=9D8E1F2E-91F1-4C5A-8D2E-00112233FF55)(uidNumber=9D8E1F2E91F14C5A8D2E00112233FF55)(uidNumber=9d8e1f2e-91f1-4c5a-8d2e-00112233ff55)(uidNumber=9d8e1f2e91f14c5a8d2e00112233ff55))"
            )
        );
        assert_eq!(filter_of(b"sixteen-letters-"), None);
        assert_eq!(filter_of(b""), None);
    }

    fn entry(dn: &str, attributes: &[(&str, &str)]) -> RawEntry {
        let attribute = |&(name, value): &(&str, &str)| Attribute {
            name: name.into(),
            values: vec![value.into()],
        };
        RawEntry {
            dn: dn.into(),
            attributes: attributes.iter().map(attribute).collect(),
        }
    }

    #[test]
    fn a_group_is_known_by_its_name_where_people_are_by_an_attribute_of_the_configuration() {
        let number = Identity::Attribute("uidNumber".into());
        let id = |dn| number.of_group(&entry(dn, &[("uidNumber", "1")])).unwrap();
        assert_eq!(id("cn=vault,ou=groups,dc=x"), id("CN=Vault, OU=groups,DC=x"));
        assert_ne!(id("cn=vault,ou=groups,dc=x"), id("cn=other,ou=groups,dc=x"));
        assert_eq!(id("cn=vault,ou=groups,dc=x").text(), None);
        assert_eq!(Identity::EntryUuid.of_group(&entry("cn=vault", &[])), None);
    }

    #[test]
    fn the_identity_of_a_name_is_the_same_in_every_version() {
        let id = Identity::Attribute("uid".into()).of_group(&entry("CN=vault,dc=x", &[]));
        assert_eq!(id.unwrap().to_string(), "00000000-0000-0000-cc39-8eb1224a3c4f");
    }
}
