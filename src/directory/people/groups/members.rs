//! The members of the watched groups, and which of them a change of a group concerns. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap, hash_map};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::Arc;

use crate::directory::ldap::dn;
use crate::directory::ldap::schema::Schema;
use crate::model::{Entry, EntryId, prepared};

/// A value of `member`, `uniqueMember` or `memberUid`, or the `gidNumber` of a group that may be a primary group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Member {
    /// A person, or another group.
    Dn(Box<str>),
    /// A person or another group with its identity, if the server sends it: another entry may get the DN of a member later.
    Id(EntryId),
    /// The `uid` of a person (RFC 2307 `memberUid`).
    Uid(Box<str>),
    /// Everyone with this `gidNumber` (RFC 2307).
    Primary(Box<str>),
}

impl Member {
    /// The `uid` of a person, if the member is named by it.
    pub(crate) fn uid(&self) -> Option<&str> {
        match self {
            Self::Uid(uid) => Some(uid),
            Self::Dn(_) | Self::Id(_) | Self::Primary(_) => None,
        }
    }

    /// The `gidNumber` of people, if they are members by it.
    pub(crate) fn number(&self) -> Option<&str> {
        match self {
            Self::Primary(number) => Some(number),
            Self::Dn(_) | Self::Id(_) | Self::Uid(_) => None,
        }
    }

    /// Whether it names an entry, which may be a group.
    pub(crate) fn is_entry(&self) -> bool {
        matches!(self, Self::Dn(_) | Self::Id(_))
    }

    /// The memory that it needs, in bytes.
    pub(crate) fn weight(&self) -> usize {
        /// The memory of a name besides its text.
        const NAME: usize = 64;
        NAME + match self {
            Self::Dn(text) | Self::Uid(text) | Self::Primary(text) => text.len(),
            Self::Id(_) => 0,
        }
    }

    fn hash(&self, schema: &Schema, state: &mut impl Hasher) {
        match self {
            Self::Dn(text) => (0, dn::normal_in(text, schema)).hash(state),
            Self::Uid(text) => (1, prepared(text)).hash(state),
            Self::Primary(number) => (2, number).hash(state),
            Self::Id(id) => (3, id).hash(state),
        }
    }
}

/// A group as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    pub(crate) id: EntryId,
    pub(crate) dn: String,
    pub(crate) members: Vec<Member>,
    /// Whether its members are the result of a search (`memberURL`), whose changes are not reported.
    pub(crate) dynamic: bool,
    /// Whether it may be a primary group (`posixGroup`) and the account may not read its `gidNumber`.
    pub(crate) hides_number: bool,
}

/// A watched group.
#[derive(Debug, Default)]
struct Watched {
    dn: String,
    /// The members in the order of the server.
    members: Vec<Member>,
    /// The memory that they need, in bytes.
    weight: usize,
    /// How often each member is listed, by the keyed hash of its normal form, so that no texts are compared.
    keys: HashMap<u64, u32>,
    hides_number: bool,
}

/// The watched groups and their members.
#[derive(Debug, Default)]
pub(crate) struct Memberships {
    keys: RandomState,
    /// The schema by which DNs are compared.
    schema: Arc<Schema>,
    groups: BTreeMap<EntryId, Watched>,
}

impl Memberships {
    /// Creates it without groups.
    pub(crate) fn new(schema: Arc<Schema>) -> Self {
        Self {
            schema,
            ..Self::default()
        }
    }

    /// A keyed hash that is the same for all texts of a member.
    pub(crate) fn key(&self, member: &Member) -> u64 {
        let mut state = self.keys.build_hasher();
        member.hash(&self.schema, &mut state);
        state.finish()
    }

    /// The groups, each with its DN.
    pub(crate) fn groups(&self) -> impl Iterator<Item = (EntryId, &str)> {
        self.groups.iter().map(|(&id, group)| (id, group.dn.as_str()))
    }

    /// The DN of a group, if it is watched.
    pub(crate) fn dn_of(&self, id: EntryId) -> Option<&str> {
        self.groups.get(&id).map(|group| group.dn.as_str())
    }

    /// The members of a group.
    pub(crate) fn members_of(&self, id: EntryId) -> Vec<Member> {
        let group = self.groups.get(&id);
        group.map(|group| group.members.clone()).unwrap_or_default()
    }

    /// Replaces the state of a group. Returns the members who joined or left.
    ///
    /// Servers keep the order of members, so that for most of them only the texts are compared.
    pub(crate) fn update(&mut self, group: Group) -> Vec<Member> {
        let mut watched = self.groups.remove(&group.id).unwrap_or_default();
        let (former, present) = differing(&watched.members, &group.members);
        let mut changed = Vec::new();
        for member in present {
            let listed = watched.keys.entry(self.key(member)).or_default();
            *listed += 1;
            if *listed == 1 {
                changed.push(member.clone());
            }
        }
        // A member who is listed at another place, or in another spelling, has not left.
        for member in former {
            let hash_map::Entry::Occupied(mut listed) = watched.keys.entry(self.key(member)) else {
                continue;
            };
            *listed.get_mut() -= 1;
            if *listed.get() == 0 {
                listed.remove();
                changed.push(member.clone());
            }
        }
        watched.dn = group.dn;
        watched.weight = group.members.iter().map(Member::weight).sum();
        watched.members = group.members;
        watched.hides_number = group.hides_number;
        self.groups.insert(group.id, watched);
        changed
    }

