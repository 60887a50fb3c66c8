//! The working set of one decision: people, the actions that are owed to their addresses, and the directory.

use std::collections::{BTreeSet, HashMap};

use super::brake::Brake;
use super::leaver_brake::LeaverBrake;
use super::task::Task;
use crate::clock::Timestamp;
use crate::model::{ActionKind, Cursor, EmailAddress, EntryId, Event, Hold, Member, Source, Standing, What};

/// The stored people and tasks that one decision is about.
///
/// The store loads it, the rules change it, and the store saves the changes. People and tasks are identified by their
/// index in [`Book::people`] and [`Book::tasks`].
///
/// A person is *owed* an invitation from the moment they become a member until it is sent or they leave.
#[derive(Debug, Default)]
pub struct Book {
    /// The directory that the decision is about, if any.
    pub directory: Option<Directory>,
    /// The events that result from the decision, in order.
    pub events: Vec<Noted>,
    /// The limit on leavers that this decision exceeded: all leavers of the directory whose time has not come are held.
    pub leavers_exceeded: Option<Hold>,
    people: Vec<Person>,
    by_id: HashMap<(i64, EntryId), usize>,
    /// People by current or earlier address: a superset, to be filtered.
    by_address: HashMap<EmailAddress, Vec<usize>>,
    tasks: Vec<Task>,
    by_target: HashMap<(ActionKind, EmailAddress), usize>,
    by_row: HashMap<i64, usize>,
    /// Tasks by current or earlier person: a superset, to be filtered.
    by_person: HashMap<usize, BTreeSet<usize>>,
}

/// The part of a directory's state that decisions depend on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// Its row in the store.
    pub id: i64,
    /// Its name in the configuration.
    pub name: String,
    /// The count of new people that it added recently.
    pub brake: Brake,
    /// The count of people who left it recently.
    pub leaver_brake: LeaverBrake,
    /// The number of people who are in it now, with or without an address.
    pub present: u64,
    /// The resume point to store together with the decision, and its time.
    pub cursor: Option<(Cursor, Timestamp)>,
}

/// An event to store in the journal, with the row of its directory in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// The row of the directory.
    pub directory: i64,
    /// The event.
    pub event: Event,
}

/// A person in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The row of their directory in the store.
    pub directory: i64,
    /// The name of their directory.
    pub directory_name: String,
    /// Whether the directory is configured. People of a directory that is not are ignored.
    pub configured: bool,
    /// Their identity and state.
    pub member: Member,
    /// The digest of the entry that led to this state ([`super::membership::EntryFacts::digest`]); `None` if something
    /// else did.
    pub decided_on: Option<i64>,
    /// `member` and `decided_on` as stored; `None` for a new person.
    stored: Option<(Member, Option<i64>)>,
}

impl Person {
    /// Whether they are a member of a configured directory and have this address.
    pub fn is_member_at(&self, address: &EmailAddress) -> bool {
        self.configured
            && self.member.standing == Standing::Member
            && self.member.address.as_ref() == Some(address)
    }
}

impl Book {
    /// All people.
    pub fn people(&self) -> &[Person] {
        &self.people
    }

    /// All tasks.
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// The index of a person, by the row of their directory and the identity of their entry.
    pub fn person_by_id(&self, directory: i64, id: EntryId) -> Option<usize> {
        self.by_id.get(&(directory, id)).copied()
    }

    /// The index of the invitation to an address.
    pub fn invitation_to(&self, address: &EmailAddress) -> Option<usize> {
        self.task_at(ActionKind::Invite, address)
    }

    /// The index of the task of this kind for an address.
    pub fn task_at(&self, kind: ActionKind, address: &EmailAddress) -> Option<usize> {
        self.by_target.get(&(kind, address.clone())).copied()
    }

    /// The index of a task, by its row in the store.
    pub fn task_by_row(&self, row: i64) -> Option<usize> {
        self.by_row.get(&row).copied()
    }

    /// The indices of the invitations for a person.
    pub fn invitations_for(&self, person: usize) -> impl Iterator<Item = usize> {
        let candidates = self.by_person.get(&person).into_iter().flatten().copied();
        candidates.filter(move |&index| {
            self.tasks[index].person == person && self.tasks[index].kind == ActionKind::Invite
        })
    }

    // -- for the store -----------------------------------------------------------------------------------------

    /// Adds a stored person, unless the book contains them already. Returns their index.
    pub fn load_person(
        &mut self,
        directory: (i64, &str),
        configured: bool,
        (member, decided_on): (Member, Option<i64>),
    ) -> usize {
        if let Some(index) = self.person_by_id(directory.0, member.id) {
            return index;
        }
        let stored = Some((member.clone(), decided_on));
        self.add_person(Person {
            directory: directory.0,
            directory_name: directory.1.to_owned(),
            configured,
            member,
            decided_on,
            stored,
        })
    }

    /// Adds a stored task, unless the book contains it already.
    pub fn load_task(&mut self, mut task: Task) {
        if self.task_at(task.kind, &task.address).is_some() {
            return;
        }
        task.stored = Some(Box::new(task.clone()));
        let row = task.row;
        let index = self.add_task(task);
        self.by_row.insert(row, index);
    }

    /// Calls `save` with each new or changed person and their stored state. `save` returns their row.
    ///
    /// # Errors
    /// The first error of `save`.
    pub fn save_people<E>(
        &mut self,
        mut save: impl FnMut(&Person, Option<&Member>) -> Result<i64, E>,
    ) -> Result<(), E> {
        for person in &mut self.people {
            let same = |(member, decided_on): &(Member, _)| {
                (member, *decided_on) == (&person.member, person.decided_on)
            };
            let stored = person.stored.as_ref();
            if !stored.is_some_and(same) {
                person.member.row = save(person, stored.map(|(member, _)| member))?;
            }
        }
        Ok(())
    }

