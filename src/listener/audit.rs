//! Schedules audits and runs them step by step.
//!
//! An audit lists everyone, compares the result with the members, and corrects the differences one page at a time. The
//! stream continues between the steps.

use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::time::{Instant, sleep_until};

use super::batches::{Batch, Batches};
use super::ingest::Ingest;
use super::{Listener, SessionError};
use crate::model::Listing;
use crate::store::StoreError;

/// The pause between the end of an audit's listing and the comparison. Changes that the stream is about to report arrive
/// in it, so that they do not count as differences.
const SETTLING: Duration = Duration::from_secs(1);
/// The time after which a failed audit is repeated, if that is before the next one.
const AUDIT_RETRY: Duration = Duration::from_secs(600);

/// The audits beside one stream.
pub(super) struct Audits<'a> {
    /// When the next one is due. Outlives the stream.
    due: &'a mut Instant,
    interval: Duration,
    stage: Stage,
}

enum Stage {
    Waiting,
    Listing(Batches),
    Settling(Instant, Listing),
    Comparing(BoxFuture<'static, Result<(), StoreError>>, Listing),
    Repairing(Listing),
}

/// The next step of an audit.
pub(super) enum AuditStep {
    Begin,
    Received(Batch),
    Compare(Listing),
    Repair(Result<(), StoreError>, Listing),
}

impl<'a> Audits<'a> {
    pub(super) fn new(due: &'a mut Instant, interval: Duration) -> Self {
        Self {
            due,
            interval,
            stage: Stage::Waiting,
        }
    }

    /// Schedules the next audit an interval from now. Abandons one in progress.
    pub(super) fn postpone(&mut self) {
        self.wait(self.interval);
    }

    /// Waits for the next step.
    ///
    /// # Cancellation
    /// Safe: no step is lost.
    pub(super) async fn next(&mut self) -> AuditStep {
        match &mut self.stage {
            Stage::Waiting => {
                sleep_until(*self.due).await;
                AuditStep::Begin
            }
            Stage::Listing(batches) => match batches.next().await {
                Some(batch) => AuditStep::Received(batch),
                None => AuditStep::Compare(Listing::Partial("the listing ended without a result".into())),
            },
            Stage::Settling(at, listing) => {
                sleep_until(*at).await;
                AuditStep::Compare(listing.clone())
            }
            Stage::Comparing(compared, listing) => AuditStep::Repair(compared.await, listing.clone()),
            Stage::Repairing(listing) => AuditStep::Repair(Ok(()), listing.clone()),
        }
    }

    /// Performs a step. A failed audit is repeated later.
    ///
    /// # Errors
    /// The store failed, which ends the session.
    pub(super) async fn advance(
        &mut self,
        step: AuditStep,
        listener: &Listener,
        ingest: &mut Ingest<'_>,
    ) -> Result<(), SessionError> {
        match step {
            AuditStep::Begin => self.stage = Stage::Listing(listing(listener)),
            AuditStep::Received(batch) => match ingest.process_audit(batch).await {
                Ok(None) => {}
                Ok(Some(listing)) => self.stage = Stage::Settling(Instant::now() + SETTLING, listing),
                Err(error) => self.give_up(error, ingest).await?,
            },
            AuditStep::Compare(listing) => {
                self.stage = Stage::Comparing(ingest.compare_audit(&listing), listing);
            }
            AuditStep::Repair(compared, listing) => {
                compared?;
                match ingest.repair(&listing).await {
                    Ok(true) => self.stage = Stage::Repairing(listing),
                    Ok(false) => self.postpone(),
                    Err(error) => self.give_up(error, ingest).await?,
                }
            }
        }
        Ok(())
    }

    async fn give_up(&mut self, error: SessionError, ingest: &mut Ingest<'_>) -> Result<(), SessionError> {
        if let SessionError::Store(error) = error {
            return Err(error.into());
        }
        ingest.audit_failed(&error).await?;
        self.wait(AUDIT_RETRY.min(self.interval));
        Ok(())
    }

    fn wait(&mut self, wait: Duration) {
        *self.due = Instant::now() + wait;
        self.stage = Stage::Waiting;
    }
}

fn listing(listener: &Listener) -> Batches {
    let directory = listener.directory.clone();
    Batches::of(
        stream::once(async move { directory.list().await })
            .try_flatten()
            .boxed(),
    )
}
