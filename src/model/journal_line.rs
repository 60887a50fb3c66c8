//! An event as other programs read it.

use serde::Serialize;

use super::{Event, Source, What};

/// An event as one JSON object, as `journal --json` prints it and notifications contain it: `event` is its kind, and its
/// details are further keys. Times are RFC 3339 in UTC.
#[derive(Debug, Serialize)]
pub struct JournalLine<'a> {
    at: String,
    directory: &'a str,
    entry: Option<String>,
    dn: Option<&'a str>,
    address: Option<String>,
    source: Source,
    #[serde(flatten)]
    what: &'a What,
}

impl<'a> JournalLine<'a> {
    /// The form of this event.
    pub fn of(event: &'a Event) -> Self {
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
