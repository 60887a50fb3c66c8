//! Compares what Vaultwarden lists with what is known of the accounts in our care.

use std::time::Duration;

use super::book::Book;
use super::context::DecisionContext;
use super::settling::complete;
use super::task::Task;
use crate::clock::Timestamp;
use crate::model::{
    AccountState, ActionKind, ActionState, Care, Compared, EmailAddress, Hold, ListedAccount, ManagedAccount,
    ObservedChange, Outcome, What,
};

/// If more accounts than this are missing at once, and more than [`MANY_SHARE`] of all ..
const MANY: u64 = 5;
/// .. of which this is one tenth, this is not the work of an administrator who deletes people.
const MANY_SHARE: u64 = 10;

/// The actions during which a list of accounts may be older than what is known.
const CHANGES: [ActionKind; 3] = [ActionKind::Disable, ActionKind::Delete, ActionKind::Enable];

/// Whether so many accounts are missing that Vaultwarden is another one, was emptied, or was restored from a backup.
pub fn many_are_missing(missing: u64, known: u64) -> bool {
    missing > MANY && missing.saturating_mul(MANY_SHARE) > known
}

/// When people who have not registered are reminded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReminderPolicy {
    /// The time after the invitation or the last reminder.
    pub after: Duration,
    /// The largest number of reminders.
    pub limit: u32,
}

impl ReminderPolicy {
    /// Whether the person is to be reminded now.
    pub fn is_due(&self, account: &ManagedAccount, now: Timestamp) -> bool {
        let last = account.reminded.unwrap_or(account.since);
        account.care == Care::Invited
            && account.state == AccountState::Invited
            && account.reminders < self.limit
            && now.since(last) >= self.after
    }
}

/// Whether what Vaultwarden lists differs from what is known of the account. `waits` says whether an invitation to the
/// address waits, although there is an account.
pub fn differs(known: &ManagedAccount, waits: bool, listed: &ListedAccount) -> bool {
    waits
        || if is_another(known, listed) {
            known.state.exists()
        } else {
            known.id.is_none() || state_of(known.state, listed) != known.state
        }
}

/// Whether an account that has the same address as the known one is another one, which is not ours.
fn is_another(known: &ManagedAccount, listed: &ListedAccount) -> bool {
    known.id.as_ref().is_some_and(|id| *id != listed.id)
}

/// The state of an account by the list. A state that the list does not contradict stays.
fn state_of(known: AccountState, listed: &ListedAccount) -> AccountState {
    match listed.enabled {
        Some(false) if known.is_disabled() => known,
        Some(false) => AccountState::DisabledByOthers,
        // Versions before 1.25.1 do not say.
        None if known.is_disabled() => known,
        _ if listed.invited => AccountState::Invited,
        _ => AccountState::Registered,
    }
}

impl Book {
    /// Updates what is known of an account in our care, whose invitation is in this row, by the list that Vaultwarden began to
    /// send at `began`. What has changed since is newer than the list.
    pub fn observe_account(
        &mut self,
        row: i64,
        listed: &ListedAccount,
        began: Timestamp,
        context: &DecisionContext<'_>,
    ) {
        let Some(index) = self.task_by_row(row) else {
            return;
        };
        if self.is_newer(index, began) {
            return;
        }
        let task = self.task_mut(index);
        if task.waits() {
            complete(task, Outcome::HadAccount, context.now);
            self.record_for(index, context.stamp(), What::HadAccount);
        }
        let Some(account) = &mut self.task_mut(index).account else {
            return;
        };
        if is_another(account, listed) {
            if account.state.exists() {
                self.lose_account(index, context);
            }
            return;
        }
        account.id = Some(listed.id.clone());
        let (before, now) = (account.state, state_of(account.state, listed));
        account.state = now;
        let what = match (before, now) {
            _ if before == now => return,
            (AccountState::Invited, AccountState::Registered) => What::Registered,
            (_, AccountState::DisabledByOthers) => What::AccountChanged {
                how: ObservedChange::Disabled,
            },
            (AccountState::Disabled | AccountState::DisabledByOthers, _) => What::AccountChanged {
                how: ObservedChange::Enabled,
            },
            (AccountState::Deleted | AccountState::DeletedByOthers, _) => What::AccountChanged {
                how: ObservedChange::Restored,
            },
            _ => return,
        };
        let is_back = !before.exists();
        self.record_for(index, context.stamp(), what);
        // Their time to leave came while the account was missing.
        let person = self.tasks()[index].person;
        let policy = context.leave.of(&self.people()[person].directory_name);
        if let Some(action) = policy.action
            && is_back
            && !self.is_present(person)
        {
            self.offboard_account(index, action, policy.grace, None, context);
        }
    }

    /// Records that an account in our care is not in the list that Vaultwarden began to send at `began`. If `invite_again` is
    /// set and the person is a member, they are invited again.
    pub fn account_missing(
        &mut self,
        row: i64,
        began: Timestamp,
        invite_again: bool,
        context: &DecisionContext<'_>,
    ) {
        let Some(index) = self.task_by_row(row) else {
            return;
        };
        if self.is_newer(index, began) || !self.account_exists(index) {
            return;
        }
        self.lose_account(index, context);
        let (person, address) = (self.tasks()[index].person, self.tasks()[index].address.clone());
        if invite_again && self.people()[person].is_member_at(&address) {
            self.open(person, &address, true, None, context);
        }
    }

