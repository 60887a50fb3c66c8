//! For servers without any push: a full listing at an interval, and in between searches for new changes.
//!
//! If the server keeps `modifyTimestamp` (RFC 4512, 3.4.2), the people who were added or changed are searched for every few
//! seconds. This search does not find people who left, or who joined by a change of another entry, such as a group: the next
//! listing finds them.
//!
//! # Caveats
//! Each search for changes asks for everything from the newest time stamp on. These searches take at most a twentieth of the
//! time, no matter how slowly the server answers. If a server refuses one, the next one follows only after a listing.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::stream::TryChunksError;
use futures::{StreamExt, TryStreamExt, future, stream};
use tokio::time::{Instant, sleep, sleep_until};

use crate::directory::ldap::filter::Filter;
use crate::directory::ldap::search::CHUNK;
use crate::directory::ldap::session::Session;
use crate::directory::people::listing;
use crate::directory::people::lookup::Lookup;
use crate::directory::people::query::Query;
use crate::directory::{Changes, DirectoryError};
use crate::model::{Change, EntryId, Listing};

/// The shortest pause before a search for changes.
const SHORTEST_PAUSE: Duration = Duration::from_secs(5);
/// The pause after a search for changes, as a multiple of the time that it took.
const PAUSE_FACTOR: u32 = 20;

const MODIFY_TIMESTAMP: &str = "modifyTimestamp";

/// Lists everyone at once on this connection, and again `poll_interval` after the end of each listing, each time on a new
/// connection.
pub(crate) async fn open(session: Session, query: &Arc<Query>) -> Result<Changes, DirectoryError> {
    let poll = Poll {
        query: Arc::new(query.with_attribute(MODIFY_TIMESTAMP)),
        newest: Arc::default(),
        last: Last::Listing,
    };
    // Starts the first listing here, so that the caller sees a refusal.
    let first = listing::open_on(session, poll.query.clone()).await?;
    let first = noting(first, poll.newest.clone());
    let rest = stream::try_unfold(poll, |mut poll| async {
        let changes = poll.next().await?;
        Ok::<_, DirectoryError>(Some((changes, poll)))
    });
    Ok(first.chain(rest.try_flatten()).boxed())
}

struct Poll {
    query: Arc<Query>,
    /// The newest time stamp seen.
    newest: Newest,
    last: Last,
}

type Newest = Arc<Mutex<Option<String>>>;

/// The last search.
enum Last {
    Listing,
    /// A search for changes that began at `begun`. The next listing is due at `listing`.
    Changes {
        begun: Instant,
        listing: Instant,
    },
}

impl Poll {
    async fn list(&self) -> Result<Changes, DirectoryError> {
        let listing = listing::open(self.query.clone()).await?;
        Ok(noting(listing, self.newest.clone()))
    }

    /// Waits for the next listing or search for changes, and starts it.
    async fn next(&mut self) -> Result<Changes, DirectoryError> {
        let now = Instant::now();
        let (pause, listing) = match self.last {
            Last::Listing => (SHORTEST_PAUSE, now + self.query.settings.poll_interval),
            Last::Changes { begun, listing } => {
                ((begun.elapsed() * PAUSE_FACTOR).max(SHORTEST_PAUSE), listing)
            }
        };
        let newest = lock(&self.newest).clone();
        match newest.filter(|_| now + pause < listing) {
            Some(newest) => {
                sleep(pause).await;
                self.last = Last::Changes {
                    begun: Instant::now(),
                    listing,
                };
                self.search_changes(&newest).await
            }
            None => {
                sleep_until(listing).await;
                self.last = Last::Listing;
                self.list().await
            }
        }
    }

    /// The people who were added or changed since the newest time stamp.
    async fn search_changes(&self, newest: &str) -> Result<Changes, DirectoryError> {
        let new = Filter::at_least(MODIFY_TIMESTAMP, newest);
        let filter = self.query.settings.filter.and(new);
        let found = listing::open(Arc::new(self.query.with_filter(filter))).await?;
        let name = self.query.settings.name.clone();
        let newest = self.newest.clone();
        let found = found.try_filter(move |change| {
            if let Change::ListingEnd(Listing::Partial(reason)) = change {
                tracing::debug!(
                    directory = name,
                    reason,
                    "the server does not answer the search for changes"
                );
                *lock(&newest) = None;
            }
            future::ready(matches!(change, Change::Upsert(_)))
        });
        let found = if self.query.filter_decides() {
            found.boxed()
        } else {
            self.confirmed(found.boxed())
        };
        Ok(together(noting(found, self.newest.clone())))
    }

    /// Those who are members by their groups right now: the groups may have changed since they were read.
    fn confirmed(&self, found: Changes) -> Changes {
        let lookup = Lookup::new(self.query.clone());
        let chunks = found.try_chunks(CHUNK).boxed();
        stream::try_unfold((lookup, chunks), |(mut lookup, mut chunks)| async {
            let chunk = chunks
                .try_next()
                .await
                .map_err(|TryChunksError(_, error)| error)?;
            let Some(chunk) = chunk else { return Ok(None) };
            let ids: Vec<EntryId> = chunk.into_iter().filter_map(id_of).collect();
            let members = lookup.members_among(&ids).await?.into_iter();
            let members = stream::iter(members.map(|entry| Ok(Change::Upsert(entry))));
            Ok::<_, DirectoryError>(Some((members, (lookup, chunks))))
        })
        .try_flatten()
        .boxed()
    }
}

/// Marks people who are found by one search.
fn together(found: Changes) -> Changes {
    let chunks = found.try_chunks(CHUNK).map_err(|TryChunksError(_, error)| error);
    let marked = chunks.map_ok(|chunk| {
        let among = chunk.len();
        let marked = chunk.into_iter().map(move |change| match change {
            Change::Upsert(entry) if among > 1 => Change::Together { entry, among },
            change => change,
        });
        stream::iter(marked.map(Ok))
    });
    marked.try_flatten().boxed()
}

fn id_of(change: Change) -> Option<EntryId> {
    match change {
        Change::Upsert(entry) => Some(entry.id),
        _ => None,
    }
}

/// Records the newest time stamp of the changes.
fn noting(changes: Changes, newest: Newest) -> Changes {
    changes
        .inspect_ok(move |change| {
            if let Change::Upsert(entry) = change {
                let stamp = entry.values(MODIFY_TIMESTAMP).filter_map(stamp).max();
                let mut newest = lock(&newest);
                // A server writes all time stamps in the same form, in which later ones compare as greater.
                if stamp > *newest {
                    *newest = stamp;
                }
            }
        })
        .boxed()
}

/// The value if it looks like a GeneralizedTime (RFC 4517, 3.3.13), so that it can be used in a filter.
fn stamp(value: &[u8]) -> Option<String> {
    let of_time = |byte: &u8| byte.is_ascii_digit() || b".,+-Z".contains(byte);
    (!value.is_empty() && value.iter().all(of_time))
        .then(|| String::from_utf8(value.to_vec()).ok())
        .flatten()
}

fn lock(newest: &Newest) -> MutexGuard<'_, Option<String>> {
    newest.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_time_is_taken_into_a_filter() {
        assert_eq!(
            stamp(b"20261123081607.335358Z").as_deref(),
            Some("20261123081607.335358Z")
        );
        assert_eq!(
            stamp(b"20261123081607-0130").as_deref(),
            Some("20261123081607-0130")
        );
        for other in [&b""[..], b"*", b"20261123081607Z)(uid=*", b"\xff"] {
            assert_eq!(stamp(other), None);
        }
    }
}
