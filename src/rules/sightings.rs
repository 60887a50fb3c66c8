//! What sightings mean for the people in a [`Book`].

use super::book::Book;
use super::membership::{Decision, Policy, Reason, Sighting, decide};
use crate::model::{EntryId, Member};

/// Something that happened to a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The person after it.
    pub member: Member,
    /// The DN before it, where the person was known.
    pub former_dn: Option<String>,
    /// What happened.
    pub reason: Reason,
}

impl Event {
    /// The word for it in the metric of audit repairs.
    pub fn kind(&self) -> &'static str {
        match self.reason {
            Reason::Joined(_) => "joined",
            Reason::Rejoined(_) => "rejoined",
            Reason::Waiting(_) | Reason::LostAddress(_) => "without-address",
            Reason::ChangedAddress { .. } => "address-changed",
            Reason::Moved => "moved",
            Reason::Left | Reason::Disabled(_) => "left",
        }
    }
}

impl Book {
    /// Decides what sightings mean, in their order, and brings the people to their new states; returns what happened to
    /// whom. The invitations follow by [`Book::owe`]. Whoever has to be read first is passed over.
    pub fn judge(&mut self, sightings: &[Sighting], policy: &Policy) -> Vec<Event> {
        let mut events = Vec::new();
        let Some(directory) = self.directory.as_ref().map(|directory| directory.id) else {
            return events;
        };
        for sighting in sightings {
            let id = sighting.id();
            let known = self.find(directory, id).map(|place| &self.people()[place].member);
            match decide(known, sighting, policy) {
                Decision::Ignore | Decision::Fetch => {}
                // A row without a number is written by this very decision, which marks it as seen.
                Decision::Unchanged => {
                    let row = known.map_or(0, |member| member.row);
                    if row != 0 {
                        self.seen.push(row);
                    }
                }
                Decision::Change(member, reason) => {
                    let former_dn = known.map(|former| former.dn.clone());
                    self.put(member.clone());
                    events.push(Event {
                        member,
                        former_dn,
                        reason,
                    });
                }
            }
        }
        events
    }

    /// Marks people who are as known as seen, and returns all others.
    pub fn compare(&mut self, sightings: &[Sighting], policy: &Policy) -> Vec<EntryId> {
        let directory = self.directory.as_ref().map_or(0, |directory| directory.id);
        let mut others = Vec::new();
        for sighting in sightings {
            let id = sighting.id();
            let known = self.find(directory, id).map(|place| &self.people()[place].member);
            match decide(known, sighting, policy) {
                Decision::Ignore | Decision::Fetch => {}
                Decision::Unchanged => {
                    let row = known.map_or(0, |member| member.row);
                    self.seen.push(row);
                }
                Decision::Change(..) => others.push(id),
            }
        }
        others
    }
}
