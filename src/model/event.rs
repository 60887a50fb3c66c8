//! The events of the journal: what happened to people.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ActionState, EmailAddress, EntryId};
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
    /// An invitation is held back until it is approved.
    Held {
        /// Why.
        by: Hold,
    },
    /// An invitation that was held back or in quarantine is due.
    Released {
        /// Why.
        because: Release,
    },
    /// The person takes over the invitation of another person who had the same address.
    HandedOver {
        /// The DN of the person whose invitation it was.
        from: String,
        /// Its state.
        state: ActionState,
    },
    /// An invitation that was not sent is no longer owed.
    Cancelled,
    /// An attempt to invite failed and will be repeated.
    Failed {
        /// What went wrong.
        error: String,
        /// The number of failed attempts, including this one.
        attempts: u32,
        /// The time of the next attempt, in milliseconds since 1970.
        retry_at: i64,
    },
    /// The outcome of an attempt is unknown: the address is looked up before it is invited again.
    OutcomeUnknown {
        /// What went wrong.
        error: String,
    },
    /// Vaultwarden created the invitation.
    Invited {
        /// The time since the change arrived, in milliseconds.
        after_ms: u64,
    },
    /// The address already had an account.
    HadAccount,
    /// The invitation was rejected permanently.
    Quarantined {
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

/// Which limit holds an invitation back.
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
            Self::Administrator => "administrator",
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
            Self::Released { .. } => true,
            _ => false,
        }
    }
}

impl fmt::Display for What {
    /// One line for people, without a full stop.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Joined => f.write_str("became a member: matches the filter and has a usable address"),
            Self::Rejoined => f.write_str("became a member again after leaving"),
            Self::WithoutAddress { reason } => {
                write!(f, "matches the filter and cannot be invited: {reason}")
            }
            Self::LostAddress { reason } => {
                write!(f, "can no longer be invited at this address: {reason}")
            }
            Self::ChangedAddress { from, invite: true } => {
                write!(f, "has this address instead of {from}, and is invited at it")
            }
            Self::ChangedAddress { from, invite: false } => write!(f, "has this address instead of {from}"),
            Self::Moved { from } => write!(f, "was renamed or moved; the former DN is {from}"),
            Self::Left { reason: None } => {
                f.write_str("left: the entry is gone or no longer matches the filter")
            }
            Self::Left { reason: Some(reason) } => write!(f, "left: {reason}"),
            Self::SharesAddress { with } => {
                write!(f, "has the same address as {with}; the address is invited once")
            }
            Self::Owed { formerly: None, .. } => f.write_str("is owed an invitation"),
            Self::Owed {
                formerly: Some(_), ..
            } => f.write_str("is owed an invitation again"),
            Self::Held { by } => write!(f, "the invitation is held back: {by}"),
            Self::Released { because } => write!(f, "the invitation is due: {because}"),
            Self::HandedOver { from, .. } => {
                write!(f, "takes over the invitation of {from}, who had the same address")
            }
            Self::Cancelled => f.write_str("the invitation was cancelled before it was sent"),
            Self::Failed {
                error,
                attempts,
                retry_at,
            } => {
                let at = Timestamp(*retry_at);
                write!(
                    f,
                    "invitation attempt {attempts} failed, the next one is at {at}: {error}"
                )
            }
            Self::OutcomeUnknown { error } => {
                write!(f, "it is not known whether the invitation was sent: {error}")
            }
            Self::Invited { after_ms } => write!(f, "invited, {after_ms} ms after the change arrived"),
            Self::HadAccount => f.write_str("already has an account"),
            Self::Quarantined { reason } => write!(f, "the invitation is in quarantine: {reason}"),
            Self::Listed {
                joined,
                left,
                queued,
                held,
            } => write!(
                f,
                "listing ended: {joined} joined, {left} left, {queued} invitations due, {held} held back"
            ),
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Listing => "one listing found more new people than limits.invites_per_listing",
            Self::Together => "one change added more new people than limits.invites_per_listing",
            Self::Hour => "more new people in an hour than limits.invites_per_hour",
            Self::Person => "more addresses of one entry in a day than limits.addresses_per_person",
            Self::Before => "the person was held back before, at another address or before leaving",
        })
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Comparison => {
                "without the people who have an account, limits.invites_per_listing is not exceeded"
            }
            Self::Approved => "an administrator approved it",
            Self::Retried => "an administrator asked to retry it",
            Self::FaultOfServer => "the reason for the quarantine concerned the server, not the person",
        })
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
                    error: "no \"route\"".into(),
                    attempts: 2,
                    retry_at: 7,
                },
                r#"{"event":"failed","error":"no \"route\"","attempts":2,"retry_at":7}"#,
            ),
            (What::Held { by: Hold::Hour }, r#"{"event":"held","by":"hour"}"#),
        ];
        for (what, text) in all {
            assert_eq!(serde_json::to_string(&what).unwrap(), text);
            assert_eq!(serde_json::from_str::<What>(text).unwrap(), what);
        }
    }
}
