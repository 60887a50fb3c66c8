//! Does everything for one person now: `sync --person` and `invite`.
//!
//! If a service has the state, it carries out what is owed; otherwise this process does, for this person only.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::duty::depart;
use super::explain::parse_person;
use super::find::with_address;
use super::policies::{leave, limits};
use super::wiring::{Components, policy};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::directory::{Directory, LdapDirectory};
use crate::model::{ActionState, EmailAddress, Entry, EntryId, Event, Source};
use crate::rules::membership::Sighting;
use crate::rules::{DecisionContext, Verdict};
use crate::store::{self, ChangeBatch, Decisions, PersonQuery, PersonReport, Scope, Step, Store};
use crate::worker::{Until, look_up};

/// How long to wait for the service.
const PATIENCE: Duration = Duration::from_secs(30);
/// The time between two looks at what the service has done.
const LOOK: Duration = Duration::from_millis(200);

/// What to do if no entry is found.
const NO_ENTRY: &str = "check the entry, `filter` and `mail_attributes`; `ldap-usher watch --all` prints everyone whom a \
                        directory returns, and `ldap-usher explain` says why somebody is not invited";

/// One step that was done.
#[derive(Debug)]
pub enum Progress<'a> {
    /// What was found, or what happens now.
    Told(String),
    /// Something happened to the person.
    Happened(&'a Event),
}

/// Receives the steps.
type Say<'a> = dyn FnMut(Progress<'_>) + Send + 'a;

/// The state, and the components that carry out what is owed if no service does.
struct Desk<'a> {
    config: &'a Config,
    /// The directories of the configuration, in its order.
    directories: Vec<Arc<LdapDirectory>>,
    clock: Clock,
    store: Arc<dyn Store>,
    components: Option<Components>,
}

/// Looks a person up in their directory, decides on what is found, and carries out what is owed. Tells each step.
///
/// # Errors
/// Nobody is known or found by this name, or a server or the state failed.
pub async fn sync_person(config: &Config, who: &str, say: &mut Say<'_>) -> anyhow::Result<Vec<PersonReport>> {
    let query = parse_person(who)?;
    let desk = Desk::open(config).await?;
    let done = look_up_and_carry_out(&desk, who, query, say).await;
    desk.close().await;
    done
}

/// Looks a person up, of whom this is `known`, in these `directories` of the service, and decides on what is found. The
/// service, whose state this is, carries out what is owed.
///
/// # Errors
/// As [`sync_person`].
pub(super) async fn look_person_up(
    config: &Config,
    directories: Vec<Arc<LdapDirectory>>,
    store: Arc<dyn Store>,
    (who, query, known): (&str, &PersonQuery, &[PersonReport]),
) -> anyhow::Result<()> {
    let desk = Desk {
        config,
        directories,
        clock: store.clock(),
        store,
        components: None,
    };
    desk.look_up(who, query, known, &mut |_| {}).await.map(drop)
}

async fn look_up_and_carry_out(
    desk: &Desk<'_>,
    who: &str,
    query: PersonQuery,
    say: &mut Say<'_>,
) -> anyhow::Result<Vec<PersonReport>> {
    let known = desk.store.people(query.clone(), 0).await?;
    let seen = desk.look_up(who, &query, &known, say).await?;
    let mut done = Vec::new();
    for (directory, id) in seen {
        let before = known
            .iter()
            .find(|person| person.directory == directory && person.member.id == id)
            .map_or(0, |person| person.events.len());
        done.extend(desk.carry_out(&directory, id, before, say).await?);
    }
    Ok(done)
}

/// Queues the invitation to an address, whatever held it back or ended it, and carries it out. Tells each step.
///
/// # Errors
/// No configured directory has a member with this address, or a server or the state failed.
pub async fn invite_person(
    config: &Config,
    address: &EmailAddress,
    say: &mut Say<'_>,
) -> anyhow::Result<Vec<PersonReport>> {
    let desk = Desk::open(config).await?;
    let done = queue_and_carry_out(&desk, address, say).await;
    desk.close().await;
    done
}

async fn queue_and_carry_out(
    desk: &Desk<'_>,
    address: &EmailAddress,
    say: &mut Say<'_>,
) -> anyhow::Result<Vec<PersonReport>> {
    let query = PersonQuery::Address(address.clone());
    let counts = |people: &[PersonReport]| -> HashMap<i64, usize> {
        let events = people
            .iter()
            .map(|person| (person.member.row, person.events.len()));
        events.collect()
    };
    let before = counts(&desk.store.people(query.clone(), 0).await?);
    let mut holder = desk.queue(address).await?;
    if holder.is_none() {
        desk.search(&query, &mut Vec::new(), say).await?;
        holder = desk.queue(address).await?;
    }
    let Some((directory, id)) = holder else {
        bail!(
            "no member has the address {address}, and no configured directory has an entry with it that matches its filter \
             and can be invited; {NO_ENTRY}"
        );
    };
    let person = desk.person(&directory, id).await?;
    let seen = before.get(&person.member.row).copied().unwrap_or_default();
    let done = desk.carry_out(&directory, id, seen, say).await?;
    Ok(done.into_iter().collect())
}

