//! Reads groups of any size, and members, by their DNs. Ignores answers with another DN.

use ldap3::controls::RawControl;

use crate::directory::DirectoryError;
use crate::directory::ldap::capabilities::{Capabilities, EXTENDED_DN};
use crate::directory::ldap::decode::RawEntry;
use crate::directory::ldap::dn;
use crate::directory::ldap::identity::Identity;
use crate::directory::ldap::search::{self, ANYTHING, BaseSearch};
use crate::directory::ldap::session::Session;
use crate::directory::people::groups::members::{Group, Member};
use crate::model::{Attribute, EntryId};

/// The object classes of groups: RFC 4519, RFC 2307, RFC 2307bis, OpenLDAP's dynamic groups, Active Directory.
pub(crate) const CLASSES: [&str; 7] = [
    "group",
    "groupOfEntries",
    "groupOfMembers",
    "groupOfNames",
    "groupOfUniqueNames",
    "groupOfURLs",
    "posixGroup",
];
/// The OIDs of `groupOfNames`, `groupOfUniqueNames`, `posixGroup` and Active Directory's `group`, which an entry may have
/// instead of the names.
const CLASS_OIDS: [&str; 4] = ["2.5.6.9", "2.5.6.17", POSIX_OID, "1.2.840.113556.1.5.8"];
const MEMBERS: [&str; 3] = ["member", "uniqueMember", "memberUid"];
/// The class of groups that are the primary group of everyone with their number (RFC 2307), and the attribute of the number.
pub(crate) const POSIX: &str = "posixGroup";
const POSIX_OID: &str = "1.3.6.1.1.1.2.2";
pub(crate) const NUMBER: &str = "gidNumber";
/// The largest number of ranges in which a group is read.
const MAX_RANGES: usize = 2000;

/// The memory that is left for members, in bytes.
#[derive(Debug)]
pub(crate) struct Room(pub(crate) usize);

impl Room {
    fn take(&mut self, members: &[Member]) -> bool {
        let weight = members.iter().map(Member::weight).sum();
        let left = self.0.checked_sub(weight);
        self.0 = left.unwrap_or_default();
        left.is_some()
    }
}

/// A member that was found.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) id: EntryId,
    pub(crate) dn: String,
    pub(crate) is_group: bool,
}

/// The identity of a group or of a person; `None` if the entry does not exist or the account may not read it.
pub(crate) async fn identify(session: &mut Session, dn: &str) -> Result<Option<EntryId>, DirectoryError> {
    let can = session.capabilities().clone();
    let entry = read_entry(session, dn, identifying(&can), Vec::new()).await?;
    Ok(entry.and_then(|entry| found(&can, entry)).map(|found| found.id))
}

/// The attributes by which an entry is identified.
pub(crate) fn identifying(can: &Capabilities) -> Vec<String> {
    [can.identity.attribute(), "objectClass"]
        .map(str::to_owned)
        .into()
}

/// A member, if its identity can be read.
pub(crate) fn found(can: &Capabilities, entry: RawEntry) -> Option<Found> {
    let is_group = entry.values("objectClass").any(|class| {
        let mut names = CLASSES.iter().chain(&CLASS_OIDS);
        names.any(|known| class.eq_ignore_ascii_case(known.as_bytes()))
    });
    let id = if is_group {
        can.identity.of_group(&entry)
    } else {
        can.identity.of(&entry)
    };
    id.map(|id| Found {
        id,
        dn: entry.dn,
        is_group,
    })
}

