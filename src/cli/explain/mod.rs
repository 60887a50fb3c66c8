//! `explain`: prints the history and the current state of one person.

use std::fmt::Write;
use std::io;
use std::path::Path;

use serde_json::{Value, json};

use super::exit::Exit;
use super::palette::Palette;
use crate::app::{self, Explained, InDirectory, InVaultwarden};
use crate::clock::{Clock, Timestamp};
use crate::foreign::printable;
use crate::model::{ActionState, JournalLine, Standing};
use crate::store::PersonReport;
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

fn text(explained: &Explained, now: Timestamp, palette: Palette) -> String {
    let person = &explained.person;
    let mut text = format!(
        "{}  (directory {}, {})\n\n",
        printable(&person.member.dn),
        person.directory,
        person.member.id
    );
    for event in &person.events {
        let address = event.address.as_ref().map(|address| format!("{address}: "));
        let _ = writeln!(
            text,
            "{}  {}{}",
            event.at,
            address.unwrap_or_default(),
            printable(&event.what.to_string())
        );
    }
    if person.events.is_empty() {
        let _ = writeln!(text, "{}", without_events(person));
    }
    text + &present(explained, now, palette)
}

/// What is so now, and what happens next.
pub(super) fn present(explained: &Explained, now: Timestamp, palette: Palette) -> String {
    let Explained {
        person,
        directory,
        vaultwarden,
        policies,
    } = explained;
    let mut text = String::new();
    let _ = write!(
        text,
        "\nnow\n  {:<13}{}\n",
        "standing",
        printable(&app::standing(person))
    );
    let _ = writeln!(text, "  {:<13}{}", "directory", in_directory(directory, palette));
    for (address, answer) in vaultwarden {
        let answer = in_vaultwarden(answer, palette);
        let _ = writeln!(text, "  {:<13}{address}: {answer}", "vaultwarden");
    }
    for (address, account) in app::accounts(person) {
        let _ = writeln!(text, "  {:<13}{address}: {}", "account", app::in_care(account));
    }
    let _ = writeln!(text, "\nnext");
    for line in app::next(person, policies, now) {
        let _ = writeln!(text, "  {}", printable(&line));
    }
    text
}

/// The history of a person without events in the journal.
fn without_events(person: &PersonReport) -> String {
    match person.invitations().next() {
        Some(invitation) => format!(
            "{}  {}: found by a listing, together with many others",
            invitation.arrived, invitation.address
        ),
        None => {
            "the journal has no events of this person: they are too old, or were only counted in a listing of many people"
                .into()
        }
    }
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
        InVaultwarden::Account(Account {
            enabled: Some(false), ..
        }) => palette.attention("has an account, which is disabled"),
        InVaultwarden::Account(Account { invited: true, .. }) => {
            palette.attention("invited, has not registered yet")
        }
        InVaultwarden::Account(_) => palette.good("has an account"),
        InVaultwarden::None => "has no account".into(),
        InVaultwarden::Unknown(why) => palette.bad(&format!("cannot be queried: {}", printable(why))),
    }
}

/// The JSON object of one person.
fn json(person: &Explained, now: Timestamp) -> Value {
    let Explained {
        person,
        directory,
        vaultwarden,
        policies,
    } = person;
    let (in_directory, detail) = match directory {
        InDirectory::Member(address) => ("member", Some(address.to_string())),
        InDirectory::WithoutAddress(reason) => ("without-address", Some(reason.clone())),
        InDirectory::Gone => ("gone", None),
        InDirectory::Unknown(why) => ("unknown", Some(why.clone())),
    };
    let answers = vaultwarden.iter().map(|(address, answer)| {
        let (state, detail) = match answer {
            InVaultwarden::Account(Account {
                enabled: Some(false), ..
            }) => ("disabled", None),
            InVaultwarden::Account(Account { invited: true, .. }) => ("invited", None),
            InVaultwarden::Account(_) => ("account", None),
            InVaultwarden::None => ("none", None),
            InVaultwarden::Unknown(why) => ("unknown", Some(why)),
        };
        json!({ "address": address.to_string(), "state": state, "detail": detail })
    });
    let invitations = person.invitations().map(|invitation| {
        json!({
            "address": invitation.address.to_string(),
            "state": invitation.state.as_str(),
            "due": (invitation.state == ActionState::Queued).then(|| invitation.due.to_string()),
            "attempts": invitation.attempts,
            "reason": invitation.reason,
            "arrived": invitation.arrived.to_string(),
            "since": invitation.since.to_string(),
        })
    });
    let accounts = app::accounts(person).map(|(address, account)| {
        json!({
            "address": address.to_string(),
            "care": account.care.as_str(),
            "state": account.state.as_str(),
            "since": account.since.to_string(),
            "reminders": account.reminders,
            "reminded": account.reminded.map(|at| at.to_string()),
        })
    });
    let others = person.actions.iter().filter(|action| !action.kind.is_invite());
    let actions = others.map(|action| {
        json!({
            "action": action.kind.as_str(),
            "address": action.address.to_string(),
            "state": action.state.as_str(),
            "due": app::due(action, person, policies).map(|due| due.to_string()),
            "attempts": action.attempts,
            "reason": action.reason,
            "arrived": action.arrived.to_string(),
            "since": action.since.to_string(),
        })
    });
    let standing = match &person.member.standing {
        Standing::Member => "member",
        Standing::WithoutAddress(_) => "without-address",
        Standing::Left => "left",
    };
    json!({
        "dn": person.member.dn,
        "directory": person.directory,
        "entry": person.member.id.to_string(),
        "address": person.member.address.as_ref().map(ToString::to_string),
        "standing": standing,
        "invitations": invitations.collect::<Vec<_>>(),
        "in_directory": { "state": in_directory, "detail": detail },
        "accounts": accounts.collect::<Vec<_>>(),
        "actions": actions.collect::<Vec<_>>(),
        "in_vaultwarden": answers.collect::<Vec<_>>(),
        "next": app::next(person, policies, now),
        "events": person.events.iter().map(JournalLine::of).collect::<Vec<_>>(),
    })
}
