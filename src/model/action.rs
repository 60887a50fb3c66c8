//! One piece of work for the invite worker.

use serde::{Deserialize, Serialize};

use super::EmailAddress;
use crate::clock::Timestamp;

/// An invitation that is owed, as the worker claims it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Action {
    /// The store's number of the task.
    pub id: i64,
    /// Whom to invite; one task per address.
    pub address: EmailAddress,
    /// The DN of the entry that it is for.
    pub dn: String,
    /// The name of the directory that it came from.
    pub directory: String,
    /// Failed attempts so far.
    pub attempts: u32,
    /// An earlier attempt ended without a known outcome, at that time: look the address up before inviting.
    pub in_doubt: Option<Timestamp>,
    /// When the change that caused it arrived here.
    pub arrived: Timestamp,
}

/// Where a task stands. The names are those of the store, of `status` and of the metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActionState {
    /// Found by a listing that has not ended yet.
    Staged,
    /// Due now or at a later time.
    Queued,
    /// Held back by one of the `limits` until someone approves it.
    Held,
    /// The person is invited, or had an account.
    Done,
    /// Will not succeed for this person; the reason is stored.
    Quarantined,
    /// The person left before they were invited.
    Cancelled,
}

impl ActionState {
    /// All states, in the order in which people read them.
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

/// How a finished task ended well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Vaultwarden created the invitation.
    Invited,
    /// There was an account already.
    HadAccount,
}

impl Outcome {
    /// The word for it in the store, in logs and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invited => "invited",
            Self::HadAccount => "had-account",
        }
    }
}

/// What becomes of a claimed task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// Finished.
    Done(Outcome),
    /// Try again at this time. `failed` counts the attempt; `in_doubt` asks for a look-up first.
    RetryAt {
        /// When.
        at: Timestamp,
        /// Whether the attempt counts against this task (in an outage that lasts it does not).
        failed: bool,
        /// Whether the call may have taken effect.
        in_doubt: bool,
        /// What went wrong, for `status`.
        error: String,
    },
    /// Never again as things are.
    Quarantine {
        /// Why, for people.
        reason: String,
        /// What others may have in common with it, where it may prove to be the server's doing.
        fault: Option<String>,
    },
}
