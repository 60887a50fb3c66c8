//! The loop that brings due invitations to Vaultwarden.
//!
//! # Guarantees
//! - An invitation is attempted only while it is claimed in the store, and each attempt is settled there. A crash, or an
//!   end of this loop, in between leaves the task in doubt, and a task in doubt is looked up before it is attempted again.
//! - A task that fails delays no other; trouble of the whole server stops everyone at once.
//! - Waits of this process are measured in monotonic time. Stored times move with the wall clock when that is set.
//!
//! # Assumptions
//! There is one worker on a store at a time.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::pace::Pace;
use super::recognition::{Timetable, recognise};
use crate::clock::{Clock, Jump, Timestamp};
use crate::model::{Action, Disposition, EmailAddress, Outcome, Rejection, Settlement};
use crate::retry::RetryNow;
use crate::rules::{Breaker, Limits, Suspicion, next};
use crate::store::{Decisions, Store, StoreError};
use crate::telemetry::Observer;
use crate::vaultwarden::{Account, Admin, VaultwardenError};

/// Another process may have released held invitations: look this often.
const LOOK: Duration = Duration::from_secs(2);
/// When there is nothing to do, whether Vaultwarden answers is asked this often.
const PROBE: Duration = Duration::from_secs(60);
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

/// `None` where a doubt was settled and nothing had been sent.
type Attempt = (Action, Result<Option<Outcome>, VaultwardenError>);

