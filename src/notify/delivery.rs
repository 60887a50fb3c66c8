//! Delivers the events of the journal to one receiver.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{Notification, NotifyError, Receiver};
use crate::clock::{Clock, Timestamp};
use crate::model::Event;
use crate::retry::RetryNow;
use crate::store::{Store, StoreError};
use crate::telemetry::Observer;
use crate::traces::Span;

/// How often the journal is asked for news.
const POLL: Duration = Duration::from_secs(1);
/// The number of events that are read at a time.
const PAGE: u32 = 500;
/// How long a delivery may go on after the service was asked to stop.
const STOP_GRACE: Duration = Duration::from_secs(5);
/// How long [`Until::Delivered`] may take.
pub(super) const ONCE: Duration = Duration::from_secs(10);

/// When to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Until {
    /// When it is stopped.
    Stopped,
    /// When all events are delivered, the receiver fails, or 10 seconds have passed.
    Delivered,
}

/// What all deliveries share.
#[derive(Clone)]
pub struct Context {
    /// Has the journal, and the cursor of each receiver.
    pub store: Arc<dyn Store>,
    /// Is told of successes and failures.
    pub observer: Observer,
    /// Tells the age of events.
    pub clock: Clock,
    /// Ends the waits after failures.
    pub retry_now: RetryNow,
    /// Returns random numbers from `0.0..1.0`.
    pub jitter: fn() -> f64,
}

/// Delivers events to one receiver.
///
/// # Guarantees
/// The receiver accepts each event of the chosen kinds before the next one is sent. An event is sent again if the service
/// ends between the acceptance and the storing of the cursor.
pub(super) struct Delivery {
    receiver: Arc<dyn Receiver>,
    events: Vec<&'static str>,
    /// The random identity of the state.
    instance: String,
    context: Context,
}

/// How far a receiver is.
struct Progress {
    /// The number of the last event that is done with.
    cursor: i64,
    /// Whether the cursor is to be stored.
    unsaved: bool,
    /// The events after it that are read already.
    page: VecDeque<(i64, Event)>,
}

