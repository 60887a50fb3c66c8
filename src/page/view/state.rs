//! What everyone sees: numbers and states, and no people.

use maud::{Markup, html};

use super::{Look, ago, badge, section, table};
use crate::clock::Timestamp;
use crate::foreign::printable;
use crate::model::ActionState;
use crate::page::snapshot::Snapshot;
use crate::store::{DirectoryReport, Report};

/// Whether all is well, and otherwise why not.
pub(super) fn banner(look: &Look<'_>, snapshot: &Snapshot) -> Markup {
    let told = |reason: &str| {
        if look.session.is_some() {
            printable(reason)
        } else {
            look.public.redacted(reason)
        }
    };
    let trouble = snapshot
        .stored
        .as_ref()
        .ok()
        .and_then(|stored| stored.report.vaultwarden_trouble.as_deref());
    let (kind, word) = if snapshot.stored.is_err() {
        ("bad", "State unavailable")
    } else if !snapshot.reasons.is_empty() {
        ("bad", "Not ready")
    } else if trouble.is_some() {
        ("warn", "Needs a decision")
    } else if !snapshot.standing_by.is_empty() {
        ("info", "Standby")
    } else {
        ("good", "Ready")
    };
    html! {
        section .state .(kind) aria-labelledby="state" {
            h1 #state { (badge(kind, word)) }
            @if let Err(error) = &snapshot.stored {
                p {
                    "The stored state cannot be read: " (told(&format!("the state: {error}")))
                    ". Nothing is lost; everything goes on when it works again."
                }
            }
            @for reason in &snapshot.reasons { p { (told(reason)) } }
            @if let Some(trouble) = trouble {
                p { (told(&format!("Vaultwarden: {trouble}"))) }
                p {
                    "If it is the right one, approve the invitations that are held back; otherwise correct "
                    code { "url" } " in " code { "[vaultwarden]" } "."
                }
            }
            @if !snapshot.standing_by.is_empty() {
                p {
                    "Another instance listens to " (snapshot.standing_by.join(", "))
                    "; this one takes over if that one ends."
                }
            }
            @if kind == "good" { p { "Changes in the directories are followed, and invitations are sent." } }
        }
    }
}

/// The numbers.
pub(super) fn tiles(report: &Report) -> Markup {
    let both = |state| report.count(state) + report.leavers_in(state);
    let (held, quarantined) = (both(ActionState::Held), both(ActionState::Quarantined));
    let attention = |count: u64| if count > 0 { "tile warn" } else { "tile" };
    let tiles = [
        ("Members", report.members, "tile"),
        ("Queued", both(ActionState::Queued), "tile"),
        ("Held back", held, attention(held)),
        ("In quarantine", quarantined, attention(quarantined)),
        ("Not registered", report.unregistered, "tile"),
        ("Without address", report.without_address, "tile"),
    ];
    html! {
        dl .tiles {
            @for (name, count, class) in tiles {
                div class=(class) { dt { (name) } dd { (grouped(count)) } }
            }
        }
    }
}

/// What waits for a person, for those who do not see whom it concerns.
pub(super) fn open(report: &Report) -> Markup {
    let both = |state| report.count(state) + report.leavers_in(state);
    let (held, quarantined) = (both(ActionState::Held), both(ActionState::Quarantined));
    let lines = [
        (
            held,
            "held back by a limit, until an administrator approves or discards it",
        ),
        (
            quarantined,
            "rejected by Vaultwarden or its mail server, until an administrator corrects the cause and retries",
        ),
        (report.failing.len() as u64, "failed and tried again by itself"),
        (
            report.unregistered,
            "invited and not registered yet; reminders are mailed by themselves",
        ),
    ];
    if lines.iter().all(|(count, _)| *count == 0) {
        return html! {};
    }
    let list = html! {
        ul .plain { @for (count, what) in lines { @if count > 0 { li { strong { (grouped(count)) } " " (what) } } } }
    };
    section("open", "Open", &list)
}

