//! Finds the people whom a change of a group concerns.
//!
//! A change may concern very many people. They are found some at a time, and other changes are received in between: a change
//! that concerns few people does not wait for one that concerns many.

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::sync::Arc;

use futures::future::{FutureExt, ready};
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::directory::ldap::dn;
use crate::directory::ldap::filter::Filter;
use crate::directory::ldap::search::CHUNK;
use crate::directory::people::groups::members::{Group, Member};
use crate::directory::people::groups::{GROUPS, Groups, read, search, too_many_groups};
use crate::directory::people::lookup::KeptConnection;
use crate::directory::people::query::Query;
use crate::directory::people::warnings::Topic;
use crate::directory::streams::refetch::{Hint, Hints};
use crate::directory::streams::{active_directory, persistent_search, syncrepl};
use crate::directory::{Changes, DirectoryError, StreamKind};
use crate::model::{Change, Cursor, EntryId};

/// Watches the groups of `query`, if there are any. Hints at everyone who joins or leaves one of them, directly or with a
/// nested group. When this returns, all groups have been read, and no later change of them is missed.
pub(crate) async fn hints(query: &Arc<Query>, kind: StreamKind) -> Result<Option<Hints>, DirectoryError> {
    let Some(groups) = query.groups.clone() else {
        return Ok(None);
    };
    let mut watch = GroupWatch {
        connection: KeptConnection::new(query.clone()),
        query: query.clone(),
        groups,
        kind,
        group_hints: stream::pending().boxed(),
        changed: BTreeSet::new(),
        work: VecDeque::new(),
        by_name: true,
        is_complete: true,
        hints: VecDeque::new(),
    };
    let session = watch.connection.session().await?;
    watch.groups.read(session, &query.settings).await?;
    watch.subscribe().await?;
    let (groups, members, depth) = watch.groups.summary();
    tracing::info!(
        directory = query.settings.name,
        groups,
        members,
        depth,
        "following the configured groups, and the groups nested in them"
    );
    let hidden = watch.groups.hidden();
    query.warn(Topic::PrimaryGroup, hidden);
    Ok(Some(
        stream::try_unfold(watch, |mut watch| async {
            Ok(watch.next().await?.map(|hint| (hint, watch)))
        })
        .boxed(),
    ))
}

/// Replaces the resume points, which do not cover changes of groups, by one that stores the identities of the groups.
pub(crate) fn with_identities(changes: Changes, identities: Cursor) -> Changes {
    changes
        .try_filter_map(move |change| {
            ready(Ok(match change {
                Change::Checkpoint(_) => None,
                change => Some(change),
            }))
        })
        .and_then(move |change| {
            let ended = matches!(change, Change::ListingEnd(_));
            let identities = ended.then(|| Change::Checkpoint(identities.clone()));
            ready(Ok(stream::iter([change].into_iter().chain(identities).map(Ok))))
        })
        .try_flatten()
        .boxed()
}

struct GroupWatch {
    query: Arc<Query>,
    groups: Arc<Groups>,
    kind: StreamKind,
    connection: KeptConnection,
    /// Hints for each change of a watched group.
    group_hints: Hints,
    /// The groups to read again.
    changed: BTreeSet<EntryId>,
    work: VecDeque<Work>,
    /// Whether one search can find several members by their names.
    by_name: bool,
    /// Whether exactly the known groups are watched.
    is_complete: bool,
    hints: VecDeque<Hint>,
}

/// The members whom a change concerns and whose identities are not known yet.
struct Work {
    members: VecDeque<Member>,
    /// The keys of all members that this work ever had.
    seen: HashSet<u64>,
    /// The groups whose members were added already.
    groups: BTreeSet<EntryId>,
    /// Whether to watch groups that are found and not watched yet.
    adopt: bool,
}

impl Work {
    fn is_small(&self) -> bool {
        self.members.len() <= CHUNK
    }
}

impl GroupWatch {
    async fn next(&mut self) -> Result<Option<Hint>, DirectoryError> {
        loop {
            if let Some(hint) = self.hints.pop_front() {
                return Ok(Some(hint));
            }
            while let Some(hint) = self.group_hints.next().now_or_never() {
                match hint.transpose()? {
                    Some(hint) => self.receive(&hint),
                    None => return Ok(None),
                }
            }
            if !self.changed.is_empty() {
                self.refresh().await?;
            }
            let small = self.work.iter().position(Work::is_small);
            if small.is_none() && !self.is_complete {
                self.subscribe().await?;
                continue;
            }
            if let Some(work) = small.or(Some(0)).and_then(|at| self.work.remove(at)) {
                self.identify(work).await?;
                continue;
            }
            match self.group_hints.try_next().await? {
                Some(hint) => self.receive(&hint),
                None => return Ok(None),
            }
        }
    }

    fn receive(&mut self, hint: &Hint) {
        if let Hint::Changed(group)
        | Hint::ChangedTogether { id: group, .. }
        | Hint::MemberOfGroup { id: group, .. } = hint
        {
            self.changed.insert(*group);
        }
    }

    /// Subscribes to all known groups, and reads them once more, because they may have changed before.
    async fn subscribe(&mut self) -> Result<(), DirectoryError> {
        let groups: Vec<(EntryId, String)> = self.groups.with_memberships(|memberships| {
            let groups = memberships.groups();
            groups.map(|(id, dn)| (id, dn.to_owned())).collect()
        });
        self.group_hints = self.group_hints(&groups).await?;
        self.is_complete = true;
        self.changed.extend(groups.into_iter().map(|(id, _)| id));
        self.refresh().await
    }

