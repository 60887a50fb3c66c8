//! `watch`: prints each change as it arrives. Invites no one and does not use the state file.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;

use futures::StreamExt;
use futures::future::select_all;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::exit::Exit;
use crate::app::{RECONNECT, policy};
use crate::clock::Clock;
use crate::config;
use crate::directory::{Directory, DirectoryError, LdapDirectory};
use crate::foreign::printable;
use crate::model::{Change, Entry, EntryId, Listing};
use crate::rules::membership::Policy;
use crate::telemetry::ListingProgress;

/// Prints changes until Ctrl-C, or until the reader closes standard output.
///
/// Counts the people in a listing and prints the ones that changed since the last listing. To detect changes it keeps
/// everyone's DN and address in memory, about 200 bytes per person.
pub(super) async fn watch(config: Option<&Path>, json: bool, all: bool) -> anyhow::Result<Exit> {
    let config = super::load(config)?;
    let mut watchers = Vec::new();
    for directory in &config.directories {
        let watcher = Watcher {
            directory: LdapDirectory::new(directory.settings.clone())?,
            known: Known::new(directory, policy(&config, directory, Clock::system().now()), all),
            json,
        };
        watchers.push(Box::pin(watcher.run()));
    }
    tokio::select! {
        (ended, ..) = select_all(watchers) => ended?,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }
    Ok(Exit::Done)
}

/// Prints the changes of one directory.
struct Watcher {
    directory: LdapDirectory,
    known: Known,
    json: bool,
}

impl Watcher {
    /// Reconnects forever. Returns when standard output is closed or cannot be written.
    async fn run(mut self) -> anyhow::Result<()> {
        let mut failures = 0;
        loop {
            let began = Instant::now();
            let error = match self.session().await? {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            failures = if began.elapsed() >= RECONNECT.ceiling {
                1
            } else {
                failures + 1
            };
            let wait = RECONNECT.wait(failures, rand::random());
            let name = &self.known.name;
            super::print_error(
                name,
                &format!("{error}; trying again in {:.1} s", wait.as_secs_f32()),
            );
            sleep(wait).await;
        }
    }

    async fn session(&mut self) -> anyhow::Result<Result<(), DirectoryError>> {
        let mut opened = match self.directory.open(None).await {
            Ok(opened) => opened,
            Err(error) => return Ok(Err(error)),
        };
        let stream = format!("watching {} by {}: {}", opened.server, opened.stream, opened.why);
        super::print_error(&self.known.name, &stream);
        while let Some(change) = opened.changes.next().await {
            let change = match change {
                Ok(change) => change,
                Err(error) => return Ok(Err(error)),
            };
            for line in self.known.apply(change) {
                if !print(&line, self.json)? {
                    return Ok(Ok(()));
                }
            }
        }
        Ok(Ok(()))
    }
}

/// Prints one line and flushes it. Returns `false` if standard output is closed.
fn print(line: &Line<'_>, json: bool) -> anyhow::Result<bool> {
    let time = Clock::system().now().to_string();
    let text = if json {
        serde_json::to_string(&Stamped { time, line })?
    } else {
        format!("{time}  {}", line.text())
    };
    let mut stdout = io::stdout().lock();
    match writeln!(stdout, "{text}").and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(anyhow::Error::new(error).context("standard output cannot be written")),
    }
}

/// One line of output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Line<'a> {
    directory: &'a str,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dn: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Serialize)]
struct Stamped<'a> {
    time: String,
    #[serde(flatten)]
    line: &'a Line<'a>,
}

impl Line<'_> {
    fn text(&self) -> String {
        let columns = [
            Some(self.directory),
            Some(self.kind),
            self.dn.as_deref().or(self.id.as_deref()),
            self.address.as_deref(),
            self.reason.as_deref(),
        ];
        printable(&columns.into_iter().flatten().collect::<Vec<_>>().join("  "))
    }
}

/// The people in one directory.
struct Known {
    name: String,
    policy: Policy,
    /// Whether everyone in a listing is printed.
    all: bool,
    people: HashMap<EntryId, Person>,
    /// The number of the current listing, or of the last one.
    listing: u64,
    /// The counters of the current listing.
    counters: Option<Counters>,
}

struct Person {
    dn: String,
    /// The address, or the reason why there is none.
    address: Result<String, String>,
    /// The number of the last listing that found them.
    listing: u64,
}

struct Counters {
    progress: ListingProgress,
    entries: u64,
    without_address: u64,
}

impl Known {
    fn new(directory: &config::Directory, policy: Policy, all: bool) -> Self {
        Self {
            name: directory.settings.name.clone(),
            policy,
            all,
            people: HashMap::new(),
            listing: 0,
            counters: None,
        }
    }

