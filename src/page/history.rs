//! What happened in each hour of the last month, counted from the journal.
//!
//! The first reading goes back from the end of the journal in pages, each a short transaction that does not delay others. Then
//! only new events are read. Nothing is kept for it besides the journal.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::clock::Timestamp;
use crate::store::{AdminStore, Hour, StoreError};

/// The number of events that one transaction counts.
const PAGE: i64 = 5_000;
/// How long to count before the answer is given; the next one goes on.
const PATIENCE: Duration = Duration::from_millis(60);
/// The milliseconds of an hour and of the time that is shown.
const HOUR: i64 = 3_600_000;
const MONTH: i64 = 30 * 24 * HOUR;

/// The hours that were counted so far.
#[derive(Debug, Default)]
pub(super) struct History {
    hours: BTreeMap<i64, Hour>,
    /// The events with numbers above `from` and up to `upto` were counted.
    from: i64,
    upto: i64,
    /// The number of the oldest event when the counting began.
    first: i64,
    /// Whether the beginning of the month was reached.
    complete: bool,
}

impl History {
    /// Counts what is new, and more of what is old.
    pub(super) async fn read(&mut self, store: &dyn AdminStore, now: Timestamp) -> Result<(), StoreError> {
        let end = store.journal_end().await?;
        if end < self.upto {
            // All events were removed, and their numbers begin again.
            *self = Self::default();
        }
        if self.upto == 0 && !self.complete {
            // Read before anything is noted: if it fails, the next reading begins anew.
            let oldest = store.journal(0, Timestamp(i64::MIN), 1).await?;
            self.first = oldest.first().map_or(end, |(number, _)| *number);
            (self.from, self.upto) = (end, end);
        }
        let oldest = now.0 - MONTH;
        self.hours.retain(|began, _| *began > oldest - HOUR);
        let began = Instant::now();
        while self.upto < end && began.elapsed() < PATIENCE {
            let upto = end.min(self.upto.saturating_add(PAGE));
            self.add(&store.hours(self.upto, upto).await?);
            self.upto = upto;
        }
        while !self.complete && began.elapsed() < PATIENCE {
            let after = (self.from - PAGE).max(0);
            let page = store.hours(after, self.from).await?;
            let reached = page.first().is_some_and(|hour| hour.began.0 < oldest);
            self.add(&page);
            self.from = after;
            self.complete = after == 0 || after < self.first || reached;
        }
        Ok(())
    }

    /// Whether everything was counted.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    fn add(&mut self, page: &[Hour]) {
        for more in page {
            let hour = self.hours.entry(more.began.0).or_insert(Hour {
                began: more.began,
                ..Hour::default()
            });
            hour.joined += more.joined;
            hour.left += more.left;
            hour.invited += more.invited;
            hour.delays_ms += more.delays_ms;
            hour.longest_ms = hour.longest_ms.max(more.longest_ms);
        }
    }

    /// The last `count` periods of so many hours, the present one last.
    pub(super) fn periods(&self, now: Timestamp, count: i64, hours: i64) -> Vec<Hour> {
        let length = hours * HOUR;
        let present = now.0.div_euclid(length) * length;
        let period = |n: i64| {
            let began = present - (count - 1 - n) * length;
            let within = self.hours.range(began..began + length);
            within.fold(
                Hour {
                    began: Timestamp(began),
                    ..Hour::default()
                },
                |sum, (_, hour)| Hour {
                    began: sum.began,
                    joined: sum.joined + hour.joined,
                    left: sum.left + hour.left,
                    invited: sum.invited + hour.invited,
                    delays_ms: sum.delays_ms + hour.delays_ms,
                    longest_ms: sum.longest_ms.max(hour.longest_ms),
                },
            )
        };
        (0..count).map(period).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Event, Source, What};
    use crate::rules::Noted;
    use crate::store::{Store, in_memory};
    use std::sync::Arc;

    const NOW: Timestamp = Timestamp(1_800_000_000_000);

    async fn happens(store: &Arc<dyn Store>, at: Timestamp, source: Source, what: What) {
        let directory = store.register("main", "", "").await.unwrap().id;
        let event = Event {
            at,
            directory: "main".into(),
            person: None,
            dn: String::new(),
            address: None,
            source,
            what,
        };
        let noted = Noted { directory, event };
        let ended = store.end_listing(directory, false, Some(noted), at);
        ended.await.unwrap();
    }

    #[tokio::test]
    async fn the_past_and_what_is_new_are_counted_once_by_hour_and_day() {
        let store = in_memory().await.unwrap();
        let hour = |n: i64| Timestamp(NOW.0 - n * HOUR);
        happens(&store, hour(31 * 24), Source::Stream, What::Joined).await;
        happens(&store, hour(2), Source::Stream, What::Joined).await;
        let listed = What::Listed {
            joined: 7,
            left: 2,
            queued: 7,
            held: 0,
        };
        happens(&store, hour(2), Source::Listing, What::Joined).await;
        happens(&store, hour(2), Source::Listing, listed).await;
        let mut history = History::default();
        history.read(&*store, NOW).await.unwrap();
        happens(&store, NOW, Source::Vaultwarden, What::Invited { after_ms: 40 }).await;
        happens(&store, NOW, Source::Stream, What::Left { reason: None }).await;
        for _ in 0..3 {
            history.read(&*store, NOW).await.unwrap();
        }
        assert!(history.is_complete());
        let day = history.periods(NOW, 24, 1);
        assert_eq!((day[21].joined, day[21].left), (8, 2));
        assert_eq!((day[23].left, day[23].invited, day[23].delays_ms), (1, 1, 40));
        let month = history.periods(NOW, 30, 24);
        assert_eq!(month.iter().map(|day| day.joined).sum::<u64>(), 8);
    }

    #[tokio::test]
    async fn an_empty_journal_is_counted_at_once_and_what_comes_later_is_counted_too() {
        let store = in_memory().await.unwrap();
        let mut history = History::default();
        history.read(&*store, NOW).await.unwrap();
        assert!(history.is_complete());
        for _ in 0..3 {
            happens(&store, NOW, Source::Stream, What::Joined).await;
        }
        history.read(&*store, NOW).await.unwrap();
        assert_eq!(history.periods(NOW, 1, 1)[0].joined, 3);
    }

    #[tokio::test]
    async fn a_journal_that_was_emptied_is_counted_from_its_beginning() {
        let store = in_memory().await.unwrap();
        let mut history = History {
            upto: 99,
            complete: true,
            ..History::default()
        };
        happens(&store, NOW, Source::Stream, What::Joined).await;
        history.read(&*store, NOW).await.unwrap();
        assert_eq!(history.periods(NOW, 1, 1)[0].joined, 1);
    }
}
