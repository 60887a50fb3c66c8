//! Applies what a listing of the stream found, page by page. The stream goes on in between: nobody who comes or leaves
//! meanwhile waits for a large listing.

use std::future::pending;

use futures::FutureExt;

use super::active_listing::ActiveListing;
use super::ended_listing::{EndedListing, Judgement};
use super::{Ingest, LOOK_UPS, PAGE};
use crate::listener::{Listener, SessionError};
use crate::model::{Hold, Listing, Source};
use crate::rules::Verdict;
use crate::rules::membership::Sighting;
use crate::store::{Decisions, StoreError};
use crate::telemetry::Purpose;

impl Ingest<'_> {
    /// Begins to apply a listing that has ended.
    pub(super) fn begin_merge(&self, active: ActiveListing, end: Listing) -> EndedListing {
        let (store, row, complete) = (self.listener.store.clone(), self.row, end == Listing::Complete);
        let comparison = async move { store.compare(row, complete).await };
        EndedListing::new(active, end, comparison.boxed())
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

    /// Applies a part of a listing that has ended, once it is compared. Returns how the listing ended when this was the last one.
    pub(in crate::listener) async fn merge_step(&mut self) -> Result<Option<Listing>, SessionError> {
        let Some(mut merge) = self.merge.take() else {
            return Ok(None);
        };
        merge.compared().await?;
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
        while self.merge.is_some() {
            if let Some(listing) = self.merge_step().await? {
                return Ok(Some(listing));
            }
        }
        Ok(None)
    }

    /// Applies what a listing found before its session failed. People who would have to be fetched are skipped.
    pub(super) async fn merge_interrupted(&self, merge: &mut EndedListing) -> Result<(), SessionError> {
        merge.compared().await?;
        merge.active.verdict = Some(self.judge_listing(true, Source::Listing).await?);
        merge.active.leaving = self.judge_leavers(false).await?;
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
    async fn apply_part(&self, merge: &mut EndedListing) -> Result<bool, SessionError> {
        if merge.active.verdict.is_none() {
            let cut_short = merge.end.is_cut_short();
            merge.active.verdict = self
                .judge_page(&mut merge.judgement, cut_short, Source::Listing)
                .await?;
            if merge.active.verdict.is_some() {
                merge.active.leaving = self.judge_leavers(!cut_short).await?;
            }
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

    /// Decides whether the leavers of a listing are held, by their number. Stores nothing. A listing that was cut short shows
    /// only those whose accounts are disabled.
    pub(super) async fn judge_leavers(&self, complete: bool) -> Result<Option<Hold>, SessionError> {
        let Listener {
            name,
            store,
            limits,
            leave,
            clock,
            ..
        } = self.listener;
        if leave.of(name).action.is_none() {
            return Ok(None);
        }
        let (mut found, mut after) = (0, 0);
        loop {
            let page = store.leavers(self.row, after, LOOK_UPS).await?;
            let Some(last) = page.last() else {
                return Ok(None);
            };
            after = last.place;
            let (listed, unlisted): (Vec<_>, Vec<_>) = page
                .into_iter()
                .partition(|difference| difference.sighting.is_some());
            let mut sightings: Vec<Sighting> = listed
                .into_iter()
                .filter_map(|difference| difference.sighting)
                .collect();
            if complete {
                sightings.extend(self.look_up_unlisted(&unlisted).await?);
            }
            let leaving = store
                .leaving(self.batch(sightings, Source::Listing, None))
                .await?;
            found += leaving.count;
            let brake = leaving.brake;
            if let Some(hold) = brake.check_listing(found, leaving.members, limits, clock.now()) {
                return Ok(Some(hold));
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
        let (brake, opened) = store.preview(self.batch(sightings, source, None)).await?;
        judgement.found.extend(opened);
        let found = judgement.found.len() as u64;
        let verdict = brake.check_listing(found, cut_short, limits, self.listener.clock.now());
        Ok((verdict == Verdict::Hold).then_some(verdict))
    }
}
