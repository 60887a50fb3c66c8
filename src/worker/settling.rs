//! Decides how each finished attempt is settled, then settles and claims in one transaction.

use std::mem;

use futures::FutureExt;
use tokio::time::Instant;

use super::actions::Attempted;
use super::comparison;
use super::settlements::Exchanged;
use super::slots::Attempt;
use super::state::{PROBE, State, Worker};
use crate::clock::Timestamp;
use crate::model::{Action, Disposition, Outcome, Rejection, Settlement};
use crate::rules::settlement_for;
use crate::store::{Claim, Decisions, StoreError};
use crate::timing::{self, Step};
use crate::vaultwarden::VaultwardenError;

impl Worker {
    /// Decides how finished attempts are settled, and updates the circuit breaker.
    pub(super) fn record(&self, state: &mut State<'_>, ended: Vec<Attempt>) {
        let now = self.clock.now();
        timing::reached(Step::Called);
        for Attempt { action, result, .. } in ended {
            let result = match result {
                Ok(Attempted::Settled(settlement)) => {
                    state.settlements.push(action, settlement);
                    continue;
                }
                Ok(Attempted::Failed(error)) => {
                    let failure = Err((Disposition::Retry, error));
                    let settlement = self.settlement_for(state, &action, failure, now);
                    state.settlements.push(action, settlement);
                    continue;
                }
                Ok(Attempted::NoEffect) => Ok(None),
                Ok(Attempted::Done { outcome, account }) => Ok(Some((outcome, account))),
                Err(error) => Err(error),
            };
            let mut verdict = result.as_ref().map(drop).map_err(VaultwardenError::disposition);
            if let Err(Disposition::Reject(Rejection { key: Some(key), .. })) = &verdict
                && state.fault_detector.record(key, action.id)
            {
                state.settlements.server_faults.push(key.clone());
                verdict = Err(Disposition::Outage);
            }
            self.record_server(&mut state.breaker, &verdict, result.as_ref().err());
            let attempt = match (result, verdict) {
                (Ok(Some((outcome, account))), _) => {
                    if outcome == Outcome::Invited {
                        state.fault_detector.reset();
                    }
                    let settlement = Settlement::Done { outcome, account };
                    state.settlements.push(action, settlement);
                    continue;
                }
                (Ok(None), _) => Ok(None),
                // The rejection is attributed to the server: retry. It may still concern this person.
                (Err(error), Err(Disposition::Outage))
                    if matches!(error.disposition(), Disposition::Reject(_)) =>
                {
                    Err((Disposition::Retry, error.to_string()))
                }
                (Err(error), _) => Err((error.disposition(), error.to_string())),
            };
            let settlement = self.settlement_for(state, &action, attempt, now);
            state.settlements.push(action, settlement);
        }
        state.probe_at = Instant::now() + PROBE;
    }

    fn settlement_for(
        &self,
        state: &State<'_>,
        action: &Action,
        attempt: Result<Option<Outcome>, (Disposition, String)>,
        now: Timestamp,
    ) -> Settlement {
        let resend_after = self.settings.resend_after;
        settlement_for(
            action,
            attempt,
            &state.breaker,
            resend_after,
            now,
            (self.jitter)(),
        )
    }

    /// Starts an exchange with the store if settlements are due, or if actions may be due and slots are free. `at_once`
    /// settles without waiting for other attempts.
    pub(super) fn exchange<'a>(&'a self, state: &mut State<'a>, at_once: bool) {
        if state.settlements.exchange.is_some() {
            return;
        }
        let room = self.room(state);
        let claims = state.may_be_due && room > 0;
        let settles = !state.settlements.waiting.is_empty()
            && (at_once
                || state.slots.in_progress() == 0
                || state.settlements.waiting.len() >= self.settings.concurrency
                || state.settlements.due.is_some_and(|due| due <= Instant::now()));
        if !claims && !settles {
            return;
        }
        if room > 0 {
            state.may_be_due = false;
        }
        let settled = mem::take(&mut state.settlements.waiting);
        let server_faults = mem::take(&mut state.settlements.server_faults);
        state.settlements.due = None;
        let rows = settled
            .iter()
            .map(|(action, settlement)| (action.id, settlement.clone()))
            .collect();
        let max = u32::try_from(room).unwrap_or(u32::MAX);
        let may_compare = self.settings.only.is_none() && Instant::now() >= state.compare_at;
        let held = state.held;
        let claim = Claim {
            owner: state.id,
            max: Box::new(move |unchecked| {
                if may_compare && comparison::is_due(unchecked, held) {
                    0
                } else {
                    max
                }
            }),
            only: self.settings.only,
        };
        let now = self.clock.now();
        // The store processes the request even if the future is dropped.
        let reply = self.store.settle_and_claim(
            rows,
            (self.settings.limits, self.recheck.leave.clone()),
            claim,
            now,
        );
        let exchange = async move {
            let (events, claimed) = reply.await?;
            Ok(Exchanged {
                claimed,
                events,
                settled,
                server_faults,
                now,
                requested: room,
            })
        };
        state.settlements.exchange = Some(exchange.boxed());
    }

    /// Applies the result of an exchange to the state, and reports its events.
    pub(super) async fn apply(&self, state: &mut State<'_>, exchanged: Exchanged) -> Result<(), StoreError> {
        let Exchanged {
            settled,
            events,
            server_faults,
            now,
            requested,
            claimed,
        } = exchanged;
        // Invitations may have been approved since.
        state.held = state.held.min(claimed.unchecked.all_held);
        if requested > 0 {
            state.must_compare |= self.settings.only.is_none()
                && Instant::now() >= state.compare_at
                && comparison::is_due(&claimed.unchecked, state.held);
            state.may_be_due |= claimed.actions.len() >= requested;
            state.next_due = claimed.next_due;
        }
        state.pace.share(claimed.workers);
        if !claimed.actions.is_empty() {
            timing::reached(Step::Claimed);
        }
        if !settled.is_empty() {
            timing::reached(Step::Settled);
        }
        state.slots.add(claimed.actions);
        for fault in server_faults {
            let released = self.store.pardon(&fault, now).await?;
            self.observer.server_fault(released.len(), &fault);
            state.may_be_due = true;
        }
        self.observer.record(&events);
        for (_, settlement) in &settled {
            match settlement {
                Settlement::Done { outcome, .. } => match outcome {
                    Outcome::Invited => state.tally.invited += 1,
                    Outcome::HadAccount => state.tally.had_account += 1,
                    Outcome::CarriedOut => state.tally.changed += 1,
                    Outcome::NotNeeded | Outcome::NoAccount => {}
                },
                // It may be due earlier than `next_due`.
                _ => state.may_be_due = true,
            }
        }
        Ok(())
    }

    /// Settles all finished attempts and waits for the store.
    pub(super) async fn settle_all<'a>(&'a self, state: &mut State<'a>) -> Result<(), StoreError> {
        loop {
            self.exchange(state, true);
            if state.settlements.is_empty() {
                return Ok(());
            }
            let exchanged = state.settlements.exchanged().await?;
            self.apply(state, exchanged).await?;
        }
    }
}
