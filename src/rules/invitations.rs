//! Who is owed an invitation, and what becomes of it.
//!
//! - One address has one invitation. Where several people have the address, it is for one of them; when that one
//!   leaves, it passes to another.
//! - What is held stays held until somebody approves it, whatever becomes of the person's address meanwhile.
//! - An invitation that was sent, or may have been, is never taken back: 409 protects the accounts that exist.

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
    /// Opens, cancels and hands over invitations, as the changes that [`Book::apply_sightings`] found demand.
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

    /// What to do with an attempt that ended.
    ///
    /// [`Settlement::Done`] holds whatever became of the invitation meanwhile; the others change nothing unless it is
    /// still claimed. Where it turns out not to have been sent and its person has left or changed address meanwhile, it
    /// passes on or is cancelled, and an invitation to the address they have now is opened.
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
                // What keeps everybody waiting is no event of one person.
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
        if self.invitations()[index].may_be_sent()
            || person_now.is_member_at(&self.invitations()[index].address)
        {
            return;
        }
        let address = (person_now.member.standing == Standing::Member)
            .then(|| person_now.member.address.clone())
            .flatten();
        let context = DecisionContext::without_listing(Source::Vaultwarden, arrived, now, limits);
        self.withdraw(index, &context);
        if let Some(address) = address {
            self.open(person, &address, false, Some(ActionState::Queued), &context);
        }
    }

    /// Its directory is not configured any more: an invitation that was not sent passes on or is cancelled. Whoever is left
    /// without it waits until the directory is configured again.
    pub fn retire(&mut self, row: i64, limits: &Limits, now: Timestamp) {
        let Some(index) = self.invitation_by_row(row) else {
            return;
        };
        let person = self.invitations()[index].person;
        if self.people()[person].configured || self.invitations()[index].may_be_sent() {
            return;
        }
        let context = DecisionContext::without_listing(Source::Administrator, now, now, limits);
        self.withdraw(index, &context);
        if self.invitations()[index].state == ActionState::Cancelled {
            self.set_waiting(person, "its directory is not in the configuration");
        }
    }

    /// Notes of an invitation in quarantine what others may have in common with it.
    pub fn set_fault(&mut self, address: &EmailAddress, fault: &str) {
        if let Some(index) = self.invitation_to(address) {
            let invitation = self.invitation_mut(index);
            if invitation.state == ActionState::Quarantined {
                invitation.fault = Some(fault.to_owned());
            }
        }
    }

    /// The address has an account: the invitation to it, where it waits and is not under way, is done. Returns whether
    /// it was.
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

    /// Takes invitations from a person who is not owed any more.
    fn withdraw_all(&mut self, person: usize, context: &DecisionContext<'_>) {
        let indices: Vec<usize> = self.invitations_for(person).collect();
        for index in indices {
            self.withdraw(index, context);
        }
    }

    /// Takes an invitation from the person for whom it is: it passes to somebody else who is there at the address, to whom
    /// one that was sent may be owed anew, or else it is cancelled, unless it was or may have been sent.
    fn withdraw(&mut self, index: usize, context: &DecisionContext<'_>) {
        let invitation = &self.invitations()[index];
        let (state, sent) = (invitation.state, invitation.may_be_sent());
        if state == ActionState::Cancelled {
            return;
        }
        let address = invitation.address.clone();
        let former = invitation.person;
        match self.other_member_at(&address, former) {
            Some(successor) => {
                let (one, other) = (&self.people()[successor], &self.people()[former]);
                let elsewhere = one.directory != other.directory;
                // An entry that was made anew, by an import or under another identity, is the same person.
                let same_name = !elsewhere && one.member.dn == other.member.dn;
                let from = other.member.dn.clone();
                self.hand_over(index, successor);
                self.record_for(index, context.stamp(), What::HandedOver { from, state });
                // A listing names whoever got an address before it finds that the person before them is gone; where both
                // were told of as they came, they shared what was sent.
                if state == ActionState::Done && context.source.is_listing() && !same_name {
                    self.open(successor, &address, true, None, context);
                }
            }
            None if !sent => {
                let invitation = self.invitation_mut(index);
                invitation.was_held = state == ActionState::Held;
                invitation.set_state(ActionState::Cancelled, context.now);
                self.record_for(index, context.stamp(), What::Cancelled);
            }
            None => {}
        }
    }

    /// An invitation to this address is owed to this person. Where there is none, one is opened; a cancelled one is opened
    /// again, and so is one that was sent or is in quarantine, if they left and came back (`again`) or if it was for
    /// somebody else who is not there any more. Any other stays as it is. `state` is the one to open it in, where the
    /// rules of the brake have been applied already.
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
        // What is held for a reason of its own is not released by a comparison with the accounts.
        if state == ActionState::Held && !matches!(held_by, Some(Hold::Listing)) {
            invitation.compared = Compared::Yes;
        }
        let index = self.insert_invitation(invitation);
        self.record_for(index, context.stamp(), what);
    }

    /// The state in which an invitation to a person is opened; where it is held, by which limit, and the reason for people
    /// where it says more than that.
    fn initial_state(
        &mut self,
        person: usize,
        context: &DecisionContext<'_>,
    ) -> (ActionState, Option<(Hold, Option<String>)>) {
        let held = |by, reason| (ActionState::Held, Some((by, Some(reason))));
        let of_them = || {
            let indices = self.invitations_for(person);
            indices.map(|index| &self.invitations()[index])
        };
        let was_held = of_them().any(|invitation| match invitation.state {
            ActionState::Held => true,
            ActionState::Cancelled => invitation.was_held,
            _ => false,
        });
        if was_held {
            return held(Hold::Before, Hold::Before.to_string());
        }
        let today = of_them()
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
            return match brake.map(|brake| brake.listed(context.listing, context.limits, context.now)) {
                Some(Verdict::Hold) => (ActionState::Held, Some((Hold::Listing, None))),
                _ => (ActionState::Queued, None),
            };
        }
        let id = self.people()[person].member.id;
        let among = context.together.and_then(|together| together.get(&id));
        if let (Some(among), Some(limit)) = (among, context.limits.invites_per_listing) {
            let among = u64::try_from(*among).unwrap_or(u64::MAX);
            let brake = self.directory.as_mut().map(|directory| &mut directory.brake);
            return match brake.map(|brake| brake.together(among, context.limits, context.now)) {
                Some(Verdict::Hold) => held(
                    Hold::Together,
                    format!("one change brought more than {limit} new people (limits.invites_per_listing)"),
                ),
                _ => (ActionState::Queued, None),
            };
        }
        let verdict = self.directory.as_mut().map_or(Verdict::Invite, |directory| {
            directory.brake.change(context.limits, context.now)
        });
        match (verdict, context.limits.invites_per_hour) {
            (Verdict::Hold, Some(limit)) => held(
                Hold::Hour,
                format!("more than {limit} new people in an hour (limits.invites_per_hour)"),
            ),
            _ => (ActionState::Queued, None),
        }
    }

    /// The person's address changed from `from` to `to`. Where the invitation to `from` was not sent, it is released and
    /// one to `to` opened, which waits where the old one waited. Where an invitation to this person was or may have
    /// been sent, be it to `from` or to an earlier address, one to `to` is opened only if `invite`.
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
            .filter(|&index| !self.invitations()[index].may_be_sent());
        match unsent {
            Some(index) => {
                let (state, compared) = (
                    self.invitations()[index].state,
                    self.invitations()[index].compared,
                );
                self.withdraw(index, context);
                let kept = (state == ActionState::Held).then_some(state);
                self.open(person, to, false, kept, context);
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

    /// Whether an invitation to this person, at whatever address, was sent or may have been.
    fn was_invited(&self, person: usize) -> bool {
        let mut theirs = self.invitations_for(person);
        theirs.any(|index| self.invitations()[index].may_be_sent())
    }

    /// Notes that somebody else has the person's address. Another entry of the same directory and name is nobody else, but
    /// the entry before it was deleted and made anew: a listing tells of the new one before it finds that the old one
    /// has left.
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
