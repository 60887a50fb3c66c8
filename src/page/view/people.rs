//! What only those see who are signed in: people, and what can be done for them.

use axum::response::Response;
use maud::{Markup, html};

use super::{Look, ago, badge, csrf, document, notice_of, section, table, table_as};
use crate::clock::Timestamp;
use crate::foreign::printable;
use crate::model::{ActionKind, ActionState, Event, Hold, Request};
use crate::page::session::{Notice, Session};
use crate::page::snapshot::{Snapshot, Stored};
use crate::page::view::state::grouped;
use crate::page::{MAX_EVENTS, Story};
use crate::store::{ActionReport, TaskReport, Unregistered};

/// The fields for a search, and for a look-up in the directory.
pub(super) fn search(session: &Session) -> Markup {
    html! {
        form .search role="search" method="post" action="search" {
            (csrf(session))
            label for="who" { "Find a person" }
            div .row {
                input #who name="who" type="search" required autocomplete="off" spellcheck="false"
                    placeholder="ann@example.org, a DN or a UUID";
                button type="submit" { "Find" }
                button .quiet type="submit" formaction="order" name="order" value=(Request::Sync.as_str())
                    title="Ask the directory about this person now" { "Look up" }
            }
        }
    }
}

/// What waits for a person, and what they can do.
pub(super) fn attention(session: &Session, stored: &Stored, now: Timestamp) -> Markup {
    let report = &stored.report;
    let held = report.count(ActionState::Held) + report.leavers_in(ActionState::Held);
    html! {
        (tasks(
            session, now, "quarantine", "In quarantine",
            "Vaultwarden or its mail server has rejected these. Correct the cause, such as the address in the directory, then retry.",
            &report.quarantined, &[Request::Retry], report.quarantined.len() as u64,
        ))
        (tasks(
            session, now, "held", "Held back",
            "A limit holds these back. Approve them if they are meant; whom you discard is not asked about again.",
            &report.held, &[Request::Approve, Request::Discard], held,
        ))
        (tasks(
            session, now, "failing", "Failing",
            "These failed and are tried again by themselves. Nothing needs to be done unless the reason says so.",
            &report.failing, &[], report.failing.len() as u64,
        ))
        (unregistered(session, stored, now))
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "a section has a heading, a text, rows and orders"
)]
fn tasks(
    session: &Session,
    now: Timestamp,
    id: &str,
    heading: &str,
    what: &str,
    tasks: &[TaskReport],
    orders: &[Request],
    count: u64,
) -> Markup {
    if tasks.is_empty() {
        return html! {};
    }
    let row = |task: &TaskReport| {
        // The store keeps no reason for those whom a listing found, because they may be very many.
        let why = match task.reason.as_str() {
            "" if orders.contains(&Request::Approve) => Hold::Listing.to_string(),
            reason => printable(reason),
        };
        let mut row = vec![
            person_link(&task.address, &task.dn, &task.entry.to_string()),
            html! { (task.kind.noun()) div .dn { (printable(&task.directory)) } },
            html! { (why) @if task.attempts > 1 { span .dim { " (" (task.attempts) " attempts)" } } },
            html! { (ago(Some(task.arrived), now)) },
        ];
        if !orders.is_empty() {
            row.push(html! {
                div .orders {
                    @for order in orders {
                        (button(session, *order, &[task.row], &task.address, Some(task.kind)))
                    }
                }
            });
        }
        row
    };
    let rows: Vec<_> = tasks.iter().map(row).collect();
    let heads = ["Person", "What", "Why", "Since", "Decide"];
    let heads = if orders.is_empty() {
        &heads[..4]
    } else {
        &heads[..]
    };
    let all: Vec<i64> = tasks.iter().map(|task| task.row).collect();
    let content = html! {
        p .dim { (what) }
        @if count > tasks.len() as u64 {
            p { "The first " (tasks.len()) " of " (grouped(count)) " are shown." }
        }
        (table(heading, heads, &rows))
        @if all.len() > 1 && !orders.is_empty() {
            details .all id={ "all-" (id) } {
                summary { "Decide on all " (all.len()) " that are shown" }
                p { (consequences(tasks)) }
                div .orders {
                    @for order in orders { (button(session, *order, &all, "all that are shown", None)) }
                }
            }
        }
    };
    section(id, &format!("{heading} ({})", grouped(count)), &content)
}

/// What happens if all of these are carried out.
fn consequences(tasks: &[TaskReport]) -> String {
    let kinds = ActionKind::ALL.into_iter().filter_map(|kind| {
        let count = tasks.iter().filter(|task| task.kind == kind).count();
        let vault = if kind == ActionKind::Delete {
            ", with everything in the vault"
        } else {
            ""
        };
        (count > 0).then(|| format!("{count} to be {}{vault}", kind.participle()))
    });
    format!(
        "Carrying them out means: {}.",
        kinds.collect::<Vec<_>>().join("; ")
    )
}