/// Reads a group with all its members, in ranges if the server sends them so (MS-ADTS 3.1.1.3.1.3.3). `None` if the entry
/// does not exist or the account may not read it.
pub(crate) async fn group(
    session: &mut Session,
    dn: &str,
    room: &mut Room,
) -> Result<Option<Group>, DirectoryError> {
    let can = session.capabilities().clone();
    let mut attributes: Vec<String> = [can.identity.attribute(), "memberURL", "objectClass", NUMBER]
        .into_iter()
        .chain(MEMBERS)
        .map(str::to_owned)
        .collect();
    let mut group: Option<Group> = None;
    let mut count = 0;
    for _ in 0..MAX_RANGES {
        let Some(mut entry) = read_entry(session, dn, attributes, with_identities(&can)).await? else {
            return Ok(None);
        };
        let mut rest = Vec::new();
        let mut members = Vec::new();
        for attribute in &mut entry.attributes {
            rest.extend(next_range(session, attribute)?);
            members.extend(take_members(attribute));
        }
        count += members.len();
        if !room.take(&members) {
            break;
        }
        match &mut group {
            Some(group) => group.members.extend(members),
            None => group = first_answer(&can, &entry, members),
        }
        if rest.is_empty() || group.is_none() {
            return Ok(group);
        }
        attributes = rest;
    }
    let came = format!(
        "{count} members and more, which is more than can be followed; name smaller groups in `groups` or `filter`"
    );
    Err(session.endless("reading groups", came))
}

/// Requests DNs with identities, if the server supports it and people are identified by them.
fn with_identities(can: &Capabilities) -> Vec<RawControl> {
    /// The text form of identities: `SEQUENCE { 1 }`.
    const TEXT: [u8; 5] = [0x30, 0x03, 0x02, 0x01, 0x01];
    let control = RawControl {
        ctype: EXTENDED_DN.to_owned(),
        crit: true,
        val: Some(TEXT.into()),
    };
    let is_of_use = can.extended_dn && can.identity == Identity::ObjectGuid;
    is_of_use.then_some(control).into_iter().collect()
}

/// A DN that may have an identity before it, as in `<GUID=...>;<SID=...>;CN=...`.
fn extended(text: &str) -> (Option<EntryId>, &str) {
    let (mut rest, mut id) = (text, None);
    while let Some((part, after)) = rest.strip_prefix('<').and_then(|rest| rest.split_once(">;")) {
        if let Some(guid) = part.strip_prefix("GUID=") {
            id = EntryId::parse(guid.as_bytes());
        }
        rest = after;
    }
    (id, rest)
}

fn first_answer(can: &Capabilities, entry: &RawEntry, mut members: Vec<Member>) -> Option<Group> {
    let is_primary = entry
        .values("objectClass")
        .any(|class| class.eq_ignore_ascii_case(POSIX.as_bytes()) || class == POSIX_OID.as_bytes());
    let number = entry
        .values(NUMBER)
        .find_map(|number| std::str::from_utf8(number).ok())
        .filter(|_| is_primary);
    members.extend(number.map(|number| Member::Primary(number.into())));
    Some(Group {
        id: can.identity.of_group(entry)?,
        dn: entry.dn.clone(),
        members,
        dynamic: entry.values("memberURL").next().is_some(),
        hides_number: is_primary && number.is_none(),
    })
}

/// Takes the members out of an attribute, if it names members.
fn take_members(attribute: &mut Attribute) -> Vec<Member> {
    let name = attribute.name.split(';').next().unwrap_or_default();
    let member: fn(String) -> Member = if name.eq_ignore_ascii_case("memberUid") {
        |uid| Member::Uid(uid.into())
    } else if name.eq_ignore_ascii_case("uniqueMember") {
        |value| Member::Dn(without_uid(value).into())
    } else if name.eq_ignore_ascii_case("member") {
        |value| {
            let (id, dn) = extended(&value);
            id.map_or_else(|| Member::Dn(dn.into()), Member::Id)
        }
    } else {
        return Vec::new();
    };
    let values = std::mem::take(&mut attribute.values).into_iter();
    values
        .filter_map(|value| String::from_utf8(value).ok().map(member))
        .collect()
}

/// A value of `uniqueMember` may end in a bit string: `cn=a,dc=x#'0101'B` (RFC 4517, 3.3.21).
fn without_uid(mut value: String) -> String {
    if let Some((dn, bits)) = value.rsplit_once('#')
        && bits.starts_with('\'')
        && bits.ends_with("'B")
    {
        value.truncate(dn.len());
    }
    value
}

