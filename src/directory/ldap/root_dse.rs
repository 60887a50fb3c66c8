//! What the server says of itself (RFC 4512, 5.1), and what follows from it.

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use ldap3::Scope;

use crate::directory::DirectoryError;
use crate::directory::ldap::access::Access;
use crate::directory::ldap::connect;
use crate::directory::ldap::decode;
use crate::directory::ldap::decode::{PAGED_RESULTS, RawEntry};
use crate::directory::ldap::dn;
use crate::directory::ldap::filter::Filter;
use crate::directory::ldap::schema::Schema;
use crate::directory::ldap::session::{Request, Session};
use crate::directory::settings::Settings;
use crate::model::EntryId;

const SYNC_REQUEST: &str = "1.3.6.1.4.1.4203.1.9.1.1";
pub(crate) const PERSISTENT_SEARCH: &str = "2.16.840.1.113730.3.4.3";
pub(crate) const EXTENDED_DN: &str = "1.2.840.113556.1.4.529";
const ACTIVE_DIRECTORY: &str = "1.2.840.113556.1.4.800";
/// What only a domain controller has in its root DSE (MS-ADTS 3.1.1.3.2): other servers announce the capability, too.
const OF_CONTROLLERS: [&str; 2] = ["dsServiceName", "highestCommittedUSN"];

const SUBSCHEMA: &str = "subschemaSubentry";

/// What a server can do, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Capabilities {
    /// Content synchronisation (RFC 4533).
    pub syncrepl: bool,
    /// Persistent search (draft-ietf-ldapext-psearch-03).
    pub persistent_search: bool,
    /// Paged results (RFC 2696).
    pub paging: bool,
    /// Where an entry's identity is found.
    pub identity: Identity,
    /// It is a domain controller of an Active Directory.
    pub controller: bool,
    /// DNs in answers can have the identities of their entries beside them (MS-ADTS 3.1.1.3.4.1.5).
    pub extended_dn: bool,
    /// The roots of the trees that the server holds.
    pub naming_contexts: Vec<String>,
    /// The entry in which the server publishes its schema, where it names one (RFC 4512, 4.2).
    pub subschema: Option<String>,
}

/// The attribute that identifies an entry for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    /// RFC 4530.
    EntryUuid,
    /// 389-DS and the Sun and Oracle servers that it descends from.
    NsUniqueId,
    /// Active Directory, as 16 bytes, the first three fields in little-endian order.
    ObjectGuid,
    /// eDirectory, as 16 bytes.
    Guid,
    /// The one that the configuration names: a UUID, or a short text. Groups have none, and are known by their names.
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

    /// Who an entry is; `None` where that cannot be read.
    pub(crate) fn of(&self, entry: &RawEntry) -> Option<EntryId> {
        entry.values(self.attribute()).find_map(|value| self.read(value))
    }

    /// Which group an entry is; `None` where that cannot be read.
    ///
    /// One that is known by its name is found by no [`filter`](Self::filter), under another name or at all.
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
                // How the server writes a UUID is not known, nor whether it heeds case.
                None => {
                    let plain = dashed.replace('-', "");
                    let forms = [dashed.to_uppercase(), plain.to_uppercase(), dashed, plain];
                    Filter::any(forms.map(|form| equal(form.as_bytes())))
                }
            },
        }
    }

    /// What to do where it cannot be read.
    pub(crate) fn remedy(&self) -> &'static str {
        match self {
            Self::Attribute(_) => {
                "`id_attribute` must name an attribute that the bind account may read, and of which each of them has another value, a UUID or at most 15 characters of ASCII"
            }
            _ => "let the bind account read that attribute",
        }
    }
}