impl<'a> Desk<'a> {
    async fn open(config: &'a Config) -> anyhow::Result<Self> {
        let clock = Clock::system();
        if config.state.exists() && store::is_served(&config.state).await? {
            let store = store::open_shared(&config.state).await?;
            let directories = config.directories.iter().map(|directory| {
                let settings = &directory.settings;
                let ldap = LdapDirectory::new(settings.clone());
                Ok(Arc::new(
                    ldap.with_context(|| format!("directory {}", settings.name))?,
                ))
            });
            return Ok(Self {
                config,
                directories: directories.collect::<anyhow::Result<_>>()?,
                clock,
                store,
                components: None,
            });
        }
        let mut components = Components::open(config).await?;
        for listener in &components.listeners {
            let (name, scope) = (&listener.name, &listener.scope);
            components
                .store
                .register(name, scope, &listener.fingerprint)
                .await?;
        }
        // One person needs no rate limit.
        components.worker.settings.per_minute = None;
        Ok(Self {
            config,
            directories: components.servers.directories.clone(),
            clock,
            store: components.store.clone(),
            components: Some(components),
        })
    }

    /// The configured directories with their clients.
    fn directories(&self) -> impl Iterator<Item = (&config::Directory, &LdapDirectory)> {
        let clients = self.directories.iter().map(Arc::as_ref);
        self.config.directories.iter().zip(clients)
    }

    /// Looks a person up, of whom this is `known`, and decides on what is found. Returns who that is.
    async fn look_up(
        &self,
        who: &str,
        query: &PersonQuery,
        known: &[PersonReport],
        say: &mut Say<'_>,
    ) -> anyhow::Result<Vec<(String, EntryId)>> {
        let mut seen = Vec::new();
        for person in known.iter().filter(|person| person.configured) {
            let mut directories = self.directories();
            let named = directories.find(|(directory, _)| directory.settings.name == person.directory);
            if let Some(directory) = named {
                self.see_known(directory, person, say).await?;
                seen.push((person.directory.clone(), person.member.id));
            }
        }
        // An entry that was created again has the address of the former one, but is another entry.
        if seen.is_empty() || matches!(query, PersonQuery::Address(_)) {
            self.search(query, &mut seen, say).await?;
        }
        if seen.is_empty() {
            let how = match query {
                PersonQuery::Dn(..) => "name a person who is not known yet by the address or the UUID",
                _ => NO_ENTRY,
            };
            bail!(
                "no one is known by {who}, and no configured directory has such an entry that matches its filter; {how}"
            );
        }
        Ok(seen)
    }

    /// Leaves a store that others may share.
    async fn close(&self) {
        if self.components.is_some() {
            depart(&*self.store).await;
        }
    }

    /// Looks a known person up.
    async fn see_known(
        &self,
        (directory, ldap): (&config::Directory, &LdapDirectory),
        person: &PersonReport,
        say: &mut Say<'_>,
    ) -> anyhow::Result<()> {
        let name = &directory.settings.name;
        let number = self.number(name).await?;
        let id = person.member.id;
        let failed = || format!("directory {name}");
        match look_up(ldap, &*self.store, number, id)
            .await
            .with_context(failed)?
        {
            Some(entry) => self.see(directory, &entry, say).await,
            None => {
                say(Progress::Told(format!(
                    "directory {name}: {} is gone, or does not match the filter",
                    person.member.dn
                )));
                self.apply(directory, Sighting::Gone(id)).await
            }
        }
    }

    /// Searches all directories for entries that are not known yet. Adds them to `seen`.
    async fn search(
        &self,
        query: &PersonQuery,
        seen: &mut Vec<(String, EntryId)>,
        say: &mut Say<'_>,
    ) -> anyhow::Result<()> {
        for (directory, ldap) in self.directories() {
            let name = &directory.settings.name;
            let found = match query {
                PersonQuery::Address(address) => with_address(ldap, directory, address).await,
                PersonQuery::Id(id) => ldap.lookup(&[*id]).await,
                PersonQuery::Dn(..) | PersonQuery::After(..) => Ok(Vec::new()),
            };
            for entry in found.with_context(|| format!("directory {name}"))? {
                let is = (name.clone(), entry.id);
                if !seen.contains(&is) {
                    self.see(directory, &entry, say).await?;
                    seen.push(is);
                }
            }
        }
        Ok(())
    }

