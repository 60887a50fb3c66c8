//! Sessions with one directory, glued into one endless stream of committed decisions.
//!
//! # Guarantees
//! - Every change that a session tells is decided on and committed, in order, before the next one is; a cursor
//!   is committed together with what it covers. A crash at any point repeats work and loses none.
//! - The loop ends only by its stop token. A session that fails is followed by another, which resumes from the
//!   stored cursor, or lists everything where there is none or it is refused.
//! - A listing that did not end complete makes nobody a leaver.
//!
//! # Caveats
//! A stream can be wrong without knowing it (see [`crate::directory`]): a full listing beside it, every
//! `audit_interval`, finds what it lost.

mod audit;
mod batches;
mod ingest;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::directory::{Directory, DirectoryError, Opened, StreamKind};
use crate::model::{Cursor, Disposition, Listing};
use crate::retry::{Retry, RetryNow};
use crate::rules::Limits;
use crate::rules::membership::Policy;
use crate::store::{DirectoryState, Store, StoreError};
use crate::telemetry::Observer;

use audit::Audits;
use batches::Batches;
use ingest::Ingest;

/// A session that lasted this long forgives the failures before it.
const STABLE_SESSION: Duration = Duration::from_secs(60);
/// The shortest wait after an error that only a human can mend.
const OPERATOR_WAIT: Duration = Duration::from_secs(10);
/// The time between two audits where the stream tells of everything, as far as is known.
const AUDIT_INTERVAL: Duration = Duration::from_secs(6 * 60 * 60);
/// The time between two audits where the server is known not to tell of some changes.
const AUDIT_INTERVAL_LOSSY: Duration = Duration::from_secs(30 * 60);

/// Usual for [`Listener::max_journaled_joins`]: a first listing of very many does not become as many lines.
pub const MAX_JOURNALED_JOINS: u64 = 1000;

/// Listens to one directory.
pub struct Listener {
    /// The directory's name in the configuration.
    pub name: String,
    /// Where changes come from.
    pub directory: Arc<dyn Directory>,
    /// Where decisions go.
    pub store: Arc<dyn Store>,
    /// Told of everything that happens.
    pub observer: Observer,
    /// Wall time.
    pub clock: Clock,
    /// Rung when invitations became due.
    pub wake: Arc<Notify>,
    /// Base and filter, by which the directory is known under another name.
    pub scope: String,
    /// The text of the settings on which a cursor depends.
    pub fingerprint: String,
    /// What the administrator decided about membership.
    pub policy: Policy,
    /// How many new people may be invited.
    pub limits: Limits,
    /// So many people whom one listing finds are named in the journal as they join; those beyond are counted.
    pub max_journaled_joins: u64,
    /// The time between two audits; `None` is as long as the kind of stream allows.
    pub audit_interval: Option<Duration>,
    /// How to wait after failures.
    pub retry: Retry,
    /// Ends such a wait.
    pub retry_now: RetryNow,
    /// Throws numbers from `0.0..1.0`.
    pub jitter: fn() -> f64,
}

