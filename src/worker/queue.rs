//! The loop that keeps all slots busy with actions that are due.
//!
//! # Guarantees
//! - An action is attempted only while it is claimed in the store, and each attempt is settled there. A crash, or an end
//!   of this loop, in between leaves the action in doubt, and an action in doubt is looked up before it is attempted again.
//! - An action that fails delays no other; trouble of the whole server stops everyone at once.
//! - Waits of this process are measured in monotonic time. Stored times move with the wall clock when that is set.
//!
//! # Assumptions
//! There is one worker on a store at a time.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::actions::{Context, word};
use super::pace::Pace;
use super::server_identity::{Timetable, identify};
use super::settling::Settling;
use super::slots::Slots;
use crate::clock::{Clock, Jump, Timestamp};
use crate::retry::RetryNow;
use crate::rules::{Breaker, Limits, Suspicion};
use crate::store::{Store, StoreError};
use crate::telemetry::Observer;
use crate::vaultwarden::Admin;

/// Another process may have released held invitations: look this often.
const LOOK: Duration = Duration::from_secs(2);
/// When there is nothing to do, whether Vaultwarden answers is asked this often.
pub(super) const PROBE: Duration = Duration::from_secs(60);
/// The note that is written to see whether the store can be written.
const WRITTEN: &str = "written";
/// `sync` gives up on a server that was found in trouble this many times in a row ..
const PATIENCE: u32 = 3;
/// .. or that is to be left alone for longer than this; and it does not wait longer for what is due later.
const HURRY: Duration = Duration::from_secs(10);

/// How the worker works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Invitations under way at a time.
    pub concurrency: usize,
    /// Invitations a minute; `None` for no limit.
    pub per_minute: Option<u32>,
    /// For listings that are held until they are compared with the accounts.
    pub limits: Limits,
    /// How long an attempt whose outcome is unknown is looked up before anything is sent again.
    pub resend_after: Duration,
}

/// When the worker's work is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// When it is stopped.
    Stopped,
    /// When nothing is due any more or in a few seconds, or Vaultwarden does not answer.
    Drained,
}

/// What one run achieved.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// People invited.
    pub invited: u64,
    /// People found to have an account.
    pub had_account: u64,
}

/// Brings due invitations to Vaultwarden.
pub struct Worker {
    /// What is due, and how it ended.
    pub store: Arc<dyn Store>,
    /// Where invitations go.
    pub vaultwarden: Arc<dyn Admin>,
    /// Told of everything that happens.
    pub observer: Observer,
    /// Wall time.
    pub clock: Clock,
    /// Rung when something became due.
    pub wake: Arc<Notify>,
    /// Ends the wait for a server in trouble.
    pub retry_now: RetryNow,
    /// How to work.
    pub settings: Settings,
    /// Throws numbers from `0.0..1.0`.
    pub jitter: fn() -> f64,
}

/// What one run of the loop knows; all of it can be lost.
pub(super) struct State<'a> {
    /// Which worker this is, in the store.
    pub(super) owner: i64,
    pub(super) slots: Slots,
    pub(super) settling: Settling<'a>,
    pub(super) breaker: Breaker,
    pub(super) suspicion: Suspicion,
    pace: Pace,
    pub(super) probe_at: Instant,
    /// More may be due than the store said last.
    pub(super) hungry: bool,
    /// When the next action is due, as the store said last.
    pub(super) due: Option<Timestamp>,
    /// The backlog is to be compared with the accounts before anything else is claimed.
    pub(super) compare: bool,
    /// When the backlog may be compared again, after comparisons that failed.
    pub(super) compare_at: Instant,
    pub(super) comparison_failures: u32,
    /// How many of those who are held were there when the backlog was last compared, or when the worker started.
    pub(super) held: u64,
    /// Nothing is claimed any more.
    winding_up: bool,
    pub(super) tally: Tally,
}

impl State<'_> {
    /// Nothing is claimed, and nothing is to be settled.
    fn is_idle(&self) -> bool {
        self.slots.is_empty() && self.settling.is_empty()
    }
}

