//! The state of a listing that has ended and is not applied yet.

use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

use futures::future::BoxFuture;

use super::active_listing::ActiveListing;
use crate::model::{EmailAddress, EntryId, Listing};
use crate::store::{Difference, StoreError};

/// A listing of the stream that has ended, while its differences are applied.
pub(super) struct EndedListing {
    pub(super) active: ActiveListing,
    pub(super) end: Listing,
    /// The comparison with the members, until it is done. Nobody locks it: the mutex makes it `Sync`.
    comparison: Option<Mutex<BoxFuture<'static, Result<(), StoreError>>>>,
    pub(super) judgement: Judgement,
    /// Entries that the stream has reported since the listing ended, which is newer.
    pub(super) outdated: HashSet<EntryId>,
}

/// How many people a listing would bring, counted until the limit is exceeded.
#[derive(Default)]
pub(super) struct Judgement {
    pub(super) found: HashSet<EmailAddress>,
    pub(super) after: i64,
}

impl EndedListing {
    pub(super) fn new(
        active: ActiveListing,
        end: Listing,
        comparison: BoxFuture<'static, Result<(), StoreError>>,
    ) -> Self {
        Self {
            active,
            end,
            comparison: Some(Mutex::new(comparison)),
            judgement: Judgement::default(),
            outdated: HashSet::new(),
        }
    }

    /// Waits until the comparison is done.
    ///
    /// # Cancellation
    /// Safe: the comparison goes on, and the next call waits for it.
    pub(super) async fn compared(&mut self) -> Result<(), StoreError> {
        let Some(comparison) = &mut self.comparison else {
            return Ok(());
        };
        let comparison = comparison.get_mut().unwrap_or_else(PoisonError::into_inner);
        let compared = comparison.await;
        self.comparison = None;
        compared
    }

    /// Whether the stream has reported nothing newer.
    pub(super) fn is_current(&self, difference: &Difference) -> bool {
        !self.outdated.contains(&difference.id)
    }
}
