//! Groups changes into batches, and reads the next batch while the previous one is committed.

use std::pin::pin;

use futures::FutureExt;
use futures::stream::{Fuse, StreamExt};

use crate::directory::{Changes, DirectoryError};
use crate::model::Change;

/// The largest number of changes in a batch, and in the read-ahead.
const BATCH: usize = 1000;
/// The memory in bytes above which a batch gets no further change. The last change may exceed it.
const BYTES: usize = 2 * 1024 * 1024;

/// Consecutive changes. An error can only be the last one.
pub(super) type Batch = Vec<Result<Change, DirectoryError>>;

/// A stream of batches. A batch contains the changes that are ready; it does not wait to be filled.
pub(super) struct Batches {
    changes: Fuse<Changes>,
    ahead: Batch,
    /// The size of `ahead` in memory.
    bytes: usize,
}

impl Batches {
    pub(super) fn of(changes: Changes) -> Self {
        Self {
            changes: changes.fuse(),
            ahead: Vec::new(),
            bytes: 0,
        }
    }

    /// Waits for the next batch; `None` at the end.
    ///
    /// # Cancellation
    /// Safe: no change is lost.
    pub(super) async fn next(&mut self) -> Option<Batch> {
        if self.ahead.is_empty() {
            let first = self.changes.next().await?;
            self.push(first);
        }
        while self.has_room()
            && let Some(Some(change)) = self.changes.next().now_or_never()
        {
            self.push(change);
        }
        self.bytes = 0;
        Some(std::mem::take(&mut self.ahead))
    }

    fn has_room(&self) -> bool {
        self.ahead.len() < BATCH && self.bytes < BYTES
    }

    fn push(&mut self, change: Result<Change, DirectoryError>) {
        self.bytes += change.as_ref().map_or(0, Change::size);
        self.ahead.push(change);
    }

    /// Runs `work` and reads ahead at the same time: one core decodes the directory's bytes while another writes to SQLite.
    pub(super) async fn read_during<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                Some(change) = self.changes.next(), if self.has_room() => self.push(change),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::stream;
    use tokio::time::sleep;

    use super::*;
    use crate::model::Cursor;

    fn alive(count: usize) -> Changes {
        stream::iter((0..count).map(|_| Ok(Change::Alive))).boxed()
    }

    #[tokio::test]
    async fn a_batch_contains_what_is_ready_and_is_never_larger_than_the_limit() {
        let mut batches = Batches::of(alive(BATCH + 1));
        let mut seen = 0;
        while let Some(batch) = batches.next().await {
            assert!((1..=BATCH).contains(&batch.len()));
            seen += batch.len();
        }
        assert_eq!(seen, BATCH + 1);
    }

    #[tokio::test]
    async fn a_batch_is_limited_in_bytes_except_for_its_last_change() {
        let large = |bytes| Ok(Change::Checkpoint(Cursor(vec![0; bytes])));
        let sizes = [BYTES / 2, BYTES / 2, 1, 3 * BYTES, 1];
        let mut batches = Batches::of(stream::iter(sizes.map(large)).boxed());
        let mut lengths = Vec::new();
        while let Some(batch) = batches.next().await {
            lengths.push(batch.len());
        }
        assert_eq!(lengths, [2, 2, 1]);
        let mut batches = Batches::of(stream::iter([BYTES; 4].map(large)).boxed());
        batches.read_during(sleep(Duration::from_millis(1))).await;
        assert_eq!(batches.ahead.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn work_does_not_wait_for_the_stream_and_at_most_a_batch_is_read_ahead() {
        for (count, ahead) in [(3 * BATCH, BATCH), (0, 0)] {
            let mut batches = Batches::of(alive(count).chain(stream::pending()).boxed());
            batches.read_during(sleep(Duration::from_secs(1))).await;
            assert_eq!(batches.ahead.len(), ahead);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn changes_before_the_end_of_a_stream_that_ends_during_work_are_not_lost() {
        let mut batches = Batches::of(alive(2));
        batches.read_during(sleep(Duration::from_secs(1))).await;
        assert_eq!(batches.next().await.map(|batch| batch.len()), Some(2));
        assert!(batches.next().await.is_none());
    }
}