    /// Forgets the groups that are no longer nested in any of `named`. Returns their members.
    pub(crate) fn prune(&mut self, named: &[EntryId]) -> Vec<Member> {
        let reached = self.depths(named);
        let lost: Vec<EntryId> = self
            .groups
            .keys()
            .filter(|id| !reached.contains_key(id))
            .copied()
            .collect();
        let lost = lost.into_iter().filter_map(|id| self.groups.remove(&id));
        lost.flat_map(|group| group.members).collect()
    }

    /// The number of levels of nested groups below `named`. Each group counts at the first level at which it is reached, so
    /// that a cycle ends.
    pub(crate) fn depth(&self, named: &[EntryId]) -> usize {
        self.depths(named).into_values().max().unwrap_or(0)
    }

    fn depths(&self, named: &[EntryId]) -> BTreeMap<EntryId, usize> {
        let keys: Vec<(EntryId, [u64; 2])> = self
            .groups
            .iter()
            .map(|(&id, group)| {
                let names = [Member::Dn(group.dn.as_str().into()), Member::Id(id)];
                (id, names.map(|name| self.key(&name)))
            })
            .collect();
        let mut reached: BTreeMap<EntryId, usize> = BTreeMap::new();
        let mut level: BTreeSet<EntryId> = named.iter().copied().collect();
        let mut depth = 0;
        while !level.is_empty() {
            reached.extend(level.iter().map(|&id| (id, depth)));
            let members = level.iter().filter_map(|id| self.groups.get(id));
            level = members
                .flat_map(|group| {
                    let is_in = |key: &u64| group.keys.contains_key(key);
                    keys.iter().filter(move |(_, names)| names.iter().any(is_in))
                })
                .map(|&(id, _)| id)
                .filter(|id| !reached.contains_key(id))
                .collect();
            depth += 1;
        }
        reached
    }

    /// Whether a person is in one of the groups, by DN, by `uid` or by `gidNumber`.
    pub(crate) fn admits(&self, entry: &Entry) -> bool {
        let texts = |attribute| {
            let values = entry.values(attribute);
            values.filter_map(|value| std::str::from_utf8(value).ok())
        };
        let keys: Vec<u64> = texts("uid")
            .map(|uid| Member::Uid(uid.into()))
            .chain(texts("gidNumber").map(|number| Member::Primary(number.into())))
            .chain([Member::Dn(entry.dn.as_str().into())])
            .map(|member| self.key(&member))
            .collect();
        self.groups
            .values()
            .any(|group| keys.iter().any(|key| group.keys.contains_key(key)))
    }

    /// The members of these groups who are in no group of `other`.
    pub(crate) fn without<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Member> {
        let members = self.groups.values().flat_map(|group| &group.members);
        members.filter(|member| {
            let key = other.key(member);
            !other.groups.values().any(|group| group.keys.contains_key(&key))
        })
    }

    /// The memory of the members of all groups except this one, in bytes.
    pub(crate) fn weight_beside(&self, group: EntryId) -> usize {
        let others = self.groups.iter().filter(|(id, _)| **id != group);
        others.map(|(_, other)| other.weight).sum()
    }

    /// The number of members. A member of two groups counts twice.
    pub(crate) fn members(&self) -> usize {
        let listed: usize = self.groups.values().map(|group| group.keys.len()).sum();
        listed - self.primary()
    }

    /// The number of groups that are the primary group of everyone with their `gidNumber`.
    pub(crate) fn primary(&self) -> usize {
        let has_number = |group: &&Watched| {
            let mut members = group.members.iter();
            members.any(|member| matches!(member, Member::Primary(_)))
        };
        self.groups.values().filter(has_number).count()
    }

    /// The DNs of groups that may be a primary group and whose `gidNumber` cannot be read.
    pub(crate) fn without_number(&self) -> impl Iterator<Item = &str> {
        let hiding = self.groups.values().filter(|group| group.hides_number);
        hiding.map(|group| group.dn.as_str())
    }
}

