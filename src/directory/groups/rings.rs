//! From a change of a group to the people whom it concerns.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use futures::stream::{self, StreamExt, TryStreamExt};

use super::super::doorbell::{Ring, Rings};
use super::super::lookup::Line;
use super::super::remarks::About;
use super::super::wanted::Wanted;
use super::super::{DirectoryError, StreamKind, active_directory, dn, persistent_search, syncrepl};
use super::roster::{Group, Member};
use super::{Groups, read};
use crate::model::EntryId;

/// Watches the groups of `wanted`, if there are any: rings for everyone who came into one of them or went out of it,
/// directly or with another group. When this returns all groups have been read, and nothing that happens to them from
/// then on is missed.
pub(in crate::directory) async fn rings(
    wanted: &Arc<Wanted>,
    kind: StreamKind,
) -> Result<Option<Rings>, DirectoryError> {
    let Some(groups) = wanted.groups.clone() else {
        return Ok(None);
    };
    let mut watch = Watch {
        line: Line::new(wanted.clone()),
        wanted: wanted.clone(),
        groups,
        kind,
        bells: stream::pending().boxed(),
        told: VecDeque::new(),
    };
    let (session, can) = watch.line.session().await?;
    watch.groups.read(session, can, wanted).await?;
    watch.listen().await?;
    let (groups, members, depth) = watch.groups.summary();
    tracing::info!(
        directory = wanted.name,
        groups,
        members,
        depth,
        "the groups that decide are followed, and those within them"
    );
    let hidden = watch.groups.hidden();
    wanted.remark(About::PrimaryGroup, hidden);
    Ok(Some(
        stream::try_unfold(watch, |mut watch| async {
            Ok(watch.next().await?.map(|ring| (ring, watch)))
        })
        .boxed(),
    ))
}

struct Watch {
    wanted: Arc<Wanted>,
    groups: Arc<Groups>,
    kind: StreamKind,
    line: Line,
    /// Rings for each change of a watched group.
    bells: Rings,
    told: VecDeque<Ring>,
}

impl Watch {
    async fn next(&mut self) -> Result<Option<Ring>, DirectoryError> {
        loop {
            if let Some(ring) = self.told.pop_front() {
                return Ok(Some(ring));
            }
            match self.bells.try_next().await? {
                None => return Ok(None),
                Some(Ring::Entry(group) | Ring::Concerned(group)) => {
                    if self.refresh(vec![group]).await? {
                        self.listen().await?;
                    }
                }
                Some(Ring::Checkpoint(_) | Ring::Alive) => {}
            }
        }
    }

    /// Listens to all groups that are watched now, and reads them once more, because they may have changed before.
    async fn listen(&mut self) -> Result<(), DirectoryError> {
        loop {
            let groups: Vec<(EntryId, String)> = self.groups.with_roster(|roster| {
                let groups = roster.groups();
                groups.map(|(id, dn)| (id, dn.to_owned())).collect()
            });
            self.bells = self.bells(&groups).await?;
            if !self
                .refresh(groups.into_iter().map(|(id, _)| id).collect())
                .await?
            {
                return Ok(());
            }
        }
    }

    /// Rings for each change of one of these groups.
    async fn bells(&mut self, groups: &[(EntryId, String)]) -> Result<Rings, DirectoryError> {
        let (_, can) = self.line.session().await?;
        let mut bells = Vec::new();
        match self.kind {
            // A poll looks at the groups before each listing.
            StreamKind::Poll => bells.push(stream::pending().boxed()),
            StreamKind::ActiveDirectory => {
                let who: Vec<EntryId> = groups.iter().map(|(id, _)| *id).collect();
                bells.push(active_directory::watch(&self.wanted, &who).await?);
            }
            StreamKind::Syncrepl | StreamKind::PersistentSearch => {
                for base in self.groups.containers() {
                    let within = groups.iter().filter(|(_, dn)| dn::is_within(dn, base));
                    let any: String = within.map(|&(id, _)| can.identity.filter(id)).collect();
                    if any.is_empty() {
                        continue;
                    }
                    let filter = format!("(|{any})");
                    bells.push(match self.kind {
                        StreamKind::Syncrepl => syncrepl::rings(&self.wanted, can, base, &filter).await?,
                        _ => persistent_search::rings(&self.wanted, can, base, &filter).await?,
                    });
                }
            }
        }
        Ok(stream::select_all(bells).boxed())
    }

