//! The groups on which membership depends, and their members.
//!
//! A stream of people does not report changes of groups. So each group that the filter names by `memberOf`, or that `groups`
//! lists, is watched as an entry of its own, and so are the groups nested in it. When a group changes, its members are
//! compared with those known before, and there is a hint at everyone who joined or left.
//!
//! # Guarantees
//! - Groups are tracked by their identities: a group that is renamed is still followed, in the filter too. If the
//!   configuration names the attribute that identifies people, groups are identified by their DNs, and one that is renamed
//!   is missing.
//! - A missing group is an error and never means that its members left: the groups are checked before anyone is reported as
//!   gone.
//! - The members that were read decide about membership only within one listing. After a change they only show whom it may
//!   concern; whether these people are members is asked of the server. On Active Directory the filter asks for it, because
//!   there the DN of a member may change, or pass to another entry, without a change of the group.
//! - The number of groups and the memory of their members are bounded.
//!
//! # Caveats
//! Members of dynamic groups (`memberURL`) and members by Active Directory's primary group are in no attribute. Only a
//! listing finds them, and only if the server's `memberOf` includes them.

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

/// The largest number of groups.
pub(crate) const GROUPS: usize = 1000;
/// The largest memory of all members together, in bytes: about 330,000 members.
const MEMBERS: usize = 40 << 20;

/// The identities of groups, by the normal form of their DNs in the configuration.
pub(crate) type Identities = HashMap<String, EntryId>;

/// The groups on which membership depends.
#[derive(Debug)]
pub(crate) struct Groups {
    named: Vec<Named>,
    /// A member must be in one of these groups, and the filter does not ask for it.
    restrict: bool,
    /// A member must be in one of these groups, and the filter is extended to ask for it.
    in_filter: bool,
    /// The bases below which groups are searched by identity.
    containers: Vec<String>,
    memberships: RwLock<Memberships>,
}

/// A group that the configuration names.
#[derive(Debug)]
struct Named {
    id: EntryId,
    /// The DN in the configuration.
    configured: String,
    /// The present DN.
    dn: String,
}

impl Groups {
    /// Finds the groups that the settings name; `None` if they name none. `known` are their identities, by which a renamed
    /// group is found.
    ///
    /// # Errors
    /// [`DirectoryError::NoGroup`] if one is missing.
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

    /// The filter with the present DNs of its groups, extended by the groups for which it has to ask.
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

    /// Checks that no group is missing. Reads them if they decide instead of the filter.
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

    /// Reads all groups, including nested ones.
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

    /// Reads all groups again. Returns the people who still exist and are no longer in any of them: a listing that used the former state may
    /// have returned them as members.
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

    /// Reads all groups, including nested ones, each once.
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
        let mut seen: HashSet<String> = queue.iter().map(|name| normal(name)).collect();
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
                    if seen.insert(normal(name)) {
                        queue.push(name.to_owned());
                    }
                }
            }
            if seen.len() > GROUPS {
                return Err(too_many_groups(session));
            }
            memberships.update(group);
        }
        Ok(memberships)
    }

    /// Checks that no group is missing or was renamed.
    ///
    /// # Errors
    /// [`DirectoryError::NoGroup`] if one is missing, [`DirectoryError::GroupRenamed`] if one was renamed.
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

    /// Whether a person who matches the filter was a member when the groups were read.
    pub(crate) fn admits(&self, entry: &Entry) -> bool {
        !self.restrict || self.with_memberships(|memberships| memberships.admits(entry))
    }

    /// Whether the filter alone does not decide about membership.
    pub(crate) fn restrict(&self) -> bool {
        self.restrict
    }

    /// The groups that were renamed: each DN in the configuration with the present one.
    pub(crate) fn renamed(&self) -> impl Iterator<Item = (&str, &str)> {
        let renamed = self.named.iter().filter(|named| named.dn != named.configured);
        renamed.map(|named| (named.configured.as_str(), named.dn.as_str()))
    }

    /// Keeps those of `found` who are members right now. If the groups decide, the server is asked.
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

    /// The identities of the groups.
    pub(crate) fn identities(&self) -> Identities {
        self.named
            .iter()
            .map(|named| (dn::normal(&named.configured).into_owned(), named.id))
            .collect()
    }

    /// The identities of the groups, to be stored as the cursor. It is no resume point: after an interruption everyone is
    /// listed, because changes of groups may have been missed.
    pub(crate) fn cursor(&self) -> Cursor {
        let known = self
            .named
            .iter()
            .map(|named| format!("{} {}\n", named.id, named.configured));
        Cursor(known.collect::<String>().into_bytes())
    }

    /// The numbers of groups and of members, and the number of levels of nested groups.
    pub(crate) fn summary(&self) -> (usize, usize, usize) {
        self.with_memberships(|memberships| {
            (
                memberships.groups().count(),
                memberships.members(),
                memberships.depth(&self.ids()),
            )
        })
    }

    /// The number of groups that may be a primary group (`gidNumber`).
    pub(crate) fn primary(&self) -> usize {
        self.with_memberships(Memberships::primary)
    }

    /// A warning "cause; remedy" if the `gidNumber` of such a group cannot be read.
    pub(crate) fn hidden(&self) -> Option<String> {
        let first =
            self.with_memberships(|memberships| memberships.without_number().next().map(str::to_owned))?;
        Some(format!(
            "the gidNumber of the group {first} cannot be read, so that people who have it as primary group are not found; \
             let the bind account read gidNumber of groups and of people"
        ))
    }

    /// The memory that the members of one group may need besides those of the others.
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

/// The identities in a cursor; none if the cursor is a resume point.
pub(crate) fn recall(cursor: &Cursor) -> Identities {
    let text = str::from_utf8(&cursor.0).unwrap_or_default();
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .filter_map(|(id, dn)| Some((dn::normal(dn).into_owned(), EntryId::parse(id.as_bytes())?)))
        .collect()
}

/// The bases below which groups are searched: the naming contexts of the known groups if the account may read them, or else
/// the parents of these groups.
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
        "{}: there are more than {GROUPS} configured and nested groups, which is more than can be followed; name smaller groups in `groups` or `filter`",
        session.server()
    ))
}

fn no_group(session: &Session, group: &str) -> DirectoryError {
    DirectoryError::NoGroup {
        server: session.server().to_owned(),
        group: group.to_owned(),
    }
}
