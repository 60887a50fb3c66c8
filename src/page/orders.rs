//! What a person sends: the token, a search, an order.

use std::borrow::Cow;

use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use tokio::time::Instant;
use url::form_urlencoded;

use super::Page;
use super::browser::Browser;
use super::see;
use super::session::{Notice, same};
use super::view;
use crate::model::Request;

/// The largest number of actions in one order: as many as the page shows.
const MAX_ROWS: usize = 100;

/// The fields of a form or of a query.
struct Fields<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Fields<'a> {
    fn of(encoded: &'a [u8]) -> Self {
        Self(form_urlencoded::parse(encoded).collect())
    }

    /// The value of a field; empty if there is none.
    fn one(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }

    fn all<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'b str> {
        let found = self.0.iter().filter(move |(known, _)| known == name);
        found.map(|(_, value)| value.as_ref())
    }
}

/// The identifier of the session whose form this is, or the answer to somebody who has none.
#[expect(clippy::result_large_err, reason = "it is returned at once")]
fn signed_in<'a>(browser: &'a Browser, fields: &Fields<'_>) -> Result<&'a str, Response> {
    let (Some(id), Some(session)) = (&browser.id, &browser.session) else {
        return Err(see("./"));
    };
    if !browser.is_own || !same(&session.csrf, fields.one("csrf")) {
        return Err(foreign());
    }
    Ok(id)
}

fn foreign() -> Response {
    const REFUSED: &str = "this was not sent by the status page itself; open the page again, and let a proxy in front pass \
                           the header Host on\n";
    (StatusCode::FORBIDDEN, REFUSED).into_response()
}

pub(super) async fn sign_in(State(page): State<Page>, browser: Browser, body: Bytes) -> Response {
    if !browser.is_own {
        return foreign();
    }
    let fields = Fields::of(&body);
    let Some(id) = page.0.sessions.sign_in(fields.one("token")).await else {
        page.0.observer.sign_in_refused(&browser.from);
        let snapshot = page.0.snapshots.get().await;
        let notice = Notice {
            good: false,
            text: "This is not the token.".into(),
        };
        let front = view::front(&page.look(&browser), &snapshot, Some(&notice));
        return (StatusCode::FORBIDDEN, front).into_response();
    };
    tracing::info!(from = browser.from, "somebody signed in on the status page");
    let cookie = [(header::SET_COOKIE, browser.set_cookie(Some(&id)))];
    (cookie, see("./")).into_response()
}

pub(super) async fn sign_out(State(page): State<Page>, browser: Browser, body: Bytes) -> Response {
    match signed_in(&browser, &Fields::of(&body)) {
        Ok(id) => page.0.sessions.sign_out(id),
        Err(refused) => return refused,
    }
    let cookie = [(header::SET_COOKIE, browser.set_cookie(None))];
    (cookie, see("./")).into_response()
}

/// Finds people, and goes on to their story under an address that names nobody.
pub(super) async fn search(State(page): State<Page>, browser: Browser, body: Bytes) -> Response {
    let fields = Fields::of(&body);
    let id = match signed_in(&browser, &fields) {
        Ok(id) => id,
        Err(refused) => return refused,
    };
    let who = fields.one("who").trim();
    let found = match within_limits(&page, id) {
        Ok(()) => page.0.administration.find(who).await,
        Err(why) => Err(why),
    };
    match found {
        Ok(people) if people.is_empty() => {
            let text = format!(
                "Nobody is known by “{}”. Somebody whom a directory has only now is found by “Look up”.",
                crate::foreign::shown(who)
            );
            tell(&page, id, false, text);
            see("./")
        }
        Ok(people) => {
            let one = people[0].person.member.id;
            if people.iter().all(|story| story.person.member.id == one) {
                return see(&format!("./person?id={one}"));
            }
            view::people(&page.look(&browser), page.0.snapshots.get().await.now, &people)
        }
        Err(why) => {
            tell(&page, id, false, why);
            see("./")
        }
    }
}

/// The story of a person.
pub(super) async fn person(
    State(page): State<Page>,
    browser: Browser,
    RawQuery(query): RawQuery,
) -> Response {
    let Some(id) = &browser.id else {
        return see("./");
    };
    let query = query.unwrap_or_default();
    let fields = Fields::of(query.as_bytes());
    let who = fields.one("id");
    if !is_id(who) {
        return see("./");
    }
    match page.0.administration.find(who).await {
        Ok(people) if !people.is_empty() => {
            let snapshot = page.0.snapshots.get().await;
            let notice = page.0.sessions.told(id);
            view::story(&page.look(&browser), &snapshot, &people, notice.as_ref())
        }
        Ok(_) => {
            tell(&page, id, false, "This person is not known any more.".into());
            see("./")
        }
        Err(why) => {
            tell(&page, id, false, why);
            see("./")
        }
    }
}

/// Has an order carried out, and goes back to the page from which it came.
pub(super) async fn order(State(page): State<Page>, browser: Browser, body: Bytes) -> Response {
    let fields = Fields::of(&body);
    let id = match signed_in(&browser, &fields) {
        Ok(id) => id,
        Err(refused) => return refused,
    };
    let name = fields.one("order");
    let Some(request) = Request::ALL.into_iter().find(|request| request.as_str() == name) else {
        return (StatusCode::BAD_REQUEST, "there is no such order\n").into_response();
    };
    let rows: Result<Vec<i64>, _> = fields.all("row").map(str::parse).collect();
    let Some(rows) = rows.ok().filter(|rows| rows.len() <= MAX_ROWS) else {
        return (
            StatusCode::BAD_REQUEST,
            "the order names no actions of the page\n",
        )
            .into_response();
    };
    let who = fields.one("who").trim();
    let done = match within_limits(&page, id) {
        Ok(()) => page.carry_out(request, rows, who, &browser.from).await,
        Err(why) => Err(why),
    };
    let (good, text) = match done {
        Ok(text) => (true, text),
        Err(text) => (false, text),
    };
    tell(&page, id, good, text);
    let back = fields.one("back");
    if is_id(back) {
        return see(&format!("./person?id={back}"));
    }
    see("./")
}

/// Whether a text is the identity of an entry, as the page writes it.
fn is_id(text: &str) -> bool {
    text.len() == 36 && text.chars().all(|c| c.is_ascii_hexdigit() || c == '-')
}

fn within_limits(page: &Page, id: &str) -> Result<(), String> {
    if page.0.sessions.may_order(id, Instant::now()) {
        return Ok(());
    }
    Err("That was too much at once. Try again in a few seconds.".into())
}

fn tell(page: &Page, id: &str, good: bool, text: String) {
    page.0.sessions.tell(id, Notice { good, text });
}
