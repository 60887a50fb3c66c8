//! Events in words, one line each, without a full stop.

use std::fmt;
use std::time::Duration;

use super::{Hold, ObservedChange, Release, Request, What};
use crate::clock::Timestamp;
use crate::model::ActionKind;

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
            Self::Leaving { action, at } => write!(
                f,
                "the account is to be {} at {}, unless the person comes back",
                action.participle(),
                Timestamp(*at)
            ),
            Self::Spared { reason } => write!(f, "the account is left alone: {reason}"),
            Self::Held { by, action } => write!(f, "the {} is held back: {by}", action.noun()),
            Self::Released { because, action } => write!(f, "the {} is due: {because}", action.noun()),
            Self::Discarded { action } => {
                write!(f, "an administrator discarded the {}", action.noun())
            }
            Self::Requested {
                request,
                action,
                from,
            } => {
                write!(f, "an administrator asked on the status page, from {from}, to ")?;
                match request {
                    Request::Sync => f.write_str("look the person up"),
                    Request::Resend => f.write_str("send a reminder"),
                    other => write!(f, "{} the {}", other.as_str(), action.noun()),
                }
            }
            Self::HandedOver { from, .. } => {
                write!(f, "takes over the invitation of {from}, who had the same address")
            }
            Self::Cancelled {
                action: ActionKind::Invite,
                reason: None,
            } => f.write_str("the invitation was cancelled before it was sent"),
            Self::Cancelled { action, reason } => {
                let why = reason.as_deref().unwrap_or("the person is back");
                write!(f, "the {} was cancelled: {why}", action.noun())
            }
            Self::Failed {
                action,
                error,
                attempts,
                retry_at,
            } => {
                let (what, at) = (action.noun(), Timestamp(*retry_at));
                write!(
                    f,
                    "{what}: attempt {attempts} failed, the next one is at {at}: {error}"
                )
            }
            Self::OutcomeUnknown {
                action: ActionKind::Invite,
                error,
            } => {
                write!(f, "it is not known whether the invitation was sent: {error}")
            }
            Self::OutcomeUnknown { action, error } => {
                write!(
                    f,
                    "it is not known whether the account was {}: {error}",
                    action.participle()
                )
            }
            Self::Invited { after_ms } => write!(f, "invited after {after_ms} ms"),
            Self::HadAccount => f.write_str("already has an account"),
            Self::CarriedOut {
                action: ActionKind::Resend,
                ..
            } => f.write_str("a reminder with a new link was mailed"),
            Self::CarriedOut { action, after_ms } => {
                let after = match after_ms / 1000 {
                    0 => Duration::from_millis(*after_ms),
                    seconds => Duration::from_secs(seconds),
                };
                let after = humantime::format_duration(after);
                write!(
                    f,
                    "the account was {}, {after} after the change arrived",
                    action.participle()
                )
            }
            Self::NotNeeded { exists: false, .. } => {
                f.write_str("the account does not exist any more, so nothing was done")
            }
            Self::NotNeeded {
                action: ActionKind::Resend,
                ..
            } => f.write_str("no reminder was needed: the person has registered, or the account is disabled"),
            Self::NotNeeded { action, .. } => {
                write!(
                    f,
                    "nothing was done: the account was already {}",
                    action.participle()
                )
            }
            Self::Adopted => f.write_str("the account was taken into care; no mail was sent"),
            Self::Registered => f.write_str("registered: the account is in use"),
            Self::AccountChanged { how } => f.write_str(match how {
                ObservedChange::Disabled => {
                    "somebody disabled the account in Vaultwarden, which is respected"
                }
                ObservedChange::Enabled => "somebody enabled the account in Vaultwarden, which is respected",
                ObservedChange::Deleted => "the account is gone from Vaultwarden",
                ObservedChange::Restored => "the account is in Vaultwarden again",
            }),
            Self::Quarantined { action, reason } => {
                write!(f, "the {} is in quarantine: {reason}", action.noun())
            }
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
            Self::Everyone => "everyone new waits for approval (invite.hold)",
            Self::Missing => "many accounts are missing from this Vaultwarden at once",
            Self::LeaversListing => {
                "one listing found more leavers than limits.leavers_per_listing or limits.leavers_percent"
            }
            Self::LeaversHour => "more leavers in an hour than limits.leavers_per_hour",
            Self::LeaversHalf => "more than half of the members of the directory left at once",
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
