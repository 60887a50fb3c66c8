//! `explain`: prints the history and the current state of one person.

use std::fmt::Write;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use super::exit::Exit;
use super::journal::Line;
use super::palette::Palette;
use crate::app::{self, Explained, InDirectory, InVaultwarden};
use crate::clock::{Clock, Timestamp};
use crate::foreign::printable;
use crate::model::{ActionState, Standing};
use crate::store::{Owed, Story};
use crate::vaultwarden::Account;

/// Prints the history of the people whom `who` names.
pub(super) async fn explain(config: Option<&Path>, who: &str, as_json: bool) -> anyhow::Result<Exit> {
    let config = super::load(config)?;
    let people = app::explain(&config, who).await?;
    let now = Clock::system().now();
    if as_json {
        let people: Vec<Value> = people.iter().map(|person| json(person, now)).collect();
        super::print(&format!("{:#}\n", Value::from(people)))?;
        return Ok(Exit::Done);
    }
    if people.is_empty() {
        super::print_error(
            "error",
            &format!(
                "no one is known by {who}: no configured directory has returned this person; `ldap-usher check` shows \
                 whether the directory can be read, `ldap-usher watch --all` prints everyone it returns"
            ),
        );
        return Ok(Exit::Failed);
    }
    let palette = Palette::of(&io::stdout());
    let texts: Vec<String> = people.iter().map(|person| text(person, now, palette)).collect();
    super::print(&texts.join("\n"))?;
    Ok(Exit::Done)
}

fn text(person: &Explained, now: Timestamp, palette: Palette) -> String {
    let Explained {
        story,
        directory,
        vaultwarden,
    } = person;
    let mut text = format!(
        "{}  (directory {}, {})\n\n",
        printable(&story.member.dn),
        story.directory,
        story.member.id
    );
    for event in &story.events {
        let address = event.address.as_ref().map(|address| format!("{address}: "));
        let _ = writeln!(
            text,
            "{}  {}{}",
            event.at,
            address.unwrap_or_default(),
            printable(&event.what.to_string())
        );
    }
    if story.events.is_empty() {
        let _ = writeln!(text, "{}", without_events(story));
    }
    let _ = write!(
        text,
        "\nnow\n  {:<13}{}\n",
        "standing",
        printable(&standing(story))
    );
    let _ = writeln!(text, "  {:<13}{}", "directory", in_directory(directory, palette));
    for (address, answer) in vaultwarden {
        let answer = in_vaultwarden(answer, palette);
        let _ = writeln!(text, "  {:<13}{address}: {answer}", "vaultwarden");
    }
    let _ = writeln!(text, "\nnext");
    for line in next(story, now) {
        let _ = writeln!(text, "  {}", printable(&line));
    }
    text
}

/// The history of a person without events in the journal.
fn without_events(story: &Story) -> String {
    match story.invitations.first() {
        Some(owed) => format!(
            "{}  {}: found by a listing, together with many others",
            owed.arrived, owed.address
        ),
        None => {
            "the journal has no events of this person: they are too old, or were only counted in a listing of many people"
                .into()
        }
    }
}

fn standing(story: &Story) -> String {
    let mut standing = match &story.member.standing {
        Standing::Member => "a member".to_owned(),
        Standing::WithoutAddress(reason) => format!("matches the filter and cannot be invited: {reason}"),
        Standing::Left => "left".to_owned(),
    };
    if !story.configured {
        standing += "; the directory is not in the configuration, so the person is ignored";
    }
    if let Some(holder) = &story.holder_dn {
        let _ = write!(standing, "; the invitation to the address belongs to {holder}");
    }
    standing
}

fn in_directory(directory: &InDirectory, palette: Palette) -> String {
    match directory {
        InDirectory::Member(address) => {
            palette.good(&format!("matches the filter, with the address {address}"))
        }
        InDirectory::WithoutAddress(reason) => palette.attention(&format!(
            "matches the filter and cannot be invited: {}",
            printable(reason)
        )),
        InDirectory::Gone => palette.attention("is gone, or does not match the filter"),
        InDirectory::Unknown(why) => palette.bad(&format!("cannot be queried: {}", printable(why))),
    }
}

