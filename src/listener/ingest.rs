//! What a directory tells, decided on and committed.

use std::collections::HashMap;
use std::mem;

use super::batches;
use super::{Listener, Trouble};
use crate::directory::StreamKind;
use crate::model::{Change, Cursor, EntryId, Event, Hold, Listing, Member, Source, What};
use crate::rules::membership::{Decision, Sighting, decide};
use crate::rules::{Brake, Noted};
use crate::store::{Decisions, ListingOutcome, StoreError, Taken};
use crate::telemetry::{Progress, Purpose};
use crate::timing::{self, Step};

/// Unseen members that are looked up at a time, and findings of an audit that are kept for its end.
const PAGE: u32 = 500;

/// The way of one directory's changes into the store.
pub(super) struct Ingest<'a> {
    listener: &'a Listener,
    /// The directory's row in the store.
    pub row: i64,
    /// The kind of stream that was opened last.
    pub stream: Option<StreamKind>,
    /// The listing that the stream is in the middle of.
    listing: Option<Run>,
    /// People of the batch at hand whom one change concerns together with others.
    together: HashMap<EntryId, usize>,
    /// The audit beside the stream.
    audit: Option<(Run, Vec<EntryId>)>,
}

/// A listing under way.
struct Run {
    progress: Progress,
    /// How many joined, or joined again.
    joined: u64,
    /// How many left.
    left: u64,
}

impl Run {
    fn begin() -> Self {
        Self {
            progress: Progress::begin(),
            joined: 0,
            left: 0,
        }
    }

    fn count(&mut self, events: &[Event]) {
        let of = |kind: fn(&What) -> bool| events.iter().filter(|event| kind(&event.what)).count() as u64;
        self.joined += of(|what| matches!(what, What::Joined | What::Rejoined));
        self.left += of(|what| matches!(what, What::Left { .. }));
    }
}

impl<'a> Ingest<'a> {
    pub(super) fn new(listener: &'a Listener, row: i64) -> Self {
        Self {
            listener,
            row,
            stream: None,
            listing: None,
            together: HashMap::new(),
            audit: None,
        }
    }

    /// Whether the stream is in the middle of a listing of its own.
    pub(super) fn is_listing(&self) -> bool {
        self.listing.is_some()
    }

    /// Takes a batch of the stream. Returns how a listing ended, if one did.
    pub(super) async fn take(&mut self, batch: batches::Batch) -> Result<Option<Listing>, Trouble> {
        timing::reached(Step::Decoded);
        let mut sightings = Vec::new();
        let mut cursor = None;
        let mut ended = None;
        for change in batch {
            let change = match change {
                Ok(change) => change,
                Err(error) => {
                    self.write(sightings, cursor).await?;
                    return Err(error.into());
                }
            };
            self.listener.observer.change(&self.listener.name, change.kind());
            match change {
                Change::Upsert(entry) => sightings.push(Sighting::Entry(entry)),
                Change::Together { entry, among } => {
                    self.together.insert(entry.id, among);
                    sightings.push(Sighting::Entry(entry));
                }
                Change::Present(id) => sightings.push(Sighting::Present(id)),
                Change::Gone(id) => sightings.push(Sighting::Gone(id)),
                Change::Checkpoint(point) => cursor = Some(point),
                // Groups are watched by the directory itself.
                Change::Doorbell(_) | Change::Alive => {}
                Change::ListingBegin => {
                    self.write(mem::take(&mut sightings), cursor.take()).await?;
                    self.listener.store.begin_listing(self.row).await?;
                    self.listing = Some(Run::begin());
                }
                Change::ListingEnd(listing) => {
                    self.write(mem::take(&mut sightings), cursor.take()).await?;
                    let run = self.listing.take().unwrap_or_else(Run::begin);
                    ended = Some(self.end(listing, run, Purpose::CatchUp).await?);
                }
            }
        }
        self.write(sightings, cursor).await?;
        Ok(ended)
    }

    /// Takes a batch of an audit: whoever is as known is marked as seen, anyone else is a suspect until
    /// [`Ingest::judge_audit`]. Returns how the listing ended, if it did.
    pub(super) async fn take_audit(&mut self, batch: batches::Batch) -> Result<Option<Listing>, Trouble> {
        let mut sightings = Vec::new();
        let mut end = None;
        for change in batch {
            match change? {
                Change::ListingBegin => {
                    self.listener.store.begin_listing(self.row).await?;
                    self.audit = Some((Run::begin(), Vec::new()));
                }
                Change::Upsert(entry) => sightings.push(Sighting::Entry(entry)),
                Change::ListingEnd(listing) => end = Some(listing),
                _ => {}
            }
        }
        let count = sightings.len();
        let taken = self.taken(sightings, Source::Audit, None);
        let suspects = self.listener.store.compare(taken).await?;
        if let Some((mut run, mut found)) = self.audit.take() {
            run.progress.advance(&self.listener.name, count);
            found.extend(suspects);
            if found.len() >= PAGE as usize {
                self.repair(&mem::take(&mut found), &mut run).await?;
            }
            self.audit = Some((run, found));
        }
        Ok(end)
    }

