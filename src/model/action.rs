//! Actions: the calls to Vaultwarden that the service owes to one address each, and how they end.

use serde::{Deserialize, Serialize};

use super::{EmailAddress, EntryId};
use crate::clock::Timestamp;

/// The kinds of actions. [`crate::worker`] has a handler for each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActionKind {
    /// Invite the person to Vaultwarden.
    #[default]
    Invite,
    /// Mail the invitation of a person who has not registered again.
    Resend,
    /// End all sessions of a leaver.
    Deauthorize,
    /// Disable the account of a leaver.
    Disable,
    /// Delete the account of a leaver.
    Delete,
    /// Enable the account of a person who is back, if this program disabled it.
    Enable,
}

impl ActionKind {
    /// All kinds.
    pub const ALL: [Self; 6] = [
        Self::Invite,
        Self::Resend,
        Self::Deauthorize,
        Self::Disable,
        Self::Delete,
        Self::Enable,
    ];

    /// The kind's name in the store.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Invite => "invite",
            Self::Resend => "resend",
            Self::Deauthorize => "deauthorize",
            Self::Disable => "disable",
            Self::Delete => "delete",
            Self::Enable => "enable",
        }
    }

    /// Whether it is done to the account of a person who left.
    pub fn is_leave(self) -> bool {
        matches!(self, Self::Deauthorize | Self::Disable | Self::Delete)
    }

    /// Whether Vaultwarden mails the person.
    pub fn mails(self) -> bool {
        matches!(self, Self::Invite | Self::Resend)
    }

    /// Whether it is an invitation. The default, so that events of older versions are read as such.
    pub fn is_invite(&self) -> bool {
        *self == Self::Invite
    }

    /// What is done, for a sentence such as "the account is to be ..".
    pub fn participle(self) -> &'static str {
        match self {
            Self::Invite => "invited",
            Self::Resend => "reminded",
            Self::Deauthorize => "logged out everywhere",
            Self::Disable => "disabled",
            Self::Delete => "deleted",
            Self::Enable => "enabled again",
        }
    }

    /// The action, for a sentence such as "the .. is held back".
    pub fn noun(self) -> &'static str {
        match self {
            Self::Invite => "invitation",
            Self::Resend => "reminder",
            Self::Deauthorize => "logout of the leaver",
            Self::Disable => "disabling of the leaver's account",
            Self::Delete => "deletion of the leaver's account",
            Self::Enable => "enabling of the account",
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
    /// The identity of the person's entry.
    pub entry: EntryId,
    /// The name of the person's directory.
    pub directory: String,
    /// The number of their directory in the store.
    pub directory_row: i64,
    /// Whether their directory is configured.
    pub configured: bool,
    /// Whether their directory is not configured, and an administrator said that its people have left.
    pub forgotten: bool,
    /// Vaultwarden's id of the account at the address, if the account is in our care and its id is known.
    pub account: Option<String>,
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
    /// Vaultwarden carried out an action other than an invitation.
    CarriedOut,
    /// The account was already as the action would have left it.
    NotNeeded,
    /// The account does not exist any more.
    NoAccount,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Self; 5] = [
        Self::Invited,
        Self::HadAccount,
        Self::CarriedOut,
        Self::NotNeeded,
        Self::NoAccount,
    ];

    /// The name in the store, in logs and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Invited => "invited",
            Self::HadAccount => "had-account",
            Self::CarriedOut => "carried-out",
            Self::NotNeeded => "not-needed",
            Self::NoAccount => "no-account",
        }
    }
}

impl From<Outcome> for Settlement {
    /// The settlement of an action that succeeded, whose answer named no account.
    fn from(outcome: Outcome) -> Self {
        Self::Done {
            outcome,
            account: None,
        }
    }
}

/// How a claimed action is settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settlement {
    /// It succeeded.
    Done {
        /// How.
        outcome: Outcome,
        /// Vaultwarden's id of the account, if the answer named it.
        account: Option<String>,
    },
    /// It is not owed any more, for this reason.
    Cancel(String),
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
