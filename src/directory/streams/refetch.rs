//! Handles streams that only hint that an entry changed: reads the entry again with the configured filter, because only the
//! server's own evaluation of the filter decides about membership.
//!
//! # Guarantees
//! - Hints that arrive during a listing are handled after it. If groups decide about membership, they are handled before the
//!   end of the listing is sent: the listing used what was known of the groups before.
//! - An entry with another hint while it is read is read once more.
//! - A [`Change::Checkpoint`] is sent only after all hints before it were handled.
//! - People with a hint of their own are read before people of a change that concerns many.
//! - The number of people who wait is bounded: beyond it no hints are received until some people were read.

use std::collections::hash_map::Entry as Slot;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::future::pending;
use std::pin::pin;
use std::time::Duration;

use futures::future::{self, Either, FutureExt};
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use tokio::time::{Instant, sleep_until};

use crate::directory::ldap::search::CHUNK;
use crate::directory::people::lookup::Lookup;
use crate::directory::{Changes, DirectoryError};
use crate::model::{Change, Cursor, EntryId, Listing};

/// What a stream says that does not show the changed entries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hint {
    /// This entry was added, changed or deleted. It may be anyone, and even no person.
    Changed(EntryId),
    /// As [`Hint::Changed`], for one of several entries whose changes were found together.
    ChangedTogether {
        /// The entry.
        id: EntryId,
        /// The number of these entries.
        among: usize,
    },
    /// This person joined or left a group. The server may update the person's own entry later, so the person is read again
    /// after a while.
    MemberOfGroup {
        /// The person.
        id: EntryId,
        /// The number of people whom the same change concerns.
        among: usize,
    },
    /// A resume point that covers all hints before it.
    Checkpoint(Cursor),
    /// Nothing changed, and the server answered a probe.
    Alive,
}

/// A stream of hints. It ends with its first error.
pub(crate) type Hints = BoxStream<'static, Result<Hint, DirectoryError>>;

/// The delay before a person is read again whose entry the server may update after a group, or the other way round.
const UPDATE_DELAY: Duration = Duration::from_secs(1);
/// The time that a server may need to update the entry of one member after a change of a group.
const UPDATE_PER_MEMBER: Duration = Duration::from_millis(5);
/// A person who is found so much later than the server may need is not attributed to that change.
const TOGETHER_FOR: Duration = Duration::from_secs(60);
/// The largest number of people who wait to be read. Beyond it no hints are received for a while; if the server ends the
/// session for that, everyone is listed again. As many may wait for a later time; the audit finds all others.
const MAX_WAITING: usize = 250_000;

/// The listing of a stream that resumes: it is empty, because hints follow for everything that changed.
pub(crate) fn only_changes() -> Changes {
    stream::iter([Ok(Change::ListingBegin), Ok(Change::ListingEnd(Listing::Changes))]).boxed()
}

/// Merges `stream`, a listing or an endless stream, with the changes that follow from the hints.
///
/// If groups decide about membership, changes of single people in `stream` are only hints too: the server does not know
/// the groups that the filter does not name, and a deleted group looks as if all its members had left.
pub(crate) fn refetched(hints: Hints, stream: Changes, lookup: Lookup) -> Changes {
    let refetch = Refetch {
        hints,
        stream: Some(stream),
        is_listing: false,
        lookup,
        single: Queue::default(),
        bulk: Queue::default(),
        together: HashMap::new(),
        later: BTreeMap::new(),
        later_count: 0,
        markers: VecDeque::new(),
        changes: VecDeque::new(),
    };
    stream::try_unfold(refetch, |mut refetch| async {
        Ok(refetch.next().await?.map(|change| (change, refetch)))
    })
    .boxed()
}

struct Refetch {
    hints: Hints,
    /// The listing or stream beside the hints; `None` after its end.
    stream: Option<Changes>,
    /// Whether `stream` is in the middle of a listing.
    is_listing: bool,
    lookup: Lookup,
    /// People with a hint of their own who were not read yet.
    single: Queue,
    /// People of changes that concern many, who were not read yet.
    bulk: Queue,
    /// People whom one change concerns together with others: the number of them, and until when this counts.
    together: HashMap<EntryId, (usize, Instant)>,
    /// People who are to be read at a later time.
    later: BTreeMap<Instant, Vec<ToRead>>,
    /// The number of people in `later`.
    later_count: usize,
    /// What is sent after some of those who wait were read.
    markers: VecDeque<Marker>,
    /// The changes to send next.
    changes: VecDeque<Change>,
}

/// A person to read.
#[derive(Debug, Clone, Copy)]
struct ToRead {
    id: EntryId,
    unsettled: Option<Unsettled>,
}

/// The server may not have updated the person's own entry yet.
#[derive(Debug, Clone, Copy)]
struct Unsettled {
    /// When it will have.
    until: Instant,
    /// The pause before the person is read again.
    pause: Duration,
}

