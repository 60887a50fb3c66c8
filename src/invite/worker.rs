//! The loop that brings due invitations to Vaultwarden.
//!
//! # Guarantees
//! - An invitation is attempted only under a lease of the ledger, and each attempt is settled there. A crash in
//!   between leaves the task in doubt, and a task in doubt is looked up before it is attempted again.
//! - A task that fails delays no other; trouble of the whole server stops everyone at once.
//!
//! # Assumptions
//! There is one worker on a ledger at a time.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::StreamExt;
use tokio::sync::Notify;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::pace::Pace;
use super::policy::{Breaker, next};
use crate::clock::{Clock, Timestamp};
use crate::ledger::{Ledger, LedgerError};
use crate::model::{Disposition, EmailAddress, Outcome, Settlement, Task};
use crate::observe::Observer;
use crate::retry::Nudge;
use crate::vaultwarden::{Account, Admin, VaultwardenError};

/// Longer than any attempt takes, with look-ups and a login: an attempt under way must not be claimed again.
const LEASE: Duration = Duration::from_secs(600);
/// Another process may have released held invitations: look this often.
const LOOK: Duration = Duration::from_secs(2);
/// When there is nothing to do, whether Vaultwarden answers is asked this often.
const PROBE: Duration = Duration::from_secs(60);
/// From this many unknown addresses on, one list of all accounts is cheaper than as many refusals.
const CENSUS: u64 = 100;
/// Addresses of accounts that are compared at a time.
const CENSUS_PAGE: usize = 1000;
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
    /// `limits.invites_per_listing`, for listings that are held until they are compared with the accounts.
    pub hold_above: Option<u32>,
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
    pub ledger: Arc<dyn Ledger>,
    /// Where invitations go.
    pub vaultwarden: Arc<dyn Admin>,
    /// Told of everything that happens.
    pub observer: Observer,
    /// Wall time.
    pub clock: Clock,
    /// Rung when something became due.
    pub wake: Arc<Notify>,
    /// Ends the wait for a server in trouble.
    pub nudge: Nudge,
    /// How to work.
    pub settings: Settings,
    /// Throws numbers from `0.0..1.0`.
    pub dice: fn() -> f64,
}

/// `None` where a doubt was settled and nothing had been sent.
type Attempt = (Task, Result<Option<Outcome>, VaultwardenError>);

/// What one run of the loop knows; all of it can be lost.
struct State {
    /// Each is a task of its own. On its way it waits for locks, the ledger's among them, and once it has one it must
    /// go on, even while the loop waits for the same lock.
    under_way: JoinSet<Attempt>,
    breaker: Breaker,
    pace: Pace,
    probe_at: Instant,
    /// There may be new tasks since the backlog was last compared with the accounts.
    news: bool,
    tally: Tally,
}

