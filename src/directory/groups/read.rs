//! Reading group entries, however large, and finding out who their members are.

use std::collections::HashSet;
use std::time::Duration;

use ldap3::Scope;
use tokio::time::Instant;

use super::super::decode::{self, RawEntry};
use super::super::pages::Pages;
use super::super::root_dse::Capabilities;
use super::super::session::{Item, Request, Session};
use super::super::{DirectoryError, dn, filter, malformed};
use super::roster::{Group, Member};
use crate::model::{Attribute, Entry, EntryId};

/// The object classes of groups: RFC 4519, RFC 2307, RFC 2307bis, OpenLDAP's dynamic groups, Active Directory.
const CLASSES: [&str; 7] = [
    "group",
    "groupOfEntries",
    "groupOfMembers",
    "groupOfNames",
    "groupOfUniqueNames",
    "groupOfURLs",
    "posixGroup",
];
const MEMBERS: [&str; 3] = ["member", "uniqueMember", "memberUid"];
/// The class of groups that are the primary group of whoever has their number (RFC 2307), and the number.
const POSIX: &str = "posixGroup";
const NUMBER: &str = "gidNumber";
/// The bytes that the members of one group, or of all groups together, may take: some 330,000 members.
pub(super) const MOST_MEMBERS: usize = 40 * 1024 * 1024;
/// The questions in which a group is read.
const MOST_RANGES: usize = 2000;
/// The bytes that the names may take that one search for groups finds, and the time for it.
const MOST_NAMES: usize = 32 * 1024 * 1024;
const SEARCH: Duration = Duration::from_secs(10 * 60);
/// What a name takes beside its text.
const NAME: usize = 64;
/// Entries per page when all groups are listed.
const PAGE: u32 = 500;

/// An entry that was read by its name.
pub(super) struct Identified {
    pub(super) id: EntryId,
    pub(super) is_group: bool,
}

/// Who an entry is, where it is there and may be read.
pub(super) async fn identify(
    session: &mut Session,
    can: &Capabilities,
    dn: &str,
) -> Result<Option<Identified>, DirectoryError> {
    let wanted = [can.identity.attribute(), "objectClass"].map(str::to_owned);
    let Some(entry) = read_entry(session, dn, wanted.into()).await? else {
        return Ok(None);
    };
    let is_group = entry.values("objectClass").any(|class| {
        CLASSES
            .iter()
            .any(|known| class.eq_ignore_ascii_case(known.as_bytes()))
    });
    let id = if is_group {
        can.identity.of_group(&entry)
    } else {
        can.identity.of(&entry)
    };
    Ok(id.map(|id| Identified { id, is_group }))
}

/// Reads a group with all its members, in ranges where the server tells them so (MS-ADTS 3.1.1.3.1.3.3).
/// `None` where the entry is not there, or may not be read.
pub(super) async fn group(
    session: &mut Session,
    can: &Capabilities,
    dn: &str,
) -> Result<Option<Group>, DirectoryError> {
    let mut wanted: Vec<String> = [can.identity.attribute(), "memberURL", "objectClass", NUMBER]
        .into_iter()
        .chain(MEMBERS)
        .map(str::to_owned)
        .collect();
    let mut group: Option<Group> = None;
    let mut held = 0;
    for _ in 0..MOST_RANGES {
        let Some(mut entry) = read_entry(session, dn, wanted).await? else {
            return Ok(None);
        };
        let mut rest = Vec::new();
        let mut members = Vec::new();
        for attribute in &mut entry.attributes {
            rest.extend(next_range(session, attribute)?);
            members.extend(take_members(attribute));
        }
        held += weight(&members);
        if held > MOST_MEMBERS {
            break;
        }
        match &mut group {
            Some(group) => group.members.extend(members),
            None => group = first_answer(can, &entry, members),
        }
        if rest.is_empty() || group.is_none() {
            return Ok(group);
        }
        wanted = rest;
    }
    let count = group.map_or(0, |group| group.members.len());
    Err(too_many(session, count))
}

/// The bytes that members take.
pub(super) fn weight(members: &[Member]) -> usize {
    members.iter().map(|member| member.text().len() + NAME).sum()
}

/// The error for groups that nobody can hold.
pub(super) fn too_many(session: &Session, members: usize) -> DirectoryError {
    session.endless("reading groups", format!("{members} members and more"))
}

