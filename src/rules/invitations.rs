//! Opens, hands over, cancels and settles invitations.
//!
//! - An address has at most one invitation. If several people have the address, the invitation is for one of them and
//!   passes to another when that one leaves.
//! - A held invitation stays held until an administrator approves it, even if the person's address changes.
//! - An invitation that was sent or may have been sent is never cancelled: Vaultwarden answers 409 for existing accounts.

use std::collections::HashSet;
use std::time::Duration;

use super::book::{Book, Invitation};
use super::brake::{Limits, Verdict};
use super::context::DecisionContext;
use super::membership::Reason;
use super::sightings::Changed;
use crate::clock::Timestamp;
use crate::model::{ActionState, Compared, EmailAddress, Hold, Outcome, Settlement, Source, Standing, What};

const DAY: Duration = Duration::from_secs(24 * 3600);

impl Book {
    /// Opens, cancels and hands over invitations after the changes that [`Book::apply_sightings`] returned.
    pub fn update_invitations(&mut self, changed: &[Changed], context: &DecisionContext<'_>) {
        let mut paired = HashSet::new();
        for (person, reason) in changed {
            let person = *person;
            match reason {
                Reason::Joined(address) => self.open(person, address, false, None, context),
                Reason::Rejoined(address) => self.open(person, address, true, None, context),
                Reason::ChangedAddress { from, to, invite } => {
                    self.change_address(person, from, to, *invite, context);
                }
                Reason::LostAddress(address) => {
                    if let Some(invitation) = self.current_invitation(person, address) {
                        self.withdraw(invitation, context);
                    }
                }
                Reason::Left | Reason::Disabled(_) => self.withdraw_all(person, context),
                Reason::Waiting(_) | Reason::Moved => {}
            }
            if let Reason::Joined(address)
            | Reason::Rejoined(address)
            | Reason::ChangedAddress { to: address, .. } = reason
            {
                self.record_shared_address(person, address, &mut paired, context);
            }
        }
    }

    /// Settles an invitation after an attempt.
    ///
    /// [`Settlement::Done`] always applies; the others apply only while the invitation is claimed. If it was not sent and
    /// its person left or changed address in the meantime, it is handed over or cancelled, and an invitation to the
    /// person's new address, if any, is opened.
    pub fn settle(&mut self, row: i64, settlement: &Settlement, limits: &Limits, now: Timestamp) {
        let Some(index) = self.invitation_by_row(row) else {
            return;
        };
        let stamp = (now, Source::Vaultwarden);
        let invitation = self.invitation_mut(index);
        match settlement {
            Settlement::Done(outcome) => {
                if invitation.state != ActionState::Done {
                    let what = match outcome {
                        Outcome::Invited => What::Invited {
                            after_ms: millis(now.since(invitation.arrived)),
                        },
                        Outcome::HadAccount => What::HadAccount,
                    };
                    complete(invitation, *outcome, now);
                    self.record_for(index, stamp, what);
                }
                return;
            }
            _ if invitation.owner.is_none() => return,
            Settlement::NotBegun => invitation.owner = None,
            Settlement::RetryAt {
                at,
                failed,
                in_doubt,
                error,
            } => {
                let unknown_is_new = *in_doubt && invitation.in_doubt.is_none();
                invitation.due = *at;
                invitation.attempts += u32::from(*failed);
                invitation.in_doubt = in_doubt.then(|| invitation.in_doubt.unwrap_or(now));
                invitation.owner = None;
                invitation.reason = (!error.is_empty()).then(|| error.clone());
                let (attempts, error) = (invitation.attempts, error.clone());
                if unknown_is_new {
                    let error = error.clone();
                    self.record_for(index, stamp, What::OutcomeUnknown { error });
                }
                // An outage that delays everyone is not an event of one person.
                if *failed {
                    let retry_at = at.0;
                    let what = What::Failed {
                        error,
                        attempts,
                        retry_at,
                    };
                    self.record_for(index, stamp, what);
                }
            }
            Settlement::Quarantine { reason, fault } => {
                invitation.set_state(ActionState::Quarantined, now);
                invitation.attempts += 1;
                invitation.reason = Some(reason.clone());
                invitation.fault.clone_from(fault);
                let reason = reason.clone();
                self.record_for(index, stamp, What::Quarantined { reason });
            }
        }
        let (person, arrived) = (
            self.invitations()[index].person,
            self.invitations()[index].arrived,
        );
        let person_now = &self.people()[person];
        if self.invitations()[index].maybe_sent()
            || person_now.is_member_at(&self.invitations()[index].address)
        {
            return;
        }
        let address = (person_now.member.standing == Standing::Member)
            .then(|| person_now.member.address.clone())
            .flatten();
        let context = DecisionContext::single(Source::Vaultwarden, arrived, now, limits);
        self.withdraw(index, &context);
        if let Some(address) = address {
            self.open(person, &address, false, Some(ActionState::Queued), &context);
        }
    }

