//! Groups: who is in them, and who is concerned when they change.
//!
//! No server tells whoever follows people that a group changed. So each group that the filter names by `memberOf`, or
//! that `groups` lists, is watched as an entry of its own, and so are the groups in it. When one changes, its members
//! are compared with those known before; whoever came or went is a hint, answered like any other ([`crate::directory::streams::refetch`]).
//!
//! # Guarantees
//! - A group keeps its identity: one that is renamed is still meant, in the filter, too. Where people are known by an
//!   attribute of the configuration, groups are by their names, and one that is renamed is not there.
//! - A group that is not there is an error, never everybody's leaving: before anybody is said to be gone, the groups are
//!   looked at.
//!
//! - What was read of a group decides about nobody beyond one listing: it tells who is concerned by a change. Whether
//!   they are members is asked of the server. On Active Directory the filter asks it, because there a name in a group
//!   changes, or is taken over by somebody else, without any word about the group.
//! - How many groups are followed, and how much of their members is held, has a bound.
//!
//! # Caveats
//! The members of dynamic groups (`memberURL`) and those by Active Directory's primary group stand in no attribute:
//! only a listing finds them, and only where the server's `memberOf` knows them.

pub(crate) mod members;
mod membership;
pub(crate) mod read;
pub(crate) mod search;

use std::collections::{HashMap, HashSet};
use std::sync::{PoisonError, RwLock};

use crate::directory::DirectoryError;
use crate::directory::ldap::capabilities::Family;
use crate::directory::ldap::dn;
use crate::directory::ldap::filter::Filter;
use crate::directory::ldap::schema::Schema;
use crate::directory::ldap::search::check_base;
use crate::directory::ldap::session::Session;
use crate::directory::settings::DirectorySettings;
use crate::foreign;
use crate::model::{Cursor, Entry, EntryId};
use members::{Member, Memberships};
use read::Room;

/// Groups that are followed at most.
pub(crate) const GROUPS: usize = 1000;
/// The bytes that the members of all of them together may take: some 330,000 members.
const MEMBERS: usize = 40 << 20;

/// The identities of groups, under the normal form of the names that they have in the configuration.
pub(crate) type Identities = HashMap<String, EntryId>;

/// The groups on which membership depends.
#[derive(Debug)]
pub(crate) struct Groups {
    named: Vec<Named>,
    /// Only who is in one of them is a member, and the filter does not ask for that.
    restrict: bool,
    /// Only who is in one of them is a member, and the filter is to ask for that.
    in_filter: bool,
    /// Where groups are, for searches by identity.
    containers: Vec<String>,
    memberships: RwLock<Memberships>,
}

/// A group that the configuration names.
#[derive(Debug)]
struct Named {
    id: EntryId,
    /// The name in the configuration.
    configured: String,
    /// The name now.
    dn: String,
}

impl Groups {
    /// Finds the groups that the settings name; `None` where they name none. `known` are the identities that they had
    /// before, so that a group that was renamed is found.
    ///
    /// # Errors
    /// [`DirectoryError::NoGroup`] where one is not there.
    pub(crate) async fn resolve(
        session: &mut Session,
        settings: &DirectorySettings,
        known: &Identities,
    ) -> Result<Option<Self>, DirectoryError> {
        let configured: Vec<String> = settings
            .groups
            .iter()
            .cloned()
            .chain(settings.filter.groups(session.schema()))
            .collect();
        if configured.is_empty() {
            return Ok(None);
        }
        let containers = containers(session, &configured).await?;
        let is_controller = session.capabilities().family == Family::ActiveDirectory;
        let mut named = Vec::new();
        for configured in configured {
            let (id, dn) = match read::identify(session, &configured).await? {
                Some(id) => (id, configured.clone()),
                None => {
                    let former = known.get(&*dn::normal(&configured)).copied();
                    let renamed = match former {
                        Some(id) => search::find(session, id, &containers).await?.map(|dn| (id, dn)),
                        None => None,
                    };
                    let Some((id, dn)) = renamed else {
                        return Err(no_group(session, &configured));
                    };
                    (id, dn)
                }
            };
            named.push(Named { id, configured, dn });
        }
        Ok(Some(Self {
            named,
            restrict: !settings.groups.is_empty() && !is_controller,
            in_filter: !settings.groups.is_empty() && is_controller,
            containers,
            memberships: RwLock::default(),
        }))
    }

    /// The filter with the names that its groups have now, and with the groups themselves where it is to ask for them.
    pub(crate) fn filter(&self, schema: &Schema, filter: &Filter) -> Filter {
        let renamed = filter.renamed(schema, |group| {
            let named = self
                .named
                .iter()
                .find(|named| dn::normal(&named.configured) == dn::normal(group))?;
            (named.dn != named.configured).then(|| named.dn.clone())
        });
        if !self.in_filter {
            return renamed;
        }
        let any = self.named.iter().map(|named| Filter::in_chain(&named.dn));
        renamed.and(Filter::any(any))
    }

