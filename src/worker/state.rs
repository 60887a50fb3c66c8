//! The worker and the state of one run: what all steps of the loop share.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::pace::Pace;
use super::recheck::Recheck;
use super::settlements::Settlements;
use super::slots::Slots;
use crate::clock::{Clock, Timestamp};
use crate::model::{Disposition, WorkerId};
use crate::retry::RetryNow;
use crate::rules::{Breaker, FaultDetector, Limits};
use crate::store::{QueueStore, StoreError};
use crate::telemetry::Observer;
use crate::vaultwarden::{Admin, VaultwardenError};

/// How often to check whether Vaultwarden answers while nothing is due.
pub(super) const PROBE: Duration = Duration::from_secs(60);

/// How often to look for claims that only the store knows: a database that was killed may have lost how an attempt ended.
pub(super) const RECLAIM: Duration = Duration::from_secs(60);

/// Settings of the [`Worker`].
#[derive(Debug, Clone)]
pub struct WorkerSettings {
    /// The largest number of concurrent attempts.
    pub concurrency: usize,
    /// The largest number of invitations per minute; `None` for no limit.
    pub per_minute: Option<u32>,
    /// The limits that decide whether invitations are released after the comparison with the list of accounts.
    pub limits: Limits,
    /// The row of the only person whose actions are carried out; `None` for everyone's.
    pub only: Option<i64>,
    /// How long to look up an attempt with unknown outcome before the invitation is sent again.
    pub resend_after: Duration,
}

/// The result of one run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// People invited.
    pub invited: u64,
    /// People found to have an account.
    pub had_account: u64,
    /// Accounts changed: those of leavers, of people who are back, and reminders.
    pub changed: u64,
}

/// Carries out due actions in Vaultwarden.
#[derive(Clone)]
pub struct Worker {
    /// The queue of actions.
    pub store: Arc<dyn QueueStore>,
    /// The server that receives the invitations.
    pub vaultwarden: Arc<dyn Admin>,
    /// Receives every event.
    pub observer: Observer,
    /// Wall time.
    pub clock: Clock,
    /// Notified when an action becomes due.
    pub wake: Arc<Notify>,
    /// Ends the wait after a failure of the server.
    pub retry_now: RetryNow,
    /// Looks leavers up again.
    pub recheck: Arc<Recheck>,
    /// The configuration.
    pub settings: WorkerSettings,
    /// Returns random numbers from `0.0..1.0`.
    pub jitter: fn() -> f64,
}

/// The state of one run of the loop. Losing it is safe.
pub(super) struct State<'a> {
    /// Identifies the claims of this run in the store.
    pub(super) id: WorkerId,
    pub(super) slots: Slots,
    pub(super) settlements: Settlements<'a>,
    pub(super) breaker: Breaker,
    pub(super) fault_detector: FaultDetector,
    pub(super) pace: Pace,
    pub(super) probe_at: Instant,
    /// When to ask the store for claims that it has and this worker does not.
    pub(super) reclaim_at: Instant,
    /// Whether to ask the store for due actions: there may be some that are not known here.
    pub(super) may_be_due: bool,
    /// When the next unclaimed action is due, by the latest answer of the store.
    pub(super) next_due: Option<Timestamp>,
    /// Whether to compare the backlog with the list of accounts before any other action is claimed.
    pub(super) must_compare: bool,
    /// The time of the next comparison at the earliest; later than now after a failed one.
    pub(super) compare_at: Instant,
    pub(super) comparison_failures: u32,
    /// The number of held invitations at the last comparison or at the start, minus those released since.
    pub(super) held: u64,
    /// Whether the run is ending: nothing more is claimed.
    pub(super) finishing: bool,
    pub(super) tally: Tally,
}

impl State<'_> {
    /// Whether no action is claimed and none waits to be settled.
    pub(super) fn is_idle(&self) -> bool {
        self.slots.is_empty() && self.settlements.is_empty()
    }
}

impl Worker {
    /// The number of attempts that may be in progress now.
    pub(super) fn permitted(&self, state: &State<'_>) -> usize {
        state
            .breaker
            .permits(self.settings.concurrency, Instant::now().into_std())
    }

    /// The number of actions that may be claimed now.
    pub(super) fn room(&self, state: &State<'_>) -> usize {
        if state.must_compare || state.finishing {
            return 0;
        }
        let permitted = self.permitted(state);
        // With a rate limit or a failing server, an action claimed ahead would wait long, and the person may leave meanwhile.
        let may_claim_ahead = self.settings.per_minute.is_none() && permitted == self.settings.concurrency;
        state
            .slots
            .room(permitted, may_claim_ahead)
            .min(state.pace.permits())
    }

    /// Takes back what the store holds for this worker although it is idle. It goes on under another id, because every claim of an
    /// earlier one is taken back.
    pub(super) async fn reclaim(&self, state: &mut State<'_>) -> Result<(), StoreError> {
        state.id = self.new_id();
        self.store.take_over(state.id, self.clock.now()).await?;
        state.reclaim_at = Instant::now() + RECLAIM;
        state.may_be_due = true;
        Ok(())
    }

    /// An id that no other worker has.
    pub(super) fn new_id(&self) -> WorkerId {
        WorkerId((self.jitter)().to_bits().cast_signed())
    }

    /// Updates the circuit breaker with the result of a call, and reports a change of the server's health.
    pub(super) fn record_server(
        &self,
        breaker: &mut Breaker,
        verdict: &Result<(), Disposition>,
        error: Option<&VaultwardenError>,
    ) {
        let wait = breaker.record(verdict.as_ref().err(), Instant::now().into_std(), (self.jitter)());
        match (verdict, error, wait) {
            (Err(_), Some(error), Some(wait)) => self.observer.vaultwarden_down(error, wait),
            (Ok(()) | Err(Disposition::Reject(_)), ..) => self.observer.vaultwarden_back(),
            _ => {}
        }
    }
}