    /// Puts right what an audit found and what is still so when its suspects are looked up.
    pub(super) async fn judge_audit(&mut self, listing: Listing) -> Result<(), Trouble> {
        let Some((mut run, suspects)) = self.audit.take() else {
            return Ok(());
        };
        if let Err(trouble) = self.repair(&suspects, &mut run).await {
            let Trouble::Directory(error) = trouble else {
                return Err(trouble);
            };
            let listing = Listing::Partial(format!("its findings could not be looked up: {error}"));
            self.end(listing, run, Purpose::Audit).await?;
            return Ok(());
        }
        self.end(listing, run, Purpose::Audit).await.map(drop)
    }

    /// An audit broke off; the next one starts anew.
    pub(super) async fn audit_failed(&mut self, trouble: &Trouble) -> Result<(), Trouble> {
        let run = self.audit.take().map_or_else(Run::begin, |(run, _)| run);
        self.end(Listing::Partial(trouble.to_string()), run, Purpose::Audit)
            .await
            .map(drop)
    }

    /// The session is over: listings that it left open say nothing about anyone who was not named.
    pub(super) async fn abandon(&mut self, trouble: &Trouble) -> Result<(), StoreError> {
        if self.listing.take().is_some() | self.audit.take().is_some() {
            let listing = Listing::Partial(trouble.to_string());
            let outcome = self.end_in_store(&listing).await?;
            tracing::debug!(
                directory = self.listener.name,
                ?outcome,
                "a listing was left open"
            );
        }
        Ok(())
    }

    async fn write(&mut self, sightings: Vec<Sighting>, cursor: Option<Cursor>) -> Result<(), Trouble> {
        if sightings.is_empty() && cursor.is_none() {
            return Ok(());
        }
        let count = sightings.len();
        let sightings = self.with_unknown_read(sightings).await?;
        let source = if self.listing.is_some() {
            Source::Listing
        } else {
            Source::Stream
        };
        let named = self.listing.as_ref().map_or(0, |run| run.joined);
        let taken = Taken {
            together: mem::take(&mut self.together),
            summarised: named >= self.listener.named_joiners,
            ..self.taken(sightings, source, cursor)
        };
        let events = self.commit(taken).await?;
        if let Some(run) = &mut self.listing {
            run.progress.advance(&self.listener.name, count);
            run.count(&events);
        }
        Ok(())
    }

    /// Whoever is merely said to be present and is not known, or had left, is read.
    async fn with_unknown_read(&self, mut sightings: Vec<Sighting>) -> Result<Vec<Sighting>, Trouble> {
        let present = sightings.iter().filter_map(|sighting| match sighting {
            Sighting::Present(id) => Some(*id),
            _ => None,
        });
        let mut unknown: Vec<EntryId> = present.collect();
        if unknown.is_empty() {
            return Ok(sightings);
        }
        let known = self.listener.store.known(self.row, &unknown).await?;
        let known: HashMap<EntryId, Member> = known.into_iter().map(|member| (member.id, member)).collect();
        let policy = &self.listener.policy;
        unknown.retain(|&id| decide(known.get(&id), &Sighting::Present(id), policy) == Decision::Fetch);
        if !unknown.is_empty() {
            let found = self.listener.directory.lookup(&unknown).await?;
            sightings.extend(found.into_iter().map(Sighting::Entry));
        }
        Ok(sightings)
    }

    /// Decides what was told about people, commits it, together with the cursor, and tells what happened.
    async fn commit(&self, taken: Taken) -> Result<Vec<Event>, StoreError> {
        let Listener {
            name,
            store,
            observer,
            wake,
            limits,
            ..
        } = self.listener;
        let events = store.take(taken).await?;
        timing::reached(Step::Committed);
        observer.tell(&events);
        let held = |by| events.iter().filter(move |event| event.what == What::Held { by });
        let together = held(Hold::Together).count() as u64;
        if together > 0 {
            observer.held_together(name, together, limits.invites_per_listing.unwrap_or(u32::MAX));
        }
        let by_hour = held(Hold::Hour).count() as u64;
        if by_hour > 0 {
            observer.held_by_hour(name, by_hour, limits.invites_per_hour.unwrap_or(u32::MAX));
        }
        for event in held(Hold::Person) {
            let limit = limits.addresses_per_person.unwrap_or(u32::MAX);
            observer.held_by_person(name, &event.dn, limit);
        }
        // Who of those who are held together has an account is looked at.
        if together > 0 || events.iter().any(|event| event.what.is_due()) {
            wake.notify_one();
        }
        Ok(events)
    }

