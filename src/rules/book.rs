//! The working set of one decision: people, the invitations to their addresses, and the directory.

use std::collections::{BTreeSet, HashMap};

use super::brake::Brake;
use crate::clock::Timestamp;
use crate::model::{
    ActionState, Compared, Cursor, EmailAddress, EntryId, Event, Member, Outcome, Source, Standing, What,
};

/// The stored people and invitations that one decision is about.
///
/// The store loads it, the rules change it, and the store saves the changes. People and invitations are identified by
/// their index in [`Book::people`] and [`Book::invitations`].
///
/// A person is *owed* an invitation from the moment they become a member until it is sent or they leave.
#[derive(Debug, Default)]
pub struct Book {
    /// The directory that the decision is about, if any.
    pub directory: Option<Directory>,
    /// The events that result from the decision, in order.
    pub events: Vec<Noted>,
    people: Vec<Person>,
    by_id: HashMap<(i64, EntryId), usize>,
    /// People by current or earlier address: a superset, to be filtered.
    by_address: HashMap<EmailAddress, Vec<usize>>,
    invitations: Vec<Invitation>,
    invitation_by_address: HashMap<EmailAddress, usize>,
    by_row: HashMap<i64, usize>,
    /// Invitations by current or earlier person: a superset, to be filtered.
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

/// An invitation to an address, which has at most one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// Its row in the store; `0` until it is saved.
    pub row: i64,
    /// The address that is invited.
    pub address: EmailAddress,
    /// The person whom it is for, by index in [`Book::people`].
    pub person: usize,
    /// Its state.
    pub state: ActionState,
    /// The earliest time of the next attempt, while queued.
    pub due: Timestamp,
    /// The worker that claimed it and has not settled it yet.
    pub owner: Option<i64>,
    /// Since when the outcome of an earlier attempt is unknown, if it is.
    pub in_doubt: Option<Timestamp>,
    /// Whether it was compared with Vaultwarden's list of accounts.
    pub compared: Compared,
    /// It was cancelled while held, so that a new invitation to this person is held, too.
    pub was_held: bool,
    /// The number of failed attempts.
    pub attempts: u32,
    /// When the change that caused it arrived.
    pub arrived: Timestamp,
    /// When it entered its current state.
    pub since: Timestamp,
    /// The last error, or why it is held or in quarantine.
    pub reason: Option<String>,
    /// The key of a rejection that may turn out to concern the server ([`crate::model::Rejection::key`]).
    pub fault: Option<String>,
    /// How it succeeded, if it did.
    pub outcome: Option<Outcome>,
    /// The invitation as stored; `None` for a new one.
    stored: Option<Box<Self>>,
}

impl Person {
    /// Whether they are a member of a configured directory and have this address.
    pub fn is_member_at(&self, address: &EmailAddress) -> bool {
        self.configured
            && self.member.standing == Standing::Member
            && self.member.address.as_ref() == Some(address)
    }
}

impl Invitation {
    /// A new invitation, due since its change arrived.
    pub fn new(
        address: EmailAddress,
        person: usize,
        state: ActionState,
        arrived: Timestamp,
        now: Timestamp,
    ) -> Self {
        Self {
            row: 0,
            address,
            person,
            state,
            due: arrived,
            owner: None,
            in_doubt: None,
            compared: Compared::No,
            was_held: false,
            attempts: 0,
            arrived,
            since: now,
            reason: None,
            fault: None,
            outcome: None,
            stored: None,
        }
    }

    /// Whether it was sent or may have been sent.
    pub fn maybe_sent(&self) -> bool {
        self.state == ActionState::Done || self.owner.is_some() || self.in_doubt.is_some()
    }

    /// Whether it has the same stored fields as `other`.
    fn same_as(&self, other: &Self) -> bool {
        let fields = |invitation: &Self| Self {
            stored: None,
            ..invitation.clone()
        };
        fields(self) == fields(other)
    }

