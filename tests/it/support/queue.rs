//! Single steps of a store's queue. The worker combines them in one exchange.

use std::sync::Arc;

use ldap_usher::clock::Timestamp;
use ldap_usher::model::{Action, Event, Settlement, WorkerId};
use ldap_usher::rules::Limits;
use ldap_usher::store::interface::*;
use ldap_usher::store::{Claim, Decisions, StoreError};

/// Claims and settles in separate transactions.
pub trait Queue: Store {
    /// Claims up to `max` actions that are due.
    fn claim(
        &self,
        owner: i64,
        max: u32,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Action>, StoreError>> + Send {
        let exchanged = self.settle_and_claim(
            Vec::new(),
            (Limits::default(), Arc::default()),
            claim(owner, max),
            now,
        );
        async move { Ok(exchanged.await?.1.actions) }
    }

    /// Settles what `owner` has claimed, without claiming.
    fn settle(
        &self,
        owner: i64,
        settled: Vec<(i64, Settlement)>,
        limits: Limits,
        now: Timestamp,
    ) -> impl Future<Output = Result<Vec<Event>, StoreError>> + Send {
        let exchanged = self.settle_and_claim(settled, (limits, Arc::default()), claim(owner, 0), now);
        async move { Ok(exchanged.await?.0) }
    }
}

impl<S: Store + ?Sized> Queue for S {}

fn claim(owner: i64, max: u32) -> Claim {
    Claim {
        owner: WorkerId(owner),
        max: Box::new(move |_| max),
        only: None,
    }
}
