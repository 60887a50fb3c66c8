//! A full listing beside a stream: when, and step by step.
//!
//! An audit lists everyone, compares that with the members, and puts right what differs a page at a time; the stream goes
//! on in between.

use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::time::{Instant, sleep_until};

use super::batches::{Batch, Batches};
use super::ingest::Ingest;
use super::{Listener, SessionError};
use crate::model::Listing;
use crate::store::StoreError;

/// The pause between the end of an audit's listing and the judgement on its findings: what the stream has under way
/// arrives meanwhile and is no finding.
const GRACE: Duration = Duration::from_secs(1);
/// When an audit that failed is tried again.
const AUDIT_RETRY: Duration = Duration::from_secs(600);

/// The audits beside one stream.
pub(super) struct Audits<'a> {
    /// When the next is due; outlives the stream.
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

/// What an audit does next.
pub(super) enum Step {
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

    /// The next audit begins an interval from now; one that is under way is given up.
    pub(super) fn postpone(&mut self) {
        self.wait(self.interval);
    }

    /// Waits for the next step.
    ///
    /// # Cancellation
    /// Safe: nothing is taken before it is returned.
    pub(super) async fn next(&mut self) -> Step {
        match &mut self.stage {
            Stage::Waiting => {
                sleep_until(*self.due).await;
                Step::Begin
            }
            Stage::Listing(batches) => match batches.next().await {
                Some(batch) => Step::Received(batch),
                None => Step::Compare(Listing::Partial("the listing ended without a result".into())),
            },
            Stage::Settling(at, listing) => {
                sleep_until(*at).await;
                Step::Compare(listing.clone())
            }
            Stage::Comparing(compared, listing) => Step::Repair(compared.await, listing.clone()),
            Stage::Repairing(listing) => Step::Repair(Ok(()), listing.clone()),
        }
    }

    /// Does a step. An audit that fails is tried again later.
    ///
    /// # Errors
    /// The store failed, and so does the session.
    pub(super) async fn advance(
        &mut self,
        step: Step,
        listener: &Listener,
        ingest: &mut Ingest<'_>,
    ) -> Result<(), SessionError> {
        match step {
            Step::Begin => self.stage = Stage::Listing(listing(listener)),
            Step::Received(batch) => match ingest.process_audit(batch).await {
                Ok(None) => {}
                Ok(Some(listing)) => self.stage = Stage::Settling(Instant::now() + GRACE, listing),
                Err(error) => self.give_up(error, ingest).await?,
            },
            Step::Compare(listing) => {
                self.stage = Stage::Comparing(ingest.compare_audit(&listing), listing);
            }
            Step::Repair(compared, listing) => {
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
