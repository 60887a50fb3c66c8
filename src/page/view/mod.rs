//! Renders the page as HTML.

mod chart;
mod people;
mod state;

use std::time::Duration;

use axum::http::header;
use axum::response::{IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use super::assets::Assets;
use super::session::{Notice, Session};
use super::snapshot::Snapshot;
use crate::clock::Timestamp;
use crate::foreign::printable;
use crate::telemetry::http::Public;

pub(super) use people::{people, story};

/// A picture of a key on a green ground.
const ICON: &str = "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E%3Crect width='16' \
                    height='16' rx='4' fill='%230f766e'/%3E%3Ccircle cx='5.5' cy='8' r='2.2' fill='none' stroke='white' \
                    stroke-width='1.6'/%3E%3Cpath d='M7.7 8H13v2.2M10.8 8v1.6' fill='none' stroke='white' \
                    stroke-width='1.6'/%3E%3C/svg%3E";

/// Who looks, and what the page is made with.
pub(super) struct Look<'a> {
    /// The session of somebody who is signed in. Only they see people.
    pub(super) session: Option<&'a Session>,
    pub(super) can_sign_in: bool,
    pub(super) public: &'a Public,
    pub(super) assets: &'a Assets,
}

/// The page that everyone sees first.
pub(super) fn front(look: &Look<'_>, snapshot: &Snapshot, notice: Option<&Notice>) -> Response {
    let main = html! {
        (notice_of(notice))
        @if let Some(session) = look.session {
            (people::search(session))
        } @else if !look.can_sign_in {
            p .hint {
                "This page shows no people. Whoever sets " code { "admin_token" } " in " code { "[http]" }
                " can sign in, see them and decide."
            }
        }
        div #live data-version=(snapshot.version) { (live_of(look, snapshot)) }
    };
    document(look, "Status", &main)
}

/// The part of the page that changes.
pub(super) fn live(look: &Look<'_>, snapshot: &Snapshot) -> Response {
    answer(&html! { div #live data-version=(snapshot.version) { (live_of(look, snapshot)) } })
}

fn live_of(look: &Look<'_>, snapshot: &Snapshot) -> Markup {
    let now = snapshot.now;
    html! {
        (state::banner(look, snapshot))
        @if let Ok(stored) = &snapshot.stored {
            (state::tiles(&stored.report))
            @if let Some(session) = look.session {
                (people::attention(session, stored, now))
            } @else {
                (state::open(&stored.report))
            }
            (state::directories(look, snapshot, &stored.report))
            (chart::charts(stored))
            (state::queue(&stored.report))
            (state::instances(&stored.report, now))
            @if look.session.is_some() {
                (people::events(&stored.events, now))
            }
        }
    }
}

/// A whole document.
fn document(look: &Look<'_>, title: &str, main: &Markup) -> Response {
    answer(&html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (title) " · ldap-usher" }
                link rel="icon" href=(ICON);
                link rel="stylesheet" href={ "assets/" (look.assets.style) };
                script src={ "assets/" (look.assets.script) } defer {}
                noscript { meta http-equiv="refresh" content="30"; }
            }
            body {
                a .skip href="#main" { "Skip to content" }
                header .top {
                    div .wrap {
                        a .brand href="./" { "ldap-usher" }
                        span #connection .connection role="status" {}
                        (sign_in_or_out(look))
                    }
                }
                main #main .wrap { (main) }
                footer .wrap {
                    "ldap-usher " (env!("CARGO_PKG_VERSION")) " · times are UTC · "
                    a href="metrics" { "metrics" } " · " a href="readyz" { "readiness" }
                }
            }
        }
    })
}

fn sign_in_or_out(look: &Look<'_>) -> Markup {
    html! {
        @if let Some(session) = look.session {
            form .sign-out method="post" action="sign-out" {
                (csrf(session))
                button .quiet type="submit" { "Sign out" }
            }
        } @else if look.can_sign_in {
            form .sign-in method="post" action="sign-in" {
                label for="token" .hidden { "Token" }
                input #token name="token" type="password" required autocomplete="current-password"
                    placeholder="admin_token";
                button type="submit" { "Sign in" }
            }
        }
    }
}

fn notice_of(notice: Option<&Notice>) -> Markup {
    html! {
        @if let Some(Notice { good, text }) = notice {
            @if *good {
                p .notice .good role="status" { (printable(text)) }
            } @else {
                p .notice .bad role="alert" { (printable(text)) }
            }
        }
    }
}

/// The field that shows that the page itself made a form.
fn csrf(session: &Session) -> Markup {
    html! { input type="hidden" name="csrf" value=(session.csrf); }
}

fn answer(markup: &Markup) -> Response {
    let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    (kind, markup.0.clone()).into_response()
}

/// A part of the page with a heading.
fn section(id: &str, heading: &str, content: &Markup) -> Markup {
    html! {
        section .card aria-labelledby=(id) {
            h2 id=(id) { (heading) }
            (content)
        }
    }
}

/// A table. On a narrow screen each row becomes a card.
fn table(caption: &str, heads: &[&str], rows: &[Vec<Markup>]) -> Markup {
    table_as("", caption, heads, rows)
}

/// A table that looks like this. Its roles are said explicitly, because a table that becomes cards has none otherwise.
fn table_as(class: &str, caption: &str, heads: &[&str], rows: &[Vec<Markup>]) -> Markup {
    html! {
        table class=(class) role="table" {
            caption .hidden { (caption) }
            thead role="rowgroup" {
                tr role="row" { @for head in heads { th role="columnheader" scope="col" { (head) } } }
            }
            tbody role="rowgroup" {
                @for row in rows {
                    tr role="row" {
                        @for (head, cell) in heads.iter().zip(row) {
                            td role="cell" data-label=(head) { div { (cell) } }
                        }
                    }
                }
            }
        }
    }
}

/// A state in a word and a colour.
fn badge(kind: &str, word: &str) -> Markup {
    html! { span class={ "badge " (kind) } { (word) } }
}

/// A time, and how long ago it was.
fn ago(time: Option<Timestamp>, now: Timestamp) -> Markup {
    html! {
        @match time {
            None => span .dim { "never" },
            Some(time) => time datetime=(time) title=(time) { (since(now.since(time))) },
        }
    }
}

/// How long ago something was. The script says the same.
fn since(age: Duration) -> String {
    match age.as_secs() {
        0..10 => "just now".into(),
        seconds @ 10..60 => format!("{seconds} s ago"),
        seconds @ 60..3600 => format!("{} min ago", seconds / 60),
        seconds @ 3600..172_800 => format!("{} h ago", seconds / 3600),
        seconds => format!("{} days ago", seconds / 86_400),
    }
}
