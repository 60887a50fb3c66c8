//! Actions: the calls to Vaultwarden that the service owes to one address each, and how they end.

use serde::{Deserialize, Serialize};

use super::EmailAddress;
use crate::clock::Timestamp;

/// The kinds of actions. [`crate::worker`] has a handler for each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ActionKind {
    /// Invite the person to Vaultwarden.
    Invite,
}

impl ActionKind {
    /// All kinds.
    pub const ALL: [Self; 1] = [Self::Invite];

    /// The kind's name in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invite => "invite",
        }
    }
}

/// An action as the worker claims it. An address has at most one of each kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// The number of the action in the store.
    pub id: i64,
    /// What is to be done.
    pub kind: ActionKind,
    /// Whom it concerns.
    pub address: EmailAddress,
    /// The DN of the person.
    pub dn: String,
    /// The name of the person's directory.
    pub directory: String,
    /// The number of failed attempts.
    pub attempts: u32,
    /// Set if an earlier attempt may have taken effect, to the time when it ended: look the address up before the next
    /// attempt.
    pub in_doubt: Option<Timestamp>,
    /// When the change that caused it arrived.
    pub arrived: Timestamp,
}

/// Identifies one run of the worker. Each claim in the store carries it, so that a later run recognises claims that an
/// earlier one left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkerId(pub i64);

/// The state of an action. The names are those of the store, of `status` and of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActionState {
    /// Due now or at a later time.
    Queued,
    /// Held back by one of the `limits` until an administrator approves it.
    Held,
    /// The person is invited or already had an account.
    Done,
    /// Refused permanently for this person; the reason is stored.
    Quarantined,
    /// The person left before it was carried out.
    Cancelled,
}

impl ActionState {
    /// All states in display order.
    pub const ALL: [Self; 5] = [
        Self::Queued,
        Self::Held,
        Self::Done,
        Self::Quarantined,
        Self::Cancelled,
    ];

    /// The state's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Held => "held",
            Self::Done => "done",
            Self::Quarantined => "quarantined",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Whether an action that waits was compared with Vaultwarden's list of accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compared {
    /// Not yet.
    No,
    /// The comparison that is under way concerns it.
    UnderWay,
    /// It was, or an administrator decided about it: no comparison releases it.
    Yes,
}

/// How an action succeeded.
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

/// How a claimed action is settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// It succeeded.
    Done(Outcome),
    /// Not begun: the claim is given back, and nothing else changes.
    NotBegun,
    /// Try again at this time. `failed` counts the attempt; `in_doubt` asks for a look-up first.
    RetryAt {
        /// The time of the next attempt.
        at: Timestamp,
        /// Whether the attempt counts against this action (in an outage that lasts it does not).
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
