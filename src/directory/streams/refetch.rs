//! Streams that say only that an entry changed, and the answer to them: the entry is read again with the configured
//! filter, because the server's own evaluation of it is the truth about membership.
//!
//! # Guarantees
//! What hints while the listing runs is answered after it, and before its end is told where groups decide: who was
//! listed by what was known of the groups before is no member any more then. An entry that hints again while it is read
//! is read once more. A [`Change::Checkpoint`] is told only after everything that rang before it was answered. Whoever
//! hints alone is read before those who are concerned by one change in great numbers. How many may wait has a bound:
//! beyond it the bells are not heard until some of those were read.

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

/// What a doorbell says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Hint {
    /// Something about this entry changed; it may have come or gone, and it may be nobody's concern.
    Changed(EntryId),
    /// The same, of one of several entries whose changes were found together.
    ChangedTogether {
        /// The entry.
        id: EntryId,
        /// How many they are.
        among: usize,
    },
    /// This person came into a group or went out of it. The server may still be busy to carry that over to the person's
    /// own entry, so they are read again later, too.
    MemberOfGroup {
        /// The person.
        id: EntryId,
        /// How many the same change concerns.
        among: usize,
    },
    /// A resume point that covers whatever rang before.
    Checkpoint(Cursor),
    /// Nothing rang, and the server was asked and answered.
    Alive,
}

/// A doorbell, until it ends with its first error.
pub(crate) type Hints = BoxStream<'static, Result<Hint, DirectoryError>>;

/// When someone is read again whose entry may follow a group's, or a group theirs.
const MOMENT: Duration = Duration::from_secs(1);
/// What a server may take to carry over the change of a group to the entry of one member.
const CARRY: Duration = Duration::from_millis(5);
/// Somebody who is found so much later, and later than the server may take, does not come by that change any more.
const TOGETHER: Duration = Duration::from_secs(60);
/// So many may wait to be read. Beyond that the doorbell is not listened to for a while; a server that ends the session
/// because of that has to list everyone. As many may be read once more at a later time, and others are left to the audit.
const MOST: usize = 250_000;

/// The listing of a stream that resumes: whatever changed will hint.
pub(crate) fn only_changes() -> Changes {
    stream::iter([Ok(Change::ListingBegin), Ok(Change::ListingEnd(Listing::Changes))]).boxed()
}

/// Tells what `stream` tells, a listing or a stream that never ends, and what the hints mean.
///
/// Where groups decide, what the stream tells of single people is but a hint as well: the server does not know of groups
/// that the filter does not name, and a group that vanished looks like everybody's leaving.
pub(crate) fn answered(hints: Hints, stream: Changes, lookup: Lookup) -> Changes {
    let answering = Answering {
        hints,
        stream: Some(stream),
        is_listing: false,
        lookup,
        waiting: Queue::default(),
        crowd: Queue::default(),
        together: HashMap::new(),
        later: BTreeMap::new(),
        afterwards: 0,
        points: VecDeque::new(),
        told: VecDeque::new(),
    };
    stream::try_unfold(answering, |mut answering| async {
        Ok(answering.next().await?.map(|change| (change, answering)))
    })
    .boxed()
}

struct Answering {
    hints: Hints,
    /// What is told beside the hints, until its end.
    stream: Option<Changes>,
    /// It is in the middle of a listing.
    is_listing: bool,
    lookup: Lookup,
    /// Who rang and was not read yet.
    waiting: Queue,
    /// The same of those who are concerned by one change in great numbers.
    crowd: Queue,
    /// Who is concerned by one change together with others, with how many, and until when that is heeded.
    together: HashMap<EntryId, (usize, Instant)>,
    /// Who is to be read at a later time.
    later: BTreeMap<Instant, Vec<Again>>,
    /// How many these are.
    afterwards: usize,
    /// What is told once some of those who wait were read.
    points: VecDeque<Point>,
    told: VecDeque<Change>,
}

/// Someone who is read once more.
#[derive(Debug, Clone, Copy)]
struct Again {
    id: EntryId,
    doubt: Option<Doubt>,
}

/// The server may not have carried over yet what concerns a person.
#[derive(Debug, Clone, Copy)]
struct Doubt {
    /// It has by then.
    until: Instant,
    /// The pause before they are read again.
    pause: Duration,
}

/// A resume point or the end of a listing, with how many of those who wait have to be read before it.
struct Point {
    waiting: usize,
    crowd: usize,
    change: Change,
}