/// What one run of the loop knows; all of it can be lost.
pub(super) struct State {
    /// Each is a task of its own. On its way it waits for locks, the store's among them, and once it has one it must
    /// go on, even while the loop waits for the same lock.
    under_way: JoinSet<Attempt>,
    pub(super) breaker: Breaker,
    suspicion: Suspicion,
    pace: Pace,
    probe_at: Instant,
    /// There may be new tasks since the backlog was last compared with the accounts.
    news: bool,
    /// When the backlog may be compared again, after comparisons that failed.
    pub(super) census_at: Instant,
    pub(super) census_failures: u32,
    /// How many of those who are held were there when the backlog was last compared, or when the worker started.
    pub(super) held: u64,
    pub(super) tally: Tally,
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
            under_way: JoinSet::new(),
            breaker: Breaker::default(),
            suspicion: Suspicion::default(),
            pace: Pace::new(self.settings.per_minute),
            probe_at: Instant::now() + PROBE,
            news: true,
            census_at: Instant::now(),
            census_failures: 0,
            held: self.store.unchecked().await?.all_held,
            tally: Tally::default(),
        };
        let owner = (self.jitter)().to_bits().cast_signed();
        let mut jump = Jump::watch(&self.clock);
        self.store.take_over(owner, self.clock.now()).await?;
        let mut retried = self.retry_now.subscribe();
        let mut recognition = Timetable::begin(&*self.store).await?;
        while !stop.is_cancelled() {
            if let Some(by) = jump.seen(&self.clock) {
                self.observer.clock_was_set(by);
                self.store.rebase(by).await?;
            }
            self.begin(&mut state, owner).await?;
            self.try_failed_store().await;
            let idle = state.under_way.is_empty();
            if state.tally != Tally::default() {
                recognition.somebody_is_there();
            }
            if idle && state.breaker.open_until().is_none() && recognition.is_due() {
                let answered = tokio::select! {
                    biased;
                    () = stop.cancelled() => continue,
                    answered = recognise(&*self.store, &*self.vaultwarden, &self.observer) => answered?,
                };
                recognition.looked(answered);
            }
            // What is due while something is under way waits for its end.
            let due = if idle { self.store.next_due().await? } else { None };
            if until == Until::Drained && self.is_drained(&state, due).await? {
                break;
            }
            let look = self.look_again(&state, due);
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                Some(attempt) = state.under_way.join_next() => self.finish(&mut state, attempt).await?,
                () = self.wake.notified() => state.news = true,
                Ok(()) = retried.changed() => state.breaker.half_open(Instant::now().into_std()),
                () = sleep_until(state.pace.next()), if state.pace.permits() == 0 => {}
                () = sleep_until(state.probe_at), if idle && state.breaker.open_until().is_none() => {
                    self.probe(&mut state).await;
                }
                () = sleep(look) => state.news = true,
            }
        }
        self.wind_up(&mut state, abort).await?;
        Ok(state.tally)
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

    /// Begins as many attempts as are due and may begin now.
    async fn begin(&self, state: &mut State, owner: i64) -> Result<(), StoreError> {
        let permitted = state
            .breaker
            .permits(self.settings.concurrency, Instant::now().into_std());
        let places = permitted
            .saturating_sub(state.under_way.len())
            .min(state.pace.permits());
        if places == 0 {
            return Ok(());
        }
        if state.news && Instant::now() >= state.census_at {
            if self.census_is_due(state).await? {
                if !state.under_way.is_empty() {
                    return Ok(());
                }
                self.census(state).await?;
            }
            state.news = false;
        }
        let places = u32::try_from(places).unwrap_or(u32::MAX);
        // Nothing is claimed before it can begin: who waits for a turn may leave meanwhile.
        for task in self.store.claim(owner, places, self.clock.now()).await? {
            state.pace.started();
            let caller = Caller {
                vaultwarden: self.vaultwarden.clone(),
                observer: self.observer.clone(),
            };
            state.under_way.spawn(caller.attempt(task));
        }
        Ok(())
    }

    /// Whether nothing is left to do soon, or Vaultwarden is in trouble that `sync` does not wait for.
    async fn is_drained(&self, state: &State, due: Option<Timestamp>) -> Result<bool, StoreError> {
        let now = Instant::now().into_std();
        if let Some(until) = state.breaker.open_until().filter(|&until| until > now) {
            return Ok(state.breaker.failures() >= PATIENCE || until - now > HURRY);
        }
        let idle = state.under_way.is_empty() && due.is_none_or(|due| due.since(self.clock.now()) > HURRY);
        // Those who are held may yet prove to be few.
        Ok(idle
            && (!(1..PATIENCE).contains(&state.census_failures) || self.store.unchecked().await?.held == 0))
    }

    /// Settles this attempt and all others that have ended meanwhile, in one transaction.
    async fn finish(&self, state: &mut State, first: Result<Attempt, JoinError>) -> Result<(), StoreError> {
        let mut ended = vec![outcome(first)];
        while let Some(attempt) = state.under_way.try_join_next() {
            ended.push(outcome(attempt));
        }
        let now = self.clock.now();
        let resend_after = self.settings.resend_after;
        let mut pardoned = Vec::new();
        let mut settled: Vec<(Action, Settlement)> = Vec::new();
        for (task, result) in ended {
            let mut verdict = result.as_ref().map(drop).map_err(VaultwardenError::disposition);
            if let Err(Disposition::Reject(Rejection { key: Some(key), .. })) = &verdict
                && state.suspicion.confirms(key, task.id)
            {
                pardoned.push(key.clone());
                verdict = Err(Disposition::Outage);
            }
            self.judge_server(&mut state.breaker, &verdict, result.as_ref().err());
            let attempt = match (result, verdict) {
                (Ok(outcome), _) => Ok(outcome),
                // It is tried again after the others: the answer may be about this person after all.
                (Err(error), Err(Disposition::Outage))
                    if matches!(error.disposition(), Disposition::Reject(_)) =>
                {
                    Err((Disposition::Retry, error.to_string()))
                }
                (Err(error), _) => Err((error.disposition(), error.to_string())),
            };
            let settlement = next(&task, attempt, &state.breaker, resend_after, now, (self.jitter)());
            if settlement == Settlement::Done(Outcome::Invited) {
                state.suspicion.ends();
            }
            settled.push((task, settlement));
        }
        let rows: Vec<(i64, Settlement)> = settled
            .iter()
            .map(|(task, settlement)| (task.id, settlement.clone()))
            .collect();
        let events = self.store.settle(rows, self.settings.limits, now).await?;
        for fault in pardoned {
            let released = self.store.pardon(&fault, now).await?;
            self.observer.pardoned(released.len(), &fault);
        }
        self.observer.tell(&events);
        for (_, settlement) in &settled {
            match settlement {
                Settlement::Done(Outcome::Invited) => state.tally.invited += 1,
                Settlement::Done(Outcome::HadAccount) => state.tally.had_account += 1,
                _ => {}
            }
        }
        state.probe_at = Instant::now() + PROBE;
        Ok(())
    }

    pub(super) fn judge_server(
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

    /// Asks whether Vaultwarden answers, so that `/readyz` knows before the next newcomer does.
    async fn probe(&self, state: &mut State) {
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
    fn look_again(&self, state: &State, due: Option<Timestamp>) -> Duration {
        let now = Instant::now().into_std();
        let next = match state.breaker.open_until() {
            Some(until) if until > now => Some(until - now),
            // What is due and was not begun waits for the end of an attempt or for its pace, not for the clock.
            _ if state.under_way.is_empty() && state.pace.permits() > 0 => {
                due.map(|due| due.since(self.clock.now()))
            }
            _ => None,
        };
        next.map_or(LOOK, |next| next.clamp(Duration::from_millis(10), LOOK))
    }

    /// Finishes what is under way.
    async fn wind_up(&self, state: &mut State, abort: &CancellationToken) -> Result<(), StoreError> {
        if !state.under_way.is_empty() {
            tracing::info!(
                count = state.under_way.len(),
                "finishing the invitations that are under way"
            );
        }
        while !state.under_way.is_empty() {
            tokio::select! {
                biased;
                () = abort.cancelled() => break,
                Some(attempt) = state.under_way.join_next() => self.finish(state, attempt).await?,
            }
        }
        Ok(())
    }
}

/// A panic goes on in the loop, whose owner starts it again; nobody cancels an attempt that is still waited for.
fn outcome(ended: Result<Attempt, JoinError>) -> Attempt {
    ended.unwrap_or_else(|error| resume_unwind(error.into_panic()))
}

/// Makes the calls of one attempt.
struct Caller {
    vaultwarden: Arc<dyn Admin>,
    observer: Observer,
}

impl Caller {
    async fn attempt(self, task: Action) -> Attempt {
        let result = if task.in_doubt.is_some() {
            self.settle_doubt(&task.address).await
        } else {
            self.invite(&task.address).await.map(Some)
        };
        (task, result)
    }

    /// What became of an earlier attempt; `None` where nothing did. Then the store decides anew: the person may have
    /// left meanwhile.
    async fn settle_doubt(&self, address: &EmailAddress) -> Result<Option<Outcome>, VaultwardenError> {
        let account = self.vaultwarden.account(address).await;
        self.observer
            .vaultwarden_call("account", word(account.as_ref().map(drop)));
        let outcome = |account: Account| {
            if account.invited {
                Outcome::Invited
            } else {
                Outcome::HadAccount
            }
        };
        Ok(account?.map(outcome))
    }

    async fn invite(&self, address: &EmailAddress) -> Result<Outcome, VaultwardenError> {
        let result = self.vaultwarden.invite(address).await;
        let word = match &result {
            Ok(outcome) => outcome.as_str(),
            Err(_) => word(result.as_ref().map(drop)),
        };
        self.observer.vaultwarden_call("invite", word);
        result
    }
}

/// The word for a call's result in metrics.
pub(super) fn word(result: Result<(), &VaultwardenError>) -> &'static str {
    match result.map_err(VaultwardenError::disposition) {
        Ok(()) => "ok",
        Err(Disposition::Reject(_)) => "rejected",
        Err(Disposition::Ambiguous) => "unknown-outcome",
        Err(Disposition::RetryAfter(_)) => "rate-limited",
        Err(Disposition::Operator) => "misconfigured",
        Err(Disposition::Outage) => "outage",
        Err(Disposition::Retry | Disposition::Relist) => "failed",
    }
}
