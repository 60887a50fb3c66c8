//! The events of the journal: what happened to people.

mod text;

use serde::{Deserialize, Serialize};

use super::{ActionKind, ActionState, EmailAddress, EntryId};
use crate::clock::Timestamp;

/// Something that happened to a person. The transaction that makes an event true also stores it in the journal. Log lines,
/// metrics, `plan`, `explain` and `journal` are derived from events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// The time of the event.
    pub at: Timestamp,
    /// The name of the person's directory.
    pub directory: String,
    /// The person; `None` if the event concerns the whole directory.
    pub person: Option<EntryId>,
    /// The person's DN after the event, or the empty string.
    pub dn: String,
    /// The address that the event concerns, if any.
    pub address: Option<EmailAddress>,
    /// How this program learned of it.
    pub source: Source,
    /// What happened.
    pub what: What,
}

/// How this program learned of something, or who caused it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A live change from the directory's stream.
    Stream,
    /// A listing that brings the store up to date. Its findings are decided on when it has ended, so that
    /// `limits.invites_per_listing` applies to the listing as a whole.
    Listing,
    /// A listing that runs beside the stream and finds changes that the stream did not report. The limits apply as to any
    /// other listing.
    Audit,
    /// A look-up of a person by identity, before they are treated as a leaver.
    LookUp,
    /// The worker, from an answer of Vaultwarden.
    Vaultwarden,
    /// An administrator, who ran a command or changed the configuration.
    Administrator,
}

/// What happened. The names are those of `journal --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum What {
    /// The person became a member: they match the filter and have a usable address.
    Joined,
    /// The person had left and is a member again.
    Rejoined,
    /// The person matches the filter and cannot be invited: no usable address, or a disabled account.
    WithoutAddress {
        /// Why.
        reason: String,
    },
    /// The person can no longer be invited at the event's address, and there is no other.
    LostAddress {
        /// Why. Empty in events of earlier versions.
        #[serde(default)]
        reason: String,
    },
    /// The person has the event's address instead of another one.
    ChangedAddress {
        /// The former address.
        from: String,
        /// Whether the new address is invited as well.
        invite: bool,
    },
    /// The entry was renamed or moved within the search base.
    Moved {
        /// The former DN.
        from: String,
    },
    /// The person is no longer a member.
    Left {
        /// The reason if the account was disabled. `None` if the entry was deleted or no longer matches the filter.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Another person has the same address, which is invited once.
    SharesAddress {
        /// The DN of the person who had it first.
        with: String,
    },
    /// An invitation to the event's address is owed to the person.
    Owed {
        /// Its state.
        state: ActionState,
        /// The state of the earlier invitation that it replaces.
        #[serde(skip_serializing_if = "Option::is_none")]
        formerly: Option<ActionState>,
    },
    /// The person left, and this is to be done to their account unless they come back.
    Leaving {
        /// What is to be done.
        action: ActionKind,
        /// When, in milliseconds since 1970.
        at: i64,
    },
    /// The person left, and their account is left alone.
    Spared {
        /// Why.
        reason: String,
    },
    /// An action is held back until it is approved.
    Held {
        /// Why.
        by: Hold,
        /// The action.
        #[serde(default, skip_serializing_if = "ActionKind::is_invite")]
        action: ActionKind,
    },
    /// An action that was held back or in quarantine is due.
    Released {
        /// Why.
        because: Release,
        /// The action.
        #[serde(default, skip_serializing_if = "ActionKind::is_invite")]
        action: ActionKind,
    },
    /// An administrator dropped an action that was held back.
    Discarded {
        /// The action.
        #[serde(default, skip_serializing_if = "ActionKind::is_invite")]
        action: ActionKind,
    },
    /// An administrator asked for something on the status page. What follows from it is told by other events.
    Requested {
        /// What.
        request: Request,
        /// The action that it concerns.
        #[serde(default, skip_serializing_if = "ActionKind::is_invite")]
        action: ActionKind,
        /// The address of the browser, or of the proxy in front of the page and the address that the proxy names.
        from: String,
    },
    /// The person takes over the invitation of another person who had the same address.
    HandedOver {
        /// The DN of the person whose invitation it was.
        from: String,
        /// Its state.
        state: ActionState,
    },
    /// An action that was not carried out is no longer owed.
    Cancelled {
        /// The action.
        #[serde(default, skip_serializing_if = "ActionKind::is_invite")]
        action: ActionKind,
        /// Why, unless the person left.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// An attempt failed and will be repeated.
    Failed {
        /// The action.
        #[serde(default, skip_serializing_if = "ActionKind::is_invite")]
        action: ActionKind,
        /// What went wrong.
        error: String,
        /// The number of failed attempts, including this one.
        attempts: u32,
        /// The time of the next attempt, in milliseconds since 1970.
        retry_at: i64,
    },
    /// The outcome of an attempt is unknown: the address is looked up before it is invited again.
    OutcomeUnknown {
        /// The action.
        #[serde(default, skip_serializing_if = "ActionKind::is_invite")]
        action: ActionKind,
        /// What went wrong.
        error: String,
    },
    /// Vaultwarden created the invitation.
    Invited {
        /// The time since the change arrived, or since the invitation was released, in milliseconds.
        after_ms: u64,
    },
    /// The address already had an account.
    HadAccount,
    /// Vaultwarden carried out an action other than an invitation, this long after the change arrived.
    CarriedOut {
        /// The action.
        action: ActionKind,
        /// The time since the change arrived, in milliseconds.
        after_ms: u64,
    },
    /// The account was already as an action would have left it, or does not exist any more.
    NotNeeded {
        /// The action.
        action: ActionKind,
        /// Whether the account exists.
        exists: bool,
    },
    /// The account is in our care from now on.
    Adopted,
    /// The person registered: the account is in use.
    Registered,
    /// Somebody else changed the account.
    AccountChanged {
        /// How.
        how: ObservedChange,
    },
    /// An action was rejected permanently.
    Quarantined {
        /// The action.
        #[serde(default, skip_serializing_if = "ActionKind::is_invite")]
        action: ActionKind,
        /// Why.
        reason: String,
    },
    /// A listing that changed something ended.
    Listed {
        /// The number of people who joined or rejoined.
        joined: u64,
        /// The number of people who left.
        left: u64,
        /// The number of invitations that are due because of it.
        queued: u64,
        /// The number of invitations that are held back because of it.
        held: u64,
    },
}

/// What somebody else did to an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ObservedChange {
    /// It was disabled.
    Disabled,
    /// It was enabled.
    Enabled,
    /// It was deleted, or is not in this Vaultwarden.
    Deleted,
    /// It exists again.
    Restored,
}