    /// Records a change and returns the lines to print.
    fn apply(&mut self, change: Change) -> Vec<Line<'_>> {
        let kind = change.kind();
        match change {
            Change::ListingBegin => {
                self.listing += 1;
                self.counters = Some(Counters {
                    progress: ListingProgress::begin(),
                    entries: 0,
                    without_address: 0,
                });
                Vec::new()
            }
            Change::Upsert(entry) | Change::Together { entry, .. } => {
                self.upsert(kind, &entry).into_iter().collect()
            }
            Change::Present(id) => {
                if let Some(person) = self.people.get_mut(&id) {
                    person.listing = self.listing;
                }
                Vec::new()
            }
            Change::Gone(id) => {
                let person = self.people.remove(&id);
                vec![gone(&self.name, id, person)]
            }
            Change::ListingEnd(listing) => self.listed(&listing),
            // Only the service uses these.
            Change::Checkpoint(_) | Change::Alive => Vec::new(),
        }
    }

    fn upsert(&mut self, kind: &'static str, entry: &Entry) -> Option<Line<'_>> {
        let policy = self.policy.at(Clock::system().now());
        let address = policy.address(entry, None).map(|address| address.to_string());
        let person = Person {
            dn: entry.dn.clone(),
            address: address.clone(),
            listing: self.listing,
        };
        let former = self.people.insert(entry.id, person);
        let quiet = self.counters.as_mut().is_some_and(|counters| {
            // With `all`, the lines themselves show the progress.
            if !self.all {
                counters.progress.advance(&self.name, 1);
            }
            counters.entries += 1;
            counters.without_address += u64::from(address.is_err());
            let is_unchanged =
                former.is_some_and(|former| former.dn == entry.dn && former.address == address);
            !self.all && (self.listing == 1 || is_unchanged)
        });
        (!quiet).then(|| Line {
            id: Some(entry.id.to_string()),
            dn: Some(entry.dn.clone()),
            reason: address
                .as_ref()
                .err()
                .map(|why| format!("cannot be invited: {why}")),
            address: address.ok(),
            ..line(&self.name, kind)
        })
    }

    fn listed(&mut self, listing: &Listing) -> Vec<Line<'_>> {
        let counters = self.counters.take();
        let (entries, without_address) =
            counters.map_or((0, 0), |counters| (counters.entries, counters.without_address));
        let mut missing = Vec::new();
        if *listing == Listing::Complete {
            let present = self.listing;
            missing.extend(self.people.extract_if(|_, person| person.listing != present));
        }
        let mut lines: Vec<Line<'_>> = missing
            .into_iter()
            .map(|(id, person)| gone(&self.name, id, Some(person)))
            .collect();
        let end = match listing {
            Listing::Complete => String::new(),
            Listing::Changes => ", changes only".into(),
            Listing::Partial(reason) => format!(", cut short: {reason}"),
        };
        let reason = format!("{entries} entries, {without_address} without a usable address{end}");
        lines.push(Line {
            reason: Some(reason),
            ..line(&self.name, "listed")
        });
        lines
    }
}

fn line<'a>(directory: &'a str, kind: &'static str) -> Line<'a> {
    Line {
        directory,
        kind,
        id: None,
        dn: None,
        address: None,
        reason: None,
    }
}

fn gone(directory: &str, id: EntryId, person: Option<Person>) -> Line<'_> {
    let (dn, address) = person.map_or((None, None), |person| (Some(person.dn), person.address.ok()));
    Line {
        id: Some(id.to_string()),
        dn,
        address,
        ..line(directory, "gone")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::model::Attribute;
    use crate::rules::membership::Accept;

    fn upsert(person: u8, mail: &str) -> Change {
        let value = mail.as_bytes().to_vec();
        Change::Upsert(Entry {
            id: EntryId::from_slice(&[person; 16]).unwrap(),
            dn: format!("uid=person{person}"),
            attributes: vec![Attribute {
                name: "mail".into(),
                values: vec![value],
            }],
        })
    }

    fn printed(known: &mut Known, changes: impl IntoIterator<Item = Change>) -> Vec<String> {
        let mut lines = Vec::new();
        for change in changes {
            lines.extend(known.apply(change).iter().map(Line::text));
        }
        lines
    }

    fn known(all: bool) -> Known {
        Known {
            name: "main".into(),
            policy: Policy {
                mail_attributes: vec!["mail".into()],
                accept: Accept::default(),
                invite_changed_address: false,
                disabled_are_members: false,
                now: Timestamp(0),
            },
            all,
            people: HashMap::new(),
            listing: 0,
            counters: None,
        }
    }

    fn listing(people: &[(u8, &str)]) -> Vec<Change> {
        let entries = people.iter().map(|(person, mail)| upsert(*person, mail));
        let begin = [Change::ListingBegin].into_iter();
        begin
            .chain(entries)
            .chain([Change::ListingEnd(Listing::Complete)])
            .collect()
    }

    #[test]
    fn the_first_listing_is_counted_and_later_ones_print_changes() {
        let mut known = known(false);
        assert_eq!(
            printed(&mut known, listing(&[(1, "a@x.org"), (2, "b")])),
            ["main  listed  2 entries, 1 without a usable address"]
        );
        assert_eq!(
            printed(&mut known, listing(&[(1, "c@x.org"), (3, "d@x.org")])),
            [
                "main  upsert  uid=person1  c@x.org",
                "main  upsert  uid=person3  d@x.org",
                "main  gone  uid=person2",
                "main  listed  2 entries, 0 without a usable address",
            ]
        );
    }

    #[test]
    fn all_prints_everyone_and_live_changes_are_always_printed() {
        assert_eq!(printed(&mut known(true), listing(&[(1, "a@x.org")])).len(), 2);
        let id = EntryId::from_slice(&[1; 16]).unwrap();
        let changes = [upsert(1, "a@x.org"), Change::Gone(id), Change::Alive];
        assert_eq!(
            printed(&mut known(false), changes),
            [
                "main  upsert  uid=person1  a@x.org",
                "main  gone  uid=person1  a@x.org"
            ]
        );
    }
}