/// A resume point or the end of a listing, with the numbers of people who have to be read before it.
struct Marker {
    single: usize,
    bulk: usize,
    change: Change,
}

impl Marker {
    fn is_replaced_by(&self, next: &Self) -> bool {
        let is_resume_point = |marker: &Self| matches!(marker.change, Change::Checkpoint(_));
        is_resume_point(self) && is_resume_point(next) && (self.single, self.bulk) == (next.single, next.bulk)
    }
}

/// People to read, each once, in the order of their hints.
#[derive(Default)]
struct Queue {
    order: VecDeque<EntryId>,
    unsettled: HashMap<EntryId, Option<Unsettled>>,
}

impl Queue {
    fn push(&mut self, ToRead { id, unsettled }: ToRead) {
        match self.unsettled.entry(id) {
            Slot::Occupied(mut known) => {
                let until = |unsettled: &Unsettled| unsettled.until;
                if unsettled.as_ref().map(until) > known.get().as_ref().map(until) {
                    known.insert(unsettled);
                }
            }
            Slot::Vacant(new) => {
                new.insert(unsettled);
                self.order.push_back(id);
            }
        }
    }

    fn take(&mut self, count: usize) -> impl Iterator<Item = ToRead> {
        let first = self.order.drain(..count.min(self.order.len()));
        first.map(|id| ToRead {
            id,
            unsettled: self.unsettled.remove(&id).flatten(),
        })
    }

    fn len(&self) -> usize {
        self.order.len()
    }
}

impl Refetch {
    async fn next(&mut self) -> Result<Option<Change>, DirectoryError> {
        loop {
            if let Some(change) = self.changes.pop_front() {
                return Ok(Some(change));
            }
            if !self.is_listing {
                self.release_markers();
                if !self.changes.is_empty() {
                    continue;
                }
                // Hints that arrive together are handled together.
                while self.has_room()
                    && let Some(Some(hint)) = self.hints.next().now_or_never()
                {
                    self.receive(hint?);
                }
                if self.single.len() + self.bulk.len() > 0 {
                    self.read_some().await?;
                    continue;
                }
            }
            let has_room = self.has_room();
            tokio::select! {
                hint = self.hints.try_next(), if has_room => match hint? {
                    Some(hint) => self.receive(hint),
                    None => return Ok(None),
                },
                change = next_of(&mut self.stream) => match change? {
                    Some(change) => self.forward(change),
                    None => self.stream = None,
                },
                () = due(&self.later) => {
                    let people = self.later.pop_first();
                    for person in people.into_iter().flat_map(|(_, people)| people) {
                        self.later_count -= 1;
                        let is_bulk = person.unsettled.is_some();
                        if is_bulk { &mut self.bulk } else { &mut self.single }.push(person);
                    }
                }
            }
        }
    }

    fn has_room(&self) -> bool {
        self.single.len() + self.bulk.len() < MAX_WAITING
    }

    /// Forwards a change of `stream`, or reads the person again.
    fn forward(&mut self, change: Change) {
        let by_groups = self.lookup.query().groups.is_some();
        match change {
            Change::ListingBegin => self.is_listing = true,
            Change::ListingEnd(_) => {
                self.is_listing = false;
                if by_groups {
                    return self.send_after_waiting(change);
                }
            }
            // A member may have been renamed, and the server updates the group later.
            Change::Gone(id) if by_groups => return self.read_later(id),
            Change::Upsert(ref entry) if !self.lookup.query().filter_decides() => {
                match (self.is_listing, self.lookup.query().admits(entry)) {
                    (true, true) => {}
                    (true, false) => return,
                    // The groups decide, and their change may arrive a moment later.
                    (false, true) => return self.single.push(once(entry.id)),
                    (false, false) => return self.read_later(entry.id),
                }
            }
            Change::Checkpoint(_) => return self.send_after_waiting(change),
            _ => {}
        }
        self.changes.push_back(change);
    }

    /// Sends a resume point or the end of a listing after everyone who waits now was read. Of several resume points in a
    /// row only the last one is sent.
    fn send_after_waiting(&mut self, change: Change) {
        let marker = Marker {
            single: self.single.len(),
            bulk: self.bulk.len(),
            change,
        };
        match self.markers.back_mut() {
            Some(former) if former.is_replaced_by(&marker) => *former = marker,
            _ => self.markers.push_back(marker),
        }
    }

    fn read_later(&mut self, id: EntryId) {
        self.read_at(Instant::now() + UPDATE_DELAY, once(id));
    }

    fn read_at(&mut self, at: Instant, person: ToRead) {
        if self.later_count < MAX_WAITING {
            self.later.entry(at).or_default().push(person);
            self.later_count += 1;
        }
    }

