//! Keeps the journal from growing for ever.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, Timestamp};
use crate::store::{Store, StoreError};

/// Old events are looked for this often.
const INTERVAL: Duration = Duration::from_secs(3600);
/// Events that one transaction removes: nobody waits for it longer than for a batch of a listing.
const STEP: u32 = 1000;
/// The pause between two such transactions.
const PAUSE: Duration = Duration::from_millis(50);

/// Removes events that are older than `kept`, until `stop`.
///
/// # Errors
/// The store's.
pub(super) async fn keep_pruned(
    store: &dyn Store,
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
