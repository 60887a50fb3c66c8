//! What one decision is about: people, the invitations to their addresses, and the directory.

use std::collections::{BTreeSet, HashMap};

use super::brake::Brake;
use crate::clock::Timestamp;
use crate::model::{
    ActionState, Compared, Cursor, EmailAddress, EntryId, Event, Member, Outcome, Source, Standing, What,
};

/// What the store knows of the people and invitations that one decision is about.
///
/// The store fills it, the rules change it, and the store saves what differs from before. People and invitations are
/// named by their index in it.
#[derive(Debug, Default)]
pub struct Book {
    /// The directory in question, where there is one.
    pub directory: Option<Directory>,
    /// What the decision makes happen, in order.
    pub events: Vec<Noted>,
    people: Vec<Person>,
    by_id: HashMap<(i64, EntryId), usize>,
    /// People who have an address, or had it when they were loaded.
    by_address: HashMap<EmailAddress, Vec<usize>>,
    invitations: Vec<Invitation>,
    to: HashMap<EmailAddress, usize>,
    by_row: HashMap<i64, usize>,
    /// Invitations that are for a person, or were since they were loaded.
    by_person: HashMap<usize, BTreeSet<usize>>,
}

/// A directory, as far as decisions depend on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Directory {
    /// The store's number for it.
    pub id: i64,
    /// Its name in the configuration.
    pub name: String,
    /// How many new people it has brought lately.
    pub brake: Brake,
    /// The resume point to store together with the decision, and the time of it.
    pub cursor: Option<(Cursor, Timestamp)>,
}

/// An event, with the store's number of its directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Noted {
    /// The directory.
    pub directory: i64,
    /// What happened.
    pub event: Event,
}

/// A person of some directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The number of their directory.
    pub directory: i64,
    /// The name of their directory.
    pub directory_name: String,
    /// The directory is configured; people of one that is not count for nothing.
    pub configured: bool,
    /// Who they are, and how they stand.
    pub member: Member,
    /// The digest of the entry ([`super::membership::EntryFacts::digest`]) by which they came to stand so; `None` where something
    /// else decided.
    pub decided_on: Option<i64>,
    before: Option<(Member, Option<i64>)>,
}

/// An invitation to one address; at most one exists for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// The store's number for it, `0` while it has none.
    pub row: i64,
    /// Where it goes.
    pub address: EmailAddress,
    /// For whom it is: a index in [`Book::people`].
    pub person: usize,
    /// Where it stands.
    pub state: ActionState,
    /// While queued: not before this.
    pub due: Timestamp,
    /// The worker that has claimed it and has not settled it yet.
    pub owner: Option<i64>,
    /// The outcome of an earlier attempt is unknown, since then.
    pub in_doubt: Option<Timestamp>,
    /// Whether it was compared with Vaultwarden's accounts.
    pub compared: Compared,
    /// It was cancelled while it was held: whoever wants it again waits for an approval again.
    pub was_held: bool,
    /// Failed attempts.
    pub attempts: u32,
    /// When the change that caused it arrived.
    pub arrived: Timestamp,
    /// When it came to its present state.
    pub since: Timestamp,
    /// The last error, or why it is held or in quarantine.
    pub reason: Option<String>,
    /// The part of the reason that others may share, where it may prove to be the server's.
    pub fault: Option<String>,
    /// How it was done, where it was.
    pub outcome: Option<Outcome>,
    before: Option<Box<Self>>,
}

impl Person {
    /// Whether they are there, at this address.
    pub fn is_member_at(&self, address: &EmailAddress) -> bool {
        self.configured
            && self.member.standing == Standing::Member
            && self.member.address.as_ref() == Some(address)
    }
}

impl Invitation {
    /// A new one.
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
            before: None,
        }
    }

    /// It was sent, or may have been.
    pub fn may_be_sent(&self) -> bool {
        self.state == ActionState::Done || self.owner.is_some() || self.in_doubt.is_some()
    }

    /// Whether all that is stored of it is the same.
    fn same_as(&self, other: &Self) -> bool {
        let stored = |invitation: &Self| Self {
            before: None,
            ..invitation.clone()
        };
        stored(self) == stored(other)
    }

    /// Brings it to another state.
    pub(super) fn set_state(&mut self, state: ActionState, now: Timestamp) {
        self.state = state;
        self.since = now;
        self.owner = None;
        self.in_doubt = None;
        // A comparison that is under way was begun for what it was before.
        if self.compared == Compared::UnderWay {
            self.compared = Compared::No;
        }
    }
}

impl Book {
    /// All people, each at their index.
    pub fn people(&self) -> &[Person] {
        &self.people
    }

    /// All invitations, each at its index.
    pub fn invitations(&self) -> &[Invitation] {
        &self.invitations
    }

    /// The index of a person.
    pub fn person_by_id(&self, directory: i64, id: EntryId) -> Option<usize> {
        self.by_id.get(&(directory, id)).copied()
    }

    /// The index of the invitation to an address.
    pub fn invitation_to(&self, address: &EmailAddress) -> Option<usize> {
        self.to.get(address).copied()
    }

