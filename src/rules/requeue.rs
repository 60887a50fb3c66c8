//! Tasks that are tried again or dropped: released, discarded, or lost by the worker that had claimed them.

use super::book::{Book, Noted};
use super::context::DecisionContext;
use super::task::Task;
use crate::clock::Timestamp;
use crate::model::{
    AccountState, ActionKind, ActionState, Compared, EmailAddress, Event, Release, Request, Source, What,
};

impl Book {
    /// Queues a task that is in the state `from`; returns its address. It keeps its history only if the server was at
    /// fault.
    pub fn requeue(
        &mut self,
        row: i64,
        from: ActionState,
        because: Release,
        now: Timestamp,
    ) -> Option<EmailAddress> {
        let index = self.task_by_row(row)?;
        let invitation = self.task_mut(index);
        if invitation.state != from {
            return None;
        }
        let (compared, action) = (invitation.compared, invitation.kind);
        invitation.set_state(ActionState::Queued, now);
        invitation.compared = compared;
        invitation.fault = None;
        match because {
            Release::Approved | Release::Retried => {
                if action.is_leave() {
                    invitation.compared = Compared::Yes;
                }
                invitation.due = invitation.due.min(now);
                invitation.attempts = 0;
                invitation.reason = None;
                invitation.outcome = None;
                if because == Release::Approved {
                    accept_loss(invitation);
                }
            }
            Release::FaultOfServer => invitation.due = now,
            Release::Comparison => invitation.compared = Compared::Yes,
        }
        let address = invitation.address.clone();
        self.record_for(index, (now, because.source()), What::Released { because, action });
        Some(address)
    }

    /// Drops a task that is held. A further invitation to the same person is held as well. Returns its address.
    pub fn discard(&mut self, row: i64, now: Timestamp) -> Option<EmailAddress> {
        let index = self.task_by_row(row)?;
        let task = self.task_mut(index);
        if task.state != ActionState::Held {
            return None;
        }
        task.was_held = task.kind.is_invite();
        accept_loss(task);
        task.set_state(ActionState::Cancelled, now);
        let (action, address) = (task.kind, task.address.clone());
        self.record_for(index, (now, Source::Administrator), What::Discarded { action });
        Some(address)
    }

    /// Queues the invitation to an address for the member who has it, whatever held it back or ended it, because an
    /// administrator says so. Returns the member's index; `None` if no member has the address.
    pub fn invite_by_hand(&mut self, address: &EmailAddress, context: &DecisionContext<'_>) -> Option<usize> {
        let person = self.member_at(address)?;
        let former = self.invitation_to(address);
        let state = former.map(|index| self.tasks()[index].state);
        match (former, state) {
            (Some(index), Some(ActionState::Queued)) => {
                let invitation = self.task_mut(index);
                invitation.due = invitation.due.min(context.now);
            }
            (Some(index), Some(from))
                if from != ActionState::Cancelled && self.tasks()[index].person == person =>
            {
                let because = if from == ActionState::Held {
                    Release::Approved
                } else {
                    Release::Retried
                };
                self.requeue(self.tasks()[index].row, from, because, context.now);
            }
            _ => self.open(person, address, true, Some(ActionState::Queued), context),
        }
        Some(person)
    }

    /// Records that an administrator asked for something that concerns a task, if there is this task.
    pub fn request_for_task(&mut self, row: i64, request: Request, from: &str, now: Timestamp) {
        let Some(index) = self.task_by_row(row) else {
            return;
        };
        let (action, from) = (self.tasks()[index].kind, from.to_owned());
        let what = What::Requested {
            request,
            action,
            from,
        };
        self.record_for(index, (now, Source::Administrator), what);
    }

    /// Records that an administrator asked for something that concerns a person.
    pub fn request_for_person(&mut self, person: usize, request: Request, from: &str, now: Timestamp) {
        let what = What::Requested {
            request,
            action: ActionKind::Invite,
            from: from.to_owned(),
        };
        let address = self.people()[person].member.address.clone();
        self.record(person, address, (now, Source::Administrator), what);
    }

    /// Records that an administrator has somebody searched in a directory who is not known there.
    pub fn request_search(
        &mut self,
        (directory, name): (i64, &str),
        address: Option<EmailAddress>,
        from: &str,
        now: Timestamp,
    ) {
        let event = Event {
            at: now,
            directory: name.to_owned(),
            person: None,
            dn: String::new(),
            address,
            source: Source::Administrator,
            what: What::Requested {
                request: Request::Sync,
                action: ActionKind::Invite,
                from: from.to_owned(),
            },
        };
        self.events.push(Noted { directory, event });
    }

    /// Takes a task back from a worker that is gone. It is due at once, and may have been sent.
    pub fn take_back(&mut self, row: i64, now: Timestamp) {
        if let Some(index) = self.task_by_row(row) {
            let invitation = self.task_mut(index);
            invitation.owner = None;
            invitation.in_doubt = invitation.in_doubt.or(Some(now));
            invitation.due = invitation.due.min(now);
        }
    }
}