    /// Hands over or cancels an unsent invitation whose directory is no longer configured. If it is cancelled, the person
    /// waits until the directory is configured again.
    pub fn retire(&mut self, row: i64, limits: &Limits, now: Timestamp) {
        let Some(index) = self.invitation_by_row(row) else {
            return;
        };
        let person = self.invitations()[index].person;
        if self.people()[person].configured || self.invitations()[index].maybe_sent() {
            return;
        }
        let context = DecisionContext::single(Source::Administrator, now, now, limits);
        self.withdraw(index, &context);
        if self.invitations()[index].state == ActionState::Cancelled {
            self.set_waiting(person, "its directory is not in the configuration");
        }
    }

    /// Stores the key of the rejection ([`crate::model::Rejection::key`]) of a quarantined invitation.
    pub fn set_fault(&mut self, address: &EmailAddress, fault: &str) {
        if let Some(index) = self.invitation_to(address) {
            let invitation = self.invitation_mut(index);
            if invitation.state == ActionState::Quarantined {
                invitation.fault = Some(fault.to_owned());
            }
        }
    }

    /// Completes the invitation to an address that has an account, if it is queued or held and not claimed. Returns
    /// whether it did.
    pub fn had_account(&mut self, address: &EmailAddress, now: Timestamp) -> bool {
        let Some(index) = self.invitation_to(address) else {
            return false;
        };
        let invitation = self.invitation_mut(index);
        let waits =
            matches!(invitation.state, ActionState::Queued | ActionState::Held) && invitation.owner.is_none();
        if waits {
            complete(invitation, Outcome::HadAccount, now);
            self.record_for(index, (now, Source::Vaultwarden), What::HadAccount);
        }
        waits
    }

    /// Withdraws all invitations of a person.
    fn withdraw_all(&mut self, person: usize, context: &DecisionContext<'_>) {
        let indices: Vec<usize> = self.invitations_for(person).collect();
        for index in indices {
            self.withdraw(index, context);
        }
    }

    /// Takes an invitation from its person. Another member with the address takes it over; if there is none, it is
    /// cancelled unless it may have been sent. If it was sent, the other member may get a new one.
    fn withdraw(&mut self, index: usize, context: &DecisionContext<'_>) {
        let invitation = &self.invitations()[index];
        let (state, maybe_sent) = (invitation.state, invitation.maybe_sent());
        if state == ActionState::Cancelled {
            return;
        }
        let address = invitation.address.clone();
        let former = invitation.person;
        match self.other_member_at(&address, former) {
            Some(successor) => {
                let (new, old) = (&self.people()[successor], &self.people()[former]);
                // The entry was recreated by an import, or its identity changed. It is the same person.
                let is_recreated = new.directory == old.directory && new.member.dn == old.member.dn;
                let from = old.member.dn.clone();
                self.hand_over(index, successor);
                self.record_for(index, context.stamp(), What::HandedOver { from, state });
                // A listing reports the new owner of an address before it finds that the former one has left, so the new
                // owner was not invited. In live changes both were members at once and shared the invitation.
                if state == ActionState::Done && context.source.is_listing() && !is_recreated {
                    self.open(successor, &address, true, None, context);
                }
            }
            None if !maybe_sent => {
                let invitation = self.invitation_mut(index);
                invitation.was_held = state == ActionState::Held;
                invitation.set_state(ActionState::Cancelled, context.now);
                self.record_for(index, context.stamp(), What::Cancelled);
            }
            None => {}
        }
    }