    /// Makes sure that all groups are there, and, where they decide and not the filter, reads them.
    ///
    /// # Errors
    /// As [`Groups::verify`].
    pub(crate) async fn look(
        &self,
        session: &mut Session,
        settings: &DirectorySettings,
    ) -> Result<(), DirectoryError> {
        if self.restrict {
            self.read(session, settings).await
        } else {
            self.verify(session).await
        }
    }

    /// Reads all groups, those within groups included.
    ///
    /// # Errors
    /// As [`Groups::verify`].
    pub(crate) async fn read(
        &self,
        session: &mut Session,
        settings: &DirectorySettings,
    ) -> Result<(), DirectoryError> {
        let memberships = self.memberships(session, settings).await?;
        self.verify(session).await?;
        tracing::debug!(
            directory = settings.name,
            groups = memberships.groups().count(),
            members = memberships.members(),
            depth = memberships.depth(&self.ids()),
            "groups read"
        );
        self.with_memberships_mut(|known| *known = memberships);
        Ok(())
    }

    /// Reads all groups again; returns those who are members no more by what is known of them now, as far as they are
    /// still there. Who was taken for a member since the reading before may be one of them.
    ///
    /// # Errors
    /// As [`Groups::verify`].
    pub(crate) async fn read_again(
        &self,
        session: &mut Session,
        settings: &DirectorySettings,
    ) -> Result<Vec<EntryId>, DirectoryError> {
        let memberships = self.memberships(session, settings).await?;
        self.verify(session).await?;
        let gone: Vec<Member> = self.with_memberships(|known| known.without(&memberships).cloned().collect());
        self.with_memberships_mut(|known| *known = memberships);
        let mut who = Vec::new();
        let mut by_name = true;
        for chunk in gone.chunks(crate::directory::ldap::search::CHUNK) {
            let bases = [settings.base.clone()];
            let found = search::members(session, &bases, chunk, &mut by_name).await?;
            who.extend(found.into_iter().map(|found| found.id));
            who.extend(search::by_values(session, &settings.base, chunk).await?);
        }
        Ok(who)
    }

    /// All groups as they are now, those within groups included, each of which is read once.
    async fn memberships(
        &self,
        session: &mut Session,
        settings: &DirectorySettings,
    ) -> Result<Memberships, DirectoryError> {
        let mut all = None;
        let schema = session.schema().clone();
        let mut memberships = Memberships::new(schema.clone());
        let mut room = Room(MEMBERS);
        let mut queue: Vec<String> = self.named.iter().map(|named| named.dn.clone()).collect();
        let normal = |name: &str| dn::normal_in(name, &schema).into_owned();
        let mut met: HashSet<String> = queue.iter().map(|name| normal(name)).collect();
        while let Some(name) = queue.pop() {
            let Some(group) = read::group(session, &name, &mut room).await? else {
                continue;
            };
            if group.dynamic {
                tracing::warn!(
                    directory = settings.name,
                    group = foreign::shown(&group.dn),
                    "the members of a dynamic group cannot be watched: only the audit finds who joins and who leaves"
                );
            }
            if self.in_filter && group.members.iter().any(|member| member.uid().is_some()) {
                tracing::warn!(
                    directory = settings.name,
                    group = foreign::shown(&group.dn),
                    "`memberUid` of a group does not count on Active Directory: add people to its `member`"
                );
            }
            if group.members.iter().any(Member::is_entry) {
                let all = match &mut all {
                    Some(all) => all,
                    None => all.insert(search::All::read(session, &self.containers).await?),
                };
                for name in group.members.iter().filter_map(|member| all.name(member)) {
                    if met.insert(normal(name)) {
                        queue.push(name.to_owned());
                    }
                }
            }
            if met.len() > GROUPS {
                return Err(too_many_groups(session));
            }
            memberships.update(group);
        }
        Ok(memberships)
    }

    /// Makes sure that every group is where it was.
    ///
    /// # Errors
    /// [`DirectoryError::NoGroup`] where one is not there, [`DirectoryError::GroupRenamed`] where one has another name.
    pub(crate) async fn verify(&self, session: &mut Session) -> Result<(), DirectoryError> {
        for named in &self.named {
            if read::identify(session, &named.dn).await? == Some(named.id) {
                continue;
            }
            return Err(match search::find(session, named.id, &self.containers).await? {
                Some(now) => DirectoryError::GroupRenamed {
                    server: session.server().to_owned(),
                    group: named.dn.clone(),
                    now: foreign::shown(&now),
                },
                None => no_group(session, &named.configured),
            });
        }
        Ok(())
    }

    /// Whether someone who matches the filter was a member when the groups were read.
    pub(crate) fn admits(&self, entry: &Entry) -> bool {
        !self.restrict || self.with_memberships(|memberships| memberships.admits(entry))
    }

