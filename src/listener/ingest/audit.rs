//! Processes an audit: a full listing beside the stream. A difference counts only if a look-up confirms it.

use futures::FutureExt;
use futures::future::BoxFuture;

use super::{ActiveListing, Ingest, LOOK_UPS, batches};
use crate::listener::{Listener, SessionError};
use crate::model::{Change, EntryId, Listing, Source};
use crate::rules::membership::Sighting;
use crate::store::{ChangeBatch, StoreError};
use crate::telemetry::Purpose;

impl Ingest<'_> {
    /// Processes a batch of an audit's listing. Nothing is decided before [`Ingest::repair`]. Returns how the listing ended,
    /// if it did.
    pub(in crate::listener) async fn process_audit(
        &mut self,
        batch: batches::Batch,
    ) -> Result<Option<Listing>, SessionError> {
        let policy = self.policy();
        let mut listed = Vec::new();
        let mut end = None;
        for change in batch {
            match change? {
                Change::ListingBegin => {
                    self.listener.store.begin_listing(self.row).await?;
                    self.audit = Some(ActiveListing::begin());
                }
                Change::Upsert(entry) => listed.push(Sighting::Entry(policy.facts(&entry))),
                Change::ListingEnd(listing) => end = Some(listing),
                _ => {}
            }
        }
        if self.audit.is_none() {
            return Err(replaced());
        }
        self.append(listed).await?;
        Ok(end)
    }

    /// Compares the people whom an audit listed with the members. The stream can be processed at the same time.
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

    /// Decides on one page of the differences that an audit found, after looking them up, because the stream may have
    /// reported changes since. Returns whether there may be more.
    pub(in crate::listener) async fn repair(&mut self, listing: &Listing) -> Result<bool, SessionError> {
        let Some(mut active) = self.audit.take() else {
            return Err(replaced());
        };
        let end = match self.repair_page(&mut active, listing.is_cut_short()).await {
            Ok(true) => {
                self.audit = Some(active);
                return Ok(true);
            }
            Ok(false) => listing.clone(),
            Err(SessionError::Directory(error)) => {
                Listing::Partial(format!("its findings could not be looked up: {error}"))
            }
            Err(error) => return Err(error),
        };
        self.finish(&end, &active, Purpose::Audit).await?;
        Ok(false)
    }

    async fn repair_page(&self, active: &mut ActiveListing, cut_short: bool) -> Result<bool, SessionError> {
        let Listener { store, .. } = self.listener;
        let verdict = match active.verdict {
            Some(verdict) => verdict,
            None => {
                active.leaving = self.judge_leavers(!cut_short).await?;
                self.judge_listing(cut_short, Source::Audit).await?
            }
        };
        active.verdict = Some(verdict);
        let page = store.differences(self.row, active.after, LOOK_UPS).await?;
        let Some(last) = page.last() else {
            return Ok(false);
        };
        active.after = last.place;
        let (listed, unlisted): (Vec<_>, Vec<_>) = page
            .into_iter()
            .partition(|difference| difference.sighting.is_some());
        // If a listed entry is gone by now, the stream reports it.
        let listed: Vec<EntryId> = listed.iter().map(|found| found.id).collect();
        let found = if listed.is_empty() {
            Vec::new()
        } else {
            self.listener.directory.lookup(&listed).await?
        };
        let mut sightings = self.sightings(&found);
        sightings.extend(self.look_up_unlisted(&unlisted).await?);
        let batch = ChangeBatch {
            listing: verdict,
            leaving: active.leaving,
            ..self.batch(sightings, Source::Audit, None)
        };
        active.count(&self.commit(batch).await?);
        Ok(true)
    }

    /// Ends an audit that failed. The next one starts from the beginning.
    pub(in crate::listener) async fn audit_failed(
        &mut self,
        error: &SessionError,
    ) -> Result<(), SessionError> {
        let active = self.audit.take().unwrap_or_else(ActiveListing::begin);
        self.finish(&Listing::Partial(error.to_string()), &active, Purpose::Audit)
            .await?;
        Ok(())
    }
}

/// The error of an audit that the stream's own listing replaced: a directory has one listing at a time.
fn replaced() -> SessionError {
    SessionError::Partial("the stream started a listing of its own".into())
}