    /// Opens an invitation to this address for this person.
    ///
    /// An earlier invitation to the address is replaced if it was cancelled. One that was sent or is in quarantine is
    /// replaced if the person left and came back (`again`), or if it was for another person who no longer has the address.
    /// Any other stays as it is. The brake decides on the initial state unless `state` is given.
    fn open(
        &mut self,
        person: usize,
        address: &EmailAddress,
        again: bool,
        state: Option<ActionState>,
        context: &DecisionContext<'_>,
    ) {
        let former = self
            .invitation_to(address)
            .map(|index| &self.invitations()[index]);
        let opens = former.is_none_or(|former| match former.state {
            ActionState::Cancelled => true,
            ActionState::Done | ActionState::Quarantined if former.person == person => again,
            ActionState::Done | ActionState::Quarantined => {
                !self.people()[former.person].is_member_at(address)
            }
            _ => false,
        });
        if !opens {
            return;
        }
        let formerly = former.map(|former| former.state);
        let (state, held) = match state {
            Some(state) => (state, None),
            None => self.initial_state(person, context),
        };
        let mut invitation = Invitation::new(address.clone(), person, state, context.arrived, context.now);
        let what = match &held {
            Some((by, _)) => What::Held { by: *by },
            None if state == ActionState::Held => What::Held { by: Hold::Before },
            None => What::Owed { state, formerly },
        };
        let held_by = held.as_ref().map(|(by, _)| *by);
        invitation.reason = held.and_then(|(_, reason)| reason);
        // The comparison with the accounts releases only what `limits.invites_per_listing` holds for a listing.
        if state == ActionState::Held && !matches!(held_by, Some(Hold::Listing)) {
            invitation.compared = Compared::Yes;
        }
        let index = self.insert_invitation(invitation);
        self.record_for(index, context.stamp(), what);
    }

    /// The initial state of an invitation to a person. If it is held, also returns which limit holds it, and the reason
    /// that is shown if the limit alone does not explain it.
    fn initial_state(
        &mut self,
        person: usize,
        context: &DecisionContext<'_>,
    ) -> (ActionState, Option<(Hold, Option<String>)>) {
        let held = |by, reason| (ActionState::Held, Some((by, Some(reason))));
        let theirs = || {
            let indices = self.invitations_for(person);
            indices.map(|index| &self.invitations()[index])
        };
        let was_held = theirs().any(|invitation| match invitation.state {
            ActionState::Held => true,
            ActionState::Cancelled => invitation.was_held,
            _ => false,
        });
        if was_held {
            return held(Hold::Before, Hold::Before.to_string());
        }
        let today = theirs()
            .filter(|invitation| {
                !matches!(invitation.state, ActionState::Cancelled)
                    && context.now.since(invitation.arrived) < DAY
            })
            .count();
        if let Some(limit) = context.limits.addresses_per_person
            && today >= usize::try_from(limit).unwrap_or(usize::MAX)
        {
            let reason =
                format!("more than {limit} addresses of one entry in a day (limits.addresses_per_person)");
            return held(Hold::Person, reason);
        }
        if context.source.is_listing() {
            let brake = self.directory.as_mut().map(|directory| &mut directory.brake);
            return match brake.map(|brake| brake.admit_listed(context.listing, context.limits, context.now)) {
                Some(Verdict::Hold) => (ActionState::Held, Some((Hold::Listing, None))),
                _ => (ActionState::Queued, None),
            };
        }
        let id = self.people()[person].member.id;
        let among = context.together.and_then(|together| together.get(&id));
        if let (Some(among), Some(limit)) = (among, context.limits.invites_per_listing) {
            let among = u64::try_from(*among).unwrap_or(u64::MAX);
            let brake = self.directory.as_mut().map(|directory| &mut directory.brake);
            return match brake.map(|brake| brake.admit_together(among, context.limits, context.now)) {
                Some(Verdict::Hold) => held(
                    Hold::Together,
                    format!("one change added more than {limit} new people (limits.invites_per_listing)"),
                ),
                _ => (ActionState::Queued, None),
            };
        }
        let verdict = self.directory.as_mut().map_or(Verdict::Invite, |directory| {
            directory.brake.admit_change(context.limits, context.now)
        });
        match (verdict, context.limits.invites_per_hour) {
            (Verdict::Hold, Some(limit)) => held(
                Hold::Hour,
                format!("more than {limit} new people in an hour (limits.invites_per_hour)"),
            ),
            _ => (ActionState::Queued, None),
        }
    }