    /// Calls `save` with each new or changed task, its stored state, and the row of its person. Must be called after
    /// [`Book::save_people`], which sets the rows of new people.
    ///
    /// # Errors
    /// The first error of `save`.
    pub fn save_tasks<E>(
        &self,
        mut save: impl FnMut(&Task, Option<&Task>, i64) -> Result<(), E>,
    ) -> Result<(), E> {
        for task in &self.tasks {
            let stored = task.stored.as_deref();
            if !stored.is_some_and(|stored| stored.same_as(task)) {
                save(task, stored, self.people[task.person].member.row)?;
            }
        }
        Ok(())
    }

    // -- for the rules ------------------------------------------------------------------------------------------

    /// Updates or adds a person of the book's directory. Returns their index, or `None` if the book has no directory.
    pub(super) fn update_person(&mut self, member: Member) -> Option<usize> {
        let directory = self.directory.as_ref()?;
        if let Some(index) = self.person_by_id(directory.id, member.id) {
            if let Some(address) = &member.address {
                self.by_address.entry(address.clone()).or_default().push(index);
            }
            self.people[index].member = member;
            return Some(index);
        }
        let person = Person {
            directory: directory.id,
            directory_name: directory.name.clone(),
            configured: true,
            member,
            decided_on: None,
            stored: None,
        };
        Some(self.add_person(person))
    }

    /// Makes a member wait without an invitation until the next sighting of their entry.
    pub(super) fn set_waiting(&mut self, index: usize, why: &str) {
        let person = &mut self.people[index];
        if person.member.standing == Standing::Member {
            person.member.standing = Standing::WithoutAddress(why.to_owned());
            person.decided_on = None;
        }
    }

    /// Makes a person one who has left. Returns whether they had not.
    pub(super) fn set_left(&mut self, index: usize) -> bool {
        let person = &mut self.people[index];
        let changes = person.member.standing != Standing::Left;
        person.member.standing = Standing::Left;
        person.decided_on = None;
        changes
    }

    /// Stores the digest of the entry that led to a person's state, or `None` if something else did.
    pub(super) fn set_decided_on(&mut self, directory: i64, id: EntryId, digest: Option<i64>) {
        if let Some(index) = self.person_by_id(directory, id) {
            self.people[index].decided_on = digest;
        }
    }

    /// Adds an event about a person and an address, which need not be the person's current one.
    pub(super) fn record(
        &mut self,
        person: usize,
        address: Option<EmailAddress>,
        (at, source): (Timestamp, Source),
        what: What,
    ) {
        let Person {
            directory,
            directory_name,
            member,
            ..
        } = &self.people[person];
        self.events.push(Noted {
            directory: *directory,
            event: Event {
                at,
                directory: directory_name.clone(),
                person: Some(member.id),
                dn: member.dn.clone(),
                address,
                source,
                what,
            },
        });
    }

    /// Adds an event about a task's person and address.
    pub(super) fn record_for(&mut self, task: usize, stamp: (Timestamp, Source), what: What) {
        let Task { person, address, .. } = &self.tasks[task];
        self.record(*person, Some(address.clone()), stamp, what);
    }

    pub(super) fn task_mut(&mut self, index: usize) -> &mut Task {
        &mut self.tasks[index]
    }

    /// Gives a task to another person.
    pub(super) fn hand_over(&mut self, index: usize, successor: usize) {
        self.tasks[index].person = successor;
        self.link(index, successor);
    }

    /// Adds a task, or replaces an earlier one of the same kind for the same address and takes over its row and its account.
    pub(super) fn insert_task(&mut self, mut task: Task) -> usize {
        match self.task_at(task.kind, &task.address) {
            Some(index) => {
                self.link(index, task.person);
                let former = &mut self.tasks[index];
                task.row = former.row;
                task.account = former.account.take();
                task.stored = former.stored.take();
                *former = task;
                index
            }
            None => self.add_task(task),
        }
    }

    /// The member other than `person` who has this address and has been known for the longest time.
    pub(super) fn other_member_at(&self, address: &EmailAddress, person: usize) -> Option<usize> {
        let candidates = self.by_address.get(address)?.iter().copied();
        candidates
            .filter(|&other| other != person && self.people[other].is_member_at(address))
            .min_by_key(|&other| {
                let row = self.people[other].member.row;
                (row == 0, row, other)
            })
    }

    /// A person other than `person` whose last known address is this one, and who has not left. People of a directory that is
    /// not configured count: nobody knows whether they have left.
    pub(super) fn other_claimant_at(&self, address: &EmailAddress, person: usize) -> Option<usize> {
        let candidates = self.by_address.get(address)?.iter().copied();
        candidates
            .filter(|&other| {
                let member = &self.people[other].member;
                other != person
                    && member.standing != Standing::Left
                    && member.address.as_ref() == Some(address)
            })
            .min_by_key(|&other| (!self.people[other].configured, self.people[other].member.row))
    }

    fn add_person(&mut self, person: Person) -> usize {
        let index = self.people.len();
        self.by_id.insert((person.directory, person.member.id), index);
        if let Some(address) = &person.member.address {
            self.by_address.entry(address.clone()).or_default().push(index);
        }
        self.people.push(person);
        index
    }

    fn add_task(&mut self, task: Task) -> usize {
        let index = self.tasks.len();
        self.by_target.insert((task.kind, task.address.clone()), index);
        self.link(index, task.person);
        self.tasks.push(task);
        index
    }

    fn link(&mut self, task: usize, person: usize) {
        self.by_person.entry(person).or_default().insert(task);
    }
}
