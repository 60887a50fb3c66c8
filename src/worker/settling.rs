//! What ended is judged at once, and settled in the store together with others that end within a moment; the same
//! transaction claims what is due next.

use std::mem;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, pending};
use tokio::time::Instant;

use super::comparison;
use super::queue::{PROBE, State, Worker};
use super::slots::Attempt;
use crate::clock::Timestamp;
use crate::model::{Action, Disposition, Event, Outcome, Rejection, Settlement};
use crate::rules::{Breaker, next};
use crate::store::{Claim, Claimed, Decisions, StoreError};
use crate::timing::{self, Step};
use crate::vaultwarden::VaultwardenError;

/// What ended waits for others so long, while more attempts are under way.
const TOGETHER: Duration = Duration::from_millis(5);

/// What is to be settled, and the exchange with the store that is under way.
#[derive(Default)]
pub(super) struct Settling<'a> {
    waiting: Vec<(Action, Settlement)>,
    /// Reasons for refusals that prove to be the server's.
    pardoned: Vec<String>,
    /// When the first of `waiting` has waited for long enough.
    due: Option<Instant>,
    exchange: Option<BoxFuture<'a, Result<Exchanged, StoreError>>>,
}

/// An exchange with the store that was committed.
pub(super) struct Exchanged {
    settled: Vec<(Action, Settlement)>,
    events: Vec<Event>,
    pardoned: Vec<String>,
    now: Timestamp,
    /// How many actions were to be claimed.
    asked: usize,
    claimed: Claimed,
}

impl Settling<'_> {
    /// Nothing waits, and no exchange is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.exchange.is_none()
    }

    /// When what waits is to be settled; `None` while nothing waits, or an exchange is under way.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| self.exchange.is_none())
    }

    /// Takes the claims of actions back that did not begin.
    pub(super) fn give_back(&mut self, actions: Vec<Action>) {
        for action in actions {
            self.push(action, Settlement::NotBegun);
        }
    }

    fn push(&mut self, action: Action, settlement: Settlement) {
        self.due.get_or_insert_with(|| Instant::now() + TOGETHER);
        self.waiting.push((action, settlement));
    }

    /// Waits for the exchange that is under way; for ever while there is none.
    ///
    /// # Cancellation
    /// Safe: the exchange goes on to be waited for.
    pub(super) async fn exchanged(&mut self) -> Result<Exchanged, StoreError> {
        let Some(exchange) = &mut self.exchange else {
            return pending().await;
        };
        let done = exchange.await;
        self.exchange = None;
        done
    }
}

impl Worker {
    /// Judges attempts that ended.
    pub(super) fn judge(&self, state: &mut State<'_>, ended: Vec<Attempt>) {
        let now = self.clock.now();
        timing::reached(Step::Called);
        for Attempt { action, result, .. } in ended {
            let mut verdict = result.as_ref().map(drop).map_err(VaultwardenError::disposition);
            if let Err(Disposition::Reject(Rejection { key: Some(key), .. })) = &verdict
                && state.suspicion.confirms(key, action.id)
            {
                state.settling.pardoned.push(key.clone());
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
            let resend_after = self.settings.resend_after;
            let settlement = next(
                &action,
                attempt,
                &state.breaker,
                resend_after,
                now,
                (self.jitter)(),
            );
            if settlement == Settlement::Done(Outcome::Invited) {
                state.suspicion.ends();
            }
            state.settling.push(action, settlement);
        }
        state.probe_at = Instant::now() + PROBE;
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

    /// Begins an exchange with the store, if there is a reason for one: what waits is to be settled by now, or there is
    /// room for more and something may be due. `at_once` settles what waits without waiting for others.
    pub(super) fn exchange<'a>(&'a self, state: &mut State<'a>, at_once: bool) {
        if state.settling.exchange.is_some() {
            return;
        }
        let room = self.room(state);
        let claims = state.hungry && room > 0;
        let settles = !state.settling.waiting.is_empty()
            && (at_once
                || state.slots.under_way() == 0
                || state.settling.waiting.len() >= self.settings.concurrency
                || state.settling.due.is_some_and(|due| due <= Instant::now()));
        if !claims && !settles {
            return;
        }
        if room > 0 {
            state.hungry = false;
        }
        let settled = mem::take(&mut state.settling.waiting);
        let pardoned = mem::take(&mut state.settling.pardoned);
        state.settling.due = None;
        let rows = settled
            .iter()
            .map(|(action, settlement)| (action.id, settlement.clone()))
            .collect();
        let max = u32::try_from(room).unwrap_or(u32::MAX);
        let (held, may_compare) = (state.held, Instant::now() >= state.compare_at);
        let claim = Claim {
            owner: state.owner,
            max: Box::new(move |unchecked| {
                if may_compare && comparison::is_due(unchecked, held) {
                    0
                } else {
                    max
                }
            }),
        };
        let now = self.clock.now();
        // The store has it from here on, whether or not anybody waits.
        let reply = self
            .store
            .settle_and_claim(rows, self.settings.limits, claim, now);
        let exchange = async move {
            let (events, claimed) = reply.await?;
            Ok(Exchanged {
                claimed,
                events,
                settled,
                pardoned,
                now,
                asked: room,
            })
        };
        state.settling.exchange = Some(exchange.boxed());
    }

    /// Takes in what an exchange brought, and reports what it settled.
    pub(super) async fn take_in(
        &self,
        state: &mut State<'_>,
        exchanged: Exchanged,
    ) -> Result<(), StoreError> {
        let Exchanged {
            settled,
            events,
            pardoned,
            now,
            asked,
            claimed,
        } = exchanged;
        // Those who were approved are held no more.
        state.held = state.held.min(claimed.unchecked.all_held);
        if asked > 0 {
            state.compare |=
                Instant::now() >= state.compare_at && comparison::is_due(&claimed.unchecked, state.held);
            state.hungry |= claimed.actions.len() >= asked;
            state.due = claimed.next_due;
        }
        if !claimed.actions.is_empty() {
            timing::reached(Step::Claimed);
        }
        if !settled.is_empty() {
            timing::reached(Step::Settled);
        }
        state.slots.claimed(claimed.actions);
        for fault in pardoned {
            let released = self.store.pardon(&fault, now).await?;
            self.observer.pardoned(released.len(), &fault);
            state.hungry = true;
        }
        self.observer.tell(&events);
        for (_, settlement) in &settled {
            match settlement {
                Settlement::Done(Outcome::Invited) => state.tally.invited += 1,
                Settlement::Done(Outcome::HadAccount) => state.tally.had_account += 1,
                // It may be due before what is known to be due next.
                _ => state.hungry = true,
            }
        }
        Ok(())
    }

    /// Settles everything that ended until now.
    pub(super) async fn settle_all<'a>(&'a self, state: &mut State<'a>) -> Result<(), StoreError> {
        loop {
            self.exchange(state, true);
            if state.settling.is_empty() {
                return Ok(());
            }
            let exchanged = state.settling.exchanged().await?;
            self.take_in(state, exchanged).await?;
        }
    }
}