    /// Changes its state and drops the claim.
    pub(super) fn set_state(&mut self, state: ActionState, now: Timestamp) {
        self.state = state;
        self.since = now;
        self.owner = None;
        self.in_doubt = None;
        // A comparison in progress started with the former state.
        if self.compared == Compared::UnderWay {
            self.compared = Compared::No;
        }
    }
}

impl Book {
    /// All people.
    pub fn people(&self) -> &[Person] {
        &self.people
    }

    /// All invitations.
    pub fn invitations(&self) -> &[Invitation] {
        &self.invitations
    }

    /// The index of a person, by the row of their directory and the identity of their entry.
    pub fn person_by_id(&self, directory: i64, id: EntryId) -> Option<usize> {
        self.by_id.get(&(directory, id)).copied()
    }

    /// The index of the invitation to an address.
    pub fn invitation_to(&self, address: &EmailAddress) -> Option<usize> {
        self.invitation_by_address.get(address).copied()
    }

    /// The index of an invitation, by its row in the store.
    pub fn invitation_by_row(&self, row: i64) -> Option<usize> {
        self.by_row.get(&row).copied()
    }

    /// The indices of the invitations for a person.
    pub fn invitations_for(&self, person: usize) -> impl Iterator<Item = usize> {
        let candidates = self.by_person.get(&person).into_iter().flatten().copied();
        candidates.filter(move |&index| self.invitations[index].person == person)
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

    /// Adds a stored invitation, unless the book contains one to the same address already.
    pub fn load_invitation(&mut self, mut invitation: Invitation) {
        if self.invitation_by_address.contains_key(&invitation.address) {
            return;
        }
        invitation.stored = Some(Box::new(invitation.clone()));
        let row = invitation.row;
        let index = self.add_invitation(invitation);
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

    /// Calls `save` with each new or changed invitation, its stored state, and the row of its person. Must be called after
    /// [`Book::save_people`], which sets the rows of new people.
    ///
    /// # Errors
    /// The first error of `save`.
    pub fn save_invitations<E>(
        &self,
        mut save: impl FnMut(&Invitation, Option<&Invitation>, i64) -> Result<(), E>,
    ) -> Result<(), E> {
        for invitation in &self.invitations {
            let stored = invitation.stored.as_deref();
            if !stored.is_some_and(|stored| stored.same_as(invitation)) {
                save(invitation, stored, self.people[invitation.person].member.row)?;
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

    /// Adds an event about an invitation's person and address.
    pub(super) fn record_for(&mut self, invitation: usize, stamp: (Timestamp, Source), what: What) {
        let Invitation { person, address, .. } = &self.invitations[invitation];
        self.record(*person, Some(address.clone()), stamp, what);
    }

    pub(super) fn invitation_mut(&mut self, index: usize) -> &mut Invitation {
        &mut self.invitations[index]
    }

    /// Gives an invitation to another person.
    pub(super) fn hand_over(&mut self, index: usize, successor: usize) {
        self.invitations[index].person = successor;
        self.link(index, successor);
    }

    /// Adds an invitation, or replaces an earlier one to the same address and takes over its row.
    pub(super) fn insert_invitation(&mut self, mut invitation: Invitation) -> usize {
        match self.invitation_to(&invitation.address) {
            Some(index) => {
                self.link(index, invitation.person);
                let former = &mut self.invitations[index];
                invitation.row = former.row;
                invitation.stored = former.stored.take();
                *former = invitation;
                index
            }
            None => self.add_invitation(invitation),
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

    fn add_person(&mut self, person: Person) -> usize {
        let index = self.people.len();
        self.by_id.insert((person.directory, person.member.id), index);
        if let Some(address) = &person.member.address {
            self.by_address.entry(address.clone()).or_default().push(index);
        }
        self.people.push(person);
        index
    }

    fn add_invitation(&mut self, invitation: Invitation) -> usize {
        let index = self.invitations.len();
        self.invitation_by_address
            .insert(invitation.address.clone(), index);
        self.link(index, invitation.person);
        self.invitations.push(invitation);
        index
    }

    fn link(&mut self, invitation: usize, person: usize) {
        self.by_person.entry(person).or_default().insert(invitation);
    }
}
