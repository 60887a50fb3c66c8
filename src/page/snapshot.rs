//! What the page shows of the service at one moment, read once for everyone who looks at it.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::history::History;
use crate::clock::{Clock, Timestamp};
use crate::model::Event;
use crate::store::{Hour, Report, Store, StoreError, Unregistered};
use crate::telemetry::Observer;

/// How old a snapshot may be that somebody gets. However many look, the store is read this often at most.
const FRESH: Duration = Duration::from_millis(500);
/// How long the store may take: whoever looks learns soon that it is silent.
const PATIENCE: Duration = Duration::from_secs(3);
/// The number of events and of people who have not registered that are shown.
const SHOWN: u32 = 50;

/// What the page shows.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// When it was read.
    pub(super) now: Timestamp,
    /// Changes whenever something else is to be shown; times that merely pass do not count.
    pub(super) version: String,
    /// Why the service is not ready; nothing if it is.
    pub(super) reasons: Vec<String>,
    /// The directories to which another instance listens.
    pub(super) standing_by: Vec<String>,
    /// When each directory has sent its last message.
    pub(super) heard: Vec<(String, Timestamp)>,
    /// What is stored, or why it cannot be read.
    pub(super) stored: Result<Stored, String>,
}

/// What is read from the store.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) report: Report,
    /// The last events, newest first.
    pub(super) events: Vec<Event>,
    /// Those who were invited first among those who have not registered.
    pub(super) unregistered: Vec<Unregistered>,
    /// The last 24 hours.
    pub(super) day: Vec<Hour>,
    /// The last 30 days.
    pub(super) month: Vec<Hour>,
    /// Whether the whole month was counted yet.
    pub(super) counted: bool,
}

/// Reads snapshots.
pub(super) struct Snapshots {
    store: Arc<dyn Store>,
    observer: Observer,
    clock: Clock,
    last: Mutex<Last>,
}

/// What was read last.
#[derive(Default)]
struct Last {
    history: History,
    snapshot: Option<(Instant, Arc<Snapshot>)>,
}

impl Snapshots {
    pub(super) fn new(store: Arc<dyn Store>, observer: Observer) -> Self {
        Self {
            clock: store.clock(),
            store,
            observer,
            last: Mutex::default(),
        }
    }

    /// A snapshot of now.
    pub(super) async fn get(&self) -> Arc<Snapshot> {
        let mut last = self.last.lock().await;
        if let Some((at, snapshot)) = &last.snapshot
            && at.elapsed() < FRESH
        {
            return snapshot.clone();
        }
        let snapshot = Arc::new(self.read(&mut last.history).await);
        last.snapshot = Some((Instant::now(), snapshot.clone()));
        snapshot
    }

    /// Makes the next snapshot a new one: something was done.
    pub(super) async fn expire(&self) {
        self.last.lock().await.snapshot = None;
    }

    async fn read(&self, history: &mut History) -> Snapshot {
        let now = self.clock.now();
        let stored = match timeout(PATIENCE, self.read_store(history, now)).await {
            Ok(stored) => stored.map_err(|error| error.to_string()),
            Err(_) => Err(format!("it does not answer within {} s", PATIENCE.as_secs())),
        };
        let reasons = self.observer.ready().err().unwrap_or_default();
        let standing_by = self.observer.standing_by();
        let heard = self.observer.silence().into_iter();
        let heard = heard.map(|(name, silence)| {
            let silence = i64::try_from(silence.as_millis()).unwrap_or(i64::MAX);
            (name, Timestamp(now.0.saturating_sub(silence)))
        });
        Snapshot {
            now,
            version: version(&stored, &self.observer.causes(), &standing_by),
            reasons,
            standing_by,
            heard: heard.collect(),
            stored,
        }
    }

    async fn read_store(&self, history: &mut History, now: Timestamp) -> Result<Stored, StoreError> {
        history.read(&*self.store, now).await?;
        let events = self.store.latest(SHOWN).await?;
        Ok(Stored {
            report: self.store.report().await?,
            events: events.into_iter().map(|(_, event)| event).collect(),
            unregistered: self.store.unregistered((Timestamp(0), 0), SHOWN).await?,
            day: history.periods(now, 24, 1),
            month: history.periods(now, 30, 24),
            counted: history.is_complete(),
        })
    }
}

/// The digest of what is shown. `causes` are the reasons without their durations, which change every second.
fn version(stored: &Result<Stored, String>, causes: &[String], standing_by: &[String]) -> String {
    let mut hasher = DefaultHasher::new();
    (causes, standing_by).hash(&mut hasher);
    match stored {
        Ok(stored) => {
            let mut report = stored.report.clone();
            for directory in &mut report.directories {
                directory.recorded = None;
            }
            let rest = (&stored.events, &stored.unregistered, &stored.day, stored.counted);
            format!("{report:?}{rest:?}").hash(&mut hasher);
        }
        Err(error) => error.hash(&mut hasher),
    }
    format!("{:016x}", hasher.finish())
}
