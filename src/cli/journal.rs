//! `journal`: prints the events of the journal.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::exit::Exit;
use crate::app::parse_person;
use crate::clock::{Clock, Timestamp};
use crate::config;
use crate::foreign::printable;
use crate::model::{Event, Source, What};
use crate::store;

/// The number of events that are read at a time.
const PAGE: u32 = 1000;

/// Prints events, oldest first.
pub(super) async fn journal(
    config: Option<&Path>,
    since: Option<Duration>,
    person: Option<&str>,
    as_json: bool,
) -> anyhow::Result<Exit> {
    let store = store::open_read_only(&config::state(config)?).await?;
    let from = since.map_or(Timestamp(i64::MIN), |since| {
        let since = i64::try_from(since.as_millis()).unwrap_or(i64::MAX);
        Timestamp(Clock::system().now().0.saturating_sub(since))
    });
    if let Some(person) = person {
        let mut events: Vec<Event> = Vec::new();
        for person in store.people(parse_person(person)?, 0).await? {
            events.extend(person.events.into_iter().filter(|event| event.at >= from));
        }
        events.sort_by_key(|event| event.at);
        super::print(&lines(&events, as_json)?)?;
        return Ok(Exit::Done);
    }
    let mut last = 0;
    loop {
        let page = store.journal(last, from, PAGE).await?;
        if page.events.is_empty() {
            return Ok(Exit::Done);
        }
        last = page.last;
        super::print(&lines(&page.events, as_json)?)?;
    }
}

fn lines(events: &[Event], as_json: bool) -> anyhow::Result<String> {
    let mut text = String::new();
    for event in events {
        if as_json {
            text.push_str(&serde_json::to_string(&Line::of(event))?);
        } else {
            text.push_str(&line(event));
        }
        text.push('\n');
    }
    Ok(text)
}

/// An event as text: time, directory, person, what happened.
fn line(event: &Event) -> String {
    let mut line = format!("{}  {}", event.at, event.directory);
    if let Some(address) = &event.address {
        let _ = write!(line, "  {address}");
    }
    if !event.dn.is_empty() {
        let _ = write!(line, "  {}", printable(&event.dn));
    }
    let _ = write!(line, "  {}", printable(&event.what.to_string()));
    line
}

/// An event as one JSON object: `event` is its kind, and its details are further keys. Times are RFC 3339 in UTC.
#[derive(Serialize)]
pub(super) struct Line<'a> {
    at: String,
    directory: &'a str,
    entry: Option<String>,
    dn: Option<&'a str>,
    address: Option<String>,
    source: Source,
    #[serde(flatten)]
    what: &'a What,
}

impl<'a> Line<'a> {
    pub(super) fn of(event: &'a Event) -> Self {
        Self {
            at: event.at.to_string(),
            directory: &event.directory,
            entry: event.person.map(|id| id.to_string()),
            dn: (!event.dn.is_empty()).then_some(event.dn.as_str()),
            address: event.address.as_ref().map(ToString::to_string),
            source: event.source,
            what: &event.what,
        }
    }
}
