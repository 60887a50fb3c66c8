//! Keeps a session with one directory open, and decides on and commits every change that it reports.
//!
//! # Guarantees
//! - Changes are decided on and committed in the order in which the directory reports them. A cursor is committed together
//!   with the changes that it covers. A crash at any point repeats work and loses none.
//! - The loop ends only when its stop token is cancelled. After a failed session the next one resumes from the stored
//!   cursor; without a cursor, or if the server refuses it, the next session lists everything.
//! - An incomplete listing never counts anyone as having left.
//!
//! # Caveats
//! A stream can miss changes without an error (see [`crate::directory`]). An audit, which is a full listing beside the
//! stream, runs every `audit_interval` and finds them.

mod audit;
mod batches;
mod ingest;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::directory::{Directory, DirectoryError, Opened, StreamKind};
use crate::model::{Cursor, Disposition, Listing};
use crate::retry::{Retry, RetryNow};
use crate::rules::membership::Policy;
use crate::rules::{LeavePolicies, Limits};
use crate::store::{DirectoryState, ListenerStore, StoreError};
use crate::telemetry::Observer;

use audit::Audits;
use batches::Batches;
use ingest::Ingest;

/// A session that lasts this long resets the count of earlier failures.
const STABLE_SESSION: Duration = Duration::from_secs(60);
/// The shortest wait after an error that an administrator has to fix.
const OPERATOR_WAIT: Duration = Duration::from_secs(10);
/// The default interval between audits beside a stream that should report all changes.
const AUDIT_INTERVAL: Duration = Duration::from_secs(6 * 60 * 60);
/// The default interval between audits beside a stream that is known to miss some changes.
const AUDIT_INTERVAL_LOSSY: Duration = Duration::from_secs(30 * 60);

/// The usual [`Listener::max_journaled_joins`], which keeps a large first listing from filling the journal.
pub const MAX_JOURNALED_JOINS: u64 = 1000;

/// Listens to one directory.
pub struct Listener {
    /// The directory's name in the configuration.
    pub name: String,
    /// The source of changes.
    pub directory: Arc<dyn Directory>,
    /// The store for decisions.
    pub store: Arc<dyn ListenerStore>,
    /// Logs and counts what happens.
    pub observer: Observer,
    /// The wall clock.
    pub clock: Clock,
    /// Notified when invitations become due, to wake the worker.
    pub wake: Arc<Notify>,
    /// Base and filter. They identify the directory if its name changes.
    pub scope: String,
    /// The settings on which a cursor depends, as text.
    pub fingerprint: String,
    /// The administrator's settings for membership.
    pub policy: Policy,
    /// The limits on the number of new people, and of leavers.
    pub limits: Limits,
    /// What happens to the accounts of leavers.
    pub leave: Arc<LeavePolicies>,
    /// The number of people per listing whose joining is recorded individually in the journal. Further people are only
    /// counted.
    pub max_journaled_joins: u64,
    /// The interval between audits; `None` selects a default for the kind of stream.
    pub audit_interval: Option<Duration>,
    /// The retry policy after failures.
    pub retry: Retry,
    /// Ends the wait after a failure early.
    pub retry_now: RetryNow,
    /// Returns random numbers from `0.0..1.0`.
    pub jitter: fn() -> f64,
}

/// Why a session or a listing ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The directory failed.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The store failed. Changes since the last commit are not stored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A listing was incomplete, for this reason.
    #[error("the listing is incomplete: {0}")]
    Partial(String),
    /// The stream ended without an error, although streams are endless.
    #[error("the stream of changes ended unexpectedly")]
    Ended,
}

impl SessionError {
    /// What to do about it.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::Directory(error) => error.disposition(),
            Self::Store(error) => error.disposition(),
            Self::Partial(_) => Disposition::Operator,
            Self::Ended => Disposition::Outage,
        }
    }
}

