//! Streams that say only that an entry changed, and the answer to them: the entry is read again with the configured
//! filter, because the server's own evaluation of it is the truth about membership.
//!
//! # Guarantees
//! What rings while the listing runs is answered after it. An entry that rings again while it is read is read once
//! more. A [`Change::Checkpoint`] is told only after everything that rang before it was answered.

use std::collections::VecDeque;
use std::pin::pin;

use futures::future::{self, Either, FutureExt};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use indexmap::IndexSet;

use super::lookup::{Asker, CHUNK};
use super::{Changes, DirectoryError};
use crate::model::{Change, Cursor, EntryId, Listing};

/// What a doorbell says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ring {
    /// Something about this entry changed; it may have come or gone, and it may be nobody's concern.
    Entry(EntryId),
    /// A resume point that covers whatever rang before.
    Checkpoint(Cursor),
    /// Nothing rang, and the server was asked and answered.
    Alive,
}

/// A doorbell, until it ends with its first error.
pub(super) type Rings = BoxStream<'static, Result<Ring, DirectoryError>>;

/// The listing of a stream that resumes: whatever changed will ring.
pub(super) fn only_changes() -> Changes {
    stream::iter([Ok(Change::ListingBegin), Ok(Change::ListingEnd(Listing::Changes))]).boxed()
}

/// Tells the listing, then what the rings mean.
pub(super) fn answered(rings: Rings, listing: Changes, asker: Asker) -> Changes {
    let answering = Answering {
        rings,
        listing: Some(listing),
        asker,
        waiting: IndexSet::new(),
        points: VecDeque::new(),
        told: VecDeque::new(),
    };
    stream::try_unfold(answering, |mut answering| async {
        Ok(answering.next().await?.map(|change| (change, answering)))
    })
    .boxed()
}

struct Answering {
    rings: Rings,
    /// The listing, until its end.
    listing: Option<Changes>,
    asker: Asker,
    /// Who rang and was not read yet.
    waiting: IndexSet<EntryId>,
    /// Resume points, each with how many of those who wait have to be read before it.
    points: VecDeque<(usize, Cursor)>,
    told: VecDeque<Change>,
}

impl Answering {
    async fn next(&mut self) -> Result<Option<Change>, DirectoryError> {
        loop {
            if let Some(change) = self.told.pop_front() {
                return Ok(Some(change));
            }
            if let Some(listing) = &mut self.listing {
                tokio::select! {
                    ring = self.rings.try_next() => match ring? {
                        Some(ring) => self.hear(ring),
                        None => return Ok(None),
                    },
                    change = listing.try_next() => match change? {
                        Some(change) => {
                            if matches!(change, Change::ListingEnd(_)) {
                                self.listing = None;
                            }
                            return Ok(Some(change));
                        }
                        None => self.listing = None,
                    },
                }
            } else if self.waiting.is_empty() {
                self.pass_points();
                if self.told.is_empty() {
                    match self.rings.try_next().await? {
                        Some(ring) => self.hear(ring),
                        None => return Ok(None),
                    }
                }
                // Whoever rings together is read together.
                while let Some(Some(ring)) = self.rings.next().now_or_never() {
                    self.hear(ring?);
                }
            } else {
                self.answer().await?;
            }
        }
    }

    fn hear(&mut self, ring: Ring) {
        match ring {
            Ring::Entry(id) => {
                self.waiting.insert(id);
            }
            Ring::Checkpoint(cursor) => self.points.push_back((self.waiting.len(), cursor)),
            Ring::Alive => self.told.push_back(Change::Alive),
        }
    }

    /// Reads some of those who wait.
    async fn answer(&mut self) -> Result<(), DirectoryError> {
        let asked: Vec<EntryId> = self.waiting.drain(..self.waiting.len().min(CHUNK)).collect();
        let mut heard = Vec::new();
        let found = {
            let mut asking = pin!(self.asker.ask(&asked));
            loop {
                // The doorbell is listened to meanwhile: some servers drop whoever does not read.
                match future::select(&mut asking, self.rings.next()).await {
                    Either::Left((found, _)) => break found?,
                    Either::Right((Some(ring), _)) => heard.push(ring?),
                    Either::Right((None, _)) => break asking.await?,
                }
            }
        };
        for (before, _) in &mut self.points {
            *before = before.saturating_sub(asked.len());
        }
        let gone: Vec<EntryId> = {
            let there: IndexSet<EntryId> = found.iter().map(|entry| entry.id).collect();
            asked.into_iter().filter(|id| !there.contains(id)).collect()
        };
        self.told.extend(found.into_iter().map(Change::Upsert));
        self.told.extend(gone.into_iter().map(Change::Gone));
        self.pass_points();
        heard.into_iter().for_each(|ring| self.hear(ring));
        Ok(())
    }

    /// Tells the resume points before which nobody waits any more.
    fn pass_points(&mut self) {
        while let Some((0, _)) = self.points.front() {
            let point = self.points.pop_front();
            self.told
                .extend(point.map(|(_, cursor)| Change::Checkpoint(cursor)));
        }
    }
}
