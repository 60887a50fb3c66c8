//! Turns the changes of one directory into committed decisions.

mod active_listing;
mod audit;
mod ended_listing;
mod merge;
mod spans;

use std::collections::HashMap;
use std::mem;

use active_listing::ActiveListing;
use ended_listing::EndedListing;

use super::batches;
use super::{Listener, SessionError};
use crate::directory::StreamKind;
use crate::model::{Change, Cursor, Entry, EntryId, Event, Hold, Listing, Member, Source, What};
use crate::rules::Verdict;
use crate::rules::membership::{Decision, Policy, Sighting, decide};
use crate::store::{ChangeBatch, Decisions, Difference, StoreError};
use crate::telemetry::Purpose;
use crate::timing::{self, Step};

/// The number of differences per transaction. Other transactions wait for at most one of them.
const PAGE: u32 = 2000;
/// The number of entries per look-up in the directory.
const LOOK_UPS: u32 = 500;

/// Decides on the changes of one directory and commits them.
pub(super) struct Ingest<'a> {
    listener: &'a Listener,
    /// The directory's row in the store.
    pub row: i64,
    /// The kind of stream that was opened last.
    pub stream: Option<StreamKind>,
    /// The stream's own listing, while there is one.
    listing: Option<ActiveListing>,
    /// The stream's last listing, until all that it found is applied.
    merge: Option<EndedListing>,
    /// For the people of the current batch that [`Change::Together`] reports: the number of people whom the change concerns.
    together: HashMap<EntryId, usize>,
    /// The audit beside the stream, while there is one.
    audit: Option<ActiveListing>,
}

impl<'a> Ingest<'a> {
    pub(super) fn new(listener: &'a Listener, row: i64) -> Self {
        Self {
            listener,
            row,
            stream: None,
            listing: None,
            merge: None,
            together: HashMap::new(),
            audit: None,
        }
    }

    /// Whether the stream is listing, or its last listing is not applied yet.
    pub(super) fn is_listing(&self) -> bool {
        self.listing.is_some() || self.merge.is_some()
    }

