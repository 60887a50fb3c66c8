//! What a dry run did, person by person.

use std::collections::HashSet;

use super::{PlanEntry, PlannedAction};
use crate::clock::Timestamp;
use crate::model::{ActionState, EmailAddress, Event, Hold, Outcome, Standing, What};
use crate::store::{ActionReport, PersonReport};

/// An action, its reason, and the time if it is done later.
type Planned = (PlannedAction, String, Option<Timestamp>);

/// The entries of one person: one for each invitation and each account that concerns them, or a single one if there is none.
/// Empty for people who had left before the dry run and whose accounts are left alone.
pub(super) fn planned(person: &PersonReport, invited: &HashSet<EmailAddress>) -> Vec<PlanEntry> {
    let (address, standing) = (&person.member.address, &person.member.standing);
    let with = |address: Option<&EmailAddress>, (action, reason, at): Planned| PlanEntry {
        action,
        at,
        email: address.map(ToString::to_string),
        dn: person.member.dn.clone(),
        directory: person.directory.clone(),
        reason,
    };
    let others = person.actions.iter().filter(|action| !action.kind.is_invite());
    let accounts = others.filter_map(|action| {
        let planned = of_account(action, person)?;
        Some(with(Some(&action.address), planned))
    });
    if !person.configured {
        return accounts.collect();
    }
    let mut concerning: Vec<PlanEntry> = person
        .invitations()
        .filter_map(|invitation| {
            let own = address.as_ref() == Some(&invitation.address) && *standing == Standing::Member;
            let first = person.events.iter().find(|event| changes(event, invitation));
            let concerns = match invitation.state {
                ActionState::Cancelled => false,
                ActionState::Done => own || first.is_some(),
                _ => true,
            };
            concerns.then(|| {
                with(
                    Some(&invitation.address),
                    of_invitation(invitation, first, invited),
                )
            })
        })
        .collect();
    concerning.extend(accounts);
    if !concerning.is_empty() {
        return concerning;
    }
    let alone = match standing {
        Standing::Left => {
            let happened = |kind: fn(&What) -> bool| person.events.iter().any(|event| kind(&event.what));
            if !happened(|what| matches!(what, What::Left { .. })) {
                return Vec::new();
            }
            (PlannedAction::Left, left(person), None)
        }
        Standing::WithoutAddress(why) => (PlannedAction::None, format!("cannot be invited: {why}"), None),
        Standing::Member => (PlannedAction::None, not_owed(person), None),
    };
    vec![with(address.as_ref(), alone)]
}

/// Why a member is not owed an invitation to their address.
fn not_owed(person: &PersonReport) -> String {
    let invited = |invitation: &&ActionReport| invitation.state == ActionState::Done;
    match (&person.holder_dn, person.invitations().find(invited)) {
        (Some(holder), _) => format!("shares the address with {holder}, who gets the invitation"),
        (None, Some(former)) => format!(
            "was invited as {}; `on_address_change` in [invite] is set not to invite the new address",
            former.address
        ),
        (None, None) => "is not owed an invitation".into(),
    }
}

/// Whether an event of the dry run changed the state of this invitation.
fn changes(event: &Event, invitation: &ActionReport) -> bool {
    let changes = match event.what {
        What::Owed { .. } | What::Invited { .. } | What::HadAccount => true,
        What::Held { action, .. } | What::Released { action, .. } | What::Quarantined { action, .. } => {
            action.is_invite()
        }
        _ => false,
    };
    changes && event.address.as_ref() == Some(&invitation.address)
}

/// The action and the reason for one invitation. `first` is the first event of the dry run that changed it; `invited` are
/// the addresses that would be invited.
fn of_invitation(
    invitation: &ActionReport,
    first: Option<&Event>,
    invited: &HashSet<EmailAddress>,
) -> Planned {
    let why = invitation.reason.as_deref().unwrap_or_default();
    let nothing = |why: String| (PlannedAction::None, why, None);
    match invitation.state {
        ActionState::Done => match (first, invitation.outcome) {
            (None, Some(Outcome::HadAccount)) => {
                nothing("already had an account when the accounts were compared".into())
            }
            (None, _) => nothing("was invited before".into()),
            (Some(first), _) if invited.contains(&invitation.address) => {
                (PlannedAction::Invite, reason_to_invite(&first.what).into(), None)
            }
            (Some(_), _) => nothing("has an account".into()),
        },
        ActionState::Held => {
            let why = if why.is_empty() {
                Hold::Listing.to_string()
            } else {
                why.to_owned()
            };
            let why = format!("{why}; `ldap-usher approve` releases them");
            (PlannedAction::Hold, why, None)
        }
        ActionState::Quarantined => nothing(format!("in quarantine: {why}")),
        ActionState::Queued if why.is_empty() || is_new(first) => (
            PlannedAction::Later,
            "waits until Vaultwarden is available".into(),
            None,
        ),
        ActionState::Queued => (
            PlannedAction::Later,
            format!("not before {}: {why}", invitation.due),
            Some(invitation.due),
        ),
        // The caller skips these.
        ActionState::Cancelled => nothing("is not owed an invitation".into()),
    }
}