fn in_vaultwarden(answer: &InVaultwarden, palette: Palette) -> String {
    match answer {
        InVaultwarden::Account(Account { invited: true, .. }) => {
            palette.attention("invited, has not registered yet")
        }
        InVaultwarden::Account(Account {
            enabled: Some(false), ..
        }) => palette.attention("has an account, which is disabled"),
        InVaultwarden::Account(_) => palette.good("has an account"),
        InVaultwarden::None => "has no account".into(),
        InVaultwarden::Unknown(why) => palette.bad(&format!("cannot be queried: {}", printable(why))),
    }
}

/// What happens next, and when.
fn next(story: &Story, now: Timestamp) -> Vec<String> {
    let open = story.invitations.iter().filter_map(|owed| next_of(owed, now));
    let next: Vec<String> = open.collect();
    if !next.is_empty() {
        return next;
    }
    let nothing = match &story.member.standing {
        _ if !story.configured => "nothing, until the directory is added to the configuration again",
        Standing::Member => "nothing is due; the service follows changes in the directory",
        Standing::WithoutAddress(_) => "nothing, until the entry has a usable address and is enabled",
        Standing::Left => "nothing; an existing account is left alone",
    };
    vec![nothing.into()]
}

/// What happens next to an invitation, if anything.
fn next_of(owed: &Owed, now: Timestamp) -> Option<String> {
    let Owed { address, reason, .. } = owed;
    let why = reason
        .as_deref()
        .map(|reason| format!(" ({reason})"))
        .unwrap_or_default();
    let next = match owed.state {
        ActionState::Queued if owed.in_doubt.is_some() => {
            format!("is looked up in Vaultwarden, and invited only if there is no account{why}")
        }
        ActionState::Queued if owed.due <= now => {
            format!("is invited as soon as the service runs and Vaultwarden answers{why}")
        }
        ActionState::Queued => format!("is invited at {}{why}", owed.due),
        ActionState::Held => format!("waits for `ldap-usher approve {address}`{why}"),
        ActionState::Quarantined => format!("waits for `ldap-usher retry {address}`{why}"),
        ActionState::Done | ActionState::Cancelled => return None,
    };
    Some(format!("{address} {next}"))
}

/// The JSON object of one person.
fn json(person: &Explained, now: Timestamp) -> Value {
    let Explained {
        story,
        directory,
        vaultwarden,
    } = person;
    let (in_directory, detail) = match directory {
        InDirectory::Member(address) => ("member", Some(address.to_string())),
        InDirectory::WithoutAddress(reason) => ("without-address", Some(reason.clone())),
        InDirectory::Gone => ("gone", None),
        InDirectory::Unknown(why) => ("unknown", Some(why.clone())),
    };
    let accounts = vaultwarden.iter().map(|(address, answer)| {
        let (state, detail) = match answer {
            InVaultwarden::Account(Account { invited: true, .. }) => ("invited", None),
            InVaultwarden::Account(Account {
                enabled: Some(false), ..
            }) => ("disabled", None),
            InVaultwarden::Account(_) => ("account", None),
            InVaultwarden::None => ("none", None),
            InVaultwarden::Unknown(why) => ("unknown", Some(why)),
        };
        json!({ "address": address.to_string(), "state": state, "detail": detail })
    });
    let invitations = story.invitations.iter().map(|owed| {
        json!({
            "address": owed.address.to_string(),
            "state": owed.state.as_str(),
            "due": (owed.state == ActionState::Queued).then(|| owed.due.to_string()),
            "attempts": owed.attempts,
            "reason": owed.reason,
            "arrived": owed.arrived.to_string(),
            "since": owed.since.to_string(),
        })
    });
    let standing = match &story.member.standing {
        Standing::Member => "member",
        Standing::WithoutAddress(_) => "without-address",
        Standing::Left => "left",
    };
    json!({
        "dn": story.member.dn,
        "directory": story.directory,
        "entry": story.member.id.to_string(),
        "address": story.member.address.as_ref().map(ToString::to_string),
        "standing": standing,
        "invitations": invitations.collect::<Vec<_>>(),
        "in_directory": { "state": in_directory, "detail": detail },
        "in_vaultwarden": accounts.collect::<Vec<_>>(),
        "next": next(story, now),
        "events": story.events.iter().map(Line::of).collect::<Vec<_>>(),
    })
}