    /// Processes a batch of the stream. Returns how an earlier listing ended, if the next one begins before it is applied.
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
                Change::Alive => {}
                Change::ListingBegin => {
                    self.flush(mem::take(&mut sightings), cursor.take()).await?;
                    ended = self.merge_all().await?.or(ended);
                    self.listener.store.begin_listing(self.row).await?;
                    // A directory has one listing at a time.
                    self.audit = None;
                    self.listing = Some(ActiveListing::begin());
                }
                Change::ListingEnd(listing) => {
                    self.flush(mem::take(&mut sightings), cursor.take()).await?;
                    if let Some(active) = self.listing.take() {
                        self.merge = Some(self.begin_merge(active, listing));
                    }
                }
            }
        }
        self.flush(sightings, cursor).await?;
        Ok(ended)
    }

    /// Decides on sightings and commits them together with the cursor. During a listing, only collects both.
    async fn flush(&mut self, sightings: Vec<Sighting>, cursor: Option<Cursor>) -> Result<(), SessionError> {
        if sightings.is_empty() && cursor.is_none() {
            return Ok(());
        }
        if let Some(active) = &mut self.listing {
            active.cursor = cursor.or(active.cursor.take());
            return self.append(sightings).await;
        }
        let (now, later) = match self.merge {
            // A cursor covers everyone whom the listing found, so it is stored when all of them are.
            Some(_) => (None, cursor),
            None => (cursor, None),
        };
        let sightings = self.with_unknown_fetched(sightings).await?;
        let ids: Vec<EntryId> = sightings.iter().map(Sighting::id).collect();
        let batch = ChangeBatch {
            together: mem::take(&mut self.together),
            ..self.batch(sightings, Source::Stream, now)
        };
        self.commit(batch).await?;
        if let Some(merge) = &mut self.merge {
            merge.active.cursor = later.or(merge.active.cursor.take());
            merge.outdated.extend(ids);
        }
        Ok(())
    }

    /// Adds sightings to the active listing or audit. They are decided on when it ends.
    async fn append(&mut self, listed: Vec<Sighting>) -> Result<(), SessionError> {
        // A limit applies to the listing as a whole, not to single changes in it.
        self.together.clear();
        if listed.is_empty() {
            return Ok(());
        }
        let count = listed.len();
        self.listener.store.append(self.row, listed).await?;
        if let Some(active) = self.listing.as_mut().or(self.audit.as_mut()) {
            active.progress.advance(&self.listener.name, count);
        }
        Ok(())
    }

    /// Ends what a failed session leaves behind. A listing that had ended is applied in full. Of one that had not, the people
    /// whom it reported until then may join, and nobody counts as having left.
    pub(super) async fn abandon(&mut self, error: &SessionError) -> Result<(), SessionError> {
        if let Some(active) = self.audit.take() {
            let listing = Listing::Partial(error.to_string());
            self.record_end(&listing, &active, Purpose::Audit).await?;
        }
        match self.merge_all().await {
            // A listing that ended counts, whatever becomes of the session. Where a look-up fails, it counts as cut short.
            Ok(_) | Err(SessionError::Directory(_)) => {}
            Err(error) => {
                self.merge = None;
                return Err(error);
            }
        }
        let Some(active) = self.listing.take() else {
            return Ok(());
        };
        let listing = Listing::Partial(error.to_string());
        let mut merge = self.begin_merge(active, listing.clone());
        self.merge_interrupted(&mut merge).await?;
        self.record_end(&listing, &merge.active, Purpose::CatchUp).await?;
        tracing::debug!(
            directory = self.listener.name,
            outcome = ?merge.active.outcome,
            "a listing was interrupted"
        );
        Ok(())
    }

    /// Fetches entries that are only reported as present but are not known or had left, and adds their sightings.
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
            sightings.extend(self.sightings(&found));
        }
        Ok(sightings)
    }

    /// Decides on sightings, commits the result together with the cursor, and reports the events.
    async fn commit(&self, batch: ChangeBatch) -> Result<Vec<Event>, StoreError> {
        let Listener {
            name,
            store,
            observer,
            wake,
            limits,
            ..
        } = self.listener;
        let (source, arrived) = (batch.source, batch.arrived);
        let events = store.apply(batch).await?;
        timing::reached(Step::Committed);
        spans::changes(name, source, arrived, &events);
        observer.record(&events);
        let held = |by| {
            events
                .iter()
                .filter(move |event| matches!(event.what, What::Held { by: other, .. } if other == by))
        };
        let together = held(Hold::Together).count() as u64;
        if together > 0 {
            observer.held_together(name, together, limits.invites_per_listing.unwrap_or(u32::MAX));
        }
        let by_hour = held(Hold::Hour).count() as u64;
        if by_hour > 0 {
            observer.held_by_hour(name, by_hour, limits.invites_per_hour.unwrap_or(u32::MAX));
        }
        for by in [Hold::LeaversListing, Hold::LeaversHour, Hold::LeaversHalf] {
            let count = held(by).count() as u64;
            if count > 0 {
                observer.leavers_held(name, count, by);
            }
        }
        for event in held(Hold::Person) {
            let limit = limits.addresses_per_person.unwrap_or(u32::MAX);
            observer.held_by_person(name, &event.dn, limit);
        }
        // For people who are held together, the worker checks who has an account.
        if together > 0 || events.iter().any(|event| event.what.is_due()) {
            wake.notify_one();
        }
        Ok(events)
    }

    fn batch(&self, sightings: Vec<Sighting>, source: Source, cursor: Option<Cursor>) -> ChangeBatch {
        let arrived = self.listener.clock.now();
        ChangeBatch {
            directory: self.row,
            source,
            summarised: false,
            sightings,
            together: HashMap::new(),
            cursor,
            policy: self.listener.policy.at(arrived),
            limits: self.listener.limits,
            leave: self.listener.leave.clone(),
            listing: Verdict::Hold,
            leaving: None,
            arrived,
        }
    }

    /// Ends a listing in the store and logs how it ended.
    async fn finish(
        &self,
        listing: &Listing,
        active: &ActiveListing,
        purpose: Purpose,
    ) -> Result<(), StoreError> {
        self.record_end(listing, active, purpose).await?;
        let Listener {
            name,
            observer,
            clock,
            ..
        } = self.listener;
        let (seen, took) = (active.progress.seen(), active.progress.took());
        observer.listing_ended(name, purpose, listing, &active.outcome, seen, took);
        spans::listing(name, purpose, listing, active, clock.now());
        Ok(())
    }

    /// The next page of differences that a listing found.
    async fn page(&self, active: &mut ActiveListing) -> Result<Vec<Difference>, StoreError> {
        // A page ends where individual journal entries end, because `ChangeBatch::summarised` applies to a whole page.
        let limit = match self
            .listener
            .max_journaled_joins
            .saturating_sub(active.outcome.joined)
        {
            0 => PAGE,
            remaining => u32::try_from(remaining).map_or(PAGE, |remaining| remaining.clamp(LOOK_UPS, PAGE)),
        };
        let page = self
            .listener
            .store
            .differences(self.row, active.after, limit)
            .await?;
        active.after = page.last().map_or(active.after, |last| last.place);
        Ok(page)
    }

    /// As [`Ingest::commit`], for the sightings of the stream's listing. Counts the events for its outcome.
    async fn commit_listed(
        &self,
        sightings: Vec<Sighting>,
        active: &mut ActiveListing,
    ) -> Result<(), StoreError> {
        if sightings.is_empty() {
            return Ok(());
        }
        let batch = ChangeBatch {
            summarised: active.outcome.joined >= self.listener.max_journaled_joins,
            listing: active.verdict.unwrap_or(Verdict::Hold),
            leaving: active.leaving,
            ..self.batch(sightings, Source::Listing, None)
        };
        active.count(&self.commit(batch).await?);
        Ok(())
    }

    /// Ends a listing in the store and wakes the worker if invitations are held.
    async fn record_end(
        &self,
        listing: &Listing,
        active: &ActiveListing,
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
                active.journal_entry(self.listener, self.row, purpose),
                clock.now(),
            )
            .await?;
        if active.outcome.held > 0 {
            wake.notify_one();
        }
        Ok(())
    }

    /// Looks up members whom a complete listing did not report. Those who are not found are gone.
    async fn look_up_unlisted(&self, unlisted: &[Difference]) -> Result<Vec<Sighting>, SessionError> {
        let mut gone: Vec<EntryId> = unlisted.iter().map(|member| member.id).collect();
        if gone.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.listener.directory.lookup(&gone).await?;
        if !found.is_empty() {
            tracing::warn!(
                directory = self.listener.name,
                count = found.len(),
                "a complete listing lacked people who are found when they are looked up; they remain members"
            );
        }
        gone.retain(|id| found.iter().all(|entry| entry.id != *id));
        let mut sightings = self.sightings(&found);
        sightings.extend(gone.into_iter().map(Sighting::Gone));
        Ok(sightings)
    }

    fn policy(&self) -> Policy {
        self.listener.policy.at(self.listener.clock.now())
    }

    fn sightings(&self, entries: &[Entry]) -> Vec<Sighting> {
        let policy = self.policy();
        let seen = entries.iter().map(|entry| policy.facts(entry));
        seen.map(Sighting::Entry).collect()
    }
}
