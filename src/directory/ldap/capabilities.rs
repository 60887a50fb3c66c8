//! The capabilities of a server, by its root DSE (RFC 4512, 5.1).

use crate::directory::ldap::decode::{PAGED_RESULTS, RawEntry};
use crate::directory::ldap::dn;
use crate::directory::ldap::identity::Identity;

const SYNC_REQUEST: &str = "1.3.6.1.4.1.4203.1.9.1.1";
pub(crate) const PERSISTENT_SEARCH: &str = "2.16.840.1.113730.3.4.3";
pub(crate) const EXTENDED_DN: &str = "1.2.840.113556.1.4.529";
const ACTIVE_DIRECTORY: &str = "1.2.840.113556.1.4.800";
/// Attributes of the root DSE that only a domain controller has (MS-ADTS 3.1.1.3.2): other servers announce its capability
/// too.
const OF_CONTROLLERS: [&str; 2] = ["dsServiceName", "highestCommittedUSN"];

const SUBSCHEMA: &str = "subschemaSubentry";

/// The attributes of the root DSE that show the capabilities.
pub(crate) const ATTRIBUTES: [&str; 8] = [
    "supportedControl",
    "supportedCapabilities",
    "vendorName",
    "vendorVersion",
    "namingContexts",
    SUBSCHEMA,
    OF_CONTROLLERS[0],
    OF_CONTROLLERS[1],
];

/// The capabilities of a server that matter here. The default is none, as of a server that hides its root DSE.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// Content synchronisation (RFC 4533).
    pub syncrepl: bool,
    /// Persistent search (draft-ietf-ldapext-psearch-03).
    pub persistent_search: bool,
    /// Paged results (RFC 2696).
    pub paging: bool,
    /// The attribute that identifies people; see [`Capabilities::of_people_by`].
    pub identity: Identity,
    /// The family of the product, if its peculiarities matter.
    pub family: Family,
    /// Whether DNs in answers can include the identities of their entries (MS-ADTS 3.1.1.3.4.1.5).
    pub extended_dn: bool,
    /// The roots of the trees that the server holds.
    pub naming_contexts: Vec<String>,
    /// The entry in which the server publishes its schema, if it names one (RFC 4512, 4.2).
    pub subschema: Option<String>,
}

/// A family of servers with common peculiarities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Family {
    /// Domain controllers of an Active Directory.
    ActiveDirectory,
    /// 389-DS and the Sun and Oracle servers that it descends from.
    Sun,
    /// eDirectory.
    EDirectory,
    /// OpenLDAP and all others.
    #[default]
    Other,
}

impl Family {
    fn identity(self) -> Identity {
        match self {
            Self::ActiveDirectory => Identity::ObjectGuid,
            Self::Sun => Identity::NsUniqueId,
            Self::EDirectory => Identity::Guid,
            Self::Other => Identity::EntryUuid,
        }
    }
}

impl Capabilities {
    /// Reads the root DSE.
    pub(crate) fn from_root_dse(root: &RawEntry) -> Self {
        let lists = |attribute, oid: &str| root.values(attribute).any(|value| value == oid.as_bytes());
        let is_by = |attribute, words: &str| {
            let mut values = root.values(attribute).map(String::from_utf8_lossy);
            values.any(|value| value.contains(words))
        };
        let has = |attribute: &&str| root.values(attribute).next().is_some();
        let is_controller =
            lists("supportedCapabilities", ACTIVE_DIRECTORY) && OF_CONTROLLERS.iter().any(has);
        let family = if is_controller {
            Family::ActiveDirectory
        } else if is_by("vendorName", "389 Project") || is_by("vendorVersion", "Sun-Directory-Server") {
            Family::Sun
        } else if is_by("vendorVersion", "eDirectory") {
            Family::EDirectory
        } else {
            Family::Other
        };
        Self {
            syncrepl: lists("supportedControl", SYNC_REQUEST),
            persistent_search: lists("supportedControl", PERSISTENT_SEARCH),
            paging: lists("supportedControl", PAGED_RESULTS),
            identity: family.identity(),
            family,
            extended_dn: is_controller && lists("supportedControl", EXTENDED_DN),
            naming_contexts: root.values("namingContexts").filter_map(text).collect(),
            subschema: root.values(SUBSCHEMA).find_map(text),
        }
    }

    /// The naming context that holds a DN: the longest one that is not empty.
    pub(crate) fn context_of(&self, dn: &str) -> Option<&str> {
        let contexts = self.naming_contexts.iter().map(String::as_str);
        contexts
            .filter(|context| !context.is_empty() && dn::is_within(dn, context))
            .max_by_key(|context| context.len())
    }

    /// The same server, with people identified by this attribute instead of the server's own.
    pub(crate) fn of_people_by(mut self, attribute: Option<&str>) -> Self {
        if let Some(name) = attribute {
            self.identity = Identity::Attribute(name.to_owned());
        }
        self
    }
}

fn text(value: &[u8]) -> Option<String> {
    String::from_utf8(value.to_vec()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Attribute;

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
    fn a_domain_controller_shows_more_than_the_capability() {
        let capability = ("supportedCapabilities", ACTIVE_DIRECTORY);
        let outpost = entry("", &[capability, ("vendorName", "goauthentik.io")]);
        assert_eq!(
            Capabilities::from_root_dse(&outpost).identity,
            Identity::EntryUuid
        );
        for shown in OF_CONTROLLERS {
            let controller = entry("", &[capability, (shown, "1")]);
            assert_eq!(
                Capabilities::from_root_dse(&controller).identity,
                Identity::ObjectGuid
            );
            assert_eq!(
                Capabilities::from_root_dse(&entry("", &[(shown, "1")])).identity,
                Identity::EntryUuid
            );
        }
    }
}
