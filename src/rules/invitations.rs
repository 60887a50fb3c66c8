//! Opens, hands over and cancels invitations.
//!
//! - An address has at most one invitation. If several people have the address, the invitation is for one of them and
//!   passes to another when that one leaves.
//! - A held invitation stays held until an administrator approves it, even if the person's address changes.
//! - An invitation that was sent or may have been sent is never cancelled: Vaultwarden answers 409 for existing accounts.

use std::collections::HashSet;
use std::time::Duration;

use super::book::Book;
use super::brake::{Limits, Verdict};
use super::context::DecisionContext;
use super::leave_policy::LeavePolicies;
use super::membership::Reason;
use super::settling::complete;
use super::sightings::Changed;
use super::task::Task;
use crate::clock::Timestamp;
use crate::model::{
    AccountState, ActionKind, ActionState, Compared, EmailAddress, Hold, Outcome, Source, What,
};

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
                Reason::Left | Reason::Disabled(_) => {
                    self.withdraw_all(person, context);
                    self.offboard(person, context);
                }
                Reason::Waiting(_) | Reason::Moved => {}
            }
            if !matches!(reason, Reason::Left | Reason::Disabled(_) | Reason::Moved) {
                self.come_back(person, context);
            }
            if let Reason::Joined(address)
            | Reason::Rejoined(address)
            | Reason::ChangedAddress { to: address, .. } = reason
            {
                self.record_shared_address(person, address, &mut paired, context);
            }
        }
    }

    /// Hands over or cancels an unsent invitation whose directory is no longer configured. If it is cancelled, the person
    /// waits until the directory is configured again.
    pub fn retire(&mut self, row: i64, limits: &Limits, leave: &LeavePolicies, now: Timestamp) {
        let Some(index) = self.task_by_row(row) else {
            return;
        };
        let person = self.tasks()[index].person;
        if self.people()[person].configured || self.tasks()[index].maybe_sent() {
            return;
        }
        let context = DecisionContext::single(Source::Administrator, now, now, limits, leave);
        self.withdraw(index, &context);
        if self.tasks()[index].state == ActionState::Cancelled {
            self.set_waiting(person, "its directory is not in the configuration");
        }
    }

    /// Stores the key of the rejection ([`crate::model::Rejection::key`]) of a quarantined invitation.
    pub fn set_fault(&mut self, address: &EmailAddress, fault: &str) {
        if let Some(index) = self.invitation_to(address) {
            let invitation = self.task_mut(index);
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
        let invitation = self.task_mut(index);
        let waits =
            matches!(invitation.state, ActionState::Queued | ActionState::Held) && invitation.owner.is_none();
        if waits {
            complete(invitation, Outcome::HadAccount, now);
            self.record_for(index, (now, Source::Vaultwarden), What::HadAccount);
        }
        waits
    }

    /// Withdraws all invitations of a person.
    pub(super) fn withdraw_all(&mut self, person: usize, context: &DecisionContext<'_>) {
        let indices: Vec<usize> = self.invitations_for(person).collect();
        for index in indices {
            self.withdraw(index, context);
        }
    }

    /// Takes an invitation from its person. Another member with the address takes it over; if there is none, it is
    /// cancelled unless it may have been sent. If it was sent, the other member may get a new one.
    pub(super) fn withdraw(&mut self, index: usize, context: &DecisionContext<'_>) {
        let invitation = &self.tasks()[index];
        let (state, maybe_sent) = (invitation.state, invitation.maybe_sent());
        if state == ActionState::Cancelled {
            return;
        }
        let address = invitation.address.clone();
        let former = invitation.person;
        // A person without a usable address takes over an account, but no invitation.
        let successor = self.other_member_at(&address, former).or_else(|| {
            maybe_sent
                .then(|| self.other_claimant_at(&address, former))
                .flatten()
        });
        match successor {
            Some(successor) => {
                let (new, old) = (&self.people()[successor], &self.people()[former]);
                // The entry was recreated by an import, or its identity changed. It is the same person.
                let is_recreated = new.directory == old.directory && new.member.dn == old.member.dn;
                let from = old.member.dn.clone();
                self.hand_over(index, successor);
                self.record_for(index, context.stamp(), What::HandedOver { from, state });
                // A listing reports the new owner of an address before it finds that the former one has left, so the new
                // owner was not invited. In live changes both were members at once and shared the invitation.
                let is_member = self.people()[successor].is_member_at(&address);
                if state == ActionState::Done && context.source.is_listing() && !is_recreated && is_member {
                    self.open(successor, &address, true, None, context);
                }
            }
            None if !maybe_sent => {
                let invitation = self.task_mut(index);
                invitation.was_held = state == ActionState::Held;
                invitation.set_state(ActionState::Cancelled, context.now);
                let what = What::Cancelled {
                    action: ActionKind::Invite,
                    reason: None,
                };
                self.record_for(index, context.stamp(), what);
            }
            None => {}
        }
    }

    /// Opens an invitation to this address for this person.
    ///
    /// An earlier invitation to the address is replaced if it was cancelled. One that was sent or is in quarantine is
    /// replaced if the person left and came back (`again`), or if it was for another person who no longer has the address.
    /// Any other stays as it is. The brake decides on the initial state unless `state` is given.
    pub(super) fn open(
        &mut self,
        person: usize,
        address: &EmailAddress,
        again: bool,
        state: Option<ActionState>,
        context: &DecisionContext<'_>,
    ) {
        let former = self.invitation_to(address).map(|index| &self.tasks()[index]);
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
        let kind = ActionKind::Invite;
        let mut invitation = Task::new(kind, address.clone(), person, state, context.arrived, context.now);
        let held_event = |by| What::Held { by, action: kind };
        let what = match &held {
            Some((by, _)) => held_event(*by),
            None if state == ActionState::Held => held_event(Hold::Before),
            None => What::Owed { state, formerly },
        };
        let held_by = held.as_ref().map(|(by, _)| *by);
        invitation.reason = held.and_then(|(_, reason)| reason);
        // The comparison with the accounts releases only what `limits.invites_per_listing` holds for a listing.
        if state == ActionState::Held && !matches!(held_by, Some(Hold::Listing)) {
            invitation.compared = Compared::Yes;
        }
        self.drop_account_of_another(person, address);
        let index = self.insert_task(invitation);
        self.record_for(index, context.stamp(), what);
    }

    /// Drops the care for an account that this program disabled, if the address now belongs to another person: enabling it
    /// would let the former person in.
    fn drop_account_of_another(&mut self, person: usize, address: &EmailAddress) {
        let Some(index) = self.invitation_to(address) else {
            return;
        };
        let former = &self.people()[self.tasks()[index].person];
        let new = &self.people()[person];
        let is_same = former.directory == new.directory
            && (former.member.id == new.member.id || former.member.dn == new.member.dn);
        let account = &mut self.task_mut(index).account;
        if !is_same
            && account
                .as_ref()
                .is_some_and(|account| account.state.is_disabled())
        {
            *account = None;
        }
    }

    /// The initial state of an invitation to a person. If it is held, also returns which limit holds it, and the reason
    /// that is shown if the limit alone does not explain it.
    fn initial_state(
        &mut self,
        person: usize,
        context: &DecisionContext<'_>,
    ) -> (ActionState, Option<(Hold, Option<String>)>) {
        let held = |by, reason| (ActionState::Held, Some((by, Some(reason))));
        if context.limits.hold_everyone {
            return held(Hold::Everyone, Hold::Everyone.to_string());
        }
        let theirs = || {
            let indices = self.invitations_for(person);
            indices.map(|index| &self.tasks()[index])
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
            .filter(|&index| !self.tasks()[index].maybe_sent());
        match unsent {
            Some(index) => {
                let (state, compared) = (self.tasks()[index].state, self.tasks()[index].compared);
                self.withdraw(index, context);
                let initial = (state == ActionState::Held).then_some(state);
                self.open(person, to, false, initial, context);
                if let Some(index) = self.current_invitation(person, to)
                    && self.tasks()[index].state == ActionState::Held
                {
                    self.task_mut(index).compared = compared;
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
            let invitation = &self.tasks()[index];
            invitation.person == person && invitation.state != ActionState::Cancelled
        })
    }

    /// Whether an invitation to this person, at any address, may have been sent, and its account may still exist.
    fn was_invited(&self, person: usize) -> bool {
        let mut theirs = self.invitations_for(person);
        theirs.any(|index| {
            let task = &self.tasks()[index];
            let was_deleted = task
                .account
                .as_ref()
                .is_some_and(|account| account.state == AccountState::Deleted);
            task.maybe_sent() && !was_deleted
        })
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
