//! Applies what a listing of the stream found, page by page. The stream goes on in between: nobody who comes or leaves
//! meanwhile waits for a large listing.

use std::collections::HashSet;
use std::future::pending;
use std::sync::{Mutex, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;

use super::active_listing::ActiveListing;
use super::{Ingest, LOOK_UPS, PAGE};
use crate::listener::SessionError;
use crate::model::{EmailAddress, EntryId, Listing, Source};
use crate::rules::Verdict;
use crate::rules::membership::Sighting;
use crate::store::{ChangeBatch, Decisions, Difference, StoreError};
use crate::telemetry::Purpose;

/// A listing of the stream that has ended, while its differences are applied.
pub(super) struct Merge {
    pub(super) active: ActiveListing,
    end: Listing,
    /// The comparison with the members, until it is done. Nobody locks it: the mutex makes it `Sync`.
    comparison: Option<Mutex<BoxFuture<'static, Result<(), StoreError>>>>,
    judgement: Judgement,
    /// Entries that the stream has reported since the listing ended, which is newer.
    pub(super) outdated: HashSet<EntryId>,
}

/// How many people a listing would bring, counted until the limit is exceeded.
#[derive(Default)]
pub(super) struct Judgement {
    found: HashSet<EmailAddress>,
    after: i64,
}

impl Merge {
    /// Waits until the comparison is done.
    ///
    /// # Cancellation
    /// Safe: the comparison goes on, and the next call waits for it.
    async fn compared(&mut self) -> Result<(), StoreError> {
        let Some(comparison) = &mut self.comparison else {
            return Ok(());
        };
        let comparison = comparison.get_mut().unwrap_or_else(PoisonError::into_inner);
        let compared = comparison.await;
        self.comparison = None;
        compared
    }

    fn is_current(&self, difference: &Difference) -> bool {
        !self.outdated.contains(&difference.id)
    }
}

impl Ingest<'_> {
    /// Begins to apply a listing that has ended.
    pub(super) fn begin_merge(&self, active: ActiveListing, end: Listing) -> Merge {
        let (store, row, complete) = (self.listener.store.clone(), self.row, end == Listing::Complete);
        Merge {
            active,
            end,
            comparison: Some(Mutex::new(
                async move { store.compare(row, complete).await }.boxed(),
            )),
            judgement: Judgement::default(),
            outdated: HashSet::new(),
        }
    }

    /// Waits until there is something to do for [`Ingest::merge_step`].
    ///
    /// # Cancellation
    /// Safe.
    pub(in crate::listener) async fn merge_is_ready(&mut self) -> Result<(), StoreError> {
        match &mut self.merge {
            Some(merge) => merge.compared().await,
            None => pending().await,
        }
    }

    /// Applies a part of a listing that has ended. Returns how the listing ended when this was the last one.
    pub(in crate::listener) async fn merge_step(&mut self) -> Result<Option<Listing>, SessionError> {
        let Some(mut merge) = self.merge.take() else {
            return Ok(None);
        };
        let (listing, failed) = match self.apply_part(&mut merge).await {
            Ok(true) => {
                self.merge = Some(merge);
                return Ok(None);
            }
            Ok(false) => (merge.end, None),
            Err(SessionError::Directory(error)) => {
                let reason = format!("the people who were not listed could not be looked up: {error}");
                (Listing::Partial(reason), Some(error))
            }
            Err(error) => {
                self.merge = Some(merge);
                return Err(error);
            }
        };
        self.finish(&listing, &merge.active, Purpose::CatchUp).await?;
        if let Some(error) = failed {
            // The cursor covers these people, too, so it must not be stored without them.
            return Err(error.into());
        }
        self.flush(Vec::new(), merge.active.cursor).await?;
        Ok(Some(listing))
    }

    /// Applies all that is left of a listing that has ended. Returns how it ended, if there was one.
    pub(in crate::listener) async fn merge_all(&mut self) -> Result<Option<Listing>, SessionError> {
        while let Some(merge) = &mut self.merge {
            merge.compared().await?;
            if let Some(listing) = self.merge_step().await? {
                return Ok(Some(listing));
            }
        }
        Ok(None)
    }

    /// Applies what a listing found before its session failed. People who would have to be fetched are skipped.
    pub(super) async fn merge_interrupted(&self, merge: &mut Merge) -> Result<(), SessionError> {
        merge.compared().await?;
        merge.active.verdict = Some(self.judge_listing(true, Source::Listing).await?);
        loop {
            let page = self.page(&mut merge.active).await?;
            if page.is_empty() {
                return Ok(());
            }
            let sightings = page
                .into_iter()
                .filter_map(|difference| difference.sighting)
                .collect();
            self.commit_listed(sightings, &mut merge.active).await?;
        }
    }

    /// Judges or applies one page of differences. Returns whether there may be more to do.
    async fn apply_part(&self, merge: &mut Merge) -> Result<bool, SessionError> {
        if merge.active.verdict.is_none() {
            let cut_short = merge.end.is_cut_short();
            merge.active.verdict = self
                .judge_page(&mut merge.judgement, cut_short, Source::Listing)
                .await?;
            return Ok(true);
        }
        let page = self.page(&mut merge.active).await?;
        if page.is_empty() {
            return Ok(false);
        }
        let current = page.into_iter().filter(|difference| merge.is_current(difference));
        let (listed, unlisted): (Vec<_>, Vec<_>) =
            current.partition(|difference| difference.sighting.is_some());
        let sightings = listed.into_iter().filter_map(|difference| difference.sighting);
        let sightings = self.with_unknown_fetched(sightings.collect()).await?;
        self.commit_listed(sightings, &mut merge.active).await?;
        for some in unlisted.chunks(LOOK_UPS as usize) {
            let sightings = self.look_up_unlisted(some).await?;
            self.commit_listed(sightings, &mut merge.active).await?;
        }
        Ok(true)
    }

    /// Decides whether the new people of a listing may be invited, by their number. Stores nothing.
    pub(super) async fn judge_listing(
        &self,
        cut_short: bool,
        source: Source,
    ) -> Result<Verdict, SessionError> {
        let mut judgement = Judgement::default();
        loop {
            if let Some(verdict) = self.judge_page(&mut judgement, cut_short, source).await? {
                return Ok(verdict);
            }
        }
    }

    /// Counts the new people in the next page of differences. Returns the verdict once it is certain.
    async fn judge_page(
        &self,
        judgement: &mut Judgement,
        cut_short: bool,
        source: Source,
    ) -> Result<Option<Verdict>, SessionError> {
        let (store, limits) = (&self.listener.store, &self.listener.limits);
        if limits.invites_per_listing.is_none() {
            return Ok(Some(Verdict::Invite));
        }
        let page = store.differences(self.row, judgement.after, PAGE).await?;
        judgement.after = page.last().map_or(judgement.after, |last| last.place);
        let mut sightings: Vec<Sighting> = page
            .into_iter()
            .filter_map(|difference| difference.sighting)
            .collect();
        if sightings.is_empty() {
            // People whom the listing did not report come last, and none of them is new.
            return Ok(Some(Verdict::Invite));
        }
        if !cut_short {
            sightings = self.with_unknown_fetched(sightings).await?;
        }
        let batch: ChangeBatch = self.batch(sightings, source, None);
        let (brake, opened) = store.preview(batch).await?;
        judgement.found.extend(opened);
        let found = judgement.found.len() as u64;
        let verdict = brake.check_listing(found, cut_short, limits, self.listener.clock.now());
        Ok((verdict == Verdict::Hold).then_some(verdict))
    }
}