    /// The index of an invitation, by the store's number for it.
    pub fn invitation_by_row(&self, row: i64) -> Option<usize> {
        self.by_row.get(&row).copied()
    }

    /// The indices of the invitations that are for a person.
    pub fn invitations_for(&self, person: usize) -> impl Iterator<Item = usize> {
        let candidates = self.by_person.get(&person).into_iter().flatten().copied();
        candidates.filter(move |&index| self.invitations[index].person == person)
    }

    // -- for the store -----------------------------------------------------------------------------------------

    /// Takes in a person as stored, unless they are in it already; returns their index.
    pub fn load_person(
        &mut self,
        directory: (i64, &str),
        configured: bool,
        (member, decided_on): (Member, Option<i64>),
    ) -> usize {
        if let Some(index) = self.person_by_id(directory.0, member.id) {
            return index;
        }
        let before = Some((member.clone(), decided_on));
        self.add_person(Person {
            directory: directory.0,
            directory_name: directory.1.to_owned(),
            configured,
            member,
            decided_on,
            before,
        })
    }

    /// Takes in an invitation as stored, unless it is in it already.
    pub fn load_invitation(&mut self, mut invitation: Invitation) {
        if self.to.contains_key(&invitation.address) {
            return;
        }
        invitation.before = Some(Box::new(invitation.clone()));
        let row = invitation.row;
        let index = self.add_invitation(invitation);
        self.by_row.insert(row, index);
    }

    /// Gives each person who differs from what is stored, or is new, to `save`, together with what is stored; it returns the
    /// number of their row.
    ///
    /// # Errors
    /// That of `save`.
    pub fn save_people<E>(
        &mut self,
        mut save: impl FnMut(&Person, Option<&Member>) -> Result<i64, E>,
    ) -> Result<(), E> {
        for person in &mut self.people {
            let same = |(member, decided_on): &(Member, _)| {
                (member, *decided_on) == (&person.member, person.decided_on)
            };
            let before = person.before.as_ref();
            if !before.is_some_and(same) {
                person.member.row = save(person, before.map(|(member, _)| member))?;
            }
        }
        Ok(())
    }

    /// Gives each invitation that differs from what is stored, or is new, to `save`, together with what is stored and the
    /// number of the row of its person.
    ///
    /// # Errors
    /// That of `save`.
    pub fn save_invitations<E>(
        &self,
        mut save: impl FnMut(&Invitation, Option<&Invitation>, i64) -> Result<(), E>,
    ) -> Result<(), E> {
        for invitation in &self.invitations {
            let before = invitation.before.as_deref();
            if !before.is_some_and(|before| before.same_as(invitation)) {
                save(invitation, before, self.people[invitation.person].member.row)?;
            }
        }
        Ok(())
    }

    // -- for the rules ------------------------------------------------------------------------------------------

    /// Brings a person to a new state; returns their index.
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
            before: None,
        };
        Some(self.add_person(person))
    }

    /// Brings a member to a state in which they are owed nothing until they are seen again.
    pub(super) fn set_waiting(&mut self, index: usize, why: &str) {
        let person = &mut self.people[index];
        if person.member.standing == Standing::Member {
            person.member.standing = Standing::WithoutAddress(why.to_owned());
            person.decided_on = None;
        }
    }

    /// Notes what decided how a person stands: an entry with this digest, or something else.
    pub(super) fn set_decided_on(&mut self, directory: i64, id: EntryId, digest: Option<i64>) {
        if let Some(index) = self.person_by_id(directory, id) {
            self.people[index].decided_on = digest;
        }
    }

    /// Something happened to a person, about their address or another one.
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

    /// Something happened to the person of an invitation, about its address.
    pub(super) fn record_for(&mut self, invitation: usize, stamp: (Timestamp, Source), what: What) {
        let Invitation { person, address, .. } = &self.invitations[invitation];
        self.record(*person, Some(address.clone()), stamp, what);
    }

    pub(super) fn invitation_mut(&mut self, index: usize) -> &mut Invitation {
        &mut self.invitations[index]
    }

    /// Passes an invitation on to somebody else.
    pub(super) fn hand_over(&mut self, index: usize, successor: usize) {
        self.invitations[index].person = successor;
        self.link(index, successor);
    }

    /// Adds an invitation, or puts it in the index of an earlier one to the same address, whose row it takes over.
    pub(super) fn insert_invitation(&mut self, mut invitation: Invitation) -> usize {
        match self.invitation_to(&invitation.address) {
            Some(index) => {
                self.link(index, invitation.person);
                let former = &mut self.invitations[index];
                invitation.row = former.row;
                invitation.before = former.before.take();
                *former = invitation;
                index
            }
            None => self.add_invitation(invitation),
        }
    }

    /// Somebody else than `person` who is there at the address, the longest known first.
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
        self.to.insert(invitation.address.clone(), index);
        self.link(index, invitation.person);
        self.invitations.push(invitation);
        index
    }

    fn link(&mut self, invitation: usize, person: usize) {
        self.by_person.entry(person).or_default().insert(invitation);
    }
}
