//! Work on the store that nobody waits for: checks its counts, removes old events from the journal, and tests it after a
//! failure.

use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::clock::{Clock, ClockJump, Timestamp};
use crate::retry::RetryNow;
use crate::store::{AdminStore, BaseStore, StoreError};
use crate::telemetry::Observer;

/// How often to look for old events.
const INTERVAL: Duration = Duration::from_secs(3600);
/// The number of events that one transaction removes: small, so that other transactions do not wait long.
const STEP: u32 = 1000;
/// The pause between two such transactions.
const PAUSE: Duration = Duration::from_millis(50);

/// How often a store that fails is tested.
const TRY: Duration = Duration::from_secs(1);
/// The name of a note that is written only for that.
const WRITE_TEST: &str = "written";

/// Tests a store that failed until `stop`, by writing, because reads do not show whether it works. As soon as it does, ends the
/// waits that the failure caused.
pub(super) async fn watch_store(
    store: &dyn BaseStore,
    observer: &Observer,
    retry_now: &RetryNow,
    stop: &CancellationToken,
) {
    while !stop.is_cancelled() {
        tokio::select! {
            () = stop.cancelled() => {}
            () = sleep(TRY) => {}
        }
        if !observer.store_fails() {
            continue;
        }
        match store.set_note(WRITE_TEST, b"").await {
            Ok(()) => {
                observer.store_works();
                retry_now.notify();
            }
            Err(error) => observer.store_failed(&error),
        }
    }
}

/// Keeps house until `stop`. Removes events that are older than `kept`.
///
/// A clock that is years ahead would have the whole journal removed, so a clock is believed only after it was not set for an
/// hour.
///
/// # Errors
/// The store's.
pub(super) async fn keep_house(
    store: &dyn AdminStore,
    clock: &Clock,
    kept: Duration,
    stop: &CancellationToken,
) -> Result<(), StoreError> {
    if !store.check_counts().await? {
        tracing::warn!("the stored counts of members and invitations were wrong and are corrected");
    }
    let kept = i64::try_from(kept.as_millis()).unwrap_or(i64::MAX);
    let mut jump = ClockJump::watch(clock);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = sleep(INTERVAL) => {}
        }
        if jump.detect(clock).is_some() {
            continue;
        }
        let before = Timestamp(clock.now().0.saturating_sub(kept));
        while store.prune(before, STEP).await? == u64::from(STEP) && !stop.is_cancelled() {
            sleep(PAUSE).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use tokio::task::JoinSet;

    use super::*;
    use crate::model::{Event, Source, What};
    use crate::rules::Noted;
    use crate::store::{Store, in_memory};

    const DAY: Duration = Duration::from_secs(24 * 3600);

    /// A store with the directory `main`, of which an event is noted at this time.
    async fn store_with_event(at: Timestamp) -> Arc<dyn Store> {
        let store = in_memory().await.unwrap();
        let directory = store.register("main", "", "").await.unwrap().id;
        let event = Event {
            at,
            directory: "main".into(),
            person: None,
            dn: String::new(),
            address: None,
            source: Source::Stream,
            what: What::Joined,
        };
        let noted = Noted { directory, event };
        store
            .end_listing(directory, false, Some(noted), at)
            .await
            .unwrap();
        store
    }

    async fn events(store: &dyn Store) -> usize {
        let page = store.journal(0, Timestamp(i64::MIN), 10).await.unwrap();
        page.len()
    }

    #[tokio::test(start_paused = true)]
    async fn old_events_are_removed_and_a_clock_that_was_just_set_ahead_removes_none() {
        let start = Timestamp(1_800_000_000_000);
        let store = store_with_event(start).await;
        let ahead = Arc::new(AtomicI64::new(0));
        let (real, set) = (Clock::following_tokio(start), ahead.clone());
        let clock = Clock::read_by(move || Timestamp(real.now().0 + set.load(Ordering::Relaxed)));
        let stop = CancellationToken::new();
        let mut house = JoinSet::new();
        house.spawn({
            let (store, stop) = (store.clone(), stop.clone());
            async move { keep_house(&*store, &clock, 30 * DAY, &stop).await }
        });

        sleep(2 * INTERVAL).await;
        let decade = i64::try_from((3650 * DAY).as_millis()).unwrap();
        ahead.store(decade, Ordering::Relaxed);
        sleep(INTERVAL).await;
        ahead.store(0, Ordering::Relaxed);
        sleep(20 * DAY).await;
        assert_eq!(events(&*store).await, 1);
        sleep(11 * DAY).await;
        assert_eq!(events(&*store).await, 0);
        stop.cancel();
        house.join_next().await.unwrap().unwrap().unwrap();
    }
}
