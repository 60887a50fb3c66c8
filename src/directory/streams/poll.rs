//! For servers without any push: a full listing at an interval, and between two of them a look at what is new.
//!
//! Where the server keeps `modifyTimestamp` (RFC 4512, 3.4.2), people who were added or changed are asked for every few
//! seconds. That shows nobody who left, and nobody who joined by a change of another entry, such as a group: those wait
//! for the listing.
//!
//! # Caveats
//! The look is one search for everything from the newest time stamp on. It takes at most a twentieth of the time, however
//! slowly the server answers it; a server that refuses it is not asked again before the next listing.

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

/// The shortest pause before a look at what is new.
const LOOK: Duration = Duration::from_secs(5);
/// How many times longer than a look the pause before the next one is.
const REST: u32 = 20;

const MODIFY_TIMESTAMP: &str = "modifyTimestamp";

/// Lists at once on this connection, then again `poll_interval` after the end of each listing, each time on a new one.
pub(crate) async fn open(session: Session, query: &Arc<Query>) -> Result<Changes, DirectoryError> {
    let poll = Poll {
        query: Arc::new(query.with_attribute(MODIFY_TIMESTAMP)),
        newest: Arc::default(),
        before: Before::Listing,
    };
    // The first one at once, so that a refusal is known.
    let first = listing::open_on(session, poll.query.clone()).await?;
    let first = noting(first, poll.newest.clone());
    let again = stream::try_unfold(poll, |mut poll| async {
        let changes = poll.again().await?;
        Ok::<_, DirectoryError>(Some((changes, poll)))
    });
    Ok(first.chain(again.try_flatten()).boxed())
}

struct Poll {
    query: Arc<Query>,
    /// The newest time stamp seen.
    newest: Newest,
    before: Before,
}

type Newest = Arc<Mutex<Option<String>>>;

/// What has just ended.
enum Before {
    Listing,
    /// A look that began at `begun`; the next listing comes at `listing`.
    Look {
        begun: Instant,
        listing: Instant,
    },
}

impl Poll {
    async fn list(&self) -> Result<Changes, DirectoryError> {
        let listing = listing::open(self.query.clone()).await?;
        Ok(noting(listing, self.newest.clone()))
    }

    /// Waits for the next listing or look, and begins it.
    async fn again(&mut self) -> Result<Changes, DirectoryError> {
        let now = Instant::now();
        let (pause, listing) = match self.before {
            Before::Listing => (LOOK, now + self.query.settings.poll_interval),
            Before::Look { begun, listing } => ((begun.elapsed() * REST).max(LOOK), listing),
        };
        let newest = lock(&self.newest).clone();
        match newest.filter(|_| now + pause < listing) {
            Some(newest) => {
                sleep(pause).await;
                self.before = Before::Look {
                    begun: Instant::now(),
                    listing,
                };
                self.look(&newest).await
            }
            None => {
                sleep_until(listing).await;
                self.before = Before::Listing;
                self.list().await
            }
        }
    }

    /// Whoever was added or changed since the newest time stamp.
    async fn look(&self, newest: &str) -> Result<Changes, DirectoryError> {
        let new = Filter::at_least(MODIFY_TIMESTAMP, newest);
        let filter = self.query.settings.filter.and(new);
        let looked = listing::open(Arc::new(self.query.with_filter(filter))).await?;
        let name = self.query.settings.name.clone();
        let newest = self.newest.clone();
        let looked = looked.try_filter(move |change| {
            if let Change::ListingEnd(Listing::Partial(reason)) = change {
                tracing::debug!(directory = name, reason, "the server does not tell what is new");
                *lock(&newest) = None;
            }
            future::ready(matches!(change, Change::Upsert(_)))
        });
        let looked = if self.query.filter_decides() {
            looked.boxed()
        } else {
            self.confirmed(looked.boxed())
        };
        Ok(together(noting(looked, self.newest.clone())))
    }

    /// Those who are members by the groups' own word, and not only by what was known of them when the look began.
    fn confirmed(&self, looked: Changes) -> Changes {
        let lookup = Lookup::new(self.query.clone());
        let chunks = looked.try_chunks(CHUNK).boxed();
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

/// Several who are found at once come together.
fn together(looked: Changes) -> Changes {
    let chunks = looked.try_chunks(CHUNK).map_err(|TryChunksError(_, error)| error);
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

/// Takes note of the newest time stamp that passes.
fn noting(changes: Changes, newest: Newest) -> Changes {
    changes
        .inspect_ok(move |change| {
            if let Change::Upsert(entry) = change {
                let stamp = entry.values(MODIFY_TIMESTAMP).filter_map(stamp).max();
                let mut newest = lock(&newest);
                // One server writes all its time stamps in one form, in which later ones are greater.
                if stamp > *newest {
                    *newest = stamp;
                }
            }
        })
        .boxed()
}

/// A GeneralizedTime (RFC 4517, 3.3.13), and nothing that would be more than a value in a filter.
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