    /// Whether the filter alone does not decide.
    pub(crate) fn restrict(&self) -> bool {
        self.restrict
    }

    /// The groups that have other names now than in the configuration, each with both.
    pub(crate) fn renamed(&self) -> impl Iterator<Item = (&str, &str)> {
        let renamed = self.named.iter().filter(|named| named.dn != named.configured);
        renamed.map(|named| (named.configured.as_str(), named.dn.as_str()))
    }

    /// Those of `found` who are members right now: where the groups decide, they are asked.
    pub(crate) async fn retain_members(
        &self,
        found: Vec<Entry>,
        session: &mut Session,
    ) -> Result<Vec<Entry>, DirectoryError> {
        if !self.restrict {
            return Ok(found);
        }
        let groups: Vec<(EntryId, String)> = self.with_memberships(|memberships| {
            let groups = memberships.groups();
            groups.map(|(id, dn)| (id, dn.to_owned())).collect()
        });
        membership::held(session, &groups, &self.containers, found).await
    }

    /// What is known of the groups' identities.
    pub(crate) fn identities(&self) -> Identities {
        self.named
            .iter()
            .map(|named| (dn::normal(&named.configured).into_owned(), named.id))
            .collect()
    }

    /// What is known of the groups, to be stored as the cursor. It is no resume point: what happened to groups while
    /// nobody watched is found by listing everyone.
    pub(crate) fn cursor(&self) -> Cursor {
        let known = self
            .named
            .iter()
            .map(|named| format!("{} {}\n", named.id, named.configured));
        Cursor(known.collect::<String>().into_bytes())
    }

    /// For people: how many groups and members there are, and how deep groups lie in groups.
    pub(crate) fn summary(&self) -> (usize, usize, usize) {
        self.with_memberships(|memberships| {
            (
                memberships.groups().count(),
                memberships.members(),
                memberships.depth(&self.ids()),
            )
        })
    }

    /// How many of the groups are the primary group (`gidNumber`) of some.
    pub(crate) fn primary(&self) -> usize {
        self.with_memberships(Memberships::primary)
    }

    /// What an administrator should know where that cannot be told; reads as "cause; remedy".
    pub(crate) fn hidden(&self) -> Option<String> {
        let first =
            self.with_memberships(|memberships| memberships.without_number().next().map(str::to_owned))?;
        Some(format!(
            "the gidNumber of the group {first} cannot be read, so that whoever has it as primary group is not found; \
             let the bind account read gidNumber of groups and of people"
        ))
    }

    /// What one group may still take beside the others.
    pub(crate) fn room_for(&self, group: EntryId) -> Room {
        self.with_memberships(|memberships| Room(MEMBERS.saturating_sub(memberships.weight_beside(group))))
    }

    pub(crate) fn containers(&self) -> &[String] {
        &self.containers
    }

    pub(crate) fn ids(&self) -> Vec<EntryId> {
        self.named.iter().map(|named| named.id).collect()
    }

    pub(crate) fn with_memberships<T>(&self, look: impl FnOnce(&Memberships) -> T) -> T {
        look(&self.memberships.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn with_memberships_mut<T>(&self, change: impl FnOnce(&mut Memberships) -> T) -> T {
        change(&mut self.memberships.write().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The identities in a cursor; none in one that a stream made.
pub(crate) fn recall(cursor: &Cursor) -> Identities {
    let text = str::from_utf8(&cursor.0).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(id, dn)| Some((dn::normal(dn).into_owned(), EntryId::parse(id.as_bytes())?)))
        .collect()
}

/// Where groups are to be looked for: in the naming contexts that hold those known, as far as this account may read
/// them, else in what they stand in.
async fn containers(session: &mut Session, groups: &[String]) -> Result<Vec<String>, DirectoryError> {
    let can = session.capabilities().clone();
    let mut containers: Vec<String> = Vec::new();
    for group in groups {
        let context = can
            .naming_contexts
            .iter()
            .find(|context| dn::is_within(group, context))
            .map(String::as_str);
        for container in context
            .into_iter()
            .chain(dn::parent(group))
            .chain([group.as_str()])
        {
            if containers.iter().any(|known| dn::is_within(container, known)) {
                break;
            }
            match check_base(session, container).await {
                Ok(()) => {
                    containers.push(container.to_owned());
                    break;
                }
                Err(DirectoryError::NoBase { .. } | DirectoryError::Refused { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(containers)
}

/// The error for more groups than can be followed.
pub(crate) fn too_many_groups(session: &Session) -> DirectoryError {
    DirectoryError::Settings(format!(
        "{}: the groups that decide, and those within them, are more than {GROUPS}, which is more than can be followed; name smaller groups in `groups` or `filter`",
        session.server()
    ))
}

fn no_group(session: &Session, group: &str) -> DirectoryError {
    DirectoryError::NoGroup {
        server: session.server().to_owned(),
        group: group.to_owned(),
    }
}
