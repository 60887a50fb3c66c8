//! The stored actions.

use crate::clock::Timestamp;
use crate::model::{ActionKind, ActionState, Compared, EmailAddress, ManagedAccount, Outcome};

/// An action that is or was owed to an address, which has at most one of each kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Its row in the store; `0` until it is saved.
    pub row: i64,
    /// What is owed.
    pub kind: ActionKind,
    /// The address that it concerns.
    pub address: EmailAddress,
    /// The person whom it is for, by index in [`Book::people`](super::Book::people).
    pub person: usize,
    /// Its state.
    pub state: ActionState,
    /// The earliest time of the next attempt, while queued.
    pub due: Timestamp,
    /// The worker that claimed it and has not settled it yet.
    pub owner: Option<i64>,
    /// Since when the outcome of an earlier attempt is unknown, if it is.
    pub in_doubt: Option<Timestamp>,
    /// Whether it was compared with Vaultwarden's list of accounts, or approved by an administrator.
    pub compared: Compared,
    /// It was cancelled or discarded while held, so that a new invitation to this person is held, too.
    pub was_held: bool,
    /// The number of failed attempts.
    pub attempts: u32,
    /// When the change that caused it arrived.
    pub arrived: Timestamp,
    /// When it entered its current state.
    pub since: Timestamp,
    /// The last error, or why it is held or in quarantine.
    pub reason: Option<String>,
    /// The key of a rejection that may turn out to concern the server ([`crate::model::Rejection::key`]).
    pub fault: Option<String>,
    /// How it succeeded, if it did.
    pub outcome: Option<Outcome>,
    /// The account at the address, if it is in our care. Only the invitation to the address has it.
    pub account: Option<ManagedAccount>,
    /// The task as stored; `None` for a new one.
    pub(super) stored: Option<Box<Self>>,
}

impl Task {
    /// A new task, due since its change arrived.
    pub fn new(
        kind: ActionKind,
        address: EmailAddress,
        person: usize,
        state: ActionState,
        arrived: Timestamp,
        now: Timestamp,
    ) -> Self {
        Self {
            row: 0,
            kind,
            address,
            person,
            state,
            due: arrived,
            owner: None,
            in_doubt: None,
            compared: Compared::No,
            was_held: false,
            attempts: 0,
            arrived,
            since: now,
            reason: None,
            fault: None,
            outcome: None,
            account: None,
            stored: None,
        }
    }

    /// Whether it was carried out or may have been.
    pub fn maybe_sent(&self) -> bool {
        self.state == ActionState::Done || self.owner.is_some() || self.in_doubt.is_some()
    }

    /// Whether it has the same stored fields as `other`.
    pub(super) fn same_as(&self, other: &Self) -> bool {
        let fields = |task: &Self| Self {
            stored: None,
            ..task.clone()
        };
        fields(self) == fields(other)
    }

    /// Changes its state and drops the claim.
    pub(super) fn set_state(&mut self, state: ActionState, now: Timestamp) {
        self.state = state;
        self.since = now;
        self.owner = None;
        self.in_doubt = None;
        // A comparison in progress started with the former state.
        if self.compared == Compared::UnderWay {
            self.compared = Compared::No;
        }
    }

    /// Whether it waits: it is queued or held, and no attempt is in progress or in doubt.
    pub(super) fn waits(&self) -> bool {
        let is_open = matches!(self.state, ActionState::Queued | ActionState::Held);
        is_open && self.owner.is_none() && self.in_doubt.is_none()
    }
}
