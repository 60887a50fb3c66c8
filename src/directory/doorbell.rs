//! Streams that say only that an entry changed, and the answer to them: the entry is read again with the configured
//! filter, because the server's own evaluation of it is the truth about membership.
//!
//! # Guarantees
//! What rings while the listing runs is answered after it. An entry that rings again while it is read is read once
//! more. A [`Change::Checkpoint`] is told only after everything that rang before it was answered.

use std::collections::VecDeque;
use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use futures::future::{self, Either, FutureExt};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use indexmap::IndexSet;
use tokio::time::{Instant, sleep_until};

use super::lookup::{Asker, CHUNK};
use super::{Changes, DirectoryError};
use crate::model::{Change, Cursor, EntryId, Listing};

/// What a doorbell says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ring {
    /// Something about this entry changed; it may have come or gone, and it may be nobody's concern.
    Entry(EntryId),
    /// This person came into a group or went out of it. The server may still be busy to carry that over to the person's
    /// own entry, so they are read again a moment later, too.
    Concerned(EntryId),
    /// A resume point that covers whatever rang before.
    Checkpoint(Cursor),
    /// Nothing rang, and the server was asked and answered.
    Alive,
}

/// A doorbell, until it ends with its first error.
pub(super) type Rings = BoxStream<'static, Result<Ring, DirectoryError>>;

/// When someone is read again whose entry may follow a group's, or a group theirs.
const MOMENT: Duration = Duration::from_secs(1);

/// So many may wait to be read again. Beyond that the doorbell is not listened to for a while; a server that ends the
/// session because of that has to list everyone.
const MOST: usize = 250_000;

/// The listing of a stream that resumes: whatever changed will ring.
pub(super) fn only_changes() -> Changes {
    stream::iter([Ok(Change::ListingBegin), Ok(Change::ListingEnd(Listing::Changes))]).boxed()
}

/// Tells what `stream` tells, a listing or a stream that never ends, and what the rings mean.
///
/// Where groups decide, what the stream tells of single people is but a hint as well: the server does not know of groups
/// that the filter does not name, and a group that vanished looks like everybody's leaving.
pub(super) fn answered(rings: Rings, stream: Changes, asker: Asker) -> Changes {
    let answering = Answering {
        rings,
        stream: Some(stream),
        is_listing: false,
        asker,
        waiting: IndexSet::new(),
        later: VecDeque::new(),
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
    /// What is told beside the rings, until its end.
    stream: Option<Changes>,
    /// It is in the middle of a listing.
    is_listing: bool,
    asker: Asker,
    /// Who rang and was not read yet.
    waiting: IndexSet<EntryId>,
    /// Who is to be read at a later time, in the order of these times.
    later: VecDeque<(Instant, EntryId)>,
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
            if !self.is_listing {
                self.pass_points();
                if !self.told.is_empty() {
                    continue;
                }
                // Whoever rings together is read together.
                while self.has_room()
                    && let Some(Some(ring)) = self.rings.next().now_or_never()
                {
                    self.hear(ring?);
                }
                if !self.waiting.is_empty() {
                    self.answer().await?;
                    continue;
                }
            }
            tokio::select! {
                ring = self.rings.try_next(), if self.has_room() => match ring? {
                    Some(ring) => self.hear(ring),
                    None => return Ok(None),
                },
                change = next_of(&mut self.stream) => match change? {
                    Some(change) => self.pass(change),
                    None => self.stream = None,
                },
                () = due(&self.later) => {
                    self.waiting.extend(self.later.pop_front().map(|(_, id)| id));
                }
            }
        }
    }

    /// Passes on what the stream tells.
    fn pass(&mut self, change: Change) {
        let by_groups = self.asker.wanted().groups.is_some();
        match change {
            Change::ListingBegin => self.is_listing = true,
            Change::ListingEnd(_) => self.is_listing = false,
            // It may be a member who was renamed, before the group was told.
            Change::Gone(id) if by_groups => return self.ask_later(id),
            Change::Upsert(ref entry) if !self.asker.wanted().admits(entry) => {
                if !self.is_listing {
                    self.ask_later(entry.id);
                }
                return;
            }
            Change::Checkpoint(cursor) => return self.remember(cursor),
            _ => {}
        }
        self.told.push_back(change);
    }

    fn has_room(&self) -> bool {
        self.waiting.len() + self.later.len() < MOST
    }

    fn ask_later(&mut self, id: EntryId) {
        self.later.push_back((Instant::now() + MOMENT, id));
    }

    fn hear(&mut self, ring: Ring) {
        match ring {
            Ring::Entry(id) => {
                self.waiting.insert(id);
            }
            Ring::Concerned(id) => {
                self.waiting.insert(id);
                self.ask_later(id);
            }
            Ring::Checkpoint(cursor) => self.remember(cursor),
            Ring::Alive => self.told.push_back(Change::Alive),
        }
    }

    /// Takes a resume point; of several before which the same wait, the last one is enough.
    fn remember(&mut self, cursor: Cursor) {
        let before = self.waiting.len();
        match self.points.back_mut() {
            Some((same, former)) if *same == before => *former = cursor,
            _ => self.points.push_back((before, cursor)),
        }
    }

    /// Reads some of those who wait.
    async fn answer(&mut self) -> Result<(), DirectoryError> {
        let asked: Vec<EntryId> = self.waiting.drain(..self.waiting.len().min(CHUNK)).collect();
        let mut heard = Vec::new();
        let found = {
            let room = MOST.saturating_sub(self.waiting.len() + self.later.len());
            let mut asking = pin!(self.asker.ask(&asked));
            loop {
                if heard.len() >= room {
                    break asking.await?;
                }
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

/// What the stream tells next; a stream that has ended is silent.
async fn next_of(stream: &mut Option<Changes>) -> Result<Option<Change>, DirectoryError> {
    match stream {
        Some(stream) => stream.try_next().await,
        None => pending().await,
    }
}

/// Waits until the first of those who are read later is due.
async fn due(later: &VecDeque<(Instant, EntryId)>) {
    match later.front() {
        Some(&(at, _)) => sleep_until(at).await,
        None => pending().await,
    }
}