impl Delivery {
    /// A receiver of these kinds of events. If it has no cursor, it begins at the present end of the journal.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn begin(
        receiver: Arc<dyn Receiver>,
        events: Vec<&'static str>,
        instance: String,
        context: Context,
    ) -> Result<Self, StoreError> {
        let name = receiver.name();
        if stored(name, &context).await?.is_none() {
            let end = context.store.journal_end().await?;
            store(name, end, &context).await?;
            context.observer.notifications_begin(name, end);
        }
        Ok(Self {
            receiver,
            events,
            instance,
            context,
        })
    }

    /// Forgets the cursor of a receiver that is not configured.
    pub(super) async fn forget(name: &str, context: &Context) -> Result<(), StoreError> {
        if stored(name, context).await?.is_some() {
            context.store.set_note(&note(name), b"").await?;
        }
        Ok(())
    }

    /// The name of the receiver.
    pub(super) fn receiver(&self) -> &'static str {
        self.receiver.name()
    }

    /// Delivers events until the condition of `until` is met or `stop` is cancelled.
    ///
    /// # Cancellation
    /// Safe: an event in progress is delivered again by the next run.
    pub(super) async fn run(&self, until: Until, stop: &CancellationToken) {
        let stopped = async {
            stop.cancelled().await;
            sleep(STOP_GRACE).await;
        };
        let time_over = async {
            match until {
                Until::Stopped => std::future::pending().await,
                Until::Delivered => sleep(ONCE).await,
            }
        };
        tokio::select! {
            () = self.deliver(until, stop) => {}
            () = stopped => {}
            () = time_over => {}
        }
    }

    async fn deliver(&self, until: Until, stop: &CancellationToken) {
        let Context {
            observer,
            retry_now,
            jitter,
            ..
        } = &self.context;
        let (mut progress, mut failures) = (None, 0_u32);
        let mut retried = retry_now.subscribe();
        while !stop.is_cancelled() {
            retried.mark_unchanged();
            let wait = match self.step(&mut progress).await {
                Ok(true) => {
                    failures = 0;
                    continue;
                }
                Ok(false) => POLL,
                Err(error) => {
                    failures = failures.saturating_add(1);
                    let wait = error.wait(failures, jitter());
                    observer.notification_failed(self.receiver(), &error, wait);
                    wait
                }
            };
            if until == Until::Delivered {
                return;
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = sleep(wait) => {}
                _ = retried.changed() => {}
            }
        }
    }

    /// Reads events, or delivers one. Returns whether there was anything to do.
    async fn step(&self, progress: &mut Option<Progress>) -> Result<bool, NotifyError> {
        let progress = match progress {
            Some(progress) => progress,
            None => progress.insert(Progress {
                cursor: stored(self.receiver(), &self.context).await?.unwrap_or_default(),
                unsaved: false,
                page: VecDeque::new(),
            }),
        };
        // Before anything else, so that an event is not delivered again just because its cursor cannot be stored now.
        self.save(progress).await?;
        let Some((number, event)) = progress.page.front() else {
            progress.page = self.read(progress).await?.into();
            return Ok(!progress.page.is_empty());
        };
        let is_chosen = self.events.contains(&event.what.name());
        if is_chosen {
            let Context { observer, clock, .. } = &self.context;
            observer.notifications_wait(self.receiver(), Some(clock.now().since(event.at)));
            let notification = Notification::of(&self.instance, *number, event);
            let span = Span::new("notify")
                .with("ldap_usher.receiver", self.receiver())
                .with("ldap_usher.event", event.what.name());
            span.attempt(|_| "failed", self.receiver.deliver(&notification))
                .await?;
            observer.notified(self.receiver());
        }
        progress.cursor = *number;
        progress.page.pop_front();
        // Events that are not sent need no cursor of their own.
        progress.unsaved = is_chosen || progress.page.is_empty();
        self.save(progress).await?;
        Ok(true)
    }

    /// The next events.
    async fn read(&self, progress: &mut Progress) -> Result<Vec<(i64, Event)>, StoreError> {
        let Context { store, observer, .. } = &self.context;
        let end = store.journal_end().await?;
        if end < progress.cursor {
            // All events were removed, and the numbers begin again.
            progress.cursor = 0;
            progress.unsaved = true;
        }
        if end == progress.cursor {
            observer.notifications_wait(self.receiver(), None);
            return Ok(Vec::new());
        }
        let page = store.journal(progress.cursor, Timestamp(i64::MIN), PAGE).await?;
        // Numbers have gaps only where events were removed.
        let first = page.first().map(|(number, _)| *number).unwrap_or_default();
        let lost = u64::try_from(first - progress.cursor - 1).unwrap_or_default();
        if lost > 0 {
            observer.notifications_lost(self.receiver(), lost);
        }
        Ok(page)
    }

    async fn save(&self, progress: &mut Progress) -> Result<(), StoreError> {
        if progress.unsaved {
            store(self.receiver(), progress.cursor, &self.context).await?;
            progress.unsaved = false;
        }
        Ok(())
    }
}

/// The name of the note with the cursor of a receiver.
fn note(receiver: &str) -> String {
    format!("notify-{receiver}")
}

async fn stored(receiver: &str, context: &Context) -> Result<Option<i64>, StoreError> {
    let note = context.store.get_note(&note(receiver)).await?;
    Ok(note.and_then(|note| str::from_utf8(&note).ok()?.parse().ok()))
}