impl Worker {
    /// Works until `stop`, then finishes what is under way; `abort` ends it at once.
    ///
    /// # Errors
    /// The ledger failed. Whatever was under way is in doubt and will be looked up.
    ///
    /// # Cancellation
    /// Safe: leases run out, and what was under way is looked up.
    pub async fn run(
        &self,
        until: Until,
        stop: &CancellationToken,
        abort: &CancellationToken,
    ) -> Result<Tally, LedgerError> {
        let mut state = State {
            under_way: JoinSet::new(),
            breaker: Breaker::default(),
            pace: Pace::new(self.settings.per_minute),
            probe_at: Instant::now() + PROBE,
            news: true,
            tally: Tally::default(),
        };
        let mut nudged = self.nudge.listen();
        while !stop.is_cancelled() {
            self.begin(&mut state).await?;
            let idle = state.under_way.is_empty();
            // What is due while something is under way waits for its end.
            let due = if idle { self.ledger.next_due().await? } else { None };
            if until == Until::Drained && self.is_drained(&state, due) {
                break;
            }
            let look = self.look_again(&state, due);
            tokio::select! {
                biased;
                () = stop.cancelled() => {}
                Some(attempt) = state.under_way.join_next() => self.finish(&mut state, attempt).await?,
                () = self.wake.notified() => state.news = true,
                Ok(()) = nudged.changed() => state.breaker.half_open(self.clock.now()),
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

    /// Begins as many attempts as are due and may begin now.
    async fn begin(&self, state: &mut State) -> Result<(), LedgerError> {
        let now = self.clock.now();
        let permitted = state.breaker.permits(self.settings.concurrency, now);
        let places = permitted
            .saturating_sub(state.under_way.len())
            .min(state.pace.permits());
        if places == 0 {
            return Ok(());
        }
        if state.news {
            if self.census_is_due().await? && (!state.under_way.is_empty() || !self.census(state).await?) {
                return Ok(());
            }
            state.news = false;
        }
        let places = u32::try_from(places).unwrap_or(u32::MAX);
        // Nothing is claimed before it can begin: a claim that waits for its turn is a lease that runs out.
        for task in self.ledger.claim(places, LEASE, now).await? {
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
    fn is_drained(&self, state: &State, due: Option<Timestamp>) -> bool {
        let now = self.clock.now();
        match state.breaker.open_until().filter(|&until| until > now) {
            Some(until) => state.breaker.failures() >= PATIENCE || until.since(now) > HURRY,
            None => state.under_way.is_empty() && due.is_none_or(|due| due.since(now) > HURRY),
        }
    }

    /// Settles this attempt and all others that have ended meanwhile, in one transaction.
    async fn finish(&self, state: &mut State, first: Result<Attempt, JoinError>) -> Result<(), LedgerError> {
        let mut ended = vec![outcome(first)];
        while let Some(attempt) = state.under_way.try_join_next() {
            ended.push(outcome(attempt));
        }
        let now = self.clock.now();
        let settled: Vec<(Task, Settlement)> = ended
            .into_iter()
            .map(|(task, result)| {
                self.judge_server(&mut state.breaker, result.as_ref().map(drop), now);
                let attempt = result.map_err(|error| (error.disposition(), error.to_string()));
                let settlement = next(&task, attempt, &state.breaker, now, (self.dice)());
                (task, settlement)
            })
            .collect();
        let rows: Vec<(i64, Settlement)> = settled
            .iter()
            .map(|(task, settlement)| (task.id, settlement.clone()))
            .collect();
        self.ledger.settle(&rows, now).await?;
        for (task, settlement) in &settled {
            match settlement {
                Settlement::Done(Outcome::Invited) => state.tally.invited += 1,
                Settlement::Done(Outcome::HadAccount) => state.tally.had_account += 1,
                _ => {}
            }
            self.tell(task, settlement, now);
        }
        state.probe_at = Instant::now() + PROBE;
        Ok(())
    }

    fn judge_server(&self, breaker: &mut Breaker, result: Result<(), &VaultwardenError>, now: Timestamp) {
        let failure = result.map_err(|error| (error, error.disposition()));
        let wait = breaker.record(
            failure.as_ref().err().map(|(_, disposition)| disposition),
            now,
            (self.dice)(),
        );
        match (failure, wait) {
            (Err((error, _)), Some(wait)) => self.observer.vaultwarden_down(error, wait),
            (Ok(()) | Err((_, Disposition::Reject(_))), _) => {
                self.observer.vaultwarden_back();
            }
            _ => {}
        }
    }

    fn tell(&self, task: &Task, settlement: &Settlement, now: Timestamp) {
        match settlement {
            Settlement::Done(Outcome::Invited) => self.observer.invited(task, now.since(task.arrived)),
            Settlement::Done(Outcome::HadAccount) => self.observer.had_account(task),
            Settlement::Quarantine(reason) => self.observer.quarantined(task, reason),
            // An outage is told once, for all.
            Settlement::RetryAt { failed: false, .. } => {}
            Settlement::RetryAt { at, error, .. } => self.observer.invite_failed(task, error, at.since(now)),
        }
    }

    /// Whether so many addresses are unknown that one list of all accounts is worth it, or any is held: who has an
    /// account does not count towards `limits.invites_per_listing`.
    async fn census_is_due(&self) -> Result<bool, LedgerError> {
        let unchecked = self.ledger.unchecked().await?;
        Ok(unchecked.held > 0 || unchecked.queued >= CENSUS)
    }

    /// Compares the backlog with the list of all accounts, once. Returns whether claiming may go on.
    async fn census(&self, state: &mut State) -> Result<bool, LedgerError> {
        let begun = self.clock.now();
        match self.count_accounts().await? {
            Ok(known) => {
                state.tally.had_account += known;
                self.judge_server(&mut state.breaker, Ok(()), begun);
                tracing::info!(known, "compared the backlog with Vaultwarden's accounts");
            }
            Err(error) => {
                self.judge_server(&mut state.breaker, Err(&error), self.clock.now());
                return Ok(false);
            }
        }
        let hold_above = self.settings.hold_above;
        for (directory, count) in self.ledger.checked(begun, hold_above, self.clock.now()).await? {
            self.observer
                .held(&directory, count, hold_above.unwrap_or(u32::MAX));
        }
        Ok(true)
    }

    async fn count_accounts(&self) -> Result<Result<u64, VaultwardenError>, LedgerError> {
        let mut accounts = self.vaultwarden.accounts().chunks(CENSUS_PAGE);
        let mut known = 0;
        while let Some(page) = accounts.next().await {
            let page: Result<Vec<_>, _> = page.into_iter().collect();
            self.observer
                .vaultwarden_call("accounts", word(page.as_ref().map(drop)));
            let addresses: Vec<EmailAddress> = match page {
                Ok(page) => page
                    .iter()
                    .filter_map(|account| EmailAddress::parse(account.email.as_bytes()).ok())
                    .collect(),
                Err(error) => return Ok(Err(error)),
            };
            known += self.ledger.had_accounts(&addresses, self.clock.now()).await?;
        }
        Ok(Ok(known))
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

    /// How long to wait for something to happen before looking into the ledger again.
    fn look_again(&self, state: &State, due: Option<Timestamp>) -> Duration {
        let now = self.clock.now();
        let next = match state.breaker.open_until() {
            Some(until) if until > now => Some(until),
            // What is due and was not begun waits for the end of an attempt or for its pace, not for the clock.
            _ if state.under_way.is_empty() && state.pace.permits() > 0 => due,
            _ => None,
        };
        next.map_or(LOOK, |next| {
            next.since(now).clamp(Duration::from_millis(10), LOOK)
        })
    }

    /// Finishes what is under way.
    async fn wind_up(&self, state: &mut State, abort: &CancellationToken) -> Result<(), LedgerError> {
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
    async fn attempt(self, task: Task) -> Attempt {
        let result = if task.in_doubt {
            self.settle_doubt(&task.address).await
        } else {
            self.invite(&task.address).await.map(Some)
        };
        (task, result)
    }

    /// What became of an earlier attempt; `None` where nothing did. Then the ledger decides anew: the person may have
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
fn word(result: Result<(), &VaultwardenError>) -> &'static str {
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