impl Point {
    fn is_replaced_by(&self, next: &Self) -> bool {
        let is_resume_point = |point: &Self| matches!(point.change, Change::Checkpoint(_));
        is_resume_point(self)
            && is_resume_point(next)
            && (self.waiting, self.crowd) == (next.waiting, next.crowd)
    }
}

/// Whom to read, each once, in the order in which they rang.
#[derive(Default)]
struct Queue {
    order: VecDeque<EntryId>,
    doubts: HashMap<EntryId, Option<Doubt>>,
}

impl Queue {
    fn push(&mut self, Again { id, doubt }: Again) {
        match self.doubts.entry(id) {
            Slot::Occupied(mut known) => {
                let later = |doubt: &Doubt| doubt.until;
                if doubt.as_ref().map(later) > known.get().as_ref().map(later) {
                    known.insert(doubt);
                }
            }
            Slot::Vacant(new) => {
                new.insert(doubt);
                self.order.push_back(id);
            }
        }
    }

    fn take(&mut self, count: usize) -> impl Iterator<Item = Again> {
        let first = self.order.drain(..count.min(self.order.len()));
        first.map(|id| Again {
            id,
            doubt: self.doubts.remove(&id).flatten(),
        })
    }

    fn len(&self) -> usize {
        self.order.len()
    }
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
                // Whoever hints together is read together.
                while self.has_room()
                    && let Some(Some(hint)) = self.hints.next().now_or_never()
                {
                    self.hear(hint?);
                }
                if self.waiting.len() + self.crowd.len() > 0 {
                    self.answer().await?;
                    continue;
                }
            }
            let has_room = self.has_room();
            tokio::select! {
                hint = self.hints.try_next(), if has_room => match hint? {
                    Some(hint) => self.hear(hint),
                    None => return Ok(None),
                },
                change = next_of(&mut self.stream) => match change? {
                    Some(change) => self.pass(change),
                    None => self.stream = None,
                },
                () = due(&self.later) => {
                    let again = self.later.pop_first();
                    for again in again.into_iter().flat_map(|(_, again)| again) {
                        self.afterwards -= 1;
                        // Of a crowd, whoever comes again comes with it.
                        let is_doubted = again.doubt.is_some();
                        if is_doubted { &mut self.crowd } else { &mut self.waiting }.push(again);
                    }
                }
            }
        }
    }

    fn has_room(&self) -> bool {
        self.waiting.len() + self.crowd.len() < MOST
    }

    /// Passes on what the stream tells.
    fn pass(&mut self, change: Change) {
        let by_groups = self.lookup.query().groups.is_some();
        match change {
            Change::ListingBegin => self.is_listing = true,
            Change::ListingEnd(_) => {
                self.is_listing = false;
                if by_groups {
                    return self.tell_after_those_who_wait(change);
                }
            }
            // It may be a member who was renamed, before the group was told.
            Change::Gone(id) if by_groups => return self.ask_later(id),
            Change::Upsert(ref entry) if !self.lookup.query().filter_decides() => {
                match (self.is_listing, self.lookup.query().admits(entry)) {
                    (true, true) => {}
                    (true, false) => return,
                    // The groups have the last word, and they may be told a moment later.
                    (false, true) => return self.waiting.push(once(entry.id)),
                    (false, false) => return self.ask_later(entry.id),
                }
            }
            Change::Checkpoint(_) => return self.tell_after_those_who_wait(change),
            _ => {}
        }
        self.told.push_back(change);
    }

    /// Tells a resume point or the end of a listing after those who wait now; of several resume points in a row the last
    /// one is enough.
    fn tell_after_those_who_wait(&mut self, change: Change) {
        let point = Point {
            waiting: self.waiting.len(),
            crowd: self.crowd.len(),
            change,
        };
        match self.points.back_mut() {
            Some(former) if former.is_replaced_by(&point) => *former = point,
            _ => self.points.push_back(point),
        }
    }

    fn ask_later(&mut self, id: EntryId) {
        self.read_at(Instant::now() + MOMENT, once(id));
    }

    fn read_at(&mut self, at: Instant, again: Again) {
        if self.afterwards < MOST {
            self.later.entry(at).or_default().push(again);
            self.afterwards += 1;
        }
    }

    fn note_together(&mut self, id: EntryId, among: usize) {
        if among > 1 {
            if self.together.len() >= MOST {
                self.together.clear();
            }
            let heeded = TOGETHER + CARRY * u32::try_from(among).unwrap_or(u32::MAX);
            self.together.insert(id, (among, Instant::now() + heeded));
        } else {
            self.together.remove(&id);
        }
    }

    fn hear(&mut self, hint: Hint) {
        match hint {
            Hint::Changed(id) => self.waiting.push(once(id)),
            Hint::ChangedTogether { id, among } => {
                self.note_together(id, among);
                self.waiting.push(once(id));
            }
            Hint::MemberOfGroup { id, among } if among <= CHUNK => {
                self.note_together(id, among);
                self.waiting.push(once(id));
                self.ask_later(id);
            }
            Hint::MemberOfGroup { id, among } => {
                self.note_together(id, among);
                let carry = CARRY * u32::try_from(among).unwrap_or(u32::MAX);
                // Where the groups have the last word, nothing has to be carried over.
                let doubt = self.lookup.query().filter_decides().then(|| Doubt {
                    until: Instant::now() + MOMENT + carry,
                    pause: MOMENT,
                });
                self.crowd.push(Again { id, doubt });
            }
            Hint::Checkpoint(cursor) => self.tell_after_those_who_wait(Change::Checkpoint(cursor)),
            Hint::Alive => self.told.push_back(Change::Alive),
        }
    }

    /// Reads some of those who wait: whoever rang alone comes first, and half of the places are for them.
    async fn answer(&mut self) -> Result<(), DirectoryError> {
        let for_crowd = self.crowd.len().min(CHUNK / 2);
        let alone: Vec<Again> = self.waiting.take(CHUNK - for_crowd).collect();
        let crowd: Vec<Again> = self.crowd.take(CHUNK - alone.len()).collect();
        for point in &mut self.points {
            point.waiting = point.waiting.saturating_sub(alone.len());
            point.crowd = point.crowd.saturating_sub(crowd.len());
        }
        // Someone who is in both is told once.
        let mut asked: Vec<EntryId> = Vec::new();
        let mut met = HashSet::new();
        let people = alone.iter().chain(&crowd);
        asked.extend(people.map(|again| again.id).filter(|id| met.insert(*id)));
        let mut heard = Vec::new();
        let found = {
            let room = MOST.saturating_sub(self.waiting.len() + self.crowd.len());
            let mut asking = pin!(self.lookup.members_among(&asked));
            loop {
                if heard.len() >= room {
                    break asking.await?;
                }
                // The doorbell is listened to meanwhile: some servers drop whoever does not read.
                match future::select(&mut asking, self.hints.next()).await {
                    Either::Left((found, _)) => break found?,
                    Either::Right((Some(hint), _)) => heard.push(hint?),
                    Either::Right((None, _)) => break asking.await?,
                }
            }
        };
        let there: HashSet<EntryId> = found.iter().map(|entry| entry.id).collect();
        for entry in found {
            self.told.push_back(match self.together.remove(&entry.id) {
                Some((among, until)) if Instant::now() < until => Change::Together { entry, among },
                _ => Change::Upsert(entry),
            });
        }
        let gone = asked.into_iter().filter(|id| !there.contains(id));
        self.told.extend(gone.map(Change::Gone));
        self.doubt(crowd);
        self.pass_points();
        heard.into_iter().for_each(|hint| self.hear(hint));
        if self.waiting.len() + self.crowd.len() == 0 {
            self.lookup.record_watermarks().await?;
        }
        Ok(())
    }

    /// Has those read again of whom the server may not have carried over everything.
    fn doubt(&mut self, read: Vec<Again>) {
        let now = Instant::now();
        for Again { id, doubt } in read {
            let Some(Doubt { until, pause }) = doubt.filter(|doubt| now < doubt.until) else {
                continue;
            };
            let doubt = Some(Doubt {
                until,
                pause: pause * 2,
            });
            self.read_at(now + pause, Again { id, doubt });
        }
    }

    /// Tells the resume points and the ends of listings before which nobody waits any more.
    fn pass_points(&mut self) {
        while let Some(point) = self
            .points
            .pop_front_if(|point| point.waiting == 0 && point.crowd == 0)
        {
            self.told.push_back(point.change);
        }
    }
}

/// Someone who is read once.
fn once(id: EntryId) -> Again {
    Again { id, doubt: None }
}

/// What the stream tells next; a stream that has ended is silent.
async fn next_of(stream: &mut Option<Changes>) -> Result<Option<Change>, DirectoryError> {
    match stream {
        Some(stream) => stream.try_next().await,
        None => pending().await,
    }
}

/// Waits until the first of those who are read later is due.
async fn due(later: &BTreeMap<Instant, Vec<Again>>) {
    match later.first_key_value() {
        Some((&at, _)) => sleep_until(at).await,
        None => pending().await,
    }
}
