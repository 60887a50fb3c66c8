//! Finds out who is in a group right now, by the server's own comparison.

use std::collections::HashSet;

use crate::directory::DirectoryError;
use crate::directory::ldap::filter::Filter;
use crate::directory::ldap::identity::Identity;
use crate::directory::ldap::search::CHUNK;
use crate::directory::ldap::session::Session;
use crate::directory::people::groups::read::{NUMBER, POSIX, base_search};
use crate::directory::people::groups::search::each;
use crate::model::{Entry, EntryId};

/// Those of `people` who are in one of these groups right now, by the server's own comparison.
///
/// All are searched for together: first the groups that hold any of them, then whether such a group holds all of them, and
/// if not, halves of them.
pub(crate) async fn held(
    session: &mut Session,
    groups: &[(EntryId, String)],
    containers: &[String],
    people: Vec<Entry>,
) -> Result<Vec<Entry>, DirectoryError> {
    let mut members = Vec::new();
    let mut rest = people;
    while !rest.is_empty() {
        let mut asked = rest.split_off(rest.len().saturating_sub(CHUNK));
        let any = Filter::any(asked.iter().map(is_member));
        let is_alone = asked.len() == 1;
        for group in holding(session, groups, containers, &any).await? {
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

/// The DNs of those of the groups that match a filter.
async fn holding(
    session: &mut Session,
    groups: &[(EntryId, String)],
    containers: &[String],
    filter: &Filter,
) -> Result<Vec<String>, DirectoryError> {
    let can = session.capabilities().clone();
    let mut names = Vec::new();
    if matches!(can.identity, Identity::Attribute(_)) {
        // Groups are identified by their DNs.
        for (_, dn) in groups {
            let attributes = vec!["1.1".to_owned()];
            let held = base_search(session, dn, &filter.to_string(), attributes, Vec::new()).await?;
            names.extend(held.map(|entry| entry.dn));
        }
        return Ok(names);
    }
    for chunk in groups.chunks(CHUNK) {
        let asked: HashSet<EntryId> = chunk.iter().map(|(id, _)| *id).collect();
        let any = Filter::any(chunk.iter().map(|&(id, _)| can.identity.filter(id)));
        let filter = any.and(filter.clone()).to_string();
        for base in containers {
            each(session, base, &filter, &mut |entry| {
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

/// Whether each of `people` is in this group.
async fn which(session: &mut Session, group: &str, people: &[Entry]) -> Result<Vec<bool>, DirectoryError> {
    let mut holds = vec![false; people.len()];
    let mut halves = vec![(0, people.len())];
    while let Some((start, end)) = halves.pop() {
        let all = Filter::all(people[start..end].iter().map(is_member)).to_string();
        let attributes = vec!["1.1".to_owned()];
        let held = base_search(session, group, &all, attributes, Vec::new()).await?;
        if held.is_some() {
            holds[start..end].fill(true);
        } else if end - start > 1 {
            let middle = usize::midpoint(start, end);
            halves.extend([(start, middle), (middle, end)]);
        }
    }
    Ok(holds)
}

/// A filter for the groups that hold this person.
fn is_member(person: &Entry) -> Filter {
    let all = |attribute, of_group| -> Vec<Filter> {
        let values = person.values(attribute);
        values.map(|value| Filter::equal(of_group, value)).collect()
    };
    let mut any = vec![
        Filter::equal("member", &person.dn),
        Filter::equal("uniqueMember", &person.dn),
    ];
    any.extend(all("uid", "memberUid"));
    let numbers = all(NUMBER, NUMBER);
    if !numbers.is_empty() {
        any.push(Filter::equal("objectClass", POSIX).and(Filter::any(numbers)));
    }
    Filter::any(any)
}
