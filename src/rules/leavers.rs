//! Decides what happens to the accounts of people who leave, and of those who come back.
//!
//! - Only accounts in our care are touched, and none that is protected.
//! - The decision opens a task. The worker looks the person up at once and again after the grace period, and carries the
//!   task out only if they are gone both times.
//! - A limit that is exceeded holds all leavers of the directory whose time has not come.

use std::time::Duration;

use super::book::Book;
use super::context::DecisionContext;
use super::leave_policy::may_touch;
use super::task::Task;
use crate::model::{AccountState, ActionKind, ActionState, Compared, EmailAddress, Hold, Standing, What};

/// The actions for leavers.
const LEAVE: [ActionKind; 3] = [ActionKind::Deauthorize, ActionKind::Disable, ActionKind::Delete];

impl Book {
    /// Opens the action for each account of a person who left. Somebody who came back and left again may have an account
    /// without a completed invitation.
    pub(super) fn offboard(&mut self, person: usize, context: &DecisionContext<'_>) {
        let invitations: Vec<usize> = self.invitations_for(person).collect();
        for &invitation in &invitations {
            self.keep_disabled(invitation, context);
        }
        let policy = context.leave.of(&self.people()[person].directory_name);
        let Some(action) = policy.action else {
            return;
        };
        let hold = self.count_leaver(context);
        for invitation in invitations {
            if self.tasks()[invitation].state == ActionState::Done || self.account_exists(invitation) {
                self.offboard_account(invitation, action, policy.grace, hold, context);
            }
        }
    }

    /// Cancels the enabling of an account that waits, because the person left again.
    fn keep_disabled(&mut self, invitation: usize, context: &DecisionContext<'_>) {
        let address = self.tasks()[invitation].address.clone();
        if let Some(enabling) = self.task_at(ActionKind::Enable, &address)
            && self.tasks()[enabling].waits()
        {
            self.cancel(enabling, Some("the person left again".into()), context);
        }
    }

    /// Opens the action for one account of a person who left.
    pub(super) fn offboard_account(
        &mut self,
        invitation: usize,
        action: ActionKind,
        grace: Duration,
        hold: Option<Hold>,
        context: &DecisionContext<'_>,
    ) {
        let task = &self.tasks()[invitation];
        let (person, address) = (task.person, task.address.clone());
        if let Err(reason) = may_touch(task.account.as_ref(), &address, &context.leave.protect) {
            if let Some(reason) = reason {
                self.record_for(invitation, context.stamp(), What::Spared { reason });
            }
            return;
        }
        let is_open = LEAVE.iter().any(|&kind| {
            self.task_at(kind, &address).is_some_and(|index| {
                matches!(self.tasks()[index].state, ActionState::Queued | ActionState::Held)
            })
        });
        if is_open {
            return;
        }
        let state = if hold.is_some() {
            ActionState::Held
        } else {
            ActionState::Queued
        };
        let mut leave = Task::new(action, address, person, state, context.arrived, context.now);
        leave.reason = hold.map(|hold| hold.to_string());
        let index = self.insert_task(leave);
        let at = (context.arrived + grace).0;
        self.record_for(index, context.stamp(), What::Leaving { action, at });
        if let Some(by) = hold {
            self.record_for(index, context.stamp(), What::Held { by, action });
        }
    }

    /// Counts a leaver. Returns the limit that holds them.
    fn count_leaver(&mut self, context: &DecisionContext<'_>) -> Option<Hold> {
        let directory = self.directory.as_mut()?;
        directory.present = directory.present.saturating_sub(1);
        let (present, brake) = (directory.present, &mut directory.leaver_brake);
        let exceeded = if context.source.is_listing() {
            // The verdict on the listing as a whole comes before the first of its leavers.
            let exceeded = brake.admit_listed(present, context.limits, context.now);
            context.leaving.or(exceeded)
        } else {
            brake.admit_change(present, context.limits, context.now)
        };
        self.leavers_exceeded = exceeded.or(self.leavers_exceeded);
        exceeded
    }