    /// Opens hints at the changes of these groups.
    async fn group_hints(&mut self, groups: &[(EntryId, String)]) -> Result<Hints, DirectoryError> {
        let identity = self.connection.session().await?.capabilities().identity.clone();
        let mut group_hints = Vec::new();
        match self.kind {
            // A poll reads the groups before each listing.
            StreamKind::Poll => group_hints.push(stream::pending().boxed()),
            StreamKind::ActiveDirectory => {
                let who: Vec<EntryId> = groups.iter().map(|(id, _)| *id).collect();
                group_hints.push(active_directory::watch(&self.query, &who).await?);
            }
            StreamKind::Syncrepl | StreamKind::PersistentSearch => {
                for base in self.groups.containers() {
                    let within = groups.iter().filter(|(_, dn)| dn::is_within(dn, base));
                    let some: Vec<Filter> = within.map(|&(id, _)| identity.filter(id)).collect();
                    if some.is_empty() {
                        continue;
                    }
                    let filter = Filter::any(some).to_string();
                    group_hints.push(match self.kind {
                        StreamKind::Syncrepl => syncrepl::hints(&self.query, base, &filter).await?,
                        _ => persistent_search::hints(&self.query, base, &filter).await?,
                    });
                }
            }
        }
        Ok(stream::select_all(group_hints).boxed())
    }

    /// Reads the groups that changed. The members who joined or left become work.
    async fn refresh(&mut self) -> Result<(), DirectoryError> {
        let mut changed = Vec::new();
        for id in std::mem::take(&mut self.changed) {
            let known = self
                .groups
                .with_memberships(|memberships| memberships.dn_of(id).map(str::to_owned));
            let Some(dn) = known else { continue };
            let group = self.read(id, dn).await?;
            changed.extend(
                self.groups
                    .with_memberships_mut(|memberships| memberships.update(group)),
            );
        }
        self.add(changed, true);
        let named = self.groups.ids();
        let before = self.watched();
        let lost = self
            .groups
            .with_memberships_mut(|memberships| memberships.prune(&named));
        self.is_complete &= self.watched() == before;
        // Groups among them are no longer known either, or are watched because of another group.
        self.add(lost, false);
        Ok(())
    }

    fn watched(&self) -> usize {
        self.groups
            .with_memberships(|memberships| memberships.groups().count())
    }

    fn add(&mut self, members: Vec<Member>, adopt: bool) {
        let mut work = Work {
            members: VecDeque::new(),
            seen: HashSet::new(),
            groups: BTreeSet::new(),
            adopt,
        };
        self.groups.with_memberships(|memberships| {
            let new = |member: &Member| work.seen.insert(memberships.key(member));
            work.members = members.into_iter().filter(new).collect();
        });
        if !work.members.is_empty() {
            self.work.push_back(work);
        }
    }

    /// A watched group as it is now. A nested group that no longer exists has no members.
    async fn read(&mut self, id: EntryId, dn: String) -> Result<Group, DirectoryError> {
        let mut room = self.groups.room_for(id);
        let session = self.connection.session().await?;
        if let Some(group) = read::group(session, &dn, &mut room).await?
            && group.id == id
        {
            return Ok(group);
        }
        if self.groups.ids().contains(&id) {
            self.groups.verify(session).await?;
        }
        let mut room = self.groups.room_for(id);
        if let Some(dn) = search::find(session, id, self.groups.containers()).await?
            && let Some(group) = read::group(session, &dn, &mut room).await?
        {
            return Ok(group);
        }
        Ok(Group {
            id,
            dn,
            members: Vec::new(),
            dynamic: false,
            hides_number: false,
        })
    }

    /// Finds the identities of some members who joined or left. Hints at the people among them.
    async fn identify(&mut self, mut work: Work) -> Result<(), DirectoryError> {
        let some = work.members.len().min(CHUNK);
        let asked: Vec<Member> = work.members.drain(..some).collect();
        let mut bases = self.groups.containers().to_vec();
        if !bases
            .iter()
            .any(|base| dn::is_within(&self.query.settings.base, base))
        {
            bases.push(self.query.settings.base.clone());
        }
        let session = self.connection.session().await?;
        let found = search::members(session, &bases, &asked, &mut self.by_name).await?;
        let mut people = search::by_values(session, &self.query.settings.base, &asked).await?;
        for found in found {
            let is_watched = self
                .groups
                .with_memberships(|memberships| memberships.dn_of(found.id).is_some());
            if !found.is_group {
                people.push(found.id);
            } else if is_watched {
                // The members of a nested group join or leave with it.
                if work.groups.insert(found.id) {
                    self.groups.with_memberships(|memberships| {
                        let members = memberships.members_of(found.id).into_iter();
                        let new = members.filter(|member| work.seen.insert(memberships.key(member)));
                        work.members.extend(new);
                    });
                }
            } else if work.adopt {
                self.adopt(found.id, found.dn).await?;
                work.groups.insert(found.id);
            }
        }
        let among = work.seen.len().max(people.len());
        self.hints
            .extend(people.into_iter().map(|id| Hint::MemberOfGroup { id, among }));
        if !work.members.is_empty() {
            self.work.push_front(work);
        }
        Ok(())
    }

    /// Watches one more group, which is read next.
    async fn adopt(&mut self, id: EntryId, dn: String) -> Result<(), DirectoryError> {
        if self.watched() >= GROUPS {
            let session = self.connection.session().await?;
            return Err(too_many_groups(session));
        }
        let empty = Group {
            id,
            dn,
            members: Vec::new(),
            dynamic: false,
            hides_number: false,
        };
        self.groups
            .with_memberships_mut(|memberships| memberships.update(empty));
        self.changed.insert(id);
        self.is_complete = false;
        Ok(())
    }
}
