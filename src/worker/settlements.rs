//! Settlements that wait to be stored. Those of attempts that end within a few milliseconds are stored in one transaction,
//! which also claims the next actions (an exchange).

use std::time::Duration;

use futures::future::{BoxFuture, pending};
use tokio::time::Instant;

use crate::clock::Timestamp;
use crate::model::{Action, Event, Settlement};
use crate::store::{Claimed, StoreError};

/// How long a settlement waits for others while more attempts are in progress.
const BATCH_DELAY: Duration = Duration::from_millis(5);

/// The settlements that wait, and the exchange in progress.
#[derive(Default)]
pub(super) struct Settlements<'a> {
    pub(super) waiting: Vec<(Action, Settlement)>,
    /// Keys of rejections that turned out to concern the server, not the person.
    pub(super) server_faults: Vec<String>,
    /// When the first of `waiting` has to be settled.
    pub(super) due: Option<Instant>,
    pub(super) exchange: Option<BoxFuture<'a, Result<Exchanged, StoreError>>>,
}

/// A committed exchange with the store.
pub(super) struct Exchanged {
    pub(super) settled: Vec<(Action, Settlement)>,
    pub(super) events: Vec<Event>,
    pub(super) server_faults: Vec<String>,
    pub(super) now: Timestamp,
    /// The number of actions that were requested.
    pub(super) requested: usize,
    pub(super) claimed: Claimed,
}

impl Settlements<'_> {
    /// Whether no settlement waits and no exchange is in progress.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.exchange.is_none()
    }

    /// When to settle; `None` while no settlement waits or an exchange is in progress.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.filter(|_| self.exchange.is_none())
    }

    /// Gives back the claims of actions that did not start.
    pub(super) fn give_back(&mut self, actions: Vec<Action>) {
        for action in actions {
            self.push(action, Settlement::NotBegun);
        }
    }

    pub(super) fn push(&mut self, action: Action, settlement: Settlement) {
        self.due.get_or_insert_with(|| Instant::now() + BATCH_DELAY);
        self.waiting.push((action, settlement));
    }

    /// Waits for the exchange in progress. Never returns while there is none.
    ///
    /// # Cancellation
    /// Safe: the exchange continues, and the next call waits for it.
    pub(super) async fn exchanged(&mut self) -> Result<Exchanged, StoreError> {
        let Some(exchange) = &mut self.exchange else {
            return pending().await;
        };
        let done = exchange.await;
        self.exchange = None;
        done
    }
}