fn first_answer(can: &Capabilities, entry: &RawEntry, mut members: Vec<Member>) -> Option<Group> {
    let is_primary = entry
        .values("objectClass")
        .any(|class| class.eq_ignore_ascii_case(POSIX.as_bytes()));
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

/// Takes the members out of an attribute, where it is one of those that name members.
fn take_members(attribute: &mut Attribute) -> Vec<Member> {
    let name = attribute.name.split(';').next().unwrap_or_default();
    let member: fn(String) -> Member = if name.eq_ignore_ascii_case("memberUid") {
        |uid| Member::Uid(uid.into())
    } else if name.eq_ignore_ascii_case("uniqueMember") {
        |value| Member::Dn(without_uid(value).into())
    } else if name.eq_ignore_ascii_case("member") {
        |dn| Member::Dn(dn.into())
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

/// The attribute description that asks for what follows a range, where something does.
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

/// Whether one of these groups holds this person, by the server's own comparison.
pub(super) async fn holds(
    session: &mut Session,
    groups: &[String],
    entry: &Entry,
) -> Result<bool, DirectoryError> {
    let name = filter::escape(&entry.dn);
    let terms = |attribute, of_group: &str| -> String {
        let values = entry.values(attribute);
        let texts = values.filter_map(|value| std::str::from_utf8(value).ok());
        texts
            .map(|text| format!("({of_group}={})", filter::escape(text)))
            .collect()
    };
    let uids = terms("uid", "memberUid");
    let primary = match &*terms(NUMBER, NUMBER) {
        "" => String::new(),
        numbers => format!("(&(objectClass={POSIX})(|{numbers}))"),
    };
    let filter = format!("(|(member={name})(uniqueMember={name}){uids}{primary})");
    for group in groups {
        let attributes = vec!["1.1".to_owned()];
        if base_search(session, group, &filter, attributes).await?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// One entry by its name, where it is there and may be read.
async fn read_entry(
    session: &mut Session,
    dn: &str,
    attributes: Vec<String>,
) -> Result<Option<RawEntry>, DirectoryError> {
    base_search(session, dn, "(objectClass=*)", attributes).await
}

/// The same, where it matches a filter as well.
async fn base_search(
    session: &mut Session,
    dn: &str,
    filter: &str,
    attributes: Vec<String>,
) -> Result<Option<RawEntry>, DirectoryError> {
    let request = Request {
        base: dn,
        scope: Scope::Base,
        filter,
        attributes,
        controls: Vec::new(),
    };
    let (entries, result) = session.collect(request, "reading a group or a member").await?;
    match result.rc {
        0 => {}
        // noSuchObject, invalidDNSyntax, insufficientAccessRights, referral: not here, or not for us.
        10 | 32 | 34 | 50 => return Ok(None),
        _ => {
            return Err(DirectoryError::from_search_result(
                session.server(),
                "a group or a member",
                &result,
            ));
        }
    }
    let entry = entries.into_iter().find(|message| !message.is_intermediate());
    entry
        .map(|message| decode::entry(message).map_err(|error| malformed(session, "an entry", &error)))
        .transpose()
}

/// The DN under which an entry is found by its identity below one of `containers`.
pub(super) async fn find(
    session: &mut Session,
    can: &Capabilities,
    id: EntryId,
    containers: &[String],
) -> Result<Option<String>, DirectoryError> {
    for base in containers {
        let mut found = None;
        let filter = can.identity.filter(id);
        each(session, can, base, &filter, &mut |entry| found = Some(entry.dn)).await?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The normal forms of the DNs of all groups below `containers`.
pub(super) async fn all_groups(
    session: &mut Session,
    can: &Capabilities,
    containers: &[String],
) -> Result<HashSet<String>, DirectoryError> {
    let classes: String = CLASSES
        .iter()
        .map(|class| format!("(objectClass={class})"))
        .collect();
    let filter = format!("(|{classes})");
    let mut names = HashSet::new();
    for base in containers {
        each(session, can, base, &filter, &mut |entry| {
            names.insert(dn::normal(&entry.dn).into_owned());
        })
        .await?;
    }
    Ok(names)
}

/// The identities of the people who have one of these values of an attribute.
pub(super) async fn by_value(
    session: &mut Session,
    can: &Capabilities,
    base: &str,
    attribute: &str,
    values: &[&str],
) -> Result<Vec<EntryId>, DirectoryError> {
    let mut found = Vec::new();
    for chunk in values.chunks(super::super::lookup::CHUNK) {
        let any: String = chunk
            .iter()
            .map(|value| format!("({attribute}={})", filter::escape(value)))
            .collect();
        each(session, can, base, &format!("(|{any})"), &mut |entry| {
            found.extend(can.identity.of(&entry));
        })
        .await?;
    }
    Ok(found)
}

/// Hands over each entry below `base` that matches, with its identity as the only attribute, in pages where the server
/// can. A base that is not there has none.
async fn each(
    session: &mut Session,
    can: &Capabilities,
    base: &str,
    filter: &str,
    take: &mut (dyn FnMut(RawEntry) + Send),
) -> Result<(), DirectoryError> {
    let mut pages = Pages::new(can, PAGE);
    let (began, mut count, mut held) = (Instant::now(), 0_u64, 0);
    loop {
        let request = Request {
            base,
            scope: Scope::Subtree,
            filter,
            attributes: vec![can.identity.attribute().to_owned()],
            controls: pages.controls(),
        };
        let mut search = session.search(request).await?;
        let mut empty = true;
        let result = loop {
            match session
                .next(&mut search, super::super::scan::PROGRESS, "looking for groups")
                .await?
            {
                Item::Message(message) if message.is_intermediate() => {}
                Item::Message(message) => {
                    empty = false;
                    let entry =
                        decode::entry(message).map_err(|error| malformed(session, "an entry", &error))?;
                    count += 1;
                    held += entry.dn.len() + NAME;
                    take(entry);
                    if held > MOST_NAMES || began.elapsed() > SEARCH {
                        let came = format!("{count} entries in {} s", began.elapsed().as_secs());
                        return Err(session.endless("looking for groups", came));
                    }
                }
                Item::Done(result) => break result,
            }
        };
        match (pages.go_on(session, &result, empty)?, result.rc) {
            (true, _) => {}
            (false, 0 | 32) => return Ok(()),
            (false, _) => {
                return Err(DirectoryError::from_search_result(
                    session.server(),
                    "a search for groups",
                    &result,
                ));
            }
        }
    }
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
        assert_eq!(members("memberUid", "ann"), [Member::Uid("ann".into())]);
        assert_eq!(members("memberURL", "ldap:///x"), []);
    }
}
