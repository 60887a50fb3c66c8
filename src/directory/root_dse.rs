//! What the server says of itself (RFC 4512, 5.1), and what follows from it.

use std::fmt;

use ldap3::Scope;

use super::decode::{self, PAGED_RESULTS, RawEntry};
use super::session::{Request, Session};
use super::{DirectoryError, malformed};
use crate::model::EntryId;

const SYNC_REQUEST: &str = "1.3.6.1.4.1.4203.1.9.1.1";
pub(super) const PERSISTENT_SEARCH: &str = "2.16.840.1.113730.3.4.3";
const ACTIVE_DIRECTORY: &str = "1.2.840.113556.1.4.800";

/// What a server can do, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Capabilities {
    /// Content synchronisation (RFC 4533).
    pub syncrepl: bool,
    /// Persistent search (draft-ietf-ldapext-psearch-03).
    pub persistent_search: bool,
    /// Paged results (RFC 2696).
    pub paging: bool,
    /// Where an entry's identity is found.
    pub identity: Identity,
    /// The roots of the trees that the server holds.
    pub naming_contexts: Vec<String>,
}

/// The operational attribute that identifies an entry for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Identity {
    /// RFC 4530.
    EntryUuid,
    /// 389-DS and the Sun and Oracle servers that it descends from.
    NsUniqueId,
    /// Active Directory, as 16 bytes, the first three fields in little-endian order.
    ObjectGuid,
    /// eDirectory, as 16 bytes.
    Guid,
}

impl Identity {
    /// The attribute's name.
    pub(super) fn attribute(self) -> &'static str {
        match self {
            Self::EntryUuid => "entryUUID",
            Self::NsUniqueId => "nsUniqueId",
            Self::ObjectGuid => "objectGUID",
            Self::Guid => "GUID",
        }
    }

    /// Reads the attribute's value.
    pub(super) fn read(self, value: &[u8]) -> Option<EntryId> {
        match self {
            Self::EntryUuid | Self::NsUniqueId => EntryId::parse(value),
            Self::ObjectGuid => swap(value.try_into().ok()?),
            Self::Guid => EntryId::from_slice(value),
        }
    }

    /// A filter that finds one entry by its identity.
    pub(super) fn filter(self, id: EntryId) -> String {
        match self {
            Self::EntryUuid => format!("(entryUUID={id})"),
            Self::NsUniqueId => {
                let hex: String = id.to_string().split('-').collect();
                format!(
                    "(nsUniqueId={}-{}-{}-{})",
                    &hex[..8],
                    &hex[8..16],
                    &hex[16..24],
                    &hex[24..]
                )
            }
            Self::ObjectGuid => {
                let bytes = swap(*id.as_bytes()).map(|id| *id.as_bytes()).unwrap_or_default();
                format!("(objectGUID={})", escaped(&bytes))
            }
            Self::Guid => format!("(GUID={})", escaped(id.as_bytes())),
        }
    }
}

/// Bytes in a filter (RFC 4515, 3).
fn escaped(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:02x}")).collect()
}

/// Between Active Directory's byte order and that of the text form.
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

/// Reads what the server can do. The same request, made while a stream is silent, proves that the connection lives.
pub(super) async fn read(session: &mut Session) -> Result<Capabilities, DirectoryError> {
    let wanted = [
        "supportedControl",
        "supportedCapabilities",
        "vendorName",
        "vendorVersion",
        "namingContexts",
    ];
    let Some(root) = fetch(session, &wanted).await? else {
        // Some servers hide it; then nothing can be assumed.
        return Ok(Capabilities {
            syncrepl: false,
            persistent_search: false,
            paging: false,
            identity: Identity::EntryUuid,
            naming_contexts: Vec::new(),
        });
    };
    let lists = |attribute, oid: &str| root.values(attribute).any(|value| value == oid.as_bytes());
    let is_by = |attribute, words: &str| {
        let mut values = root.values(attribute).map(String::from_utf8_lossy);
        values.any(|value| value.contains(words))
    };
    let identity = if lists("supportedCapabilities", ACTIVE_DIRECTORY) {
        Identity::ObjectGuid
    } else if is_by("vendorName", "389 Project") || is_by("vendorVersion", "Sun-Directory-Server") {
        Identity::NsUniqueId
    } else if is_by("vendorVersion", "eDirectory") {
        Identity::Guid
    } else {
        Identity::EntryUuid
    };
    Ok(Capabilities {
        syncrepl: lists("supportedControl", SYNC_REQUEST),
        persistent_search: lists("supportedControl", PERSISTENT_SEARCH),
        paging: lists("supportedControl", PAGED_RESULTS),
        identity,
        naming_contexts: root
            .values("namingContexts")
            .filter_map(|context| String::from_utf8(context.to_vec()).ok())
            .collect(),
    })
}

/// The numbers of the first and of the last change in the changelog, where the server has one and shows it
/// (draft-good-ldap-changelog-04).
pub(super) async fn change_numbers(session: &mut Session) -> Result<Option<(u64, u64)>, DirectoryError> {
    let root = fetch(session, &["firstChangeNumber", "lastChangeNumber"]).await?;
    let number = |attribute| {
        let value = root.as_ref()?.values(attribute).next()?;
        std::str::from_utf8(value).ok()?.parse().ok()
    };
    Ok(number("firstChangeNumber").zip(number("lastChangeNumber")))
}

async fn fetch(session: &mut Session, attributes: &[&str]) -> Result<Option<RawEntry>, DirectoryError> {
    let request = Request {
        base: "",
        scope: Scope::Base,
        filter: "(objectClass=*)",
        attributes: attributes.iter().map(ToString::to_string).collect(),
        controls: Vec::new(),
    };
    let (entries, result) = session.collect(request, "reading the root DSE").await?;
    if result.rc != 0 {
        return Err(DirectoryError::from_search_result(
            session.server(),
            "the root DSE",
            result.rc,
            &result.text,
        ));
    }
    let entry = entries.into_iter().next().map(decode::entry).transpose();
    entry.map_err(|error| malformed(session, "a root DSE", &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_identity_finds_what_it_read() {
        let id = EntryId::parse(b"9d8e1f2e-91f1-4c5a-8d2e-00112233ff55").unwrap();
        assert_eq!(
            Identity::EntryUuid.filter(id),
            "(entryUUID=9d8e1f2e-91f1-4c5a-8d2e-00112233ff55)"
        );
        assert_eq!(
            Identity::NsUniqueId.filter(id),
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
                .starts_with("(objectGUID=\\2e\\1f\\8e\\9d\\f1\\91\\5a\\4c\\8d")
        );
        assert_eq!(Identity::EntryUuid.read(b"nonsense"), None);
        assert_eq!(Identity::Guid.read(id.as_bytes()), Some(id));
        assert!(Identity::Guid.filter(id).starts_with("(GUID=\\9d\\8e\\1f\\2e"));
    }
}
