//! Applies sightings to the people in a [`Book`].

use super::book::Book;
use super::membership::{Decision, Policy, Reason, Sighting, decide};
use crate::model::{EmailAddress, Member, Source, Standing, What};

/// A person whose state changed, by their index in [`Book::people`], and why.
pub type Changed = (usize, Reason);

impl Book {
    /// Decides on sightings in order, and updates the people. Returns who changed; [`Book::update_invitations`] must be
    /// called with the result. Sightings of entries that must be fetched first are skipped.
    pub fn apply_sightings(
        &mut self,
        sightings: &[Sighting],
        policy: &Policy,
        source: Source,
    ) -> Vec<Changed> {
        let mut changed = Vec::new();
        let Some(directory) = self.directory.as_ref().map(|directory| directory.id) else {
            return changed;
        };
        for sighting in sightings {
            let id = sighting.id();
            let digest = match sighting {
                Sighting::Entry(facts) => Some(facts.digest()),
                Sighting::Present(_) | Sighting::Gone(_) => None,
            };
            let known = self
                .person_by_id(directory, id)
                .map(|index| &self.people()[index].member);
            match decide(known, sighting, policy) {
                Decision::Ignore | Decision::Fetch => continue,
                Decision::Unchanged if digest.is_none() => continue,
                Decision::Unchanged => {}
                Decision::Change(member, reason) => {
                    let former_dn = known.map(|former| former.dn.clone()).unwrap_or_default();
                    if let Some(person) = self.update_person(member) {
                        let member = &self.people()[person].member;
                        let (address, what) = journal_entry(&reason, member, former_dn);
                        let address = address.or_else(|| member.address.clone());
                        self.record(person, address, (policy.now, source), what);
                        changed.push((person, reason));
                    }
                }
            }
            self.set_decided_on(directory, id, digest);
        }
        changed
    }
}

/// The journal entry for a change to the state of `member`, and the address that it concerns if that is not the person's current one.
fn journal_entry(reason: &Reason, member: &Member, former_dn: String) -> (Option<EmailAddress>, What) {
    match reason {
        Reason::Joined(_) => (None, What::Joined),
        Reason::Rejoined(_) => (None, What::Rejoined),
        Reason::Waiting(reason) => {
            let reason = reason.clone();
            (None, What::WithoutAddress { reason })
        }
        Reason::LostAddress(address) => {
            let reason = match &member.standing {
                Standing::WithoutAddress(why) => why.clone(),
                Standing::Member | Standing::Left => String::new(),
            };
            (Some(address.clone()), What::LostAddress { reason })
        }
        Reason::ChangedAddress { from, to, invite } => {
            let what = What::ChangedAddress {
                from: from.to_string(),
                invite: *invite,
            };
            (Some(to.clone()), what)
        }
        Reason::Moved => (None, What::Moved { from: former_dn }),
        Reason::Left => (None, What::Left { reason: None }),
        Reason::Disabled(why) => {
            let reason = Some(why.clone());
            (None, What::Left { reason })
        }
    }
}
