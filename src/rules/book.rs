//! What one decision is about: people, the invitations to their addresses, and the directory.

use std::collections::HashMap;

use super::brake::Brake;
use crate::clock::Timestamp;
use crate::model::{ActionState, Cursor, EmailAddress, EntryId, Member, Outcome, Standing};

/// What the store knows of the people and invitations that one decision is about.
///
/// The store fills it, the rules change it, and the store saves what differs from before. People and invitations are
/// named by their place in it.
#[derive(Debug, Default)]
pub struct Book {
    /// The directory in question, where there is one.
    pub directory: Option<Directory>,
    /// Rows of members that a listing has just named.
    pub seen: Vec<i64>,
    people: Vec<Person>,
    by_id: HashMap<(i64, EntryId), usize>,
    /// People who have an address, or had it when they were loaded.
    by_address: HashMap<EmailAddress, Vec<usize>>,
    invitations: Vec<Invitation>,
    to: HashMap<EmailAddress, usize>,
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
    before: Option<Member>,
}

/// An invitation to one address; at most one exists for each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invitation {
    /// The store's number for it, `0` while it has none.
    pub row: i64,
    /// Where it goes.
    pub address: EmailAddress,
    /// For whom it is: a place in [`Book::people`].
    pub person: usize,
    /// Where it stands.
    pub state: ActionState,
    /// While queued: not before this.
    pub due: Timestamp,
    /// A worker has claimed it and has not settled it yet.
    pub claimed: bool,
    /// The outcome of an earlier attempt is unknown, since then.
    pub in_doubt: Option<Timestamp>,
    /// It was compared with Vaultwarden's accounts, or somebody decided about it: it is not released by a comparison.
    pub compared: bool,
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
    pub fn holds(&self, address: &EmailAddress) -> bool {
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
            claimed: false,
            in_doubt: None,
            compared: false,
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
    pub fn sent(&self) -> bool {
        self.state == ActionState::Done || self.claimed || self.in_doubt.is_some()
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
    pub(super) fn come_to(&mut self, state: ActionState, now: Timestamp) {
        self.state = state;
        self.since = now;
        self.claimed = false;
        self.in_doubt = None;
    }
}

impl Book {
    /// All people, each at their place.
    pub fn people(&self) -> &[Person] {
        &self.people
    }

    /// All invitations, each at its place.
    pub fn invitations(&self) -> &[Invitation] {
        &self.invitations
    }

    /// The place of a person.
    pub fn find(&self, directory: i64, id: EntryId) -> Option<usize> {
        self.by_id.get(&(directory, id)).copied()
    }

    /// The place of the invitation to an address.
    pub fn invitation_to(&self, address: &EmailAddress) -> Option<usize> {
        self.to.get(address).copied()
    }

    /// The place of an invitation, by the store's number for it.
    pub fn numbered(&self, row: i64) -> Option<usize> {
        self.invitations
            .iter()
            .position(|invitation| invitation.row == row)
    }

    // -- for the store -----------------------------------------------------------------------------------------

    /// Takes in a person as stored, unless they are in it already; returns their place.
    pub fn load_person(&mut self, directory: (i64, &str), configured: bool, member: Member) -> usize {
        if let Some(place) = self.find(directory.0, member.id) {
            return place;
        }
        let before = Some(member.clone());
        self.add_person(Person {
            directory: directory.0,
            directory_name: directory.1.to_owned(),
            configured,
            member,
            before,
        })
    }

    /// Takes in an invitation as stored, unless it is in it already.
    pub fn load_invitation(&mut self, mut invitation: Invitation) {
        if self.to.contains_key(&invitation.address) {
            return;
        }
        invitation.before = Some(Box::new(invitation.clone()));
        self.add_invitation(invitation);
    }

    /// Gives each person who differs from what is stored, or is new, to `save`, which returns the number of their row.
    ///
    /// # Errors
    /// That of `save`.
    pub fn save_people<E>(&mut self, mut save: impl FnMut(&Person) -> Result<i64, E>) -> Result<(), E> {
        for person in &mut self.people {
            if person.before.as_ref() != Some(&person.member) {
                person.member.row = save(person)?;
            }
        }
        Ok(())
    }

    /// Gives each invitation that differs from what is stored, or is new, to `save`, with the number of the row of its
    /// person.
    ///
    /// # Errors
    /// That of `save`.
    pub fn save_invitations<E>(
        &self,
        mut save: impl FnMut(&Invitation, i64) -> Result<(), E>,
    ) -> Result<(), E> {
        for invitation in &self.invitations {
            if !invitation
                .before
                .as_deref()
                .is_some_and(|before| before.same_as(invitation))
            {
                save(invitation, self.people[invitation.person].member.row)?;
            }
        }
        Ok(())
    }

    // -- for the rules ------------------------------------------------------------------------------------------

    /// Brings a person to a new state; returns their place.
    pub(super) fn put(&mut self, member: Member) -> Option<usize> {
        let directory = self.directory.as_ref()?;
        if let Some(place) = self.find(directory.id, member.id) {
            if let Some(address) = &member.address {
                self.by_address.entry(address.clone()).or_default().push(place);
            }
            self.people[place].member = member;
            return Some(place);
        }
        let person = Person {
            directory: directory.id,
            directory_name: directory.name.clone(),
            configured: true,
            member,
            before: None,
        };
        Some(self.add_person(person))
    }

    /// Brings a member to a state in which they are owed nothing until they are seen again.
    pub(super) fn set_aside(&mut self, place: usize, why: &str) {
        let member = &mut self.people[place].member;
        if member.standing == Standing::Member {
            member.standing = Standing::WithoutAddress(why.to_owned());
        }
    }

    pub(super) fn invitation_mut(&mut self, place: usize) -> &mut Invitation {
        &mut self.invitations[place]
    }

    /// Adds an invitation, or puts it in the place of an earlier one to the same address, whose row it takes over.
    pub(super) fn put_invitation(&mut self, mut invitation: Invitation) -> usize {
        match self.invitation_to(&invitation.address) {
            Some(place) => {
                let former = &mut self.invitations[place];
                invitation.row = former.row;
                invitation.before = former.before.take();
                *former = invitation;
                place
            }
            None => self.add_invitation(invitation),
        }
    }

    /// Somebody else than `person` who is there at the address, the longest known first.
    pub(super) fn other_holder(&self, address: &EmailAddress, person: usize) -> Option<usize> {
        let candidates = self.by_address.get(address)?.iter().copied();
        candidates
            .filter(|&other| other != person && self.people[other].holds(address))
            .min_by_key(|&other| {
                let row = self.people[other].member.row;
                (row == 0, row, other)
            })
    }

    fn add_person(&mut self, person: Person) -> usize {
        let place = self.people.len();
        self.by_id.insert((person.directory, person.member.id), place);
        if let Some(address) = &person.member.address {
            self.by_address.entry(address.clone()).or_default().push(place);
        }
        self.people.push(person);
        place
    }

    fn add_invitation(&mut self, invitation: Invitation) -> usize {
        let place = self.invitations.len();
        self.to.insert(invitation.address.clone(), place);
        self.invitations.push(invitation);
        place
    }
}