/// The action and the reason for something that is or was owed to an account; `None` if the dry run did not concern it.
fn of_account(action: &ActionReport, person: &PersonReport) -> Option<Planned> {
    let kind = action.kind;
    let why = action.reason.as_deref().unwrap_or_default();
    let noun = kind.noun();
    match action.state {
        ActionState::Done => {
            let mut events = person.events.iter();
            let done = events.find(|event| ends(event, action))?;
            Some(match done.what {
                What::CarriedOut { .. } => (kind.into(), reason_to_act(action, person), None),
                _ => (PlannedAction::None, format!("{noun}: {}", done.what), None),
            })
        }
        ActionState::Held => {
            let why = format!("{noun}: {why}; `ldap-usher approve` releases them");
            Some((PlannedAction::Hold, why, None))
        }
        ActionState::Quarantined => {
            Some((PlannedAction::None, format!("{noun}: in quarantine: {why}"), None))
        }
        ActionState::Queued => {
            let unless = if kind.is_leave() {
                ", unless the person comes back"
            } else {
                ""
            };
            let why = match why {
                "" => String::new(),
                why => format!(": {why}"),
            };
            let why = format!("the account is to be {}{unless}{why}", kind.participle());
            Some((PlannedAction::Later, why, Some(action.due)))
        }
        ActionState::Cancelled => None,
    }
}

/// Whether an event of the dry run ended this action.
fn ends(event: &Event, of: &ActionReport) -> bool {
    let (What::CarriedOut { action, .. } | What::NotNeeded { action, .. }) = event.what else {
        return false;
    };
    action == of.kind && event.address.as_ref() == Some(&of.address)
}

/// Why an account would be changed.
fn reason_to_act(action: &ActionReport, person: &PersonReport) -> String {
    use crate::model::ActionKind::{Enable, Resend};
    match action.kind {
        Resend => "was invited and has not registered".into(),
        Enable => "is back; the account was disabled when the person left".into(),
        _ => reason_of_leaving(person).unwrap_or_else(|| "left, and the grace period has passed".into()),
    }
}

/// Why the person left, if the dry run found it.
fn reason_of_leaving(person: &PersonReport) -> Option<String> {
    person.events.iter().find_map(|event| match &event.what {
        What::Left { .. } => Some(event.what.to_string()),
        _ => None,
    })
}

/// Whether the dry run created the invitation and the address had none before.
fn is_new(first: Option<&Event>) -> bool {
    first.is_some_and(|first| matches!(first.what, What::Owed { formerly: None, .. }))
}

/// Why an invitation would be sent, by the first event that changed it.
fn reason_to_invite(first: &What) -> &'static str {
    match first {
        What::Owed {
            formerly: Some(ActionState::Cancelled),
            ..
        } => "matches the filter again and has no account",
        What::Owed {
            formerly: Some(ActionState::Done | ActionState::Quarantined),
            ..
        } => "left, came back, and no longer has an account",
        What::Owed { .. } => "matches the filter and has no account",
        What::Held { .. } | What::Released { .. } => {
            "was held back, but the limit is not exceeded without the people who have an account; has no account"
        }
        _ => "is due already and has no account",
    }
}

/// Why nothing is done to the account of a person who left.
fn left(person: &PersonReport) -> String {
    let gone = "no longer matches the filter, or is disabled";
    let mut events = person.events.iter();
    let spared = events.find_map(|event| match &event.what {
        What::Spared { reason } => Some(reason),
        _ => None,
    });
    let cancelled = person
        .events
        .iter()
        .any(|event| matches!(event.what, What::Cancelled { .. }));
    match spared {
        _ if cancelled => format!("{gone}; the pending invitation is cancelled"),
        Some(reason) => format!("{gone}; the account is left alone: {reason}"),
        None => format!("{gone}; an existing account is left alone"),
    }
}
