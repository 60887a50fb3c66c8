//! How a person stands, and what happens to them and their account next, and when.

use super::explain::Policies;
use crate::clock::Timestamp;
use crate::model::{AccountState, ActionKind, ActionState, Care, EmailAddress, ManagedAccount, Standing};
use crate::rules::may_touch;
use crate::store::{ActionReport, PersonReport};

/// How a person stands, in one line.
pub fn standing(person: &PersonReport) -> String {
    let mut standing = match &person.member.standing {
        Standing::Member => "a member".to_owned(),
        Standing::WithoutAddress(reason) => format!("matches the filter and cannot be invited: {reason}"),
        Standing::Left => "left".to_owned(),
    };
    if !person.configured {
        standing += "; the directory is not in the configuration, so the person is ignored";
    }
    if let Some(holder) = &person.holder_dn {
        standing += &format!("; the invitation to the address belongs to {holder}");
    }
    standing
}

/// Their accounts that are in our care.
pub fn accounts(person: &PersonReport) -> impl Iterator<Item = (&EmailAddress, &ManagedAccount)> {
    person
        .invitations()
        .filter_map(|invitation| Some((&invitation.address, invitation.account.as_ref()?)))
}

/// What is known of an account in our care.
pub fn in_care(account: &ManagedAccount) -> String {
    let how = match account.care {
        Care::Invited => "invited",
        Care::Adopted => "adopted",
    };
    let state = match account.state {
        AccountState::Invited => "has not registered yet",
        AccountState::Registered => "registered",
        AccountState::Disabled => "disabled by this service",
        AccountState::DisabledByOthers => "disabled by somebody else, which is respected",
        AccountState::Deleted => "deleted by this service",
        AccountState::DeletedByOthers => "deleted by somebody else",
    };
    let reminded = account.reminded.map_or_else(String::new, |at| {
        format!("; reminders: {}, the last one at {at}", account.reminders)
    });
    format!("in our care since {} ({how}); {state}{reminded}", account.since)
}

/// What happens next, one sentence each.
pub fn next(person: &PersonReport, policies: &Policies, now: Timestamp) -> Vec<String> {
    let mut next: Vec<String> = person
        .actions
        .iter()
        .filter_map(|action| next_of(action, person, policies, now))
        .collect();
    if next.is_empty() {
        next.push(nothing(person).into());
    }
    next.extend(reminders(person, policies, now));
    next.extend(leaving(person, policies));
    next
}

/// The sentence about a person to whom nothing is owed.
fn nothing(person: &PersonReport) -> &'static str {
    match &person.member.standing {
        _ if !person.configured => "nothing, until the directory is added to the configuration again",
        Standing::Member => "nothing is due; the service follows changes in the directory",
        Standing::WithoutAddress(_) => "nothing, until the entry has a usable address and is enabled",
        Standing::Left => "nothing is due",
    }
}

/// The time before which an action is not carried out, if it waits.
pub fn due(action: &ActionReport, person: &PersonReport, policies: &Policies) -> Option<Timestamp> {
    if action.state != ActionState::Queued {
        return None;
    }
    let grace = policies.leave.of(&person.directory).grace;
    Some(if action.kind.is_leave() {
        action.due.max(action.arrived + grace)
    } else {
        action.due
    })
}

/// What happens next to an action, if anything.
fn next_of(
    action: &ActionReport,
    person: &PersonReport,
    policies: &Policies,
    now: Timestamp,
) -> Option<String> {
    let ActionReport {
        kind,
        address,
        reason,
        ..
    } = action;
    let why = reason
        .as_deref()
        .map(|reason| format!(" ({reason})"))
        .unwrap_or_default();
    let unless = if kind.is_leave() {
        " unless the person comes back"
    } else {
        ""
    };
    let done = kind.participle();
    let next = match action.state {
        ActionState::Queued if action.in_doubt.is_some() && *kind == ActionKind::Invite => {
            format!("is looked up in Vaultwarden, and invited only if there is no account{why}")
        }
        ActionState::Queued if action.in_doubt.is_some() => {
            format!("is looked up in Vaultwarden, and {done} only if that did not happen yet{why}")
        }
        ActionState::Queued => match due(action, person, policies) {
            Some(due) if due > now => format!("is {done} at {due}{unless}{why}"),
            _ => format!("is {done} as soon as the service runs and Vaultwarden answers{unless}{why}"),
        },
        ActionState::Held => format!("waits for `ldap-usher approve {address}` before it is {done}{why}"),
        ActionState::Quarantined => {
            format!("waits for `ldap-usher retry {address}` before it is {done}{why}")
        }
        ActionState::Done | ActionState::Cancelled => return None,
    };
    Some(format!("{address} {next}"))
}

