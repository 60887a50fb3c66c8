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
    /// Applies only while the task is claimed by this worker. [`Settlement::Done`] also applies after the task was taken back
    /// from it, as long as it is in doubt. If the task was not carried out and is no longer owed, because its person has
    /// left, come back or changed address in the meantime, it is handed over or cancelled. If it was carried out and should
    /// not have been, the opposite is opened.
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
        // While an invitation is held, it is not late. Other actions count from the change, with the grace of a leaver.
        let waits_since = if action.is_invite() {
            arrived.max(task.since)
        } else {
            arrived
        };
        let context = DecisionContext::single(Source::Vaultwarden, arrived, now, limits, leave);
        match settlement {
            Settlement::Done { outcome, account } => {
                if task.owner == Some(by.0) || task.in_doubt.is_some() {
                    complete(task, *outcome, now);
                    let what = done(action, *outcome, now.since(waits_since));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EmailAddress, EntryId, Member, Release};

    const NOW: Timestamp = Timestamp(9_000);
    const STALE: WorkerId = WorkerId(1);
    const CURRENT: WorkerId = WorkerId(2);

    /// A book with one invitation that was claimed by the worker `owner`, changed by `change`.
    fn book(owner: Option<WorkerId>, change: impl FnOnce(&mut Task)) -> Book {
        let address = EmailAddress::parse(b"ann@x.org").unwrap();
        let member = Member {
            row: 1,
            id: EntryId::from_slice(&[1; 16]).unwrap(),
            dn: "uid=ann".into(),
            address: Some(address.clone()),
            standing: Standing::Member,
            returning: false,
        };
        let mut book = Book::default();
        let person = book.load_person((1, "main"), true, (member, None));
        let (kind, state) = (ActionKind::Invite, ActionState::Queued);
        let mut invitation = Task::new(kind, address, person, state, Timestamp(1), Timestamp(1));
        invitation.row = 7;
        invitation.owner = owner.map(|owner| owner.0);
        change(&mut invitation);
        book.load_task(invitation);
        book
    }

    /// Settles the invitation. Returns whether that changed or recorded anything.
    fn settle(book: &mut Book, by: WorkerId, settlement: &Settlement) -> bool {
        let (before, events) = (book.tasks()[0].clone(), book.events.len());
        book.settle(
            (7, by),
            settlement,
            &Limits::default(),
            &LeavePolicies::default(),
            NOW,
        );
        !before.same_as(&book.tasks()[0]) || book.events.len() != events
    }

    fn done(outcome: Outcome) -> Settlement {
        outcome.into()
    }

    fn not_done() -> [Settlement; 4] {
        [
            Settlement::NotBegun,
            Settlement::Cancel("it is not owed".into()),
            Settlement::RetryAt {
                at: Timestamp(99_000),
                failed: true,
                in_doubt: true,
                error: "no route to host".into(),
            },
            Settlement::Quarantine {
                reason: "refused".into(),
                fault: None,
            },
        ]
    }

    #[test]
    fn what_an_administrator_released_counts_its_delay_from_then_and_a_leaver_from_the_change() {
        for (kind, outcome, expected) in [
            (
                ActionKind::Invite,
                Outcome::Invited,
                What::Invited { after_ms: 2_000 },
            ),
            (
                ActionKind::Disable,
                Outcome::CarriedOut,
                What::CarriedOut {
                    action: ActionKind::Disable,
                    after_ms: 8_999,
                },
            ),
        ] {
            let mut book = book(None, |task| {
                task.kind = kind;
                task.state = ActionState::Held;
            });
            let released = Timestamp(7_000);
            let address = book.requeue(7, ActionState::Held, Release::Approved, released);
            assert!(address.is_some());
            assert_eq!(book.tasks()[0].arrived, Timestamp(1));
            book.task_mut(0).owner = Some(CURRENT.0);
            assert!(settle(&mut book, CURRENT, &done(outcome)));
            assert!(
                book.events.iter().any(|noted| noted.event.what == expected),
                "{kind:?}"
            );
        }
    }

    #[test]
    fn a_worker_settles_what_it_has_claimed() {
        for settlement in not_done().iter().chain([&done(Outcome::Invited)]) {
            let mut book = book(Some(CURRENT), |_| {});
            assert!(settle(&mut book, CURRENT, settlement), "{settlement:?}");
            assert_eq!(book.tasks()[0].owner, None);
        }
    }

    #[test]
    fn a_worker_that_lost_its_claim_neither_gives_back_nor_postpones_nor_drops_that_of_another() {
        for settlement in not_done() {
            for owner in [Some(CURRENT), None] {
                for in_doubt in [Some(Timestamp(5_000)), None] {
                    let mut book = book(owner, |task| task.in_doubt = in_doubt);
                    assert!(!settle(&mut book, STALE, &settlement), "{settlement:?}");
                }
            }
        }
    }

    #[test]
    fn what_a_worker_did_before_it_lost_its_claim_is_done_once() {
        for owner in [Some(CURRENT), None] {
            let mut book = book(owner, |task| task.in_doubt = Some(Timestamp(5_000)));
            assert!(settle(&mut book, STALE, &done(Outcome::Invited)));
            assert_eq!(book.tasks()[0].state, ActionState::Done);
            // The other worker has looked the address up meanwhile.
            assert!(!settle(&mut book, CURRENT, &done(Outcome::HadAccount)));
            for settlement in not_done() {
                assert!(!settle(&mut book, CURRENT, &settlement), "{settlement:?}");
            }
            assert_eq!(book.tasks()[0].outcome, Some(Outcome::Invited));
        }
    }

    #[test]
    fn what_a_worker_did_before_it_lost_its_claim_does_not_complete_a_task_that_is_owed_for_another_reason() {
        // It was settled since, and opened anew; nobody or another worker has begun it.
        for owner in [Some(CURRENT), None] {
            let mut book = book(owner, |_| {});
            assert!(!settle(&mut book, STALE, &done(Outcome::Invited)));
        }
        for state in [
            ActionState::Cancelled,
            ActionState::Held,
            ActionState::Quarantined,
            ActionState::Done,
        ] {
            let mut book = book(None, |task| task.state = state);
            assert!(!settle(&mut book, STALE, &done(Outcome::Invited)), "{state:?}");
        }
    }
}
