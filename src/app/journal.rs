//! Removes old events from the journal.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Timestamp};
use crate::store::{AdminStore, StoreError};

/// How often to look for old events.
const INTERVAL: Duration = Duration::from_secs(3600);
/// The number of events that one transaction removes: small, so that other transactions do not wait long.
const STEP: u32 = 1000;
/// The pause between two such transactions.
const PAUSE: Duration = Duration::from_millis(50);

/// Removes events that are older than `kept`, until `stop`.
///
/// # Errors
/// The store's.
pub(super) async fn prune_regularly(
    store: &dyn AdminStore,
    clock: &Clock,
    kept: Duration,
    stop: &CancellationToken,
) -> Result<(), StoreError> {
    let kept = i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
    while !stop.is_cancelled() {
        let before = Timestamp(clock.now().0.saturating_sub(kept));
        let full = store.prune(before, STEP).await? == u64::from(STEP);
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(if full { PAUSE } else { INTERVAL }) => {}
        }
    }
    Ok(())
}