/// When a person who has not registered is reminded.
fn reminders(person: &PersonReport, policies: &Policies, now: Timestamp) -> Vec<String> {
    let policy = policies.reminders;
    let is_open = |address: &EmailAddress| {
        let mut actions = person.actions.iter();
        actions.any(|action| {
            let waits = matches!(action.state, ActionState::Queued | ActionState::Quarantined);
            action.kind == ActionKind::Resend && waits && action.address == *address
        })
    };
    let mut lines = Vec::new();
    for invitation in person.invitations() {
        let (address, is_done) = (&invitation.address, invitation.state == ActionState::Done);
        let Some(account) = invitation.account.as_ref().filter(|_| is_done) else {
            continue;
        };
        let is_member =
            person.member.standing == Standing::Member && person.member.address.as_ref() == Some(address);
        let awaits = account.care == Care::Invited && account.state == AccountState::Invited;
        if !is_member || is_open(address) || !awaits {
            continue;
        }
        let at = account.reminded.unwrap_or(account.since) + policy.after;
        if policy.is_due(account, at) {
            let when = if at > now {
                format!("at {at}")
            } else {
                "when Vaultwarden's accounts are compared next".into()
            };
            lines.push(format!(
                "{address} is reminded {when}, unless the person registers or mail is off"
            ));
        } else {
            let limit = policy.limit;
            lines.push(format!(
                "{address} is not reminded any more (resend_limit = {limit})"
            ));
        }
    }
    lines
}

/// What happens to the accounts when the person leaves, or why nothing does.
fn leaving(person: &PersonReport, policies: &Policies) -> Vec<String> {
    let has_left = person.member.standing == Standing::Left;
    let policy = policies.leave.of(&person.directory);
    let mut lines = Vec::new();
    for invitation in person.invitations() {
        let (address, account) = (&invitation.address, invitation.account.as_ref());
        if invitation.state != ActionState::Done || is_under_way(person, invitation) {
            continue;
        }
        let touchable = may_touch(account, address, &policies.leave.protect);
        let line = match (policy.action, touchable) {
            (None, _) => Some("is left alone: `action` of [leave] is \"none\"".to_owned()),
            (_, Err(Some(reason))) => Some(format!("is left alone: {reason}")),
            (_, Err(None)) => account.map(settled),
            (Some(_), Ok(())) if has_left => None,
            (Some(action), Ok(())) => Some(format!(
                "is {} after {}",
                action.participle(),
                humantime::format_duration(policy.grace)
            )),
        };
        let when = if has_left { "" } else { "if the person leaves, " };
        lines.extend(line.map(|line| format!("{when}the account {address} {line}")));
    }
    lines
}

/// Whether an action for the account of this invitation waits, which is told already.
fn is_under_way(person: &PersonReport, invitation: &ActionReport) -> bool {
    let mut actions = person.actions.iter();
    actions.any(|action| {
        let ended = matches!(action.state, ActionState::Done | ActionState::Cancelled);
        action.kind.is_leave() && !ended && action.address == invitation.address
    })
}

/// The sentence about an account to which nothing more happens.
fn settled(account: &ManagedAccount) -> String {
    match account.state {
        AccountState::Disabled => "is disabled, and is enabled again if the person comes back".into(),
        AccountState::Deleted => "was deleted, and is invited again if the person comes back".into(),
        _ => "does not exist any more".into(),
    }
}