/// An invitation that is held while its account is in our care waits because the account is missing, together with many
/// others. An administrator who decides on it knows that, so that the account counts as deleted from now on.
fn accept_loss(task: &mut Task) {
    if let Some(account) = &mut task.account
        && task.kind.is_invite()
        && account.state.exists()
    {
        account.state = AccountState::DeletedByOthers;
        account.id = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EntryId, ManagedAccount, Member, Outcome, Standing};
    use crate::rules::{LeavePolicies, Limits};

    const NOW: Timestamp = Timestamp(9_000);

    fn book(change: impl FnOnce(&mut Task)) -> Book {
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
        let mut invitation = Task::new(
            ActionKind::Invite,
            address,
            person,
            ActionState::Held,
            Timestamp(1),
            Timestamp(1),
        );
        invitation.row = 7;
        change(&mut invitation);
        book.load_task(invitation);
        book
    }

    fn quarantined(invitation: &mut Task) {
        invitation.state = ActionState::Quarantined;
        invitation.attempts = 3;
        invitation.reason = Some("refused".into());
        invitation.fault = Some("550".into());
    }

    #[test]
    fn a_retry_forgets_the_failures_and_the_fault_of_the_server_keeps_them() {
        let quarantine = ActionState::Quarantined;
        let mut retried = book(quarantined);
        assert!(retried.requeue(7, quarantine, Release::Retried, NOW).is_some());
        let invitation = &retried.tasks()[0];
        assert_eq!((invitation.state, invitation.attempts), (ActionState::Queued, 0));
        assert_eq!((&invitation.reason, &invitation.fault), (&None, &None));

        let mut pardoned = book(quarantined);
        assert!(
            pardoned
                .requeue(7, quarantine, Release::FaultOfServer, NOW)
                .is_some()
        );
        let invitation = &pardoned.tasks()[0];
        assert_eq!((invitation.due, invitation.attempts), (NOW, 3));
        assert_eq!(invitation.reason.as_deref(), Some("refused"));
        assert_eq!(pardoned.events.len(), 1);
    }

    #[test]
    fn nothing_is_queued_from_another_state_than_was_meant() {
        let mut held = book(|_| {});
        assert_eq!(
            held.requeue(7, ActionState::Quarantined, Release::Retried, NOW),
            None
        );
        assert_eq!(held.tasks()[0].state, ActionState::Held);
        assert!(held.events.is_empty());
    }

    #[test]
    fn what_a_lost_worker_had_claimed_is_due_and_in_doubt_since_the_first_doubt() {
        for (before, after) in [(None, NOW), (Some(Timestamp(5)), Timestamp(5))] {
            let mut claimed = book(|invitation| {
                invitation.state = ActionState::Queued;
                invitation.owner = Some(3);
                invitation.in_doubt = before;
                invitation.due = Timestamp(99_000);
            });
            claimed.take_back(7, NOW);
            let invitation = &claimed.tasks()[0];
            assert_eq!((invitation.owner, invitation.in_doubt), (None, Some(after)));
            assert_eq!(invitation.due, NOW);
        }
    }

    #[test]
    fn an_approved_or_discarded_invitation_to_a_missing_account_counts_the_account_as_deleted() {
        let missing = |invitation: &mut Task| {
            let mut account = ManagedAccount::invited(Some("id".into()), Timestamp(1));
            account.state = AccountState::Registered;
            invitation.account = Some(account);
        };
        let state = |book: &Book| book.tasks()[0].account.as_ref().map(|account| account.state);
        let mut approved = book(missing);
        approved.requeue(7, ActionState::Held, Release::Approved, NOW);
        assert_eq!(state(&approved), Some(AccountState::DeletedByOthers));
        let mut discarded = book(missing);
        discarded.discard(7, NOW);
        assert_eq!(state(&discarded), Some(AccountState::DeletedByOthers));
        let mut compared = book(missing);
        compared.requeue(7, ActionState::Held, Release::Comparison, NOW);
        assert_eq!(state(&compared), Some(AccountState::Registered));
    }

    #[test]
    fn an_invitation_by_hand_is_queued_whatever_held_it_back_or_ended_it() {
        let (limits, leave) = (Limits::default(), LeavePolicies::default());
        let context = DecisionContext::single(Source::Administrator, NOW, NOW, &limits, &leave);
        let address = EmailAddress::parse(b"ann@x.org").unwrap();
        for state in ActionState::ALL {
            let mut book = book(|invitation| {
                invitation.state = state;
                invitation.due = Timestamp(99_000);
                invitation.outcome = (state == ActionState::Done).then_some(Outcome::HadAccount);
            });
            assert_eq!(book.invite_by_hand(&address, &context), Some(0), "{state:?}");
            let invitation = &book.tasks()[0];
            assert_eq!(
                (invitation.state, invitation.due),
                (ActionState::Queued, NOW),
                "{state:?}"
            );
        }
        let other = EmailAddress::parse(b"bob@x.org").unwrap();
        assert_eq!(book(|_| {}).invite_by_hand(&other, &context), None);
    }
}