/// The parts of two lists between their common beginning and their common end.
fn differing<'a>(one: &'a [Member], other: &'a [Member]) -> (&'a [Member], &'a [Member]) {
    let same = |(a, b): &(&Member, &Member)| a == b;
    let begin = one.iter().zip(other).take_while(same).count();
    let (one, other) = (&one[begin..], &other[begin..]);
    let end = one.iter().rev().zip(other.iter().rev()).take_while(same).count();
    (&one[..one.len() - end], &other[..other.len() - end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Attribute;

    fn id(n: u8) -> EntryId {
        EntryId::from_slice(&[n; 16]).unwrap()
    }

    fn group(n: u8, members: &[&str]) -> Group {
        Group {
            id: id(n),
            dn: format!("cn=g{n},dc=x"),
            members: members.iter().map(|&dn| Member::Dn(dn.into())).collect(),
            dynamic: false,
            hides_number: false,
        }
    }

    fn texts(members: &[Member]) -> Vec<String> {
        let mut texts: Vec<String> = members.iter().map(|member| format!("{member:?}")).collect();
        texts.sort();
        texts
    }

    #[test]
    fn a_change_of_a_group_concerns_those_who_came_and_those_who_went() {
        let mut memberships = Memberships::default();
        assert_eq!(
            memberships.update(group(1, &["uid=a,dc=x", "uid=b,dc=x"])).len(),
            2
        );
        let changed = memberships.update(group(1, &["UID=B, dc=x", "uid=c,dc=x"]));
        assert_eq!(texts(&changed), [r#"Dn("uid=a,dc=x")"#, r#"Dn("uid=c,dc=x")"#]);
        assert_eq!(memberships.update(group(1, &["uid=b,dc=x", "uid=c,dc=x"])), []);
    }

    #[test]
    fn the_order_of_members_says_nothing_and_who_is_listed_twice_is_a_member_until_listed_no_more() {
        let mut memberships = Memberships::default();
        memberships.update(group(1, &["uid=a,dc=x", "uid=b,dc=x", "uid=c,dc=x"]));
        assert_eq!(
            memberships.update(group(1, &["uid=c,dc=x", "uid=b,dc=x", "uid=A,dc=x"])),
            []
        );
        let twice = ["uid=c,dc=x", "uid=b,dc=x", "uid=A,dc=x", "uid=c, dc=x"];
        assert_eq!(memberships.update(group(1, &twice)), []);
        assert_eq!(memberships.members(), 3);
        assert_eq!(memberships.update(group(1, &twice[1..])), []);
        let changed = memberships.update(group(1, &twice[1..3]));
        assert_eq!(texts(&changed), [r#"Dn("uid=c, dc=x")"#]);
        assert_eq!(memberships.members(), 2);
    }

    #[test]
    fn groups_that_lose_their_last_parent_are_forgotten_even_in_a_cycle() {
        let mut memberships = Memberships::default();
        memberships.update(group(1, &["cn=g2,dc=x", "uid=a,dc=x"]));
        memberships.update(group(2, &["cn=g3,dc=x", "uid=b,dc=x"]));
        memberships.update(group(3, &["cn=g2,dc=x", "uid=c,dc=x"]));
        assert_eq!(memberships.depth(&[id(1)]), 2);
        assert_eq!(memberships.prune(&[id(1)]), []);
        memberships.update(group(1, &["uid=a,dc=x"]));
        let lost = texts(&memberships.prune(&[id(1)]));
        assert!(
            lost.contains(&r#"Dn("uid=b,dc=x")"#.to_owned())
                && lost.contains(&r#"Dn("uid=c,dc=x")"#.to_owned())
        );
        assert_eq!(memberships.groups().count(), 1);
    }

    #[test]
    fn people_are_admitted_by_their_primary_group_and_another_number_concerns_those_of_both() {
        let mut memberships = Memberships::default();
        let posix = |number: &str| Group {
            members: vec![Member::Primary(number.into())],
            ..group(1, &[])
        };
        memberships.update(posix("5000"));
        let person = |number: &str| Entry {
            id: id(9),
            dn: "cn=z,dc=x".into(),
            attributes: vec![Attribute {
                name: "gidNumber".into(),
                values: vec![number.into()],
            }],
        };
        assert!(memberships.admits(&person("5000")));
        assert!(!memberships.admits(&person("5001")));
        assert_eq!((memberships.members(), memberships.primary()), (0, 1));
        let changed = memberships.update(posix("5001"));
        assert_eq!(texts(&changed), [r#"Primary("5000")"#, r#"Primary("5001")"#]);
        assert!(memberships.admits(&person("5001")) && !memberships.admits(&person("5000")));
    }

    #[test]
    fn people_are_admitted_by_name_or_by_uid() {
        let mut memberships = Memberships::default();
        let mut posix = group(1, &["uid=a,dc=x"]);
        posix.members.push(Member::Uid("bob".into()));
        posix.members.push(Member::Uid("ju\u{308}rgen".into()));
        memberships.update(posix);
        let person = |dn: &str, uid: &str| Entry {
            id: id(9),
            dn: dn.into(),
            attributes: vec![Attribute {
                name: "UID".into(),
                values: vec![uid.into()],
            }],
        };
        assert!(memberships.admits(&person("UID=A,dc=x", "other")));
        assert!(memberships.admits(&person("userid=a,domainComponent=x", "other")));
        assert!(memberships.admits(&person("cn=z,dc=x", "Bob")));
        assert!(memberships.admits(&person("cn=z,dc=x", "J\u{fc}rgen")));
        assert!(!memberships.admits(&person("uid=bob,dc=x", "rob")));
    }
}