/// A button that gives an order. What cannot be undone asks first.
fn button(session: &Session, order: Request, rows: &[i64], whom: &str, kind: Option<ActionKind>) -> Markup {
    let (word, class) = match order {
        Request::Approve => ("Approve", "primary"),
        Request::Discard => ("Discard", "quiet"),
        Request::Retry => ("Retry", "primary"),
        Request::Resend => ("Remind", "quiet"),
        Request::Sync => ("Look up", "primary"),
    };
    let form = html! {
        form method="post" action="order" {
            (csrf(session))
            @for row in rows { input type="hidden" name="row" value=(row); }
            button class=(class) type="submit" name="order" value=(order.as_str())
                aria-label={ (word) ": " (printable(whom)) } { (word) }
        }
    };
    match kind {
        Some(ActionKind::Delete) if order != Request::Discard => html! {
            details .sure id={ "sure-" (order.as_str()) "-" (rows.first().copied().unwrap_or_default()) } {
                summary { (word) "…" }
                p { "This deletes the account and everything in its vault. It cannot be undone." }
                (form)
            }
        },
        _ => form,
    }
}

fn person_link(address: &str, dn: &str, id: &str) -> Markup {
    html! {
        a href={ "person?id=" (id) } { (if address.is_empty() { printable(dn) } else { printable(address) }) }
        @if !address.is_empty() && !dn.is_empty() { div .dn { (printable(dn)) } }
    }
}

fn unregistered(session: &Session, stored: &Stored, now: Timestamp) -> Markup {
    let (people, count) = (&stored.unregistered, stored.report.unregistered);
    if people.is_empty() {
        return html! {};
    }
    let row = |person: &Unregistered| {
        let account = &person.account;
        vec![
            html! { (printable(person.address.as_str())) div .dn { (printable(&person.dn)) } },
            html! { (ago(Some(account.since), now)) },
            html! {
                @match account.reminded {
                    Some(at) => { (account.reminders) " (last " (ago(Some(at), now)) ")" },
                    None => span .dim { "none" },
                }
            },
            button(
                session,
                Request::Resend,
                &[person.row],
                person.address.as_str(),
                None,
            ),
        ]
    };
    let rows: Vec<_> = people.iter().map(row).collect();
    let content = html! {
        p .dim {
            "They were invited and have not registered yet, as far as is known. Reminders are mailed by themselves "
            "(" code { "resend_after" } "); a reminder now brings a new link."
        }
        @if count > people.len() as u64 { p { "The first " (people.len()) " of " (grouped(count)) " are shown." } }
        (table("Awaiting registration", &["Person", "Invited", "Reminders", "Decide"], &rows))
    };
    let heading = format!("Awaiting registration ({})", grouped(count));
    let folded = html! {
        details id="fold-unregistered" open[people.len() <= 5] { summary { (heading) } (content) }
    };
    html! { section .card aria-label=(heading) { (folded) } }
}

/// The last events.
pub(super) fn events(events: &[Event], now: Timestamp) -> Markup {
    let row = |event: &Event| {
        let address = event.address.as_ref().map_or("", |address| address.as_str());
        let whom = match &event.person {
            Some(id) => person_link(address, &event.dn, &id.to_string()),
            None => html! { span .dim { "everyone in " (printable(&event.directory)) } },
        };
        vec![
            html! { (ago(Some(event.at), now)) },
            whom,
            html! { (printable(&event.what.to_string())) },
            html! { span .dim { (event.source.as_str()) } },
        ]
    };
    let rows: Vec<_> = events.iter().map(row).collect();
    let content = if rows.is_empty() {
        html! { p .dim { "Nothing has happened yet." } }
    } else {
        table_as(
            "feed",
            "Last events",
            &["When", "Person", "What happened", "Learned from"],
            &rows,
        )
    };
    section("events", "Last events", &content)
}

/// The people whom a search found.
pub(in crate::page) fn people(look: &Look<'_>, now: Timestamp, stories: &[Story]) -> Response {
    let rows: Vec<_> = stories
        .iter()
        .map(|Story { person, standing, .. }| {
            let address = person
                .member
                .address
                .as_ref()
                .map_or("", |address| address.as_str());
            let last = person.events.last().map(|event| event.at);
            vec![
                person_link(address, &person.member.dn, &person.member.id.to_string()),
                html! { (printable(&person.directory)) },
                html! { (printable(standing)) },
                html! { (ago(last, now)) },
            ]
        })
        .collect();
    let found = table("Found", &["Person", "Directory", "Stands", "Last event"], &rows);
    let main = html! {
        @if let Some(session) = look.session { (search(session)) }
        (section("found", &format!("{} people found", stories.len()), &found))
    };
    document(look, "Found", &main)
}