/// The attribute description of the range after this one, if there is one.
fn next_range(session: &Session, attribute: &Attribute) -> Result<Option<String>, DirectoryError> {
    let mut parts = attribute.name.split(';');
    let name = parts.next().unwrap_or_default();
    let range = parts.find_map(|option| {
        let (key, range) = option.split_once('=')?;
        key.eq_ignore_ascii_case("range").then_some(range)
    });
    let Some((low, high)) = range.and_then(|range| range.split_once('-')) else {
        return Ok(None);
    };
    if high == "*" || attribute.values.is_empty() {
        return Ok(None);
    }
    match (low.parse::<u32>(), high.parse::<u32>()) {
        (Ok(low), Ok(high)) if low <= high => {
            Ok(high.checked_add(1).map(|next| format!("{name};range={next}-*")))
        }
        _ => Err(DirectoryError::Malformed {
            server: session.server().to_owned(),
            what: "the server sent a group".into(),
            cause: format!("has members in the range {low}-{high}"),
        }),
    }
}

/// Reads one entry by its DN; `None` if it does not exist or the account may not read it.
pub(crate) async fn read_entry(
    session: &mut Session,
    dn: &str,
    attributes: Vec<String>,
    controls: Vec<RawControl>,
) -> Result<Option<RawEntry>, DirectoryError> {
    base_search(session, dn, ANYTHING, attributes, controls).await
}

/// As [`read_entry`], if the entry matches a filter.
pub(crate) async fn base_search(
    session: &mut Session,
    dn: &str,
    filter: &str,
    attributes: Vec<String>,
    controls: Vec<RawControl>,
) -> Result<Option<RawEntry>, DirectoryError> {
    let search = BaseSearch {
        dn,
        filter,
        attributes,
        controls,
    };
    let (entries, result) = search::all_of_base(session, search, "reading a group or a member").await?;
    match result.rc {
        0 => {}
        // noSuchObject, invalidDNSyntax, insufficientAccessRights, referral: missing, or not readable for this account.
        10 | 32 | 34 | 50 => return Ok(None),
        _ => return Err(session.search_error("a group or a member", &result)),
    }
    let schema = session.schema();
    let entries = entries.into_iter().map(|mut entry| {
        entry.dn = extended(&entry.dn).1.to_owned();
        entry
    });
    let normal = dn::normal_in(dn, schema);
    Ok(entries
        .into_iter()
        .find(|entry| dn::normal_in(&entry.dn, schema) == normal))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_from_each_kind_of_attribute() {
        let members = |name: &str, value: &str| {
            take_members(&mut Attribute {
                name: name.into(),
                values: vec![value.into()],
            })
        };
        let dn = |text: &str| vec![Member::Dn(text.into())];
        assert_eq!(members("MEMBER", "cn=a"), dn("cn=a"));
        assert_eq!(members("member;range=0-1499", "cn=a"), dn("cn=a"));
        assert_eq!(members("uniqueMember", "cn=a#'0101'B"), dn("cn=a"));
        assert_eq!(members("uniqueMember", "cn=a#b"), dn("cn=a#b"));
        let id = EntryId::parse(b"9d8e1f2e-91f1-4c5a-8d2e-00112233ff55").unwrap();
        let value = "<GUID=9d8e1f2e-91f1-4c5a-8d2e-00112233ff55>;<SID=S-1-5-21-1>;CN=a,DC=x";
        assert_eq!(members("member", value), [Member::Id(id)]);
        assert_eq!(extended(value), (Some(id), "CN=a,DC=x"));
        assert_eq!(members("member", "<GUID=x>;CN=a"), dn("CN=a"));
        assert_eq!(members("memberUid", "ann"), [Member::Uid("ann".into())]);
        assert_eq!(members("memberURL", "ldap:///x"), []);
    }
}