/// Why a session or a listing ended.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// The directory failed.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The store failed; nothing since the last commit was taken.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A listing did not name everyone.
    #[error("the listing is not complete: {0}")]
    Partial(String),
    /// The stream came to an end that no stream should have.
    #[error("the stream of changes ended without a reason")]
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
    /// Listens until `stop`.
    ///
    /// # Errors
    /// Only where the store cannot even say what it knows of this directory; whatever fails later is retried.
    ///
    /// # Cancellation
    /// Safe at any point: what was not committed is told again. `stop` also records the end of the session.
    pub async fn run(&self, stop: &CancellationToken) -> Result<(), StoreError> {
        let row = self
            .store
            .register(&self.name, &self.scope, &self.fingerprint)
            .await?;
        if row.settings_changed {
            tracing::info!(
                directory = self.name,
                "the settings changed: the resume point is dropped, everything is listed"
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
            if let SessionError::Store(error) = &error {
                self.observer.store_failed(error);
            }
            let wait = self.wait(&error, failures.count(opened, began.elapsed()));
            self.observer.disconnected(&self.name, &error, wait);
            self.record_state(&ingest, false, Some(error.to_string())).await;
            cursor = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                cursor = self.recover(&mut ingest, &error, wait, &mut retried) => cursor,
            };
        }
        self.record_state(&ingest, false, None).await;
        Ok(())
    }

    /// One full listing from beginning to end, for `sync` and where a stream cannot list.
    ///
    /// # Errors
    /// Whatever kept it from being complete. What it found until then is committed.
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
        match end {
            Some(Listing::Partial(reason)) => Err(SessionError::Partial(reason)),
            Some(_) => Ok(()),
            None => Err(SessionError::Ended),
        }
    }

    /// One session, until it fails; also returns whether it was opened.
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

    /// Takes what the stream tells and, from time to time, what an audit beside it finds.
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
                    // A complete listing of the stream's own does what an audit would.
                    Some(batch) => if stream.read_during(ingest.process(batch)).await? == Some(Listing::Complete) {
                        audits.postpone();
                    },
                    None => return Ok(()),
                },
                step = audits.next(), if audited && !ingest.is_listing() => {
                    audits.advance(step, self, ingest).await?;
                }
            }
        }
    }

    fn wait(&self, error: &SessionError, failures: u32) -> Duration {
        let wait = self.retry.wait(failures, (self.jitter)());
        match error.disposition() {
            // The cursor is dropped, so the next session may begin at once; a second refusal in a row waits.
            Disposition::Relist if failures <= 1 => Duration::ZERO,
            Disposition::Operator => wait.max(OPERATOR_WAIT),
            _ => wait,
        }
    }

    /// Waits, then says where the next session resumes.
    async fn recover(
        &self,
        ingest: &mut Ingest<'_>,
        error: &SessionError,
        wait: Duration,
        retried: &mut watch::Receiver<()>,
    ) -> Option<Cursor> {
        if let SessionError::Directory(DirectoryError::Limit { .. }) = error {
            // A paged listing may get further than the refresh of the stream did.
            if let Err(error) = self.list(ingest).await {
                tracing::debug!(directory = self.name, %error, "the listing in place of the stream failed, too");
            }
        }
        // There is no retry_now without the change that it is told by.
        let _ = timeout(wait, retried.changed()).await;
        if error.disposition() == Disposition::Relist {
            return None;
        }
        match self
            .store
            .register(&self.name, &self.scope, &self.fingerprint)
            .await
        {
            Ok(row) => row.cursor,
            Err(error) => {
                // Without a cursor everything is listed: slower, never wrong.
                tracing::warn!(directory = self.name, %error, "the resume point cannot be read");
                None
            }
        }
    }

    /// For `status`.
    async fn record_state(&self, ingest: &Ingest<'_>, connected: bool, error: Option<String>) {
        let stream = ingest.stream.map_or("none", StreamKind::as_str).to_owned();
        let state = DirectoryState {
            stream,
            connected,
            error,
        };
        if let Err(error) = self.store.observe(ingest.row, &state, self.clock.now()).await {
            tracing::debug!(directory = self.name, %error, "the state of the session was not recorded");
        }
    }
}

/// Failures in a row, by which the wait for the next attempt grows.
#[derive(Debug, Default)]
struct Failures {
    /// Attempts that opened no session.
    unopened: u32,
    /// Sessions that were opened and broke early.
    broken: u32,
}

impl Failures {
    /// One more; returns how many count. A session that opens ends an outage: if it breaks, the next attempt waits for as
    /// long as after the first failure, and longer only if that goes on.
    fn count(&mut self, opened: bool, lasted: Duration) -> u32 {
        if opened {
            self.unopened = 0;
            self.broken = if lasted >= STABLE_SESSION {
                1
            } else {
                self.broken + 1
            };
            self.broken
        } else {
            self.unopened += 1;
            self.unopened.max(self.broken)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_that_opens_ends_an_outage_and_sessions_that_break_again_and_again_wait_longer() {
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