    /// Decides on an entry.
    async fn see(
        &self,
        directory: &config::Directory,
        entry: &Entry,
        say: &mut Say<'_>,
    ) -> anyhow::Result<()> {
        let name = &directory.settings.name;
        let policy = policy(self.config, directory, self.clock.now());
        let found = match policy.address(entry, None) {
            Ok(address) => format!("matches the filter, with the address {address}"),
            Err(reason) => format!("matches the filter and cannot be invited: {reason}"),
        };
        say(Progress::Told(format!("directory {name}: {} {found}", entry.dn)));
        self.apply(directory, Sighting::Entry(policy.facts(entry))).await
    }

    async fn apply(&self, directory: &config::Directory, sighting: Sighting) -> anyhow::Result<()> {
        let now = self.clock.now();
        let batch = ChangeBatch {
            directory: self.number(&directory.settings.name).await?,
            source: Source::LookUp,
            summarised: false,
            sightings: vec![sighting],
            together: HashMap::new(),
            cursor: None,
            policy: policy(self.config, directory, now),
            limits: limits(self.config),
            leave: Arc::new(leave(self.config)),
            listing: Verdict::Invite,
            leaving: None,
            arrived: now,
        };
        self.store.apply(batch).await?;
        Ok(())
    }

    /// Queues the invitation of the member with this address. Returns who that is.
    async fn queue(&self, address: &EmailAddress) -> anyhow::Result<Option<(String, EntryId)>> {
        let scope = Scope {
            addresses: vec![address.clone()],
            ..Scope::default()
        };
        let (limits, leave, now) = (limits(self.config), leave(self.config), self.clock.now());
        let address = address.clone();
        let holder = self.store.decide(scope, move |book| {
            let context = DecisionContext::single(Source::Administrator, now, now, &limits, &leave);
            let person = book.invite_by_hand(&address, &context);
            Step::Done(person.map(|person| {
                let person = &book.people()[person];
                (person.directory_name.clone(), person.member.id)
            }))
        });
        Ok(holder.await?)
    }

    /// Has everything carried out that is due for a person, and tells their events after the first `seen`.
    async fn carry_out(
        &self,
        directory: &str,
        id: EntryId,
        seen: usize,
        say: &mut Say<'_>,
    ) -> anyhow::Result<Option<PersonReport>> {
        let mut person = match self.find(directory, id).await? {
            Some(person) => person,
            None => return Ok(None),
        };
        let mut seen = tell(&person, seen, say);
        if let Some(components) = &self.components {
            let mut worker = components.worker.clone();
            worker.settings.only = Some(person.member.row);
            let never = CancellationToken::new();
            worker.run(Until::Drained, &never, &never).await?;
            person = self.person(directory, id).await?;
            tell(&person, seen, say);
            return Ok(Some(person));
        }
        let deadline = Instant::now() + PATIENCE;
        while is_due(&person, self.clock.now()) && Instant::now() < deadline {
            sleep(LOOK).await;
            person = self.person(directory, id).await?;
            seen = tell(&person, seen, say);
        }
        if is_due(&person, self.clock.now()) {
            say(Progress::Told(format!(
                "the service has not done it within {} s; it goes on",
                PATIENCE.as_secs()
            )));
        }
        Ok(Some(person))
    }

    async fn find(&self, directory: &str, id: EntryId) -> anyhow::Result<Option<PersonReport>> {
        let people = self.store.people(PersonQuery::Id(id), 0).await?;
        Ok(people.into_iter().find(|person| person.directory == directory))
    }

    async fn person(&self, directory: &str, id: EntryId) -> anyhow::Result<PersonReport> {
        let found = self.find(directory, id).await?;
        found.context("the person is no longer in the state")
    }

    /// The number of a directory in the store.
    async fn number(&self, name: &str) -> anyhow::Result<i64> {
        let number = self.store.directory(name).await?;
        number.with_context(|| format!("the service does not know the directory {name} yet; restart it"))
    }
}

/// Whether something is due for a person.
fn is_due(person: &PersonReport, now: crate::clock::Timestamp) -> bool {
    let mut actions = person.actions.iter();
    actions.any(|action| action.state == ActionState::Queued && action.due <= now)
}

/// Tells the events of a person after the first `seen`. Returns how many there are.
fn tell(person: &PersonReport, seen: usize, say: &mut Say<'_>) -> usize {
    for event in person.events.iter().skip(seen) {
        say(Progress::Happened(event));
    }
    person.events.len()
}
