//! The main loop of the worker: carries out the actions that are due, several at a time.
//!
//! # Guarantees
//! - An action is attempted only while it is claimed in the store, and each attempt is settled there. If the process or
//!   this loop ends in between, the action is in doubt, and is looked up before it is attempted again.
//! - An action that fails does not delay others. A failure of the whole server pauses all actions.
//! - Waits within this process use monotonic time. Stored times are moved when the wall clock is set, unless the store has a
//!   clock of its own.
//! - Several workers may use one store. Each carries out what it has claimed, and all together keep the rate limit.

use std::future::pending;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::actions::{Context, result_label};
use super::pace::Pace;
use super::server_identity::{Schedule, check};
use super::settlements::Settlements;
use super::slots::Slots;
use super::state::{PROBE, RECLAIM, State, Tally, Worker};
use crate::clock::{ClockJump, Timestamp};
use crate::rules::{Breaker, FaultDetector};
use crate::store::StoreError;

/// How often to ask the store for due actions without a notification: another process may have released some.
const POLL: Duration = Duration::from_secs(2);
/// `sync` gives up after this many consecutive failures of Vaultwarden or of the comparison.
const MAX_FAILURES: u32 = 3;
/// The longest time that `sync` waits for Vaultwarden to be called again, or for the next due action.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// When a run of the worker ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// When it is stopped.
    Stopped,
    /// When no action is due within 10 seconds, or Vaultwarden keeps failing.
    Drained,
}

impl Worker {
    /// Carries out due actions until `stop` is cancelled or the condition of `until` is met. Then waits for the attempts in
    /// progress, unless `abort` is cancelled.
    ///
    /// # Errors
    /// The store failed. The attempts in progress are in doubt; the next run looks them up.
    ///
    /// # Cancellation
    /// Safe: the next run takes over the claims of this one and looks them up.
    pub async fn run(
        &self,
        until: Until,
        stop: &CancellationToken,
        abort: &CancellationToken,
    ) -> Result<Tally, StoreError> {
        let done = self.work(until, stop, abort).await;
        self.observer.worker_turns(false);
        if let Err(error) = &done {
            self.observer.store_failed(error);
        }
        done
    }