    /// Handles a change of the person's address from `from` to `to`.
    ///
    /// An unsent invitation to `from` is withdrawn, and one to `to` is opened, which is held if the former one was. If an
    /// invitation to this person may have been sent already, to `from` or to an earlier address, one to `to` is opened
    /// only if `invite` is set.
    fn change_address(
        &mut self,
        person: usize,
        from: &EmailAddress,
        to: &EmailAddress,
        invite: bool,
        context: &DecisionContext<'_>,
    ) {
        let unsent = self
            .current_invitation(person, from)
            .filter(|&index| !self.invitations()[index].maybe_sent());
        match unsent {
            Some(index) => {
                let (state, compared) = (
                    self.invitations()[index].state,
                    self.invitations()[index].compared,
                );
                self.withdraw(index, context);
                let initial = (state == ActionState::Held).then_some(state);
                self.open(person, to, false, initial, context);
                if let Some(index) = self.current_invitation(person, to)
                    && self.invitations()[index].state == ActionState::Held
                {
                    self.invitation_mut(index).compared = compared;
                }
            }
            None if invite || !self.was_invited(person) => {
                self.open(person, to, false, None, context);
            }
            None => {}
        }
    }

    /// The invitation to this address, if it is for this person and not cancelled.
    fn current_invitation(&self, person: usize, address: &EmailAddress) -> Option<usize> {
        self.invitation_to(address).filter(|&index| {
            let invitation = &self.invitations()[index];
            invitation.person == person && invitation.state != ActionState::Cancelled
        })
    }

    /// Whether an invitation to this person, at any address, may have been sent.
    fn was_invited(&self, person: usize) -> bool {
        let mut theirs = self.invitations_for(person);
        theirs.any(|index| self.invitations()[index].maybe_sent())
    }

    /// Records that another person has the same address. An entry with the same DN in the same directory is not another
    /// person but the former entry, which was deleted and recreated: a listing reports the new one before it finds that the
    /// old one has left.
    fn record_shared_address(
        &mut self,
        person: usize,
        address: &EmailAddress,
        paired: &mut HashSet<(usize, usize)>,
        context: &DecisionContext<'_>,
    ) {
        let Some(holder) = self.other_member_at(address, person) else {
            return;
        };
        let (one, other) = (&self.people()[person], &self.people()[holder]);
        if one.directory == other.directory && one.member.dn == other.member.dn {
            return;
        }
        if paired.insert((person.min(holder), person.max(holder))) {
            let with = other.member.dn.clone();
            let address = Some(address.clone());
            self.record(person, address, context.stamp(), What::SharesAddress { with });
        }
    }
}

fn complete(invitation: &mut Invitation, outcome: Outcome, now: Timestamp) {
    invitation.set_state(ActionState::Done, now);
    invitation.outcome = Some(outcome);
    invitation.reason = None;
    invitation.fault = None;
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