    fn taken(&self, sightings: Vec<Sighting>, source: Source, cursor: Option<Cursor>) -> Taken {
        let arrived = self.listener.clock.now();
        Taken {
            directory: self.row,
            source,
            summarised: false,
            sightings,
            together: HashMap::new(),
            cursor,
            policy: self.listener.policy.at(arrived),
            limits: self.listener.limits,
            arrived,
        }
    }

    /// Ends a listing: whoever it did not name is looked up once more before they count as having left.
    async fn end(&mut self, listing: Listing, mut run: Run, purpose: Purpose) -> Result<Listing, Trouble> {
        let mut failed = None;
        let listing = match listing {
            Listing::Complete => match self.look_for_the_unseen(purpose, &mut run).await {
                Ok(()) => Listing::Complete,
                Err(Trouble::Directory(error)) => {
                    let reason = format!("those who were not named could not be looked up: {error}");
                    failed = Some(error);
                    Listing::Partial(reason)
                }
                Err(trouble) => return Err(trouble),
            },
            other => other,
        };
        let outcome = ListingOutcome {
            left: run.left,
            ..self.end_in_store(&listing).await?
        };
        self.note_listing(&run, purpose, &outcome).await?;
        let Listener { name, observer, .. } = self.listener;
        observer.listing_ended(
            name,
            purpose,
            &listing,
            &outcome,
            run.progress.seen(),
            run.progress.took(),
        );
        match failed {
            // The cursor that the stream tells next covers the leavers, too: it must not be stored without them.
            Some(error) if purpose == Purpose::CatchUp => Err(error.into()),
            _ => Ok(listing),
        }
    }

    async fn end_in_store(&self, listing: &Listing) -> Result<ListingOutcome, StoreError> {
        let Listener {
            store,
            limits,
            clock,
            wake,
            ..
        } = self.listener;
        let (limits, now) = (*limits, clock.now());
        let cut_short = matches!(listing, Listing::Partial(_));
        let judge = Box::new(move |brake: &mut Brake, found| brake.listing(found, cut_short, &limits, now));
        let complete = *listing == Listing::Complete;
        let outcome = store.end_listing(self.row, complete, judge, now).await?;
        if outcome.queued + outcome.held > 0 {
            wake.notify_one();
        }
        Ok(outcome)
    }

    /// Looks up everyone whom a complete listing did not name, and counts those who left.
    async fn look_for_the_unseen(&self, purpose: Purpose, run: &mut Run) -> Result<(), Trouble> {
        let Listener {
            name,
            store,
            directory,
            ..
        } = self.listener;
        let mut after = 0;
        loop {
            let unseen = store.unseen(self.row, after, PAGE).await?;
            let Some(last) = unseen.last() else { return Ok(()) };
            after = last.row;
            let mut gone: Vec<EntryId> = unseen.iter().map(|member| member.id).collect();
            let found = directory.lookup(&gone).await?;
            if !found.is_empty() {
                tracing::warn!(
                    directory = name,
                    count = found.len(),
                    "a complete listing did not name people who are there when they are looked up: they stay members"
                );
            }
            gone.retain(|id| found.iter().all(|entry| entry.id != *id));
            let sightings = found.into_iter().map(Sighting::Entry);
            let sightings = sightings.chain(gone.into_iter().map(Sighting::Gone)).collect();
            let taken = self.taken(sightings, source(purpose), None);
            run.count(&self.commit(taken).await?);
        }
    }

    /// Keeps in the journal what a listing brought about, if it did.
    async fn note_listing(
        &self,
        run: &Run,
        purpose: Purpose,
        outcome: &ListingOutcome,
    ) -> Result<(), StoreError> {
        let ListingOutcome { left, queued, held } = *outcome;
        if run.joined + left + queued + held == 0 {
            return Ok(());
        }
        let event = Event {
            at: self.listener.clock.now(),
            directory: self.listener.name.clone(),
            person: None,
            dn: String::new(),
            address: None,
            source: source(purpose),
            what: What::Listed {
                joined: run.joined,
                left,
                queued,
                held,
            },
        };
        let directory = self.row;
        self.listener.store.note(vec![Noted { directory, event }]).await
    }

    /// Reads suspects again and puts right what differs from the store.
    async fn repair(&self, suspects: &[EntryId], run: &mut Run) -> Result<(), Trouble> {
        if suspects.is_empty() {
            return Ok(());
        }
        let found = self.listener.directory.lookup(suspects).await?;
        let sightings = found.into_iter().map(Sighting::Entry).collect();
        let taken = self.taken(sightings, Source::Audit, None);
        run.count(&self.commit(taken).await?);
        Ok(())
    }
}

fn source(purpose: Purpose) -> Source {
    match purpose {
        Purpose::CatchUp => Source::Listing,
        Purpose::Audit => Source::Audit,
    }
}