/// An identity that is as good as a name, in the names' normal form.
fn of_name(dn: &str) -> Option<EntryId> {
    let mut hasher = DefaultHasher::new();
    dn::normal(dn).hash(&mut hasher);
    EntryId::from_slice(&u128::from(hasher.finish()).to_be_bytes())
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

/// What the server can do, with people identified as the settings say.
pub(crate) async fn capabilities(
    session: &mut Session,
    settings: &Settings,
) -> Result<Capabilities, DirectoryError> {
    let mut can = read(session).await?;
    if let Some(name) = &settings.id_attribute {
        can.identity = Identity::Attribute(name.clone());
    }
    Ok(can)
}

/// Reads what the server can do. The same request, made while a stream is silent, proves that the connection lives.
pub(crate) async fn read(session: &mut Session) -> Result<Capabilities, DirectoryError> {
    let wanted = [
        "supportedControl",
        "supportedCapabilities",
        "vendorName",
        "vendorVersion",
        "namingContexts",
        SUBSCHEMA,
    ];
    let root = fetch(session, &[&wanted[..], &OF_CONTROLLERS].concat()).await?;
    // Some servers hide it; then nothing can be assumed.
    Ok(judge(&root.unwrap_or_default()))
}

/// What the root DSE says.
fn judge(root: &RawEntry) -> Capabilities {
    let lists = |attribute, oid: &str| root.values(attribute).any(|value| value == oid.as_bytes());
    let is_by = |attribute, words: &str| {
        let mut values = root.values(attribute).map(String::from_utf8_lossy);
        values.any(|value| value.contains(words))
    };
    let has = |attribute: &&str| root.values(attribute).next().is_some();
    let is_controller = lists("supportedCapabilities", ACTIVE_DIRECTORY) && OF_CONTROLLERS.iter().any(has);
    let identity = if is_controller {
        Identity::ObjectGuid
    } else if is_by("vendorName", "389 Project") || is_by("vendorVersion", "Sun-Directory-Server") {
        Identity::NsUniqueId
    } else if is_by("vendorVersion", "eDirectory") {
        Identity::Guid
    } else {
        Identity::EntryUuid
    };
    Capabilities {
        syncrepl: lists("supportedControl", SYNC_REQUEST),
        persistent_search: lists("supportedControl", PERSISTENT_SEARCH),
        paging: lists("supportedControl", PAGED_RESULTS),
        identity,
        controller: is_controller,
        extended_dn: is_controller && lists("supportedControl", EXTENDED_DN),
        naming_contexts: root.values("namingContexts").filter_map(text).collect(),
        subschema: root.values(SUBSCHEMA).find_map(text),
    }
}

fn text(value: &[u8]) -> Option<String> {
    String::from_utf8(value.to_vec()).ok()
}

/// Tells the session what the server's attribute types are called, by its subschema. Where that cannot be read, the names
/// that the standards give them have to do; where it breaks the connection, another one takes its place.
pub(crate) async fn learn_schema(
    session: &mut Session,
    can: &Capabilities,
    settings: &Settings,
    access: &Access,
) -> Result<(), DirectoryError> {
    match schema(session, can).await {
        Ok(schema) => session.learn(Arc::new(schema)),
        Err(error) => {
            tracing::info!(directory = settings.name, %error, "the subschema cannot be read: attributes are known by their standard names only");
            *session = connect::connect_to(&session.reached().clone(), settings, access).await?;
        }
    }
    Ok(())
}

/// What the subschema says: one entry, as large as a message may be. Nothing where there is none, or none for this
/// account.
async fn schema(session: &mut Session, can: &Capabilities) -> Result<Schema, DirectoryError> {
    let Some(subschema) = &can.subschema else {
        return Ok(Schema::default());
    };
    let request = Request {
        base: subschema,
        scope: Scope::Base,
        filter: "(objectClass=*)",
        attributes: vec!["attributeTypes".to_owned()],
        controls: Vec::new(),
    };
    let (entries, result) = session.collect(request, "reading the subschema").await?;
    let entry = entries.into_iter().next().map(decode::entry).transpose();
    let entry = entry.ok().flatten().unwrap_or_default();
    let schema = Schema::read(entry.values("attributeTypes"));
    let names = schema.len();
    tracing::debug!(
        server = session.server(),
        subschema,
        code = result.rc,
        names,
        "the subschema was read"
    );
    Ok(schema)
}

/// The numbers of the first and of the last change in the changelog, where the server has one and shows it
/// (draft-good-ldap-changelog-04).
pub(crate) async fn change_numbers(session: &mut Session) -> Result<Option<(u64, u64)>, DirectoryError> {
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
            &result,
        ));
    }
    let entry = entries.into_iter().next().map(decode::entry).transpose();
    entry.map_err(|error| session.malformed("a root DSE", &error))
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
    fn a_domain_controller_shows_more_than_the_capability() {
        let capability = ("supportedCapabilities", ACTIVE_DIRECTORY);
        let outpost = entry("", &[capability, ("vendorName", "goauthentik.io")]);
        assert_eq!(judge(&outpost).identity, Identity::EntryUuid);
        for shown in OF_CONTROLLERS {
            let controller = entry("", &[capability, (shown, "1")]);
            assert_eq!(judge(&controller).identity, Identity::ObjectGuid);
            assert_eq!(judge(&entry("", &[(shown, "1")])).identity, Identity::EntryUuid);
        }
    }
}