async fn store(receiver: &str, cursor: i64, context: &Context) -> Result<(), StoreError> {
    let cursor = cursor.to_string();
    context.store.set_note(&note(receiver), cursor.as_bytes()).await
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures::FutureExt;
    use futures::future::BoxFuture;
    use tokio::task::JoinSet;

    use super::*;
    use crate::model::{Source, What};
    use crate::rules::Noted;
    use crate::store::in_memory;
    use crate::telemetry::GRACE;

    /// Accepts an event after it has failed as often as told.
    #[derive(Default)]
    struct Fake {
        failures: Mutex<u32>,
        accepted: Mutex<Vec<i64>>,
    }

    impl Receiver for Fake {
        fn name(&self) -> &'static str {
            "webhook"
        }

        fn shown(&self) -> String {
            "fake".into()
        }

        fn deliver<'a>(
            &'a self,
            notification: &'a Notification,
        ) -> BoxFuture<'a, Result<String, NotifyError>> {
            async {
                let mut failures = self.failures.lock().unwrap();
                if *failures > 0 {
                    *failures -= 1;
                    return Err(NotifyError::Url { what: "URL" });
                }
                // Its id ends in the time of the event.
                let json: serde_json::Value = serde_json::from_str(&notification.body).unwrap();
                let id = json["id"].as_str().unwrap();
                let at = id.rsplit('-').next().unwrap().parse().unwrap();
                self.accepted.lock().unwrap().push(at);
                Ok(String::new())
            }
            .boxed()
        }
    }

    struct Journal {
        store: Arc<dyn Store>,
        directory: i64,
    }

    impl Journal {
        async fn new() -> Self {
            let store = in_memory().await.unwrap();
            let directory = store.register("main", "", "").await.unwrap().id;
            Self { store, directory }
        }

        async fn note(&self, times: impl IntoIterator<Item = i64>) {
            for at in times.into_iter().map(Timestamp) {
                let event = Event {
                    at,
                    directory: "main".into(),
                    person: None,
                    dn: String::new(),
                    address: None,
                    source: Source::Stream,
                    what: What::Joined,
                };
                let directory = self.directory;
                let noted = Some(Noted { directory, event });
                self.store.end_listing(directory, false, noted, at).await.unwrap();
            }
        }

        async fn delivery(&self, receiver: &Arc<Fake>) -> Delivery {
            let context = Context {
                store: self.store.clone(),
                observer: Observer::new([], GRACE),
                clock: Clock::following_tokio(Timestamp(1_000_000)),
                retry_now: RetryNow::default(),
                jitter: || 0.5,
            };
            Delivery::begin(receiver.clone(), vec!["joined"], "it".into(), context)
                .await
                .unwrap()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn events_come_in_order_after_any_number_of_failures() {
        let (journal, receiver) = (Journal::new().await, Arc::<Fake>::default());
        *receiver.failures.lock().unwrap() = 30;
        journal.note([1]).await;
        let delivery = journal.delivery(&receiver).await;
        journal.note(2..1202).await;
        let (stop, mut running) = (CancellationToken::new(), JoinSet::new());
        let token = stop.clone();
        running.spawn(async move { delivery.run(Until::Stopped, &token).await });
        sleep(Duration::from_secs(12 * 3600)).await;
        journal.note([1202]).await;
        sleep(2 * POLL).await;
        stop.cancel();
        running.join_next().await.unwrap().unwrap();
        // The first one had happened before the receiver began.
        assert_eq!(*receiver.accepted.lock().unwrap(), (2..=1202).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_cursor_into_a_part_of_the_journal_that_was_removed_goes_on_with_what_is_left() {
        let (journal, receiver) = (Journal::new().await, Arc::<Fake>::default());
        let never = CancellationToken::new();
        let delivery = journal.delivery(&receiver).await;
        journal.note(1..10).await;
        journal.store.prune(Timestamp(5), 100).await.unwrap();
        delivery.run(Until::Delivered, &never).await;
        assert_eq!(*receiver.accepted.lock().unwrap(), [5, 6, 7, 8, 9]);
        // Of an empty journal the numbers begin again.
        journal.store.prune(Timestamp(100), 100).await.unwrap();
        delivery.run(Until::Delivered, &never).await;
        journal.note([10]).await;
        journal
            .delivery(&receiver)
            .await
            .run(Until::Delivered, &never)
            .await;
        assert_eq!(*receiver.accepted.lock().unwrap(), [5, 6, 7, 8, 9, 10]);
    }
}