/// Which limit holds an action back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hold {
    /// `limits.invites_per_listing`, for what one listing found.
    Listing,
    /// `limits.invites_per_listing`, for several people who joined by one change.
    Together,
    /// `limits.invites_per_hour`.
    Hour,
    /// `limits.addresses_per_person`.
    Person,
    /// An earlier invitation to the person was held back and never approved.
    Before,
    /// `hold = "all"` in `[invite]`.
    Everyone,
    /// Many accounts are missing from Vaultwarden at once.
    Missing,
    /// `limits.leavers_per_listing` or `limits.leavers_percent`.
    LeaversListing,
    /// `limits.leavers_per_hour`.
    LeaversHour,
    /// More than half of a directory's members left.
    LeaversHalf,
}

/// What an administrator asks for on the status page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Request {
    /// To carry out what is held back.
    Approve,
    /// To drop what is held back.
    Discard,
    /// To try again what is in quarantine.
    Retry,
    /// To remind a person who has not registered.
    Resend,
    /// To look a person up in the directory.
    Sync,
}

/// Why an invitation is released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Release {
    /// Without the people who have an account, the limit is not exceeded.
    Comparison,
    /// `ldap-usher approve`.
    Approved,
    /// `ldap-usher retry`.
    Retried,
    /// The reason for the quarantine turned out to concern the server.
    FaultOfServer,
}

impl Source {
    /// Whether it is a listing, an audit included.
    pub fn is_listing(self) -> bool {
        matches!(self, Self::Listing | Self::Audit)
    }

    /// The name in the journal.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stream => "stream",
            Self::Listing => "listing",
            Self::Audit => "audit",
            Self::Vaultwarden => "vaultwarden",
            Self::LookUp => "look-up",
            Self::Administrator => "administrator",
        }
    }
}

impl Request {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Approve,
        Self::Discard,
        Self::Retry,
        Self::Resend,
        Self::Sync,
    ];

    /// The name in the journal.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Approve => "approve",
            Self::Discard => "discard",
            Self::Retry => "retry",
            Self::Resend => "resend",
            Self::Sync => "sync",
        }
    }
}

impl Release {
    /// The source of the event that reports it.
    pub fn source(self) -> Source {
        match self {
            Self::Comparison | Self::FaultOfServer => Source::Vaultwarden,
            Self::Approved | Self::Retried => Source::Administrator,
        }
    }
}

impl What {
    /// Whether a listing with very many such events only counts them instead of storing each.
    pub fn is_routine(&self) -> bool {
        matches!(self, Self::Joined | Self::Owed { formerly: None, .. })
    }

    /// Whether the event makes an action due for the worker.
    pub fn is_due(&self) -> bool {
        match self {
            Self::Owed { state, .. } | Self::HandedOver { state, .. } => *state == ActionState::Queued,
            Self::Released { .. } | Self::Leaving { .. } => true,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_as_it_was_written_under_its_name_in_the_journal() {
        let all = [
            (What::Joined, r#"{"event":"joined"}"#),
            (
                What::Owed {
                    state: ActionState::Queued,
                    formerly: Some(ActionState::Done),
                },
                r#"{"event":"owed","state":"queued","formerly":"done"}"#,
            ),
            (
                What::Failed {
                    action: ActionKind::Invite,
                    error: "no \"route\"".into(),
                    attempts: 2,
                    retry_at: 7,
                },
                r#"{"event":"failed","error":"no \"route\"","attempts":2,"retry_at":7}"#,
            ),
            (
                What::Held {
                    by: Hold::Hour,
                    action: ActionKind::Invite,
                },
                r#"{"event":"held","by":"hour"}"#,
            ),
            (
                What::Held {
                    by: Hold::LeaversHour,
                    action: ActionKind::Disable,
                },
                r#"{"event":"held","by":"leavers-hour","action":"disable"}"#,
            ),
            (
                What::Cancelled {
                    action: ActionKind::Invite,
                    reason: None,
                },
                r#"{"event":"cancelled"}"#,
            ),
        ];
        for (what, text) in all {
            assert_eq!(serde_json::to_string(&what).unwrap(), text);
            assert_eq!(serde_json::from_str::<What>(text).unwrap(), what);
        }
    }
}