impl Worker {
    /// Works until `stop`, then finishes what is under way; `abort` ends it at once.
    ///
    /// # Errors
    /// The store failed. Whatever was under way is in doubt and will be looked up.
    ///
    /// # Cancellation
    /// Safe: the next run takes over what this one had claimed, and looks it up.
    pub async fn run(
        &self,
        until: Until,
        stop: &CancellationToken,
        abort: &CancellationToken,
    ) -> Result<Tally, StoreError> {
        let done = self.work(until, stop, abort).await;
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
            owner: (self.jitter)().to_bits().cast_signed(),
            slots: Slots::new(Context {
                vaultwarden: self.vaultwarden.clone(),
                observer: self.observer.clone(),
            }),
            settling: Settling::default(),
            breaker: Breaker::default(),
            suspicion: Suspicion::default(),
            pace: Pace::new(self.settings.per_minute),
            probe_at: Instant::now() + PROBE,
            hungry: true,
            due: None,
            compare: false,
            compare_at: Instant::now(),
            comparison_failures: 0,
            held: self.store.unchecked().await?.all_held,
            winding_up: false,
            tally: Tally::default(),
        };
        let mut jump = Jump::watch(&self.clock);
        self.store.take_over(state.owner, self.clock.now()).await?;
        let mut retried = self.retry_now.subscribe();
        let mut timetable = Timetable::begin(&*self.store).await?;
        while !stop.is_cancelled() {
            if let Some(by) = jump.seen(&self.clock) {
                self.observer.clock_was_set(by);
                // What waits to be settled has times of the clock as it was.
                self.settle_all(&mut state).await?;
                self.store.rebase(by).await?;
            }
            self.fill(&mut state);
            self.exchange(&mut state, false);
            self.try_failed_store().await;
            let idle = state.is_idle();
            if idle && state.compare {
                state.compare = false;
                self.compare(&mut state).await?;
                state.hungry = true;
                continue;
            }
            if state.tally != Tally::default() {
                timetable.somebody_is_there();
            }
            if idle && state.breaker.open_until().is_none() && timetable.is_due() {
                let answered = tokio::select! {
                    biased;
                    () = stop.cancelled() => continue,
                    answered = identify(&*self.store, &*self.vaultwarden, &self.observer) => answered?,
                };
                timetable.looked(answered);
            }
            if until == Until::Drained {
                let drained = match Self::gives_up(&state) {
                    Some(gives_up) => gives_up,
                    None => idle && !state.hungry && self.nothing_is_due(state.comparison_failures).await?,
                };
                if drained {
                    break;
                }
            }
            let look = self.look_again(&state);
            let stale_at = state.slots.stale_at();
            let settle_at = state.settling.due();
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                ended = state.slots.ended() => self.judge(&mut state, ended),
                exchanged = state.settling.exchanged() => self.take_in(&mut state, exchanged?).await?,
                () = self.wake.notified() => state.hungry = true,
                Ok(()) = retried.changed() => {
                    state.breaker.half_open(Instant::now().into_std());
                    state.hungry = true;
                }
                () = sleep_until(state.pace.next()), if state.pace.permits() == 0 => state.hungry = true,
                () = until_some(stale_at) => {}
                () = until_some(settle_at) => {}
                () = sleep_until(state.probe_at), if idle && state.breaker.open_until().is_none() => {
                    self.probe(&mut state).await;
                }
                () = sleep(look) => state.hungry = true,
            }
        }
        self.wind_up(&mut state, abort).await?;
        Ok(state.tally)
    }

    /// Begins attempts in free slots, and gives back what cannot begin.
    fn fill(&self, state: &mut State<'_>) {
        let permitted = self.permitted(state);
        let back = if permitted == 0 {
            state.slots.take_ready()
        } else {
            state.slots.take_stale()
        };
        state.settling.give_back(back);
        while state.slots.begin(permitted) {
            state.pace.started();
        }
    }

    /// How many attempts may be under way now.
    fn permitted(&self, state: &State<'_>) -> usize {
        state
            .breaker
            .permits(self.settings.concurrency, Instant::now().into_std())
    }

    /// How many actions may be claimed now.
    pub(super) fn room(&self, state: &State<'_>) -> usize {
        if state.compare || state.winding_up {
            return 0;
        }
        let permitted = self.permitted(state);
        // Whoever waits for an allowance or for a server in trouble may leave meanwhile, and is not claimed ahead.
        let may_claim_ahead = self.settings.per_minute.is_none() && permitted == self.settings.concurrency;
        state
            .slots
            .room(permitted, may_claim_ahead)
            .min(state.pace.permits())
    }

    /// Writes into a store that failed, to see whether it works again: whoever only reads does not notice. Those who wait
    /// because of it go on at once.
    async fn try_failed_store(&self) {
        if !self.observer.store_fails() {
            return;
        }
        match self.store.set_note(WRITTEN, b"").await {
            Ok(()) => {
                self.observer.store_works();
                self.retry_now.notify();
            }
            Err(error) => self.observer.store_failed(&error),
        }
    }

    /// Whether `sync` waits no longer for a Vaultwarden in trouble; `None` while it is in none.
    fn gives_up(state: &State<'_>) -> Option<bool> {
        let now = Instant::now().into_std();
        let until = state.breaker.open_until().filter(|&until| until > now)?;
        Some(state.breaker.failures() >= PATIENCE || until - now > HURRY)
    }

    /// Whether nothing is due soon, after so many comparisons that failed.
    async fn nothing_is_due(&self, comparison_failures: u32) -> Result<bool, StoreError> {
        let due = self.store.next_due().await?;
        // Those who are held may yet prove to be few.
        Ok(due.is_none_or(|due| due.since(self.clock.now()) > HURRY)
            && (!(1..PATIENCE).contains(&comparison_failures) || self.store.unchecked().await?.held == 0))
    }

    /// Asks whether Vaultwarden answers, so that `/readyz` knows before the next newcomer does.
    async fn probe(&self, state: &mut State<'_>) {
        state.probe_at = Instant::now() + PROBE;
        let alive = self.vaultwarden.alive().await;
        self.observer
            .vaultwarden_call("alive", word(alive.as_ref().map(drop)));
        match alive {
            Ok(()) => self.observer.vaultwarden_back(),
            Err(error) => self.observer.vaultwarden_down(&error, PROBE),
        }
    }

    /// How long to wait for something to happen before looking into the store again.
    fn look_again(&self, state: &State<'_>) -> Duration {
        let now = Instant::now().into_std();
        let next = match state.breaker.open_until() {
            Some(until) if until > now => Some(until - now),
            // What is due and was not begun waits for the end of an attempt or for its pace, not for the clock.
            _ if state.is_idle() && state.pace.permits() > 0 => {
                state.due.map(|due| due.since(self.clock.now()))
            }
            _ => None,
        };
        next.map_or(LOOK, |next| next.clamp(Duration::from_millis(10), LOOK))
    }

    /// Finishes what is under way, and gives back the rest.
    async fn wind_up<'a>(
        &'a self,
        state: &mut State<'a>,
        abort: &CancellationToken,
    ) -> Result<(), StoreError> {
        state.winding_up = true;
        let back = state.slots.take_ready();
        state.settling.give_back(back);
        let count = state.slots.under_way();
        if count > 0 {
            tracing::info!(count, "finishing the invitations that are under way");
        }
        while !state.slots.is_empty() {
            self.exchange(state, true);
            tokio::select! {
                biased;
                () = abort.cancelled() => break,
                ended = state.slots.ended() => self.judge(state, ended),
                exchanged = state.settling.exchanged() => self.take_in(state, exchanged?).await?,
            }
            // An exchange that had begun before may bring more.
            let back = state.slots.take_ready();
            state.settling.give_back(back);
        }
        self.settle_all(state).await?;
        let back = state.slots.take_ready();
        state.settling.give_back(back);
        self.settle_all(state).await
    }
}

/// Waits until then; for ever where there is no such time.
async fn until_some(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => pending().await,
    }
}
