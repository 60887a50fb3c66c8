//! The attempts that are under way, and the actions that are claimed to follow them.
//!
//! An attempt that ends leaves a free slot, and the store takes a moment to say what is next. So a few actions are
//! claimed ahead, but only as many as begin within [`AHEAD`]: a claimed action goes out even if its person leaves, and
//! after a crash it is in doubt. Where calls take longer than that, nothing is claimed ahead.

use std::collections::VecDeque;
use std::future::pending;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::Instant;

use super::actions::{Context, carry_out};
use crate::model::{Action, Outcome};
use crate::vaultwarden::VaultwardenError;

/// The time in which an action that is claimed ahead begins, as long as calls take as long as lately.
const AHEAD: Duration = Duration::from_millis(20);
/// An action that has not begun by then is given back, because its person may have left.
const STALE: Duration = Duration::from_millis(100);

/// An attempt that ended; `None` where an earlier attempt was looked up and had no effect.
pub(super) struct Attempt {
    pub(super) action: Action,
    pub(super) result: Result<Option<Outcome>, VaultwardenError>,
    took: Duration,
}

pub(super) struct Slots {
    context: Arc<Context>,
    /// Each runs in a task of its own, so that it goes on while the loop waits for the store.
    under_way: JoinSet<Attempt>,
    /// Claimed and not begun, with the time of the claim.
    ready: VecDeque<(Action, Instant)>,
    /// How long attempts take lately; `None` where that is not known.
    usual: Option<Duration>,
}

impl Slots {
    pub(super) fn new(context: Context) -> Self {
        Self {
            context: Arc::new(context),
            under_way: JoinSet::new(),
            ready: VecDeque::new(),
            usual: None,
        }
    }

    /// How many attempts are under way.
    pub(super) fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Nothing is claimed.
    pub(super) fn is_empty(&self) -> bool {
        self.under_way.is_empty() && self.ready.is_empty()
    }

    /// Takes what was claimed; it waits for its turn.
    pub(super) fn claimed(&mut self, actions: Vec<Action>) {
        let now = Instant::now();
        self.ready.extend(actions.into_iter().map(|action| (action, now)));
    }

    /// Begins the next attempt, if there is one and fewer than `permitted` are under way.
    pub(super) fn begin(&mut self, permitted: usize) -> bool {
        if self.under_way.len() >= permitted {
            return false;
        }
        let Some((action, _)) = self.ready.pop_front() else {
            return false;
        };
        let context = self.context.clone();
        self.under_way.spawn(async move {
            let began = Instant::now();
            let result = carry_out(&context, &action).await;
            Attempt {
                action,
                result,
                took: began.elapsed(),
            }
        });
        true
    }

    /// How many actions may be claimed now, where `permitted` attempts may be under way; none while enough are ready.
    pub(super) fn room(&self, permitted: usize, may_claim_ahead: bool) -> usize {
        let ahead = if may_claim_ahead { self.ahead(permitted) } else { 0 };
        if self.ready.len() > ahead / 2 {
            return 0;
        }
        (permitted + ahead).saturating_sub(self.under_way.len() + self.ready.len())
    }

    /// How many attempts end within [`AHEAD`], if they take as long as lately; no more than a round of all slots.
    fn ahead(&self, permitted: usize) -> usize {
        let Some(usual) = self.usual else { return 0 };
        let ends = AHEAD.as_micros() * permitted as u128 / usual.as_micros().max(1);
        usize::try_from(ends).map_or(permitted, |ends| ends.min(permitted))
    }

    /// When actions that wait for their turn are to be given back.
    pub(super) fn stale_at(&self) -> Option<Instant> {
        self.ready.front().map(|(_, claimed)| *claimed + STALE)
    }

    /// Takes out what has waited for too long.
    pub(super) fn take_stale(&mut self) -> Vec<Action> {
        let now = Instant::now();
        let stale = self
            .ready
            .iter()
            .take_while(|(_, claimed)| *claimed + STALE <= now)
            .count();
        if stale > 0 {
            // Calls take longer than was expected.
            self.usual = None;
        }
        self.ready.drain(..stale).map(|(action, _)| action).collect()
    }

    /// Takes out everything that has not begun.
    pub(super) fn take_ready(&mut self) -> Vec<Action> {
        self.ready.drain(..).map(|(action, _)| action).collect()
    }

    /// Waits for attempts to end, and returns all that have; waits for ever while none is under way.
    ///
    /// # Panics
    /// Where an attempt did: the owner of the loop starts it again.
    ///
    /// # Cancellation
    /// Safe: nothing is taken before it is returned.
    pub(super) async fn ended(&mut self) -> Vec<Attempt> {
        let Some(first) = self.under_way.join_next().await else {
            return pending().await;
        };
        let mut ended = Vec::with_capacity(1);
        let mut next = Some(first);
        while let Some(attempt) = next {
            // Nobody cancels an attempt that is still waited for.
            let attempt = attempt.unwrap_or_else(|error| resume_unwind(error.into_panic()));
            let usual = self.usual.unwrap_or(attempt.took);
            self.usual = Some((3 * usual + attempt.took) / 4);
            ended.push(attempt);
            next = self.under_way.try_join_next();
        }
        ended
    }
}
