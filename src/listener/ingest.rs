//! What a directory tells, decided on and committed.

mod active_listing;
mod audit;

use std::collections::{HashMap, HashSet};
use std::mem;

use active_listing::ActiveListing;

use super::batches;
use super::{Listener, SessionError};
use crate::directory::StreamKind;
use crate::model::{Change, Cursor, Entry, EntryId, Event, Hold, Listing, Member, Source, What};
use crate::rules::Verdict;
use crate::rules::membership::{Decision, Policy, Sighting, decide};
use crate::store::{Decisions, Difference, StoreError, Taken};
use crate::telemetry::Purpose;
use crate::timing::{self, Step};

/// Differences that one transaction takes: others wait for no more than that.
const PAGE: u32 = 2000;
/// Differences of which the directory is asked at a time.
const LOOK_UPS: u32 = 500;

/// The way of one directory's changes into the store.
pub(super) struct Ingest<'a> {
    listener: &'a Listener,
    /// The directory's row in the store.
    pub row: i64,
    /// The kind of stream that was opened last.
    pub stream: Option<StreamKind>,
    /// The listing that the stream is in the middle of.
    listing: Option<ActiveListing>,
    /// People of the batch at hand whom one change concerns together with others.
    together: HashMap<EntryId, usize>,
    /// The audit beside the stream.
    audit: Option<ActiveListing>,
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
    pub(super) async fn process(&mut self, batch: batches::Batch) -> Result<Option<Listing>, SessionError> {
        timing::reached(Step::Decoded);
        let policy = self.policy();
        let mut sightings = Vec::new();
        let mut cursor = None;
        let mut ended = None;
        for change in batch {
            let change = match change {
                Ok(change) => change,
                Err(error) => {
                    self.flush(sightings, cursor).await?;
                    return Err(error.into());
                }
            };
            self.listener.observer.change(&self.listener.name, change.kind());
            match change {
                Change::Upsert(entry) => sightings.push(Sighting::Entry(policy.facts(&entry))),
                Change::Together { entry, among } => {
                    self.together.insert(entry.id, among);
                    sightings.push(Sighting::Entry(policy.facts(&entry)));
                }
                Change::Present(id) => sightings.push(Sighting::Present(id)),
                Change::Gone(id) => sightings.push(Sighting::Gone(id)),
                Change::Checkpoint(point) => cursor = Some(point),
                // Groups are watched by the directory itself.
                Change::Hint | Change::Alive => {}
                Change::ListingBegin => {
                    self.flush(mem::take(&mut sightings), cursor.take()).await?;
                    self.listener.store.begin_listing(self.row).await?;
                    // A directory has one listing at a time.
                    self.audit = None;
                    self.listing = Some(ActiveListing::begin());
                }
                Change::ListingEnd(listing) => {
                    self.flush(mem::take(&mut sightings), cursor.take()).await?;
                    if let Some(mut run) = self.listing.take() {
                        cursor = run.cursor.take();
                        ended = Some(self.end(listing, &mut run).await?);
                    }
                }
            }
        }
        self.flush(sightings, cursor).await?;
        Ok(ended)
    }

    async fn flush(&mut self, sightings: Vec<Sighting>, cursor: Option<Cursor>) -> Result<(), SessionError> {
        if sightings.is_empty() && cursor.is_none() {
            return Ok(());
        }
        if let Some(run) = &mut self.listing {
            run.cursor = cursor.or(run.cursor.take());
            return self.append(sightings).await;
        }
        let sightings = self.with_unknown_fetched(sightings).await?;
        let taken = Taken {
            together: mem::take(&mut self.together),
            ..self.taken(sightings, Source::Stream, cursor)
        };
        self.commit(taken).await?;
        Ok(())
    }

    /// Adds to the set of the listing under way.
    async fn append(&mut self, named: Vec<Sighting>) -> Result<(), SessionError> {
        // Whoever a listing finds is judged by its whole, not by the change that concerned several.
        self.together.clear();
        if named.is_empty() {
            return Ok(());
        }
        let count = named.len();
        self.listener.store.append(self.row, named).await?;
        if let Some(run) = self.listing.as_mut().or(self.audit.as_mut()) {
            run.progress.advance(&self.listener.name, count);
        }
        Ok(())
    }

    /// The session is over: whoever a listing named until then may join, and it says nothing about anyone else.
    pub(super) async fn abandon(&mut self, error: &SessionError) -> Result<(), SessionError> {
        if let Some(run) = self.audit.take() {
            let listing = Listing::Partial(error.to_string());
            self.record_end(&listing, &run, Purpose::Audit).await?;
        }
        let Some(mut run) = self.listing.take() else {
            return Ok(());
        };
        self.listener.store.compare(self.row, false).await?;
        run.verdict = Some(self.judge_listing(true, Source::Listing).await?);
        loop {
            let page = self.page(&mut run).await?;
            if page.is_empty() {
                break;
            }
            let sightings = page.into_iter().filter_map(|found| found.told).collect();
            // Whoever would have to be read is passed over.
            self.commit_listed(sightings, &mut run).await?;
        }
        let listing = Listing::Partial(error.to_string());
        self.record_end(&listing, &run, Purpose::CatchUp).await?;
        tracing::debug!(
            directory = self.listener.name,
            outcome = ?run.outcome,
            "a listing was left open"
        );
        Ok(())
    }

    /// Whoever is merely said to be present and is not known, or had left, is read.
    async fn with_unknown_fetched(
        &self,
        mut sightings: Vec<Sighting>,
    ) -> Result<Vec<Sighting>, SessionError> {
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
            sightings.extend(self.facts(&found));
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
        observer.record(&events);
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
            listing: Verdict::Hold,
            arrived,
        }
    }

    /// Ends a listing: what it named counts, and whoever it did not name is looked up once more before they count as having
    /// left.
    async fn end(&mut self, listing: Listing, run: &mut ActiveListing) -> Result<Listing, SessionError> {
        let complete = listing == Listing::Complete;
        self.listener.store.compare(self.row, complete).await?;
        let (listing, failed) = match self.apply_differences(run, complete).await {
            Ok(()) => (listing, None),
            Err(SessionError::Directory(error)) => {
                let reason = format!("those who were not named could not be looked up: {error}");
                (Listing::Partial(reason), Some(error))
            }
            Err(error) => return Err(error),
        };
        self.finish(&listing, run, Purpose::CatchUp).await?;
        match failed {
            // The cursor that the stream tells next covers them, too: it must not be stored without them.
            Some(error) => Err(error.into()),
            None => Ok(listing),
        }
    }

    async fn finish(
        &self,
        listing: &Listing,
        run: &ActiveListing,
        purpose: Purpose,
    ) -> Result<(), StoreError> {
        self.record_end(listing, run, purpose).await?;
        let Listener { name, observer, .. } = self.listener;
        let (seen, took) = (run.progress.seen(), run.progress.took());
        observer.listing_ended(name, purpose, listing, &run.outcome, seen, took);
        Ok(())
    }

    /// Judges the new people of a listing by their number: looks how many it would bring, until it is clear that they are
    /// too many. Nothing is stored yet.
    async fn judge_listing(&self, cut_short: bool, source: Source) -> Result<Verdict, SessionError> {
        let Listener {
            store, clock, limits, ..
        } = self.listener;
        let (mut found, mut after) = (HashSet::new(), 0);
        while limits.invites_per_listing.is_some() {
            let page = store.differences(self.row, after, PAGE).await?;
            after = page.last().map_or(after, |last| last.place);
            let mut sightings: Vec<Sighting> = page.into_iter().filter_map(|found| found.told).collect();
            if sightings.is_empty() {
                // Whoever was not named comes last, and brings nobody.
                break;
            }
            if !cut_short {
                sightings = self.with_unknown_fetched(sightings).await?;
            }
            let (brake, opened) = store.preview(self.taken(sightings, source, None)).await?;
            found.extend(opened);
            let verdict = brake.listing(found.len() as u64, cut_short, limits, clock.now());
            if verdict == Verdict::Hold {
                return Ok(verdict);
            }
        }
        Ok(Verdict::Invite)
    }

    /// Decides on everyone who differs, page by page.
    async fn apply_differences(&self, run: &mut ActiveListing, complete: bool) -> Result<(), SessionError> {
        run.verdict = Some(self.judge_listing(!complete, Source::Listing).await?);
        loop {
            let page = self.page(run).await?;
            if page.is_empty() {
                return Ok(());
            }
            let (named, unnamed): (Vec<_>, Vec<_>) = page.into_iter().partition(|found| found.told.is_some());
            let sightings = named.into_iter().filter_map(|found| found.told).collect();
            let sightings = self.with_unknown_fetched(sightings).await?;
            self.commit_listed(sightings, run).await?;
            for some in unnamed.chunks(LOOK_UPS as usize) {
                let sightings = self.look_up_unnamed(some).await?;
                self.commit_listed(sightings, run).await?;
            }
        }
    }

    /// The next differences that a listing found.
    async fn page(&self, run: &mut ActiveListing) -> Result<Vec<Difference>, StoreError> {
        // A page ends where those who are named in the journal do.
        let limit = match self
            .listener
            .max_journaled_joins
            .saturating_sub(run.outcome.joined)
        {
            0 => PAGE,
            named => u32::try_from(named).map_or(PAGE, |named| named.clamp(LOOK_UPS, PAGE)),
        };
        let page = self
            .listener
            .store
            .differences(self.row, run.after, limit)
            .await?;
        run.after = page.last().map_or(run.after, |last| last.place);
        Ok(page)
    }

    async fn commit_listed(
        &self,
        sightings: Vec<Sighting>,
        run: &mut ActiveListing,
    ) -> Result<(), StoreError> {
        if sightings.is_empty() {
            return Ok(());
        }
        let taken = Taken {
            summarised: run.outcome.joined >= self.listener.max_journaled_joins,
            listing: run.verdict.unwrap_or(Verdict::Hold),
            ..self.taken(sightings, Source::Listing, None)
        };
        run.count(&self.commit(taken).await?);
        Ok(())
    }

    async fn record_end(
        &self,
        listing: &Listing,
        run: &ActiveListing,
        purpose: Purpose,
    ) -> Result<(), StoreError> {
        let Listener {
            store, clock, wake, ..
        } = self.listener;
        let complete = *listing == Listing::Complete;
        store
            .end_listing(
                self.row,
                complete,
                run.journal_entry(self.listener, self.row, purpose),
                clock.now(),
            )
            .await?;
        if run.outcome.held > 0 {
            wake.notify_one();
        }
        Ok(())
    }

    /// Looks up members whom a complete listing did not name: most of them are gone.
    async fn look_up_unnamed(&self, unnamed: &[Difference]) -> Result<Vec<Sighting>, SessionError> {
        let mut gone: Vec<EntryId> = unnamed.iter().map(|member| member.id).collect();
        if gone.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.listener.directory.lookup(&gone).await?;
        if !found.is_empty() {
            tracing::warn!(
                directory = self.listener.name,
                count = found.len(),
                "a complete listing did not name people who are there when they are looked up: they stay members"
            );
        }
        gone.retain(|id| found.iter().all(|entry| entry.id != *id));
        let mut sightings = self.facts(&found);
        sightings.extend(gone.into_iter().map(Sighting::Gone));
        Ok(sightings)
    }

    fn policy(&self) -> Policy {
        self.listener.policy.at(self.listener.clock.now())
    }

    fn facts(&self, entries: &[Entry]) -> Vec<Sighting> {
        let policy = self.policy();
        let seen = entries.iter().map(|entry| policy.facts(entry));
        seen.map(Sighting::Entry).collect()
    }
}
