//! What a directory tells, decided on and committed.

use super::batches;
use super::plan::{Event, Plan};
use super::{Listener, Trouble};
use crate::directory::StreamKind;
use crate::ledger::{Batch, LedgerError, ListingOutcome, Origin};
use crate::membership::{Reason, Sighting};
use crate::model::{Change, Cursor, Entry, EntryId, Listing};
use crate::observe::{Progress, Purpose};

/// Unseen members that are looked up at a time, and findings of an audit that are kept for its end.
const PAGE: u32 = 500;

/// The way of one directory's changes into the ledger.
pub(super) struct Intake<'a> {
    listener: &'a Listener,
    /// The directory's row in the ledger.
    pub row: i64,
    /// The kind of stream that was opened last.
    pub stream: Option<StreamKind>,
    /// The listing that the stream is in the middle of.
    listing: Option<Run>,
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

impl<'a> Intake<'a> {
    pub(super) fn new(listener: &'a Listener, row: i64) -> Self {
        Self {
            listener,
            row,
            stream: None,
            listing: None,
            audit: None,
        }
    }

    /// Whether the stream is in the middle of a listing of its own.
    pub(super) fn is_listing(&self) -> bool {
        self.listing.is_some()
    }

    /// Takes a batch of the stream. Returns how a listing ended, if one did.
    pub(super) async fn take(&mut self, batch: batches::Batch) -> Result<Option<Listing>, Trouble> {
        let mut sightings = Vec::new();
        let mut cursor = None;
        let mut ended = None;
        for change in batch {
            let change = match change {
                Ok(change) => change,
                Err(error) => {
                    self.write(&sightings, cursor).await?;
                    return Err(error.into());
                }
            };
            self.listener.observer.change(&self.listener.name, change.kind());
            match change {
                Change::Upsert(entry) => sightings.push(Sighting::Entry(entry)),
                Change::Present(id) => sightings.push(Sighting::Present(id)),
                Change::Gone(id) => sightings.push(Sighting::Gone(id)),
                Change::Checkpoint(point) => cursor = Some(point),
                // Groups are watched by the directory itself.
                Change::Doorbell(_) | Change::Alive => {}
                Change::ListingBegin => {
                    self.write(&std::mem::take(&mut sightings), cursor.take()).await?;
                    self.listener.ledger.begin_listing(self.row).await?;
                    self.listing = Some(Run::begin());
                }
                Change::ListingEnd(listing) => {
                    self.write(&std::mem::take(&mut sightings), cursor.take()).await?;
                    let run = self.listing.take().unwrap_or_else(Run::begin);
                    ended = Some(self.end(listing, &run, Purpose::CatchUp).await?);
                }
            }
        }
        self.write(&sightings, cursor).await?;
        Ok(ended)
    }