    fn note_together(&mut self, id: EntryId, among: usize) {
        if among > 1 {
            if self.together.len() >= MAX_WAITING {
                self.together.clear();
            }
            let counts_for = TOGETHER_FOR + UPDATE_PER_MEMBER * u32::try_from(among).unwrap_or(u32::MAX);
            self.together.insert(id, (among, Instant::now() + counts_for));
        } else {
            self.together.remove(&id);
        }
    }

    fn receive(&mut self, hint: Hint) {
        match hint {
            Hint::Changed(id) => self.single.push(once(id)),
            Hint::ChangedTogether { id, among } => {
                self.note_together(id, among);
                self.single.push(once(id));
            }
            Hint::MemberOfGroup { id, among } if among <= CHUNK => {
                self.note_together(id, among);
                self.single.push(once(id));
                self.read_later(id);
            }
            Hint::MemberOfGroup { id, among } => {
                self.note_together(id, among);
                let updates = UPDATE_PER_MEMBER * u32::try_from(among).unwrap_or(u32::MAX);
                // If the groups decide, the entries of people need no update.
                let unsettled = self.lookup.query().filter_decides().then(|| Unsettled {
                    until: Instant::now() + UPDATE_DELAY + updates,
                    pause: UPDATE_DELAY,
                });
                self.bulk.push(ToRead { id, unsettled });
            }
            Hint::Checkpoint(cursor) => self.send_after_waiting(Change::Checkpoint(cursor)),
            Hint::Alive => self.changes.push_back(Change::Alive),
        }
    }

    /// Reads some of those who wait: first people with a hint of their own, for whom half of the places are kept.
    async fn read_some(&mut self) -> Result<(), DirectoryError> {
        let for_bulk = self.bulk.len().min(CHUNK / 2);
        let single: Vec<ToRead> = self.single.take(CHUNK - for_bulk).collect();
        let bulk: Vec<ToRead> = self.bulk.take(CHUNK - single.len()).collect();
        for marker in &mut self.markers {
            marker.single = marker.single.saturating_sub(single.len());
            marker.bulk = marker.bulk.saturating_sub(bulk.len());
        }
        // A person who is in both is read once.
        let mut asked: Vec<EntryId> = Vec::new();
        let mut unique = HashSet::new();
        let people = single.iter().chain(&bulk);
        asked.extend(people.map(|person| person.id).filter(|id| unique.insert(*id)));
        let mut hints = Vec::new();
        let found = {
            let room = MAX_WAITING.saturating_sub(self.single.len() + self.bulk.len());
            let mut asking = pin!(self.lookup.members_among(&asked));
            loop {
                if hints.len() >= room {
                    break asking.await?;
                }
                // Hints are received meanwhile: some servers disconnect a client that does not read.
                match future::select(&mut asking, self.hints.next()).await {
                    Either::Left((found, _)) => break found?,
                    Either::Right((Some(hint), _)) => hints.push(hint?),
                    Either::Right((None, _)) => break asking.await?,
                }
            }
        };
        let there: HashSet<EntryId> = found.iter().map(|entry| entry.id).collect();
        for entry in found {
            self.changes.push_back(match self.together.remove(&entry.id) {
                Some((among, until)) if Instant::now() < until => Change::Together { entry, among },
                _ => Change::Upsert(entry),
            });
        }
        let gone = asked.into_iter().filter(|id| !there.contains(id));
        self.changes.extend(gone.map(Change::Gone));
        self.reread_unsettled(bulk);
        self.release_markers();
        hints.into_iter().for_each(|hint| self.receive(hint));
        if self.single.len() + self.bulk.len() == 0 {
            self.lookup.record_watermarks().await?;
        }
        Ok(())
    }

    /// Schedules another read of people whose own entries the server may not have updated yet.
    fn reread_unsettled(&mut self, read: Vec<ToRead>) {
        let now = Instant::now();
        for ToRead { id, unsettled } in read {
            let Some(Unsettled { until, pause }) = unsettled.filter(|unsettled| now < unsettled.until) else {
                continue;
            };
            let unsettled = Some(Unsettled {
                until,
                pause: pause * 2,
            });
            self.read_at(now + pause, ToRead { id, unsettled });
        }
    }

    /// Sends the resume points and the ends of listings whose people have all been read.
    fn release_markers(&mut self) {
        while let Some(marker) = self
            .markers
            .pop_front_if(|marker| marker.single == 0 && marker.bulk == 0)
        {
            self.changes.push_back(marker.change);
        }
    }
}

/// A person who is read once.
fn once(id: EntryId) -> ToRead {
    ToRead { id, unsettled: None }
}

/// The next change of the stream; waits forever if the stream has ended.
async fn next_of(stream: &mut Option<Changes>) -> Result<Option<Change>, DirectoryError> {
    match stream {
        Some(stream) => stream.try_next().await,
        None => pending().await,
    }
}

/// Waits until the first person in `later` is due.
async fn due(later: &BTreeMap<Instant, Vec<ToRead>>) {
    match later.first_key_value() {
        Some((&at, _)) => sleep_until(at).await,
        None => pending().await,
    }
}
