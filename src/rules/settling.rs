//! Settles a task after an attempt.

use std::time::Duration;

use super::book::Book;
use super::brake::Limits;
use super::context::DecisionContext;
use super::leave_policy::LeavePolicies;
use super::task::Task;
use crate::clock::Timestamp;
use crate::model::{
    AccountState, ActionKind, ActionState, ManagedAccount, Outcome, Settlement, Source, Standing, What,
    WorkerId,
};

impl Book {
    /// Settles a task after an attempt of the worker `by`.
    ///
    /// Applies only while the task is claimed by this worker. [`Settlement::Done`] also applies after the task was taken back from
    /// it, as long as it is in doubt. If the task was not carried out
    /// and is no longer owed, because its person has left, come back or changed address in the meantime, it is handed over
    /// or cancelled. If it was carried out and should not have been, the opposite is opened.
    pub fn settle(
        &mut self,
        (row, by): (i64, WorkerId),
        settlement: &Settlement,
        limits: &Limits,
        leave: &LeavePolicies,
        now: Timestamp,
    ) {
        let Some(index) = self.task_by_row(row) else {
            return;
        };
        let stamp = (now, Source::Vaultwarden);
        let task = self.task_mut(index);
        let (action, arrived) = (task.kind, task.arrived);
        let context = DecisionContext::single(Source::Vaultwarden, arrived, now, limits, leave);
        match settlement {
            Settlement::Done { outcome, account } => {
                if task.owner == Some(by.0) || task.in_doubt.is_some() {
                    complete(task, *outcome, now);
                    let what = done(action, *outcome, now.since(arrived));
                    self.record_for(index, stamp, what);
                    self.update_account(index, *outcome, account.as_ref(), now);
                    self.correct(index, *outcome, &context);
                }
                return;
            }
            _ if task.owner != Some(by.0) => return,
            Settlement::NotBegun => task.owner = None,
            Settlement::Cancel(reason) => {
                self.cancel(index, Some(reason.clone()), &context);
                self.replace_leave(index, &context);
                return;
            }
            Settlement::RetryAt {
                at,
                failed,
                in_doubt,
                error,
            } => {
                let unknown_is_new = *in_doubt && task.in_doubt.is_none();
                task.due = *at;
                task.attempts += u32::from(*failed);
                task.in_doubt = in_doubt.then(|| task.in_doubt.unwrap_or(now));
                task.owner = None;
                task.reason = (!error.is_empty()).then(|| error.clone());
                let (attempts, error) = (task.attempts, error.clone());
                if unknown_is_new {
                    let error = error.clone();
                    self.record_for(index, stamp, What::OutcomeUnknown { action, error });
                }
                // An outage that delays everyone is not an event of one person.
                if *failed {
                    let retry_at = at.0;
                    let what = What::Failed {
                        action,
                        error,
                        attempts,
                        retry_at,
                    };
                    self.record_for(index, stamp, what);
                }
            }
            Settlement::Quarantine { reason, fault } => {
                task.set_state(ActionState::Quarantined, now);
                task.attempts += 1;
                task.reason = Some(reason.clone());
                task.fault.clone_from(fault);
                let reason = reason.clone();
                self.record_for(index, stamp, What::Quarantined { action, reason });
            }
        }
        if !self.tasks()[index].maybe_sent() {
            self.withdraw_unowed(index, &context);
        }
    }

    /// Withdraws a task that was not carried out, if it is no longer owed.
    fn withdraw_unowed(&mut self, index: usize, context: &DecisionContext<'_>) {
        let task = &self.tasks()[index];
        let (kind, person) = (task.kind, task.person);
        let is_member = self.people()[person].is_member_at(&task.address);
        match kind {
            ActionKind::Invite if !is_member => {
                let member = &self.people()[person].member;
                let address = (member.standing == Standing::Member)
                    .then(|| member.address.clone())
                    .flatten();
                self.withdraw(index, context);
                if let Some(address) = address {
                    self.open(person, &address, false, Some(ActionState::Queued), context);
                }
            }
            ActionKind::Resend if !is_member => self.cancel(index, Some("the person left".into()), context),
            ActionKind::Enable if !self.is_present(person) => {
                self.cancel(index, Some("the person left again".into()), context);
            }
            kind if kind.is_leave() && self.is_present(person) => self.cancel(index, None, context),
            _ => {}
        }
    }