    /// Reads groups again and rings for whoever came or went. Returns whether other groups are to be watched now.
    async fn refresh(&mut self, mut queue: Vec<EntryId>) -> Result<bool, DirectoryError> {
        let before = self.watched();
        let mut concerned = Concerned {
            people: BTreeSet::new(),
            groups: BTreeSet::new(),
            adopt: true,
        };
        while let Some(id) = queue.pop() {
            let known = self
                .groups
                .with_roster(|roster| roster.dn_of(id).map(str::to_owned));
            let Some(dn) = known else { continue };
            let group = self.read(id, dn).await?;
            let changed = self.groups.with_roster_mut(|roster| roster.update(group));
            queue.extend(self.concern(changed, &mut concerned).await?);
        }
        let named = self.groups.ids();
        let lost = self.groups.with_roster_mut(|roster| roster.prune(&named));
        // Groups among them are lost as well, or watched because of another one.
        concerned.adopt = false;
        self.concern(lost, &mut concerned).await?;
        let people = concerned.people.into_iter().map(Ring::Concerned);
        self.told.extend(people);
        Ok(self.watched() != before)
    }

    fn watched(&self) -> BTreeSet<EntryId> {
        self.groups
            .with_roster(|roster| roster.groups().map(|(id, _)| id).collect())
    }

    /// A watched group as it is now; one within another group that is there no more has no members.
    async fn read(&mut self, id: EntryId, dn: String) -> Result<Group, DirectoryError> {
        let (session, can) = self.line.session().await?;
        if let Some(group) = read::group(session, can, &dn).await?
            && group.id == id
        {
            return Ok(group);
        }
        if self.groups.ids().contains(&id) {
            self.groups.verify(session, can).await?;
        }
        if let Some(dn) = read::find(session, can, id, self.groups.containers()).await?
            && let Some(group) = read::group(session, can, &dn).await?
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

    /// Finds out who the members that came or went are. Returns groups that are to be read for the first time.
    async fn concern(
        &mut self,
        members: Vec<Member>,
        concerned: &mut Concerned,
    ) -> Result<Vec<EntryId>, DirectoryError> {
        let mut new = Vec::new();
        let (mut uids, mut numbers) = (Vec::new(), Vec::new());
        let mut queue = members;
        while let Some(member) = queue.pop() {
            let dn = match member {
                Member::Uid(uid) => {
                    uids.push(uid);
                    continue;
                }
                Member::Primary(number) => {
                    numbers.push(number);
                    continue;
                }
                Member::Dn(dn) => dn,
            };
            let (session, can) = self.line.session().await?;
            let Some(found) = read::identify(session, can, &dn).await? else {
                // Deleted or renamed: whoever follows the people is told of that.
                continue;
            };
            if !found.is_group {
                concerned.people.insert(found.id);
            } else if self.groups.with_roster(|roster| roster.dn_of(found.id).is_some()) {
                // Whoever is in a group that came or went came or went with it.
                if concerned.groups.insert(found.id) {
                    queue.extend(self.groups.with_roster(|roster| roster.members_of(found.id)));
                }
            } else if concerned.adopt {
                let empty = Group {
                    id: found.id,
                    dn: dn.into(),
                    members: Vec::new(),
                    dynamic: false,
                    hides_number: false,
                };
                self.groups.with_roster_mut(|roster| roster.update(empty));
                concerned.groups.insert(found.id);
                new.push(found.id);
            }
        }
        let (session, can) = self.line.session().await?;
        for (attribute, values) in [("uid", uids), ("gidNumber", numbers)] {
            let values: Vec<&str> = values.iter().map(|value| &**value).collect();
            let people = read::by_value(session, can, &self.wanted.base, attribute, &values).await?;
            concerned.people.extend(people);
        }
        Ok(new)
    }
}

/// Whom one change concerns.
struct Concerned {
    people: BTreeSet<EntryId>,
    /// The groups whose members were taken already.
    groups: BTreeSet<EntryId>,
    /// Whether groups that are not watched yet are to be.
    adopt: bool,
}