    async fn work(
        &self,
        until: Until,
        stop: &CancellationToken,
        abort: &CancellationToken,
    ) -> Result<Tally, StoreError> {
        let mut state = State {
            id: self.new_id(),
            slots: Slots::new(Context {
                vaultwarden: self.vaultwarden.clone(),
                observer: self.observer.clone(),
                store: self.store.clone(),
                clock: self.clock.clone(),
                recheck: self.recheck.clone(),
            }),
            settlements: Settlements::default(),
            breaker: Breaker::default(),
            fault_detector: FaultDetector::default(),
            pace: Pace::new(self.settings.per_minute),
            probe_at: Instant::now() + PROBE,
            reclaim_at: Instant::now() + RECLAIM,
            may_be_due: true,
            next_due: None,
            must_compare: false,
            compare_at: Instant::now(),
            comparison_failures: 0,
            held: self.store.unchecked().await?.all_held,
            finishing: false,
            tally: Tally::default(),
        };
        let mut jump = ClockJump::watch(&self.clock);
        self.store.take_over(state.id, self.clock.now()).await?;
        let mut retried = self.retry_now.subscribe();
        let mut schedule = Schedule::load(&*self.store).await?;
        while !stop.is_cancelled() {
            self.observer.worker_turns(true);
            if let Some(by) = jump.detect(&self.clock) {
                self.observer.clock_was_set(by);
                // Settlements that wait contain times of the old clock.
                self.settle_all(&mut state).await?;
                self.store.rebase(by).await?;
            }
            self.fill(&mut state);
            self.exchange(&mut state, false);
            let idle = state.is_idle();
            if idle && Instant::now() >= state.reclaim_at {
                self.reclaim(&mut state).await?;
                continue;
            }
            if idle && state.must_compare {
                state.must_compare = false;
                self.compare(&mut state).await?;
                state.may_be_due = true;
                continue;
            }
            if state.tally != Tally::default() {
                schedule.account_exists();
            }
            if idle && state.breaker.open_until().is_none() && schedule.is_due() {
                let answered = tokio::select! {
                    biased;
                    () = stop.cancelled() => continue,
                    answered = check(&*self.store, &*self.vaultwarden, &self.observer) => answered?,
                };
                schedule.checked(answered);
            }
            if until == Until::Drained {
                let drained = match Self::gives_up(&state) {
                    Some(gives_up) => gives_up,
                    None => {
                        idle && !state.may_be_due
                            && self
                                .nothing_is_due(state.next_due, state.comparison_failures)
                                .await?
                    }
                };
                if drained {
                    break;
                }
            }
            let poll = self.poll_interval(&state);
            let times_out_at = state.slots.times_out_at();
            let settle_at = state.settlements.due();
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                ended = state.slots.ended() => self.record(&mut state, ended),
                exchanged = state.settlements.exchanged() => self.apply(&mut state, exchanged?).await?,
                () = self.wake.notified() => state.may_be_due = true,
                Ok(()) = retried.changed() => {
                    state.breaker.half_open(Instant::now().into_std());
                    // The store may have failed.
                    state.reclaim_at = Instant::now();
                    state.may_be_due = true;
                }
                () = sleep_until(state.pace.next()), if state.pace.permits() == 0 => state.may_be_due = true,
                () = sleep_until_some(times_out_at) => {}
                () = sleep_until_some(settle_at) => {}
                () = sleep_until(state.probe_at), if idle && state.breaker.open_until().is_none() => {
                    self.probe(&mut state).await;
                }
                () = sleep(poll) => state.may_be_due = true,
            }
        }
        self.finish(&mut state, abort).await?;
        Ok(state.tally)
    }

    /// Starts attempts in free slots, and gives back claims that cannot start soon.
    fn fill(&self, state: &mut State<'_>) {
        let permitted = self.permitted(state);
        let unstarted = if permitted == 0 {
            state.slots.take_ready()
        } else {
            state.slots.take_timed_out()
        };
        state.settlements.give_back(unstarted);
        while let Some(kind) = state.slots.start(permitted) {
            if kind.mails() {
                state.pace.started();
            }
        }
    }

    /// Whether `sync` gives up on a failing Vaultwarden; `None` if calls are allowed.
    fn gives_up(state: &State<'_>) -> Option<bool> {
        let now = Instant::now().into_std();
        let until = state.breaker.open_until().filter(|&until| until > now)?;
        Some(state.breaker.failures() >= MAX_FAILURES || until - now > MAX_WAIT)
    }

    /// Whether no action is due soon and no comparison is to be repeated.
    async fn nothing_is_due(
        &self,
        next_due: Option<Timestamp>,
        comparison_failures: u32,
    ) -> Result<bool, StoreError> {
        let due = match self.settings.only {
            Some(_) => next_due,
            None => self.store.next_due().await?,
        };
        // A repeated comparison may release held invitations.
        Ok(due.is_none_or(|due| due.since(self.clock.now()) > MAX_WAIT)
            && (!(1..MAX_FAILURES).contains(&comparison_failures) || self.store.unchecked().await?.held == 0))
    }

    /// Checks whether Vaultwarden answers, so that `/readyz` shows a failure before the next invitation is due.
    async fn probe(&self, state: &mut State<'_>) {
        state.probe_at = Instant::now() + PROBE;
        let alive = self.vaultwarden.alive().await;
        self.observer
            .vaultwarden_call("alive", result_label(alive.as_ref().map(drop)));
        match alive {
            Ok(()) => self.observer.vaultwarden_back(),
            Err(error) => self.observer.vaultwarden_down(&error, PROBE),
        }
    }

    /// How long to wait before asking the store for due actions again.
    fn poll_interval(&self, state: &State<'_>) -> Duration {
        let now = Instant::now().into_std();
        let next = match state.breaker.open_until() {
            Some(until) if until > now => Some(until - now),
            // Otherwise the next claim waits for a free slot or for the rate limit, not for the time of `next_due`.
            _ if state.is_idle() && state.pace.permits() > 0 => {
                state.next_due.map(|due| due.since(self.clock.now()))
            }
            _ => None,
        };
        next.map_or(POLL, |next| next.clamp(Duration::from_millis(10), POLL))
    }

    /// Waits for the attempts in progress, and gives back all other claims.
    async fn finish<'a>(
        &'a self,
        state: &mut State<'a>,
        abort: &CancellationToken,
    ) -> Result<(), StoreError> {
        state.finishing = true;
        state.settlements.give_back(state.slots.take_ready());
        let count = state.slots.in_progress();
        if count > 0 {
            tracing::info!(count, "waiting for the actions that are in progress");
        }
        while !state.slots.is_empty() {
            self.exchange(state, true);
            tokio::select! {
                biased;
                () = abort.cancelled() => break,
                ended = state.slots.ended() => self.record(state, ended),
                exchanged = state.settlements.exchanged() => self.apply(state, exchanged?).await?,
            }
            // An exchange that started earlier may have claimed more.
            state.settlements.give_back(state.slots.take_ready());
        }
        self.settle_all(state).await?;
        state.settlements.give_back(state.slots.take_ready());
        self.settle_all(state).await
    }
}

/// Waits until `at`; never returns for `None`.
async fn sleep_until_some(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}
