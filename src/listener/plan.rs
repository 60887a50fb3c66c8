//! From sightings to what one transaction writes: pure.

use std::collections::HashMap;

use crate::ledger::{MemberWrite, TaskWrite};
use crate::membership::{Decision, Policy, Reason, Sighting, decide};
use crate::model::{EntryId, Member};

/// What a batch of sightings amounts to.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// What is known of the people in this batch, as the batch goes on.
    known: HashMap<EntryId, Member>,
    /// Rows that are confirmed as they are.
    pub seen: Vec<i64>,
    /// People who are there and have to be read before anything can be decided.
    pub fetch: Vec<EntryId>,
    /// What happened to whom, in order.
    pub events: Vec<Event>,
}

/// Something that happened to a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// The person after it.
    pub member: Member,
    /// The DN before it, where the person was known.
    pub former_dn: Option<String>,
    /// What happened.
    pub reason: Reason,
}

impl Plan {
    pub(super) fn new(known: Vec<Member>) -> Self {
        Self {
            known: known.into_iter().map(|member| (member.id, member)).collect(),
            ..Self::default()
        }
    }

    /// Takes one sighting; later ones build on what it changes.
    pub(super) fn sight(&mut self, sighting: &Sighting, policy: &Policy) {
        let id = sighting.id();
        match decide(self.known.get(&id), sighting, policy) {
            Decision::Ignore => {}
            Decision::Fetch => self.fetch.push(id),
            // A row without a number is written by this very batch, which marks it as seen.
            Decision::Unchanged => self.seen.extend(
                self.known
                    .get(&id)
                    .map(|member| member.row)
                    .filter(|&row| row != 0),
            ),
            Decision::Change(member, reason) => {
                let former_dn = self.known.insert(id, member.clone()).map(|former| former.dn);
                self.events.push(Event {
                    member,
                    former_dn,
                    reason,
                });
            }
        }
    }

    /// Whether there is nothing to write.
    pub(super) fn is_empty(&self) -> bool {
        self.seen.is_empty() && self.events.is_empty()
    }

    /// The rows to write: the last state of each person who changed.
    pub(super) fn members(&self) -> Vec<MemberWrite> {
        let mut last: HashMap<EntryId, &Member> = HashMap::new();
        let mut order = Vec::new();
        for Event { member, .. } in &self.events {
            if last.insert(member.id, member).is_none() {
                order.push(member.id);
            }
        }
        order
            .into_iter()
            .filter_map(|id| last.remove(&id))
            .map(|member| MemberWrite {
                id: member.id,
                dn: member.dn.clone(),
                address: member.address.clone(),
                standing: member.standing.clone(),
            })
            .collect()
    }

    /// What to do about invitations, in order.
    pub(super) fn tasks(&self) -> Vec<TaskWrite> {
        self.events.iter().filter_map(Event::task).collect()
    }
}

impl Event {
    fn task(&self) -> Option<TaskWrite> {
        let id = self.member.id;
        match self.reason.clone() {
            Reason::Joined(address) => Some(TaskWrite::Open {
                id,
                address,
                again: false,
            }),
            Reason::Rejoined(address) => Some(TaskWrite::Open {
                id,
                address,
                again: true,
            }),
            Reason::ChangedAddress { from, to, invite } => {
                Some(TaskWrite::Readdress { id, from, to, invite })
            }
            Reason::LostAddress(address) => Some(TaskWrite::Cancel { id, address }),
            Reason::Left | Reason::Disabled(_) => self
                .member
                .address
                .clone()
                .map(|address| TaskWrite::Cancel { id, address }),
            Reason::Waiting(_) | Reason::Moved => None,
        }
    }

    /// The word for it in the metric of audit repairs.
    pub(super) fn kind(&self) -> &'static str {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Attribute, Entry, Standing};

    fn entry(mail: &str) -> Sighting {
        let attributes = vec![Attribute {
            name: "mail".into(),
            values: vec![mail.as_bytes().to_vec()],
        }];
        Sighting::Entry(Entry {
            id: EntryId::from_slice(&[1; 16]).unwrap(),
            dn: "uid=ann".into(),
            attributes,
        })
    }

    #[test]
    fn several_sightings_of_one_person_write_one_row_and_every_task_in_order() {
        let policy = Policy {
            mail_attributes: vec!["mail".into()],
            disabled_are_members: false,
            invite_changed_address: false,
        };
        let mut plan = Plan::new(Vec::new());
        let first = entry("a@x.org");
        let id = first.id();
        for sighting in [&first, &first, &entry("b@x.org"), &Sighting::Gone(id)] {
            plan.sight(sighting, &policy);
        }
        let members = plan.members();
        assert_eq!(members.len(), 1);
        assert_eq!(members[0].standing, Standing::Left);
        assert_eq!(plan.seen, Vec::<i64>::new());
        assert!(matches!(
            &plan.tasks()[..],
            [
                TaskWrite::Open { again: false, .. },
                TaskWrite::Readdress { .. },
                TaskWrite::Cancel { .. }
            ]
        ));
    }
}
