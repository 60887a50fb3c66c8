//! Who is in a group right now, by the server's own comparison.

use std::collections::HashSet;

use super::super::lookup::CHUNK;
use super::super::root_dse::{Capabilities, Identity};
use super::super::session::Session;
use super::super::{DirectoryError, filter};
use super::read::{NUMBER, POSIX, base_search};
use super::search::each;
use crate::model::{Entry, EntryId};

/// Those of `people` whom one of these groups holds, by the server's own comparison and at this moment.
///
/// As many as come together are asked for together: first for the groups that hold any of them, then whether such a
/// group holds them all, and only where it does not, for halves of them.
pub(super) async fn held(
    session: &mut Session,
    can: &Capabilities,
    groups: &[(EntryId, String)],
    containers: &[String],
    people: Vec<Entry>,
) -> Result<Vec<Entry>, DirectoryError> {
    let mut members = Vec::new();
    let mut rest = people;
    while !rest.is_empty() {
        let mut asked = rest.split_off(rest.len().saturating_sub(CHUNK));
        let any: String = asked.iter().map(is_member).collect();
        let is_alone = asked.len() == 1;
        for group in holding(session, can, groups, containers, &format!("(|{any})")).await? {
            if asked.is_empty() {
                break;
            }
            let holds = if is_alone {
                vec![true]
            } else {
                which(session, &group, &asked).await?
            };
            let mut holds = holds.into_iter();
            asked.retain(|entry| {
                let held = holds.next().unwrap_or_default();
                if held {
                    members.push(entry.clone());
                }
                !held
            });
        }
    }
    Ok(members)
}

/// The names of those of the groups that match a filter.
async fn holding(
    session: &mut Session,
    can: &Capabilities,
    groups: &[(EntryId, String)],
    containers: &[String],
    filter: &str,
) -> Result<Vec<String>, DirectoryError> {
    let mut names = Vec::new();
    if matches!(can.identity, Identity::Attribute(_)) {
        // Groups are known by their names.
        for (_, dn) in groups {
            let attributes = vec!["1.1".to_owned()];
            let held = base_search(session, dn, filter, attributes, Vec::new()).await?;
            names.extend(held.map(|entry| entry.dn));
        }
        return Ok(names);
    }
    for chunk in groups.chunks(CHUNK) {
        let asked: HashSet<EntryId> = chunk.iter().map(|(id, _)| *id).collect();
        let any: String = chunk.iter().map(|&(id, _)| can.identity.filter(id)).collect();
        let filter = format!("(&(|{any}){filter})");
        for base in containers {
            each(session, can, base, &filter, &mut |entry| {
                if can
                    .identity
                    .of_group(&entry)
                    .is_some_and(|id| asked.contains(&id))
                {
                    names.push(entry.dn);
                }
            })
            .await?;
        }
    }
    Ok(names)
}

/// Who of `people` is in this group.
async fn which(session: &mut Session, group: &str, people: &[Entry]) -> Result<Vec<bool>, DirectoryError> {
    let mut holds = vec![false; people.len()];
    let mut halves = vec![(0, people.len())];
    while let Some((start, end)) = halves.pop() {
        let all: String = people[start..end].iter().map(is_member).collect();
        let attributes = vec!["1.1".to_owned()];
        let held = base_search(session, group, &format!("(&{all})"), attributes, Vec::new()).await?;
        if held.is_some() {
            holds[start..end].fill(true);
        } else if end - start > 1 {
            let middle = usize::midpoint(start, end);
            halves.extend([(start, middle), (middle, end)]);
        }
    }
    Ok(holds)
}

/// A filter that a group matches which holds this person.
fn is_member(person: &Entry) -> String {
    let name = filter::escape(&person.dn);
    let terms = |attribute, of_group: &str| -> String {
        let values = person.values(attribute);
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
    format!("(|(member={name})(uniqueMember={name}){uids}{primary})")
}
