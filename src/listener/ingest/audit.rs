//! An audit: a full listing beside the stream, whose differences count only if they are still there when they are looked up.

use futures::FutureExt;
use futures::future::BoxFuture;

use super::{ActiveListing, Ingest, LOOK_UPS, batches};
use crate::listener::{Listener, SessionError};
use crate::model::{Change, EntryId, Listing, Source};
use crate::rules::membership::Sighting;
use crate::store::{StoreError, Taken};
use crate::telemetry::Purpose;

impl Ingest<'_> {
    /// Takes a batch of an audit: what it names is a set like any other until [`Ingest::repair`]. Returns how the listing
    /// ended, if it did.
    pub(in crate::listener) async fn process_audit(
        &mut self,
        batch: batches::Batch,
    ) -> Result<Option<Listing>, SessionError> {
        let policy = self.policy();
        let mut named = Vec::new();
        let mut end = None;
        for change in batch {
            match change? {
                Change::ListingBegin => {
                    self.listener.store.begin_listing(self.row).await?;
                    self.audit = Some(ActiveListing::begin());
                }
                Change::Upsert(entry) => named.push(Sighting::Entry(policy.facts(&entry))),
                Change::ListingEnd(listing) => end = Some(listing),
                _ => {}
            }
        }
        if self.audit.is_none() {
            return Err(displaced());
        }
        self.append(named).await?;
        Ok(end)
    }

    /// Compares what an audit named with the members, beside whatever else happens.
    pub(in crate::listener) fn compare_audit(
        &self,
        listing: &Listing,
    ) -> BoxFuture<'static, Result<(), StoreError>> {
        if self.audit.is_none() {
            return async { Ok(()) }.boxed();
        }
        let (store, row) = (self.listener.store.clone(), self.row);
        let complete = *listing == Listing::Complete;
        async move { store.compare(row, complete).await }.boxed()
    }

    /// Puts right what an audit found and what is still so when it is looked up: a page of it, since changes may have come
    /// beside it. Returns whether there may be more.
    pub(in crate::listener) async fn repair(&mut self, listing: &Listing) -> Result<bool, SessionError> {
        let Some(mut run) = self.audit.take() else {
            return Err(displaced());
        };
        let end = match self.repair_page(&mut run, *listing == Listing::Complete).await {
            Ok(true) => {
                self.audit = Some(run);
                return Ok(true);
            }
            Ok(false) => listing.clone(),
            Err(SessionError::Directory(error)) => {
                Listing::Partial(format!("its findings could not be looked up: {error}"))
            }
            Err(error) => return Err(error),
        };
        self.finish(&end, &run, Purpose::Audit).await?;
        Ok(false)
    }

    async fn repair_page(&self, run: &mut ActiveListing, complete: bool) -> Result<bool, SessionError> {
        let Listener { store, .. } = self.listener;
        let verdict = match run.verdict {
            Some(verdict) => verdict,
            None => self.judge_listing(!complete, Source::Audit).await?,
        };
        run.verdict = Some(verdict);
        let page = store.differences(self.row, run.after, LOOK_UPS).await?;
        let Some(last) = page.last() else {
            return Ok(false);
        };
        run.after = last.place;
        let (named, unnamed): (Vec<_>, Vec<_>) = page.into_iter().partition(|found| found.told.is_some());
        // Whoever was named and is gone by now is told by the stream.
        let named: Vec<EntryId> = named.iter().map(|found| found.id).collect();
        let found = if named.is_empty() {
            Vec::new()
        } else {
            self.listener.directory.lookup(&named).await?
        };
        let mut sightings = self.facts(&found);
        sightings.extend(self.look_up_unnamed(&unnamed).await?);
        let taken = Taken {
            listing: verdict,
            ..self.taken(sightings, Source::Audit, None)
        };
        run.count(&self.commit(taken).await?);
        Ok(true)
    }

    /// An audit broke off; the next one starts anew.
    pub(in crate::listener) async fn audit_failed(
        &mut self,
        error: &SessionError,
    ) -> Result<(), SessionError> {
        let run = self.audit.take().unwrap_or_else(ActiveListing::begin);
        self.finish(&Listing::Partial(error.to_string()), &run, Purpose::Audit)
            .await?;
        Ok(())
    }
}

/// A directory has one listing at a time, and that of the stream goes first.
fn displaced() -> SessionError {
    SessionError::Partial("the stream began a listing of its own".into())
}
