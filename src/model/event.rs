//! What happened to people: the entries of the journal.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{ActionState, EmailAddress, EntryId};
use crate::clock::Timestamp;

/// Something that happened to a person, as the journal keeps it. It is stored in the transaction that makes it true; log
/// lines, metrics, `plan`, `explain` and `journal` are made from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Timestamp,
    /// The name of the person's directory.
    pub directory: String,
    /// Who; `None` where it concerns the directory as a whole.
    pub person: Option<EntryId>,
    /// The person's DN after it, or the empty string.
    pub dn: String,
    /// The address that it is about, where there is one.
    pub address: Option<EmailAddress>,
    /// How this program learned of it.
    pub source: Source,
    /// What.
    pub what: What,
}

/// How this program learned of something, or who caused it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A single change that the directory told as it happened.
    Stream,
    /// A listing that brings the store up to date. What it finds is decided on when it has ended, so that
    /// `limits.invites_per_listing` can judge it as a whole.
    Listing,
    /// A listing beside the stream, which finds what the stream did not tell. It counts like any other listing.
    Audit,
    /// The worker, from what Vaultwarden answered.
    Vaultwarden,
    /// Somebody who ran a command or changed the configuration.
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
    /// The person lost the event's address and has no other.
    LostAddress,
    /// The person has the event's address instead of another one.
    ChangedAddress {
        /// The former one.
        from: String,
        /// Whether the new address is invited although the former one was.
        invite: bool,
    },
    /// The entry was renamed or moved within the search base.
    Moved {
        /// The former DN.
        from: String,
    },
    /// The person is no member any more.
    Left {
        /// Why, where the account was disabled; else the entry is gone or does not match any more.
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
        /// The state of the earlier invitation whose place it takes.
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
    /// An invitation passed to this person from somebody with the same address.
    HandedOver {
        /// The DN of the person whose invitation it was.
        from: String,
        /// Its state.
        state: ActionState,
    },
    /// An invitation that was not sent is not owed any more.
    Cancelled,
    /// An attempt to invite failed and will be repeated.
    Failed {
        /// What went wrong.
        error: String,
        /// How many attempts have failed so far, this one included.
        attempts: u32,
        /// When the next one begins, in milliseconds since 1970.
        retry_at: i64,
    },
    /// Nobody knows whether an attempt took effect: the address is looked up before it is invited again.
    OutcomeUnknown {
        /// What went wrong.
        error: String,
    },
    /// Vaultwarden created the invitation.
    Invited {
        /// The time since the change arrived, in milliseconds.
        after_ms: u64,
    },
    /// There was an account already.
    HadAccount,
    /// The invitation was refused for good.
    Quarantined {
        /// Why.
        reason: String,
    },
    /// A listing of the whole directory ended with news.
    Listed {
        /// How many people it found who are new or came back.
        joined: u64,
        /// How many left.
        left: u64,
        /// How many invitations are due because of it.
        queued: u64,
        /// How many invitations are held back because of it.
        held: u64,
    },
}

/// Which limit holds an invitation back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Hold {
    /// `limits.invites_per_listing`, for what one listing found.
    Listing,
    /// `limits.invites_per_listing`, for people whom one change brought together.
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
    /// Without those who have an account, the limit is kept.
    Comparison,
    /// `ldap-usher approve`.
    Approved,
    /// `ldap-usher retry`.
    Retried,
    /// The reason of the quarantine proved to be the server's.
    FaultOfServer,
}

impl Source {
    /// Whether it is a listing, an audit included.
    pub fn is_listing(self) -> bool {
        matches!(self, Self::Listing | Self::Audit)
    }

    /// The word for it in the journal.
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
    /// Who brings it about.
    pub fn source(self) -> Source {
        match self {
            Self::Comparison | Self::FaultOfServer => Source::Vaultwarden,
            Self::Approved | Self::Retried => Source::Administrator,
        }
    }
}

impl What {
    /// The person did not become or cease to be anything: a listing of very many counts these instead of naming each.
    pub fn is_routine(&self) -> bool {
        matches!(
            self,
            Self::Joined | Self::Owed { formerly: None, .. } | Self::Held { by: Hold::Listing }
        )
    }

    /// Whether the worker has something to do because of it.
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
            Self::Rejoined => f.write_str("is a member again after having left"),
            Self::WithoutAddress { reason } => {
                write!(f, "matches the filter and cannot be invited: {reason}")
            }
            Self::LostAddress => f.write_str("lost this address and has no other"),
            Self::ChangedAddress { from, invite: true } => {
                write!(f, "has this address instead of {from}, and is invited at it")
            }
            Self::ChangedAddress { from, invite: false } => write!(f, "has this address instead of {from}"),
            Self::Moved { from } => write!(f, "was renamed or moved; was {from}"),
            Self::Left { reason: None } => f.write_str("left: is gone or does not match the filter any more"),
            Self::Left { reason: Some(reason) } => write!(f, "left: {reason}"),
            Self::SharesAddress { with } => write!(f, "has the same address as {with}; it is invited once"),
            Self::Owed { formerly: None, .. } => f.write_str("is owed an invitation"),
            Self::Owed {
                formerly: Some(_), ..
            } => f.write_str("is owed an invitation again"),
            Self::Held { by } => write!(f, "the invitation is held back: {by}"),
            Self::Released { because } => write!(f, "the invitation is due: {because}"),
            Self::HandedOver { from, .. } => {
                write!(f, "takes over the invitation of {from}, who had the same address")
            }
            Self::Cancelled => f.write_str("the invitation is cancelled before it was sent"),
            Self::Failed {
                error,
                attempts,
                retry_at,
            } => {
                let at = Timestamp(*retry_at);
                write!(
                    f,
                    "attempt {attempts} to invite failed, the next is at {at}: {error}"
                )
            }
            Self::OutcomeUnknown { error } => {
                write!(f, "it is not known whether the invitation was sent: {error}")
            }
            Self::Invited { after_ms } => write!(f, "invited, {after_ms} ms after the change arrived"),
            Self::HadAccount => f.write_str("has an account already"),
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
            Self::Together => "one change brought more new people than limits.invites_per_listing",
            Self::Hour => "more new people in an hour than limits.invites_per_hour",
            Self::Person => "more addresses of one entry in a day than limits.addresses_per_person",
            Self::Before => "was held before at another address, or before they left",
        })
    }
}

impl fmt::Display for Release {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Comparison => "without those who have an account, limits.invites_per_listing is kept",
            Self::Approved => "somebody approved it",
            Self::Retried => "somebody asked to try it again",
            Self::FaultOfServer => "the reason of the quarantine was the server's",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_read_as_it_was_written_and_its_name_is_a_word_of_the_journal() {
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