/// The directories.
pub(super) fn directories(look: &Look<'_>, snapshot: &Snapshot, report: &Report) -> Markup {
    let now = snapshot.now;
    let row = |directory: &DirectoryReport| {
        let DirectoryReport { name, state, .. } = directory;
        let is_elsewhere = snapshot.standing_by.contains(name);
        let heard = snapshot
            .heard
            .iter()
            .find(|(heard, _)| heard == name)
            .map(|(_, at)| *at);
        let stream = match state.stream.as_str() {
            "" | "none" => "–",
            stream => stream,
        };
        let error = state
            .error
            .as_deref()
            .filter(|_| !state.connected && !directory.retired);
        vec![
            html! { strong { (printable(name)) } },
            html! { (stream) },
            html! {
                @if directory.retired { (badge("dim", "Not configured")) }
                @else if state.connected { (badge("good", "Connected")) }
                @else { (badge("bad", "Not connected")) }
                @if is_elsewhere { " " (badge("info", "Standby")) }
                @if let Some(error) = error {
                    @let error = format!("the directory: {error}");
                    p .reason {
                        @if look.session.is_some() { (printable(&error)) } @else { (look.public.redacted(&error)) }
                    }
                }
            },
            html! { (ago(directory.cursor_stored.max(directory.listed), now)) },
            html! {
                (grouped(directory.members))
                @if directory.without_address > 0 {
                    span .dim { " + " (grouped(directory.without_address)) " without address" }
                }
            },
            html! {
                @if is_elsewhere { span .dim { "–" } } @else { (ago(heard, now)) }
            },
        ]
    };
    let rows: Vec<_> = report.directories.iter().map(row).collect();
    let heads = [
        "Directory",
        "Stream",
        "Connection",
        "Progress saved",
        "Members",
        "Last heard",
    ];
    section("directories", "Directories", &table("Directories", &heads, &rows))
}

/// How many actions are in each state.
pub(super) fn queue(report: &Report) -> Markup {
    let row = |state: ActionState| {
        let (word, what) = match state {
            ActionState::Queued => ("Queued", "carried out when due"),
            ActionState::Held => ("Held back", "wait for an administrator"),
            ActionState::Quarantined => ("In quarantine", "rejected, wait for an administrator"),
            ActionState::Done => ("Done", "carried out"),
            ActionState::Cancelled => ("Cancelled", "not owed any more"),
        };
        vec![
            html! { strong { (word) } span .dim { " " (what) } },
            html! { (grouped(report.count(state))) },
            html! { (grouped(report.leavers_in(state))) },
        ]
    };
    let rows: Vec<_> = ActionState::ALL.into_iter().map(row).collect();
    let heads = ["State", "Invitations", "Accounts of leavers"];
    section("queue", "Queue", &table("Queue", &heads, &rows))
}

/// The instances that share the state.
pub(super) fn instances(report: &Report, now: Timestamp) -> Markup {
    if report.instances.is_empty() {
        return html! {};
    }
    let rows: Vec<_> = report
        .instances
        .iter()
        .map(|instance| {
            let duties: Vec<String> = instance.duties.iter().map(|(name, _)| printable(name)).collect();
            vec![
                html! { strong { (printable(&instance.name)) } },
                html! { (printable(&instance.version)) },
                html! { (ago(Some(instance.started), now)) },
                html! { @if duties.is_empty() { (badge("info", "Standby")) } @else { (duties.join(", ")) } },
            ]
        })
        .collect();
    let heads = ["Instance", "Version", "Started", "Does alone"];
    section("instances", "Instances", &table("Instances", &heads, &rows))
}

/// A number with thin spaces between its thousands.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push('\u{2009}');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(
            [7, 999, 1000, 1_234_567].map(grouped),
            ["7", "999", "1\u{2009}000", "1\u{2009}234\u{2009}567"]
        );
    }
}