    /// Holds the leavers of the book's directory whose time has not come, except those whom an administrator approved.
    /// Within the grace that includes those who are being looked up, because nothing can have been done to their accounts.
    pub fn hold_leavers(&mut self, by: Hold, context: &DecisionContext<'_>) {
        let Some(directory) = &self.directory else {
            return;
        };
        let (grace, directory) = (context.leave.of(&directory.name).grace, directory.id);
        for index in 0..self.tasks().len() {
            let task = &self.tasks()[index];
            let holds = task.kind.is_leave()
                && task.state == ActionState::Queued
                && (task.waits() || context.now < task.arrived + grace)
                && task.compared != Compared::Yes
                && self.people()[task.person].directory == directory;
            if holds {
                let action = task.kind;
                let task = self.task_mut(index);
                task.set_state(ActionState::Held, context.now);
                task.reason = Some(by.to_string());
                self.record_for(index, context.stamp(), What::Held { by, action });
            }
        }
    }

    /// Undoes what leaving caused, for the accounts of a person who is in the directory: actions that wait are cancelled, and
    /// an account that this program disabled is enabled.
    pub(super) fn come_back(&mut self, person: usize, context: &DecisionContext<'_>) {
        let mut addresses: Vec<EmailAddress> = self
            .invitations_for(person)
            .map(|index| self.tasks()[index].address.clone())
            .collect();
        if let Some(address) = &self.people()[person].member.address
            && !addresses.contains(address)
        {
            addresses.push(address.clone());
        }
        for address in addresses {
            for kind in LEAVE {
                if let Some(index) = self.task_at(kind, &address)
                    && (self.tasks()[index].waits() || self.tasks()[index].state == ActionState::Quarantined)
                {
                    self.cancel(index, None, context);
                    self.take_over_account(person, &address, context);
                }
            }
            if let Some(invitation) = self.invitation_to(&address)
                && self.tasks()[invitation].person == person
            {
                self.enable_again(invitation, context);
            }
        }
    }

    /// Gives an account that stays as it is, because somebody else has its address now, to that person: it leaves with them.
    fn take_over_account(&mut self, person: usize, address: &EmailAddress, context: &DecisionContext<'_>) {
        let Some(invitation) = self.invitation_to(address) else {
            return;
        };
        let former = self.tasks()[invitation].person;
        if former != person && !self.is_present(former) {
            let from = self.people()[former].member.dn.clone();
            let state = self.tasks()[invitation].state;
            self.hand_over(invitation, person);
            self.record_for(invitation, context.stamp(), What::HandedOver { from, state });
        }
    }

    /// Opens the action that enables an account, if this program disabled it.
    pub(super) fn enable_again(&mut self, invitation: usize, context: &DecisionContext<'_>) {
        let task = &self.tasks()[invitation];
        let is_ours = task
            .account
            .as_ref()
            .is_some_and(|account| account.state == AccountState::Disabled);
        let kind = ActionKind::Enable;
        let is_open = self
            .task_at(kind, &task.address)
            .is_some_and(|index| self.tasks()[index].state == ActionState::Queued);
        if !is_ours || is_open {
            return;
        }
        let (address, person) = (task.address.clone(), task.person);
        let enable = Task::new(
            kind,
            address,
            person,
            ActionState::Queued,
            context.arrived,
            context.now,
        );
        self.insert_task(enable);
    }

    /// Cancels a task.
    pub(super) fn cancel(&mut self, index: usize, reason: Option<String>, context: &DecisionContext<'_>) {
        let task = self.task_mut(index);
        let action = task.kind;
        task.set_state(ActionState::Cancelled, context.now);
        task.reason = None;
        self.record_for(index, context.stamp(), What::Cancelled { action, reason });
    }

    /// Makes everyone of the book's directory who is in the book a leaver, because an administrator says so.
    pub fn forget_directory(&mut self, context: &DecisionContext<'_>) -> usize {
        let directory = self.directory.as_ref().map(|directory| directory.id);
        let mut left = 0;
        for person in 0..self.people().len() {
            if Some(self.people()[person].directory) == directory && self.set_left(person) {
                left += 1;
                let reason =
                    Some("an administrator declared that the people of this directory have left".into());
                self.record(person, None, context.stamp(), What::Left { reason });
                self.withdraw_all(person, context);
                let invitations: Vec<usize> = self.invitations_for(person).collect();
                for &invitation in &invitations {
                    self.keep_disabled(invitation, context);
                }
                let policy = context.leave.forgotten;
                let Some(action) = policy.action else { continue };
                for invitation in invitations {
                    if self.tasks()[invitation].state == ActionState::Done || self.account_exists(invitation)
                    {
                        self.offboard_account(invitation, action, policy.grace, None, context);
                    }
                }
            }
        }
        left
    }

    /// Whether a person is in their directory, as far as is known.
    pub(super) fn is_present(&self, person: usize) -> bool {
        self.people()[person].member.standing != Standing::Left
    }
}