impl Listener {
    /// Listens until `stop` is cancelled.
    ///
    /// # Errors
    /// The directory could not be registered in the store at the start. Later failures are retried.
    ///
    /// # Cancellation
    /// Safe at any point: the directory reports uncommitted changes again. Cancelling `stop` instead also records the end
    /// of the session.
    pub async fn run(&self, stop: &CancellationToken) -> Result<(), StoreError> {
        let row = self
            .store
            .register(&self.name, &self.scope, &self.fingerprint)
            .await?;
        if row.settings_changed {
            tracing::info!(
                directory = self.name,
                "the settings changed: the resume point is discarded, and the directory is listed in full"
            );
        }
        let since_listing = row
            .listed
            .map_or(Duration::MAX, |listed| self.clock.now().since(listed));
        let longest = self.audit_interval.unwrap_or(AUDIT_INTERVAL);
        let mut audit_at = Instant::now() + longest.saturating_sub(since_listing);
        let mut ingest = Ingest::new(self, row.id);
        let mut cursor = row.cursor;
        let mut failures = Failures::default();
        let mut retried = self.retry_now.subscribe();
        loop {
            let began = Instant::now();
            retried.mark_unchanged();
            let (opened, error) = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                ended = self.session(&mut ingest, cursor, &mut audit_at) => ended,
            };
            match &error {
                SessionError::Store(StoreError::Superseded { .. }) => break,
                SessionError::Store(error) => self.observer.store_failed(error),
                _ => {}
            }
            let wait = self.wait(&error, failures.count(opened, began.elapsed()));
            self.observer.disconnected(&self.name, &error, wait);
            self.record_state(&ingest, false, Some(error.to_string())).await;
            cursor = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                recovered = self.recover(&mut ingest, &error, wait, &mut retried) => match recovered {
                    Ok(cursor) => cursor,
                    Err(_) => break,
                },
            };
        }
        self.record_state(&ingest, false, None).await;
        Ok(())
    }

    /// Runs one full listing, for `sync`.
    ///
    /// # Errors
    /// The listing failed or was incomplete. What it found until then is committed.
    pub async fn list_once(&self) -> Result<(), SessionError> {
        let row = self
            .store
            .register(&self.name, &self.scope, &self.fingerprint)
            .await?;
        self.list(&mut Ingest::new(self, row.id)).await
    }

    async fn list(&self, ingest: &mut Ingest<'_>) -> Result<(), SessionError> {
        let mut listing = Batches::of(self.directory.list().await?);
        let mut end = None;
        while let Some(batch) = listing.next().await {
            match listing.read_during(ingest.process(batch)).await {
                Ok(listing) => end = listing.or(end),
                Err(error) => {
                    ingest.abandon(&error).await?;
                    return Err(error);
                }
            }
        }
        let merged = match ingest.merge_all().await {
            Ok(merged) => merged,
            Err(error) => {
                ingest.abandon(&error).await?;
                return Err(error);
            }
        };
        match merged.or(end) {
            Some(Listing::Partial(reason)) => Err(SessionError::Partial(reason)),
            Some(_) => Ok(()),
            None => Err(SessionError::Ended),
        }
    }

    /// Runs one session until it fails. Returns whether it was opened, and the error.
    async fn session(
        &self,
        ingest: &mut Ingest<'_>,
        cursor: Option<Cursor>,
        audit_at: &mut Instant,
    ) -> (bool, SessionError) {
        let opened = match self.directory.open(cursor).await {
            Ok(opened) => opened,
            Err(error) => return (false, error.into()),
        };
        self.observer.connected(
            &self.name,
            &opened.server,
            opened.stream.as_str(),
            opened.why,
            opened.resumed,
        );
        ingest.stream = Some(opened.stream);
        self.record_state(ingest, true, None).await;
        let error = match self.follow(ingest, opened, audit_at).await {
            Ok(()) => SessionError::Ended,
            Err(error) => error,
        };
        match ingest.abandon(&error).await {
            Ok(()) => (true, error),
            Err(error) => (true, error),
        }
    }

    /// Processes the changes of the stream, and runs audits beside it.
    async fn follow(
        &self,
        ingest: &mut Ingest<'_>,
        opened: Opened,
        audit_at: &mut Instant,
    ) -> Result<(), SessionError> {
        let mut stream = Batches::of(opened.changes);
        let interval = self.audit_interval.unwrap_or(if opened.stream.misses_some() {
            AUDIT_INTERVAL_LOSSY
        } else {
            AUDIT_INTERVAL
        });
        *audit_at = if opened.reconcile {
            Instant::now()
        } else {
            Instant::now() + interval.min(audit_at.saturating_duration_since(Instant::now()))
        };
        // A poll is a full listing already.
        let audited = opened.stream != StreamKind::Poll;
        let mut audits = Audits::new(audit_at, interval);
        loop {
            tokio::select! {
                batch = stream.next() => match batch {
                    Some(batch) => if stream.read_during(ingest.process(batch)).await? == Some(Listing::Complete) {
                        audits.postpone();
                    },
                    None => return Ok(()),
                },
                ready = ingest.merge_is_ready() => {
                    ready?;
                    // Changes that have arrived go first: they wait for one page at most.
                    let earlier = match stream.next().now_or_never() {
                        Some(None) => return Ok(()),
                        Some(Some(batch)) => stream.read_during(ingest.process(batch)).await?,
                        None => None,
                    };
                    let ended = stream.read_during(ingest.merge_step()).await?.or(earlier);
                    // A complete listing of the stream replaces an audit.
                    if ended == Some(Listing::Complete) {
                        audits.postpone();
                    }
                }
                step = audits.next(), if audited && !ingest.is_listing() => {
                    audits.advance(step, self, ingest).await?;
                }
            }
        }
    }

    fn wait(&self, error: &SessionError, failures: u32) -> Duration {
        let wait = self.retry.wait(failures, (self.jitter)());
        match error.disposition() {
            // Discarding the cursor fixes the error, so the next session may start at once, unless this happens twice.
            Disposition::Relist if failures <= 1 => Duration::ZERO,
            Disposition::Operator => wait.max(OPERATOR_WAIT),
            _ => wait,
        }
    }

    /// Waits after a failed session, and for the store. Returns the cursor from which the next one resumes.
    ///
    /// # Errors
    /// [`StoreError::Superseded`]: another instance listens now.
    async fn recover(
        &self,
        ingest: &mut Ingest<'_>,
        error: &SessionError,
        wait: Duration,
        retried: &mut watch::Receiver<()>,
    ) -> Result<Option<Cursor>, StoreError> {
        if let SessionError::Directory(DirectoryError::Limit { .. }) = error {
            // A paged listing may be possible where the stream's own exceeds a limit.
            if let Err(error) = self.list(ingest).await {
                tracing::debug!(directory = self.name, %error, "the listing that replaces the stream failed, too");
            }
        }
        let (mut wait, mut failures) = (wait, 1);
        loop {
            // A change means that the administrator asked for a retry, or that the store works again. The sender outlives this
            // receiver.
            let _ = timeout(wait, retried.changed()).await;
            if error.disposition() == Disposition::Relist {
                return Ok(None);
            }
            let registered = self.store.register(&self.name, &self.scope, &self.fingerprint);
            match registered.await {
                Ok(row) => return Ok(row.cursor),
                Err(superseded @ StoreError::Superseded { .. }) => return Err(superseded),
                // Nothing that a session reports could be stored.
                Err(error) => self.observer.store_failed(&error),
            }
            failures += 1;
            wait = self.retry.wait(failures, (self.jitter)());
        }
    }

    /// Stores the state of the session, for `status`.
    async fn record_state(&self, ingest: &Ingest<'_>, connected: bool, error: Option<String>) {
        let stream = ingest.stream.map_or("none", StreamKind::as_str).to_owned();
        let state = DirectoryState {
            stream,
            connected,
            error,
        };
        if let Err(error) = self.store.observe(ingest.row, &state, self.clock.now()).await {
            tracing::debug!(directory = self.name, %error, "the state of the session could not be saved");
        }
    }
}