    /// Opens another action for a leaver, if the configuration asks for that instead of a cancelled one.
    fn replace_leave(&mut self, index: usize, context: &DecisionContext<'_>) {
        let task = &self.tasks()[index];
        let (kind, person) = (task.kind, task.person);
        let policy = context.leave.of(&self.people()[person].directory_name);
        if let (Some(action), Some(invitation)) = (policy.action, self.invitation_to(&task.address))
            && kind.is_leave()
            && action != kind
            && !self.is_present(person)
        {
            self.offboard_account(invitation, action, policy.grace, None, context);
        }
    }

    /// Updates what is known of the account after an action on it.
    fn update_account(&mut self, index: usize, outcome: Outcome, id: Option<&String>, now: Timestamp) {
        let task = &self.tasks()[index];
        let (kind, address) = (task.kind, task.address.clone());
        let Some(invitation) = self.invitation_to(&address) else {
            return;
        };
        let known = &mut self.task_mut(invitation).account;
        if (kind, outcome) == (ActionKind::Invite, Outcome::Invited) {
            *known = Some(ManagedAccount::invited(id.cloned(), now));
            return;
        }
        let Some(account) = known else { return };
        match (kind, outcome) {
            // Somebody else created it after it was deleted.
            (ActionKind::Invite, _) if !account.state.exists() => *known = None,
            (ActionKind::Disable, Outcome::CarriedOut) => account.state = AccountState::Disabled,
            (ActionKind::Disable, Outcome::NotNeeded) => account.state = AccountState::DisabledByOthers,
            (ActionKind::Delete, Outcome::CarriedOut) => account.state = AccountState::Deleted,
            (ActionKind::Enable, Outcome::CarriedOut | Outcome::NotNeeded)
            | (ActionKind::Resend, Outcome::NotNeeded) => account.state = AccountState::Registered,
            (ActionKind::Resend, Outcome::CarriedOut) => {
                account.reminders += 1;
                account.reminded = Some(now);
            }
            (_, Outcome::NoAccount) => account.state = AccountState::DeletedByOthers,
            _ => {}
        }
    }

    /// Opens the opposite of an action that was carried out after its person had left or come back.
    fn correct(&mut self, index: usize, outcome: Outcome, context: &DecisionContext<'_>) {
        let task = &self.tasks()[index];
        let (kind, person, address) = (task.kind, task.person, task.address.clone());
        let came_in =
            (kind == ActionKind::Invite && outcome == Outcome::Invited) || kind == ActionKind::Enable;
        if came_in && !self.is_present(person) {
            let policy = context.leave.of(&self.people()[person].directory_name);
            if let (Some(action), Some(invitation)) = (policy.action, self.invitation_to(&address)) {
                self.offboard_account(invitation, action, policy.grace, None, context);
            }
        }
        if kind.is_leave() && outcome == Outcome::CarriedOut && self.is_present(person) {
            if let Some(invitation) = self.invitation_to(&address) {
                self.enable_again(invitation, context);
            }
            if kind == ActionKind::Delete && self.people()[person].is_member_at(&address) {
                self.open(person, &address, true, Some(ActionState::Queued), context);
            }
        }
    }
}

/// The event of a task that was carried out.
fn done(action: ActionKind, outcome: Outcome, after: Duration) -> What {
    let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
    match outcome {
        Outcome::Invited => What::Invited { after_ms },
        Outcome::HadAccount => What::HadAccount,
        Outcome::CarriedOut => What::CarriedOut { action, after_ms },
        Outcome::NotNeeded => What::NotNeeded { action, exists: true },
        Outcome::NoAccount => What::NotNeeded {
            action,
            exists: false,
        },
    }
}

pub(super) fn complete(task: &mut Task, outcome: Outcome, now: Timestamp) {
    task.set_state(ActionState::Done, now);
    task.outcome = Some(outcome);
    task.reason = None;
    task.fault = None;
}
