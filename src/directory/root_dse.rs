//! What the server says of itself (RFC 4512, 5.1), and what follows from it.

use std::fmt;

use ldap3::Scope;

use super::decode::{self, PAGED_RESULTS};
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
    /// 389-DS.
    NsUniqueId,
    /// Active Directory, as 16 bytes, the first three fields in little-endian order.
    ObjectGuid,
}

impl Identity {
    /// The attribute's name.
    pub(super) fn attribute(self) -> &'static str {
        match self {
            Self::EntryUuid => "entryUUID",
            Self::NsUniqueId => "nsUniqueId",
            Self::ObjectGuid => "objectGUID",
        }
    }

    /// Reads the attribute's value.
    pub(super) fn read(self, value: &[u8]) -> Option<EntryId> {
        match self {
            Self::EntryUuid | Self::NsUniqueId => EntryId::parse(value),
            Self::ObjectGuid => swap(value.try_into().ok()?),
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
                let escaped: String = bytes.iter().map(|byte| format!("\\{byte:02x}")).collect();
                format!("(objectGUID={escaped})")
            }
        }
    }
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

/// Reads the root DSE. The same request, made while a stream is silent, proves that the connection lives.
pub(super) async fn read(session: &mut Session) -> Result<Capabilities, DirectoryError> {
    let request = Request {
        base: "",
        scope: Scope::Base,
        filter: "(objectClass=*)",
        attributes: [
            "supportedControl",
            "supportedCapabilities",
            "vendorName",
            "namingContexts",
        ]
        .map(str::to_owned)
        .into(),
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
    let Some(entry) = entries.into_iter().next() else {
        // Some servers hide it; then nothing can be assumed.
        return Ok(Capabilities {
            syncrepl: false,
            persistent_search: false,
            paging: false,
            identity: Identity::EntryUuid,
            naming_contexts: Vec::new(),
        });
    };
    let root = decode::entry(entry).map_err(|error| malformed(session, "a root DSE", &error))?;
    let lists = |attribute, oid: &str| root.values(attribute).any(|value| value == oid.as_bytes());
    let identity = if lists("supportedCapabilities", ACTIVE_DIRECTORY) {
        Identity::ObjectGuid
    } else if root
        .values("vendorName")
        .any(|name| name.starts_with(b"389 Project"))
    {
        Identity::NsUniqueId
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
    }
}
