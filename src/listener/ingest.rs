//! What a directory tells, decided on and committed.

use std::collections::HashMap;
use std::mem;

use super::batches;
use super::{Listener, Trouble};
use crate::directory::StreamKind;
use crate::model::{Change, Cursor, EntryId, Listing, Member};
use crate::rules::membership::{Decision, Reason, Sighting, decide};
use crate::rules::{Brake, Committed, Event, Origin};
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
    /// How many the stream itself called gone.
    left: u64,
}

impl Run {
    fn begin() -> Self {
        Self {
            progress: Progress::begin(),
            left: 0,
        }
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
                    ended = Some(self.end(listing, &run, Purpose::CatchUp).await?);
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
        let taken = self.taken(sightings, Origin::Listing, None);
        let suspects = self.listener.store.compare(taken).await?;
        if let Some((run, found)) = &mut self.audit {
            run.progress.advance(&self.listener.name, count);
            found.extend(suspects);
            if found.len() >= PAGE as usize {
                let found = mem::take(found);
                self.repair(&found).await?;
            }
        }
        Ok(end)
    }

    /// Puts right what an audit found and what is still so when its suspects are looked up.
    pub(super) async fn judge_audit(&mut self, listing: Listing) -> Result<(), Trouble> {
        let Some((run, suspects)) = self.audit.take() else {
            return Ok(());
        };
        if let Err(trouble) = self.repair(&suspects).await {
            let Trouble::Directory(error) = trouble else {
                return Err(trouble);
            };
            let listing = Listing::Partial(format!("its findings could not be looked up: {error}"));
            self.end(listing, &run, Purpose::Audit).await?;
            return Ok(());
        }
        self.end(listing, &run, Purpose::Audit).await.map(drop)
    }

    /// An audit broke off; the next one starts anew.
    pub(super) async fn audit_failed(&mut self, trouble: &Trouble) -> Result<(), Trouble> {
        let run = self.audit.take().map_or_else(Run::begin, |(run, _)| run);
        self.end(Listing::Partial(trouble.to_string()), &run, Purpose::Audit)
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
        let origin = if self.listing.is_some() {
            Origin::Listing
        } else {
            Origin::Live
        };
        let taken = Taken {
            together: mem::take(&mut self.together),
            ..self.taken(sightings, origin, cursor)
        };
        let events = self.commit(taken).await?;
        if let Some(run) = &mut self.listing {
            run.progress.advance(&self.listener.name, count);
            run.left += count_leavers(&events);
        }
        self.tell(&events, origin);
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

    /// Decides what was told about people, and commits it, together with the cursor.
    async fn commit(&self, taken: Taken) -> Result<Vec<Event>, Trouble> {
        let (events, committed) = self.listener.store.take(taken).await?;
        timing::reached(Step::Committed);
        self.tell_of_invitations(&committed);
        Ok(events)
    }

    fn tell_of_invitations(&self, committed: &Committed) {
        let Listener {
            name,
            observer,
            wake,
            limits,
            ..
        } = self.listener;
        for duplicate in &committed.duplicates {
            observer.duplicate_address(name, duplicate);
        }
        if committed.held_together > 0 {
            observer.held_together(
                name,
                committed.held_together,
                limits.invites_per_listing.unwrap_or(u32::MAX),
            );
            // Who of them has an account is looked at.
            wake.notify_one();
        }
        if committed.held_by_hour > 0 {
            observer.held_by_hour(
                name,
                committed.held_by_hour,
                limits.invites_per_hour.unwrap_or(u32::MAX),
            );
        }
        for dn in &committed.held_by_person {
            observer.held_by_person(name, dn, limits.addresses_per_person.unwrap_or(u32::MAX));
        }
        if committed.queued > 0 {
            wake.notify_one();
        }
    }

    fn taken(&self, sightings: Vec<Sighting>, origin: Origin, cursor: Option<Cursor>) -> Taken {
        let arrived = self.listener.clock.now();
        Taken {
            directory: self.row,
            origin,
            sightings,
            together: HashMap::new(),
            cursor,
            policy: self.listener.policy.at(arrived),
            limits: self.listener.limits,
            arrived,
        }
    }

    /// Ends a listing: whoever it did not name is looked up once more before they count as having left.
    async fn end(&mut self, listing: Listing, run: &Run, purpose: Purpose) -> Result<Listing, Trouble> {
        let mut failed = None;
        let mut left = run.left;
        let listing = match listing {
            Listing::Complete => match self.look_for_the_unseen(purpose, &mut left).await {
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
            left,
            ..self.end_in_store(&listing).await?
        };
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
    async fn look_for_the_unseen(&self, purpose: Purpose, left: &mut u64) -> Result<(), Trouble> {
        let Listener {
            name,
            store,
            directory,
            observer,
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
            let events = self.commit(self.taken(sightings, Origin::Listing, None)).await?;
            self.tell(&events, Origin::Listing);
            *left += count_leavers(&events);
            if purpose == Purpose::Audit {
                for event in &events {
                    observer.audit_repaired(name, event.kind(), &event.member.dn);
                }
            }
        }
    }

    /// Reads suspects again and puts right what differs from the store.
    async fn repair(&self, suspects: &[EntryId]) -> Result<(), Trouble> {
        if suspects.is_empty() {
            return Ok(());
        }
        let found = self.listener.directory.lookup(suspects).await?;
        let sightings = found.into_iter().map(Sighting::Entry).collect();
        let events = self.commit(self.taken(sightings, Origin::Listing, None)).await?;
        self.tell(&events, Origin::Listing);
        for event in events {
            self.listener
                .observer
                .audit_repaired(&self.listener.name, event.kind(), &event.member.dn);
        }
        Ok(())
    }

    fn tell(&self, events: &[Event], origin: Origin) {
        let Listener { name, observer, .. } = self.listener;
        for Event {
            member,
            former_dn,
            reason,
        } in events
        {
            let dn = &member.dn;
            match reason {
                Reason::Joined(address) => observer.joined(name, dn, address, origin),
                Reason::Rejoined(address) => observer.rejoined(name, dn, address, origin),
                Reason::Waiting(why) => observer.without_address(name, dn, why),
                Reason::LostAddress(address) => {
                    observer.without_address(name, dn, &format!("{address} was removed"));
                }
                Reason::ChangedAddress { from, to, invite } => {
                    observer.address_changed(name, dn, from, to, *invite);
                }
                Reason::Moved => observer.moved(name, former_dn.as_deref().unwrap_or_default(), dn, origin),
                Reason::Left => observer.left(name, dn, ""),
                Reason::Disabled(why) => observer.left(name, dn, why),
            }
        }
    }
}

fn count_leavers(events: &[Event]) -> u64 {
    let left = events
        .iter()
        .filter(|event| matches!(event.reason, Reason::Left | Reason::Disabled(_)));
    left.count() as u64
}