/// The story of a person, in each directory that has them.
pub(in crate::page) fn story(
    look: &Look<'_>,
    snapshot: &Snapshot,
    stories: &[Story],
    notice: Option<&Notice>,
) -> Response {
    let (Some(session), Some(first)) = (look.session, stories.first()) else {
        return super::answer(&html! {});
    };
    let main = html! {
        (notice_of(notice))
        (search(session))
        div #live data-version=(snapshot.version) data-from={ "person?id=" (first.person.member.id) } {
            @for story in stories { (one(session, story, snapshot.now)) }
        }
    };
    document(look, "Person", &main)
}

fn one(session: &Session, story: &Story, now: Timestamp) -> Markup {
    let Story {
        person,
        standing,
        accounts,
        next,
    } = story;
    let id = person.member.id.to_string();
    let name = person
        .member
        .address
        .as_ref()
        .map_or(person.member.dn.as_str(), |address| address.as_str());
    let events: Vec<_> = person
        .events
        .iter()
        .rev()
        .take(MAX_EVENTS as usize)
        .map(|event| {
            vec![
                html! { time datetime=(event.at) { (event.at) } },
                html! { @if let Some(address) = &event.address { (printable(address.as_str())) } },
                html! { (printable(&event.what.to_string())) },
                html! { span .dim { (event.source.as_str()) } },
            ]
        })
        .collect();
    let skipped = person.actions.len().saturating_sub(MAX_EVENTS as usize);
    let actions: Vec<_> = person.actions[skipped..]
        .iter()
        .map(|action| action_row(action, now))
        .collect();
    html! {
        section .card aria-labelledby={ "person-" (person.member.row) } {
            h1 id={ "person-" (person.member.row) } { (printable(name)) }
            dl .facts {
                dt { "DN" } dd .dn { (printable(&person.member.dn)) }
                dt { "Directory" } dd { (printable(&person.directory)) }
                dt { "Identity" } dd .dn { (id) }
                dt { "Standing" } dd { (printable(standing)) }
                @if !accounts.is_empty() {
                    dt { "Account" } dd { ul .plain { @for line in accounts { li { (printable(line)) } } } }
                }
                dt { "Next" } dd { ul .plain { @for line in next { li { (printable(line)) } } } }
            }
            form method="post" action="order" {
                (csrf(session))
                input type="hidden" name="who" value=(id);
                input type="hidden" name="back" value=(id);
                button .primary type="submit" name="order" value=(Request::Sync.as_str()) { "Look up in the directory now" }
            }
        }
        @if !actions.is_empty() {
            (section("actions", "What is and was owed", &html! {
                (cut(person.actions.len(), actions.len(), &id))
                (table("Actions", &["What", "State", "Since", "Why"], &actions))
            }))
        }
        (section("story", "What happened", &html! {
            @if events.is_empty() {
                p .dim {
                    "The journal has no events of this person: they are too old, or were only counted in a listing of many people."
                }
            } @else {
                (cut(person.events.len(), events.len(), &id))
                (table("What happened", &["When", "Address", "What happened", "Learned from"], &events))
            }
        }))
    }
}

/// Says that not all is shown, and what shows it.
fn cut(all: usize, shown: usize, id: &str) -> Markup {
    html! {
        @if all > shown {
            p .dim { "The last " (shown) " are shown; " code { "ldap-usher explain " (id) } " shows all." }
        }
    }
}

fn action_row(action: &ActionReport, now: Timestamp) -> Vec<Markup> {
    let (kind, word) = match action.state {
        ActionState::Queued => ("info", "Queued"),
        ActionState::Held => ("warn", "Held back"),
        ActionState::Quarantined => ("bad", "In quarantine"),
        ActionState::Done => ("good", "Done"),
        ActionState::Cancelled => ("dim", "Cancelled"),
    };
    vec![
        html! { (action.kind.noun()) div .dn { (printable(action.address.as_str())) } },
        badge(kind, word),
        html! { (ago(Some(action.since), now)) },
        html! { (printable(action.reason.as_deref().unwrap_or_default())) },
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{EntryId, Source, What};

    #[test]
    fn a_hostile_name_is_text_and_draws_nothing() {
        let event = Event {
            at: Timestamp(0),
            directory: "main".into(),
            person: EntryId::from_slice(&[1; 16]),
            dn: "cn=<script>hit()</script>\u{202e}\" onclick=\"hit()".into(),
            address: None,
            source: Source::Stream,
            what: What::Left {
                reason: Some("<img src=x onerror=hit()>".into()),
            },
        };
        let page = events(&[event], Timestamp(0)).0;
        assert!(
            page.contains("&lt;script&gt;hit()&lt;/script&gt;\\u{202e}&quot; onclick="),
            "{page}"
        );
        assert!(
            !page.contains("<script") && !page.contains("<img") && !page.contains("\" onclick"),
            "{page}"
        );
    }
}
