//! Invitations as tasks of the worker.

use super::EmailAddress;
use crate::clock::Timestamp;

/// An invitation that is owed, as the worker claims it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// The store's number of the task.
    pub id: i64,
    /// The address to invite; unique among tasks.
    pub address: EmailAddress,
    /// The DN of the person.
    pub dn: String,
    /// The name of the person's directory.
    pub directory: String,
    /// The number of failed attempts.
    pub attempts: u32,
    /// When an earlier attempt ended without a known outcome. The address must be looked up before it is invited again.
    pub in_doubt: Option<Timestamp>,
    /// When the change that caused it arrived.
    pub arrived: Timestamp,
}

/// The state of a task. The names are used in the store, in `status` and in metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TaskState {
    /// Found by a listing that has not ended yet.
    Staged,
    /// Due now or at a later time.
    Queued,
    /// Held back by one of the `limits` until an administrator approves it.
    Held,
    /// The person was invited or had an account.
    Done,
    /// Refused permanently for this person; the reason is stored.
    Quarantined,
    /// The person left before they were invited.
    Cancelled,
}

impl TaskState {
    /// All states in display order.
    pub const ALL: [Self; 6] = [
        Self::Staged,
        Self::Queued,
        Self::Held,
        Self::Done,
        Self::Quarantined,
        Self::Cancelled,
    ];

    /// The state's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Queued => "queued",
            Self::Held => "held",
            Self::Done => "done",
            Self::Quarantined => "quarantined",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The result of a task that succeeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Vaultwarden created the invitation.
    Invited,
    /// The person already had an account.
    HadAccount,
}

impl Outcome {
    /// The name in the store, in logs and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invited => "invited",
            Self::HadAccount => "had-account",
        }
    }
}

/// The result of an attempt at a claimed task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// It succeeded.
    Done(Outcome),
    /// Try again later.
    RetryAt {
        /// The time of the next attempt.
        at: Timestamp,
        /// Whether the attempt counts as a failure of this task. It does not during an outage.
        failed: bool,
        /// Whether the call may have taken effect, so that the address must be looked up first.
        in_doubt: bool,
        /// The error, for `status`.
        error: String,
    },
    /// Refused permanently.
    Quarantine {
        /// The reason, for people.
        reason: String,
        /// The key of the reason ([`Rejection::key`](super::Rejection::key)), if it may concern the server.
        fault: Option<String>,
    },
}
