//! `journal`: prints the events of the journal.

use std::fmt::Write;
use std::path::Path;
use std::time::Duration;

use super::exit::Exit;
use crate::app::parse_person;
use crate::clock::{Clock, Timestamp};
use crate::config;
use crate::foreign::printable;
use crate::model::{Event, JournalLine};
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
        let Some((number, _)) = page.last() else {
            return Ok(Exit::Done);
        };
        last = *number;
        super::print(&lines(page.iter().map(|(_, event)| event), as_json)?)?;
    }
}

fn lines<'a>(events: impl IntoIterator<Item = &'a Event>, as_json: bool) -> anyhow::Result<String> {
    let mut text = String::new();
    for event in events {
        if as_json {
            text.push_str(&serde_json::to_string(&JournalLine::of(event))?);
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