    /// Takes a batch of an audit: whoever is as known is marked as seen, anyone else is a suspect until
    /// [`Intake::judge_audit`]. Returns how the listing ended, if it did.
    pub(super) async fn take_audit(&mut self, batch: batches::Batch) -> Result<Option<Listing>, Trouble> {
        let mut sightings = Vec::new();
        let mut end = None;
        for change in batch {
            match change? {
                Change::ListingBegin => {
                    self.listener.ledger.begin_listing(self.row).await?;
                    self.audit = Some((Run::begin(), Vec::new()));
                }
                Change::Upsert(entry) => sightings.push(Sighting::Entry(entry)),
                Change::ListingEnd(listing) => end = Some(listing),
                _ => {}
            }
        }
        let mut plan = self.plan(&sightings).await?;
        let suspects: Vec<EntryId> = plan.events.drain(..).map(|event| event.member.id).collect();
        self.commit(&plan, Origin::Listing, None).await?;
        if let Some((run, found)) = &mut self.audit {
            run.progress.advance(&self.listener.name, sightings.len());
            found.extend(suspects);
            if found.len() >= PAGE as usize {
                let found = std::mem::take(found);
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
    pub(super) async fn abandon(&mut self, trouble: &Trouble) -> Result<(), LedgerError> {
        if self.listing.take().is_some() | self.audit.take().is_some() {
            let listing = Listing::Partial(trouble.to_string());
            let outcome = self.end_in_ledger(&listing).await?;
            tracing::debug!(
                directory = self.listener.name,
                ?outcome,
                "a listing was left open"
            );
        }
        Ok(())
    }

    async fn write(&mut self, sightings: &[Sighting], cursor: Option<Cursor>) -> Result<(), Trouble> {
        if sightings.is_empty() && cursor.is_none() {
            return Ok(());
        }
        let mut plan = self.plan(sightings).await?;
        if !plan.fetch.is_empty() {
            let fetch = std::mem::take(&mut plan.fetch);
            for entry in self.listener.directory.lookup(&fetch).await? {
                plan.sight(&Sighting::Entry(entry), &self.listener.policy);
            }
        }
        let origin = match &mut self.listing {
            Some(run) => {
                run.progress.advance(&self.listener.name, sightings.len());
                let leavers = plan.events.iter().filter(|event| event.kind() == "left");
                run.left += u64::try_from(leavers.count()).unwrap_or(u64::MAX);
                Origin::Listing
            }
            None => Origin::Live,
        };
        self.commit(&plan, origin, cursor).await?;
        self.tell(&plan.events, origin);
        Ok(())
    }

    async fn plan(&self, sightings: &[Sighting]) -> Result<Plan, Trouble> {
        if sightings.is_empty() {
            return Ok(Plan::default());
        }
        let ids: Vec<EntryId> = sightings.iter().map(Sighting::id).collect();
        let mut plan = Plan::new(self.listener.ledger.known(self.row, &ids).await?);
        for sighting in sightings {
            plan.sight(sighting, &self.listener.policy);
        }
        Ok(plan)
    }

    async fn commit(&self, plan: &Plan, origin: Origin, cursor: Option<Cursor>) -> Result<(), Trouble> {
        if plan.is_empty() && cursor.is_none() {
            return Ok(());
        }
        let arrived = self.listener.clock.now();
        let batch = Batch {
            directory: self.row,
            origin,
            arrived,
            members: plan.members(),
            seen: plan.seen.clone(),
            tasks: plan.tasks(),
            cursor,
        };
        let committed = self.listener.ledger.commit(&batch, arrived).await?;
        for duplicate in &committed.duplicates {
            self.listener
                .observer
                .duplicate_address(&self.listener.name, duplicate);
        }
        if committed.queued > 0 {
            self.listener.wake.notify_one();
        }
        Ok(())
    }

    /// Ends a listing: whoever it did not name is looked up once more before they count as having left.
    async fn end(&mut self, listing: Listing, run: &Run, purpose: Purpose) -> Result<Listing, Trouble> {
        let mut failed = None;
        let listing = match listing {
            Listing::Complete => match self.look_for_the_unseen().await {
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
        let mut outcome = self.end_in_ledger(&listing).await?;
        let Listener { name, observer, .. } = self.listener;
        for dn in &outcome.left_dns {
            observer.left(name, dn, "");
            if purpose == Purpose::Audit {
                observer.audit_repaired(name, "left", dn);
            }
        }
        outcome.left += run.left;
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

    async fn end_in_ledger(&self, listing: &Listing) -> Result<ListingOutcome, LedgerError> {
        let Listener {
            ledger,
            hold_above,
            clock,
            wake,
            ..
        } = self.listener;
        let outcome = ledger
            .end_listing(self.row, listing, *hold_above, clock.now())
            .await?;
        if outcome.queued + outcome.held > 0 {
            wake.notify_one();
        }
        Ok(outcome)
    }

    async fn look_for_the_unseen(&self) -> Result<(), Trouble> {
        let mut after = 0;
        loop {
            let unseen = self.listener.ledger.unseen(self.row, after, PAGE).await?;
            let Some(last) = unseen.last() else { return Ok(()) };
            after = last.row;
            let ids: Vec<EntryId> = unseen.iter().map(|member| member.id).collect();
            let found = self.listener.directory.lookup(&ids).await?;
            if !found.is_empty() {
                tracing::warn!(
                    directory = self.listener.name,
                    count = found.len(),
                    "a complete listing did not name people who are there when they are looked up: they stay members"
                );
                self.apply(found).await?;
            }
        }
    }

    /// Reads suspects again and puts right what differs from the ledger.
    async fn repair(&self, suspects: &[EntryId]) -> Result<(), Trouble> {
        if suspects.is_empty() {
            return Ok(());
        }
        let found = self.listener.directory.lookup(suspects).await?;
        for event in self.apply(found).await? {
            self.listener
                .observer
                .audit_repaired(&self.listener.name, event.kind(), &event.member.dn);
        }
        Ok(())
    }

    /// Entries that were read one by one.
    async fn apply(&self, entries: Vec<Entry>) -> Result<Vec<Event>, Trouble> {
        let sightings: Vec<Sighting> = entries.into_iter().map(Sighting::Entry).collect();
        let plan = self.plan(&sightings).await?;
        self.commit(&plan, Origin::Listing, None).await?;
        self.tell(&plan.events, Origin::Listing);
        Ok(plan.events)
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
