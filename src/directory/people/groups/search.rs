//! Searches for groups, and for several members at a time. Ignores entries outside the base, and entries with another DN or
//! identity than those requested.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::directory::DirectoryError;
use crate::directory::ldap::capabilities::Capabilities;
use crate::directory::ldap::decode::RawEntry;
use crate::directory::ldap::dn;
use crate::directory::ldap::filter::Filter;
use crate::directory::ldap::identity::Identity;
use crate::directory::ldap::schema::Schema;
use crate::directory::ldap::search::{self, CHUNK, PagedSearch, Subtree};
use crate::directory::ldap::session::Session;
use crate::directory::people::groups::members::Member;
use crate::directory::people::groups::read::{CLASSES, Found, NUMBER, found, identifying, read_entry};
use crate::model::EntryId;

/// Entries per page of a search for all groups.
const PAGE: u32 = 500;
/// The largest memory of the DNs that one search for groups finds, in bytes, and the longest time for it.
const MAX_NAMES: usize = 32 * 1024 * 1024;
const SEARCH: Duration = Duration::from_secs(10 * 60);
/// The memory of a DN besides its text.
const NAME: usize = 64;

/// Finds the DN of a group by its identity below one of `containers`.
pub(crate) async fn find(
    session: &mut Session,
    id: EntryId,
    containers: &[String],
) -> Result<Option<String>, DirectoryError> {
    let can = session.capabilities().clone();
    for base in containers {
        let mut found = None;
        let filter = can.identity.filter(id).to_string();
        each(session, base, &filter, &mut |entry| {
            if can.identity.of_group(&entry) == Some(id) {
                found = Some(entry.dn);
            }
        })
        .await?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// All groups of the directory.
pub(crate) struct All {
    schema: Arc<Schema>,
    /// By the normal forms of their DNs.
    names: HashSet<String>,
    ids: HashMap<EntryId, String>,
}

impl All {
    /// Searches for all groups below `containers`.
    pub(crate) async fn read(session: &mut Session, containers: &[String]) -> Result<Self, DirectoryError> {
        let classes = CLASSES.iter().map(|class| Filter::equal("objectClass", class));
        let filter = Filter::any(classes).to_string();
        let can = session.capabilities().clone();
        let schema = session.schema().clone();
        let mut all = Self {
            schema: schema.clone(),
            names: HashSet::new(),
            ids: HashMap::new(),
        };
        for base in containers {
            each(session, base, &filter, &mut |entry| {
                if can.extended_dn {
                    all.ids
                        .extend(can.identity.of_group(&entry).zip(Some(entry.dn.clone())));
                }
                all.names.insert(dn::normal_in(&entry.dn, &schema).into_owned());
            })
            .await?;
        }
        Ok(all)
    }

    /// The DN of a member that is a group.
    pub(crate) fn name<'a>(&'a self, member: &'a Member) -> Option<&'a str> {
        match member {
            Member::Dn(dn) => {
                let normal = dn::normal_in(dn, &self.schema);
                self.names.contains(&*normal).then_some(dn)
            }
            Member::Id(id) => self.ids.get(id).map(String::as_str),
            Member::Uid(_) | Member::Primary(_) => None,
        }
    }
}

/// Finds the entries of members, by DN or by identity. Members that do not exist or may not be read are left out. `by_name`
/// says whether the server supports searches by DN; it is cleared if it does not.
pub(crate) async fn members(
    session: &mut Session,
    bases: &[String],
    members: &[Member],
    by_name: &mut bool,
) -> Result<Vec<Found>, DirectoryError> {
    let can = session.capabilities().clone();
    let attribute = dn_attribute(&can).filter(|_| *by_name);
    let schema = session.schema().clone();
    let normal = |name: &str| dn::normal_in(name, &schema).into_owned();
    let mut names: HashMap<String, &str> = HashMap::new();
    let mut ids = HashSet::new();
    for member in members {
        match member {
            Member::Dn(name) => drop(names.insert(normal(name), name)),
            Member::Id(id) => drop(ids.insert(*id)),
            Member::Uid(_) | Member::Primary(_) => {}
        }
    }
    let mut who = Vec::new();
    for base in bases {
        let by_name = names
            .values()
            .filter(|name| dn::is_within_in(name, base, &schema))
            .filter_map(|name| Some(Filter::equal(attribute?, name)));
        let by_id = ids.iter().map(|&id| can.identity.filter(id));
        let any: Vec<Filter> = by_name.chain(by_id).collect();
        if any.is_empty() {
            continue;
        }
        let mut answers = Vec::new();
        let filter = Filter::any(any).to_string();
        let attributes = identifying(&can);
        each_with(session, base, &filter, attributes, &mut |entry| {
            answers.extend(found(&can, entry));
        })
        .await?;
        for answer in answers {
            let named = names.remove(&normal(&answer.dn)).is_some();
            if ids.remove(&answer.id) || named {
                who.push(answer);
            }
        }
    }
    let found_so_far = who.len();
    for (_, name) in names {
        let entry = read_entry(session, name, identifying(&can), Vec::new()).await?;
        who.extend(entry.and_then(|entry| found(&can, entry)));
    }
    if attribute.is_some() && found_so_far == 0 && !who.is_empty() {
        // The account may not search by this attribute.
        *by_name = false;
    }
    Ok(who)
}

/// The attribute that finds an entry by its DN (RFC 5020), on servers that are known to be fast at it.
fn dn_attribute(can: &Capabilities) -> Option<&'static str> {
    match can.identity {
        Identity::ObjectGuid => Some("distinguishedName"),
        Identity::NsUniqueId => Some("entryDN"),
        // slapd. Other servers with this capability also offer persistent search.
        Identity::EntryUuid if can.syncrepl && !can.persistent_search => Some("entryDN"),
        _ => None,
    }
}

/// The identities of the people who are members by their `uid` or by their `gidNumber`.
pub(crate) async fn by_values(
    session: &mut Session,
    base: &str,
    members: &[Member],
) -> Result<Vec<EntryId>, DirectoryError> {
    let can = session.capabilities().clone();
    let mut found = Vec::new();
    let uids: Vec<&str> = members.iter().filter_map(Member::uid).collect();
    let numbers: Vec<&str> = members.iter().filter_map(Member::number).collect();
    for (attribute, values) in [("uid", uids), (NUMBER, numbers)] {
        for chunk in values.chunks(CHUNK) {
            let any = Filter::any(chunk.iter().map(|value| Filter::equal(attribute, value))).to_string();
            each(session, base, &any, &mut |entry| {
                found.extend(can.identity.of(&entry));
            })
            .await?;
        }
    }
    Ok(found)
}

/// Calls back for each entry below `base` that matches, with its identity as the only attribute, in pages if the server
/// supports them. A base that does not exist has no entries.
pub(crate) async fn each(
    session: &mut Session,
    base: &str,
    filter: &str,
    take: &mut (dyn FnMut(RawEntry) + Send),
) -> Result<(), DirectoryError> {
    let identity = vec![session.capabilities().identity.attribute().to_owned()];
    each_with(session, base, filter, identity, take).await
}

/// As [`each`], with these attributes.
async fn each_with(
    session: &mut Session,
    base: &str,
    filter: &str,
    attributes: Vec<String>,
    take: &mut (dyn FnMut(RawEntry) + Send),
) -> Result<(), DirectoryError> {
    const DOING: &str = "looking for groups";
    let subtree = Subtree {
        base: base.to_owned(),
        filter: filter.to_owned(),
        attributes,
        controls: Vec::new(),
    };
    let mut search = PagedSearch::new(session, subtree, PAGE, DOING);
    let (began, mut count, mut held) = (Instant::now(), 0_u64, 0);
    loop {
        let entry = match search.next(session).await? {
            search::Found::Entry(entry) => entry,
            search::Found::Done(result) if matches!(result.rc, 0 | 32) => return Ok(()),
            search::Found::Done(result) => return Err(session.search_error("a search for groups", &result)),
        };
        count += 1;
        held += entry.dn.len() + NAME;
        if dn::is_within_in(&entry.dn, base, session.schema()) {
            take(entry);
        }
        if held > MAX_NAMES || began.elapsed() > SEARCH {
            let received = format!("{count} entries in {} s", began.elapsed().as_secs());
            return Err(session.endless(DOING, received));
        }
    }
}
