//! The attempts that are in progress, and the claimed actions that wait for a free slot.
//!
//! Claiming takes a transaction, and a free slot would idle meanwhile. So a few actions are claimed ahead, but only as
//! many as are expected to start within [`CLAIM_AHEAD`]: a claimed action is carried out even if the person leaves, and it
//! is in doubt after a crash. If calls take longer than that, nothing is claimed ahead.

use std::collections::VecDeque;
use std::future::pending;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::actions::{Attempted, Context, carry_out};
use crate::model::{Action, ActionKind};
use crate::vaultwarden::VaultwardenError;

/// Actions are claimed ahead only if they are expected to start within this time.
const CLAIM_AHEAD: Duration = Duration::from_millis(20);
/// A claim is given back if its action has not started within this time, because the person may have left.
const CLAIM_TIMEOUT: Duration = Duration::from_millis(100);

/// An attempt that ended.
pub(super) struct Attempt {
    pub(super) action: Action,
    pub(super) result: Result<Attempted, VaultwardenError>,
    duration: Duration,
}

pub(super) struct Slots {
    context: Arc<Context>,
    /// Each attempt has its own task, so that it proceeds while the loop waits for the store.
    in_progress: JoinSet<Attempt>,
    /// Claimed and not started, each with the time of its claim.
    ready: VecDeque<(Action, Instant)>,
    /// The moving average of how long attempts take; `None` if it is not known.
    average: Option<Duration>,
}

impl Slots {
    pub(super) fn new(context: Context) -> Self {
        Self {
            context: Arc::new(context),
            in_progress: JoinSet::new(),
            ready: VecDeque::new(),
            average: None,
        }
    }

    /// The number of attempts in progress.
    pub(super) fn in_progress(&self) -> usize {
        self.in_progress.len()
    }

    /// Whether no action is claimed.
    pub(super) fn is_empty(&self) -> bool {
        self.in_progress.is_empty() && self.ready.is_empty()
    }

    /// Adds claimed actions; they wait for a free slot.
    pub(super) fn add(&mut self, actions: Vec<Action>) {
        let now = Instant::now();
        self.ready.extend(actions.into_iter().map(|action| (action, now)));
    }

    /// Starts the next attempt, if there is one and fewer than `permitted` are in progress. Returns its kind.
    pub(super) fn start(&mut self, permitted: usize) -> Option<ActionKind> {
        if self.in_progress.len() >= permitted {
            return None;
        }
        let (action, _) = self.ready.pop_front()?;
        let kind = action.kind;
        let context = self.context.clone();
        self.in_progress.spawn(async move {
            let started = Instant::now();
            let result = carry_out(&context, &action).await;
            Attempt {
                action,
                result,
                duration: started.elapsed(),
            }
        });
        Some(kind)
    }

    /// The number of actions that may be claimed now, if `permitted` attempts may be in progress. Zero while enough
    /// actions are ready, so that one transaction claims several.
    pub(super) fn room(&self, permitted: usize, may_claim_ahead: bool) -> usize {
        let ahead = if may_claim_ahead { self.ahead(permitted) } else { 0 };
        if self.ready.len() > ahead / 2 {
            return 0;
        }
        (permitted + ahead).saturating_sub(self.in_progress.len() + self.ready.len())
    }

    /// The number of attempts that are expected to end within [`CLAIM_AHEAD`], at most one per slot.
    fn ahead(&self, permitted: usize) -> usize {
        let Some(average) = self.average else { return 0 };
        let ends = CLAIM_AHEAD.as_micros() * permitted as u128 / average.as_micros().max(1);
        usize::try_from(ends).map_or(permitted, |ends| ends.min(permitted))
    }

    /// When the oldest claim times out.
    pub(super) fn times_out_at(&self) -> Option<Instant> {
        self.ready.front().map(|(_, claimed)| *claimed + CLAIM_TIMEOUT)
    }

    /// Removes and returns the actions whose claims have timed out.
    pub(super) fn take_timed_out(&mut self) -> Vec<Action> {
        let now = Instant::now();
        let timed_out = self
            .ready
            .iter()
            .take_while(|(_, claimed)| *claimed + CLAIM_TIMEOUT <= now)
            .count();
        if timed_out > 0 {
            // Calls take longer than expected: claim nothing ahead until the average is known again.
            self.average = None;
        }
        self.ready.drain(..timed_out).map(|(action, _)| action).collect()
    }

    /// Removes and returns all actions that have not started.
    pub(super) fn take_ready(&mut self) -> Vec<Action> {
        self.ready.drain(..).map(|(action, _)| action).collect()
    }

    /// Waits until an attempt ends, and returns all that have ended. Never returns while none is in progress.
    ///
    /// # Panics
    /// If an attempt panicked. The supervisor restarts the loop.
    ///
    /// # Cancellation
    /// Safe: an attempt that has ended is returned by the next call.
    pub(super) async fn ended(&mut self) -> Vec<Attempt> {
        let Some(first) = self.in_progress.join_next().await else {
            return pending().await;
        };
        let mut ended = Vec::with_capacity(1);
        let mut next = Some(first);
        while let Some(attempt) = next {
            // No attempt is aborted, so the error is a panic.
            let attempt = attempt.unwrap_or_else(|error| resume_unwind(error.into_panic()));
            let average = self.average.unwrap_or(attempt.duration);
            self.average = Some((3 * average + attempt.duration) / 4);
            ended.push(attempt);
            next = self.in_progress.try_join_next();
        }
        ended
    }
}