/// Counts consecutive failures. The wait before the next session grows with them.
#[derive(Debug, Default)]
struct Failures {
    /// Attempts that failed to open a session.
    unopened: u32,
    /// Sessions that were opened and failed early.
    short_lived: u32,
}

impl Failures {
    /// Counts a failure and returns the number that determines the wait. A session that was opened ends an outage: the
    /// wait after it starts small again, and grows only if sessions keep failing early.
    fn count(&mut self, opened: bool, lasted: Duration) -> u32 {
        if opened {
            self.unopened = 0;
            self.short_lived = if lasted >= STABLE_SESSION {
                1
            } else {
                self.short_lived + 1
            };
            self.short_lived
        } else {
            self.unopened += 1;
            self.unopened.max(self.short_lived)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_opened_session_ends_an_outage_and_sessions_that_keep_failing_wait_longer() {
        let mut failures = Failures::default();
        let (short, long) = (Duration::from_millis(90), STABLE_SESSION);
        let outage: Vec<u32> = (0..6).map(|_| failures.count(false, short)).collect();
        assert_eq!(outage, [1, 2, 3, 4, 5, 6]);
        let breaks: Vec<u32> = (0..3).map(|_| failures.count(true, short)).collect();
        assert_eq!(breaks, [1, 2, 3]);
        assert_eq!(failures.count(false, short), 3);
        assert_eq!(failures.count(true, long), 1);
    }
}