    /// Holds the invitation to a person whose account is missing together with many others, until an administrator approves it
    /// or the account is there again. Returns whether it did.
    pub fn hold_missing(&mut self, row: i64, began: Timestamp, context: &DecisionContext<'_>) -> bool {
        let Some(index) = self.task_by_row(row) else {
            return false;
        };
        let task = &self.tasks()[index];
        let is_member = self.people()[task.person].is_member_at(&task.address);
        if task.state != ActionState::Done
            || !is_member
            || self.is_newer(index, began)
            || !self.account_exists(index)
        {
            return false;
        }
        let task = self.task_mut(index);
        task.set_state(ActionState::Held, context.now);
        task.outcome = None;
        // Its number says nothing, so that no comparison releases it.
        task.compared = Compared::Yes;
        task.reason = Some(Hold::Missing.to_string());
        let what = What::Held {
            by: Hold::Missing,
            action: ActionKind::Invite,
        };
        self.record_for(index, context.stamp(), what);
        true
    }

    /// Opens a reminder to the person of the invitation in this row, if one is due.
    pub fn remind(&mut self, row: i64, policy: &ReminderPolicy, context: &DecisionContext<'_>) -> bool {
        let Some(index) = self.task_by_row(row) else {
            return false;
        };
        let task = &self.tasks()[index];
        let (person, address) = (task.person, task.address.clone());
        let is_due = task
            .account
            .as_ref()
            .is_some_and(|account| policy.is_due(account, context.now));
        let is_open = self.task_at(ActionKind::Resend, &address).is_some_and(|resend| {
            !matches!(
                self.tasks()[resend].state,
                ActionState::Done | ActionState::Cancelled
            )
        });
        let is_owed = task.state == ActionState::Done && self.people()[person].is_member_at(&address);
        if !is_due || is_open || !is_owed {
            return false;
        }
        let kind = ActionKind::Resend;
        let resend = Task::new(
            kind,
            address,
            person,
            ActionState::Queued,
            context.now,
            context.now,
        );
        self.insert_task(resend);
        true
    }

    /// Takes the account of a member into care. Returns whether it was not in care before.
    pub fn adopt(&mut self, listed: &ListedAccount, context: &DecisionContext<'_>) -> bool {
        let Some(person) = self.member_at(&listed.address) else {
            return false;
        };
        let index = self.invitation_to(&listed.address).unwrap_or_else(|| {
            let kind = ActionKind::Invite;
            let address = listed.address.clone();
            let mut task = Task::new(kind, address, person, ActionState::Done, context.now, context.now);
            task.outcome = Some(Outcome::HadAccount);
            self.insert_task(task)
        });
        let task = self.task_mut(index);
        if task
            .account
            .as_ref()
            .is_some_and(|account| account.state.exists())
        {
            return false;
        }
        task.account = Some(ManagedAccount {
            care: Care::Adopted,
            id: Some(listed.id.clone()),
            state: state_of(AccountState::Registered, listed),
            since: context.now,
            reminders: 0,
            reminded: None,
        });
        if task.waits() {
            complete(task, Outcome::HadAccount, context.now);
        }
        self.record_for(index, context.stamp(), What::Adopted);
        true
    }

    /// The member who has the invitation to this address, or else any member who has the address.
    pub(super) fn member_at(&self, address: &EmailAddress) -> Option<usize> {
        let holder = self
            .invitation_to(address)
            .map(|index| self.tasks()[index].person);
        holder
            .filter(|&person| self.people()[person].is_member_at(address))
            .or_else(|| self.other_member_at(address, usize::MAX))
    }

    /// Records that somebody else deleted an account, and cancels what waits to be done to it. Its id stays known, so that
    /// only this very account can be in our care again.
    fn lose_account(&mut self, index: usize, context: &DecisionContext<'_>) {
        let address = self.tasks()[index].address.clone();
        if let Some(account) = &mut self.task_mut(index).account {
            account.state = AccountState::DeletedByOthers;
        }
        let what = What::AccountChanged {
            how: ObservedChange::Deleted,
        };
        self.record_for(index, context.stamp(), what);
        for kind in ActionKind::ALL {
            if let Some(task) = self.task_at(kind, &address)
                && !kind.is_invite()
                && self.tasks()[task].waits()
            {
                self.cancel(task, Some("the account does not exist any more".into()), context);
            }
        }
    }

    fn account_exists(&self, index: usize) -> bool {
        let account = self.tasks()[index].account.as_ref();
        account.is_some_and(|account| account.state.exists())
    }

    /// Whether something was done to the account of an invitation after `began`, or is being done.
    fn is_newer(&self, index: usize, began: Timestamp) -> bool {
        let address = &self.tasks()[index].address;
        let is_newer =
            |task: &Task| task.since >= began || task.maybe_sent() && task.state != ActionState::Done;
        let changes = CHANGES.iter().filter_map(|&kind| self.task_at(kind, address));
        changes.chain([index]).any(|task| is_newer(&self.tasks()[task]))
    }
}
