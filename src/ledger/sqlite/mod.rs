//! The ledger on SQLite: one file, one connection, since SQLite has one writer anyway.
//!
//! WAL with `synchronous = NORMAL`: a commit costs no sync, transactions reach the disk in their order, and after a
//! power loss the last ones may be missing. The cursor is part of them, so that the directory repeats what was lost.

mod error;
mod invitations;
mod listener;
mod lock;
mod open;
mod people;
mod rehearsal;
mod report;
mod rows;
mod tasks;

use std::path::PathBuf;
use std::time::Duration;

use futures::TryFutureExt;
use sqlx::{Connection, SqliteConnection, SqliteTransaction};
use tokio::sync::Mutex;

use super::{
    Batch, Committed, DirectoryRow, DirectoryState, Ledger, ListingOutcome, Reply, Report, TaskReport,
    Unchecked,
};
use crate::clock::Timestamp;
use crate::model::{EmailAddress, EntryId, Listing, Member, Settlement, Task};
use lock::ServiceLock;

/// A ledger in an SQLite file.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    db: Mutex<SqliteConnection>,
    /// Held as long as the service runs; the other ways to open the file take none.
    _lock: Option<ServiceLock>,
}

impl Sqlite {
    fn reply<'a, T>(
        &'a self,
        doing: &'static str,
        work: impl Future<Output = sqlx::Result<T>> + Send + 'a,
    ) -> Reply<'a, T> {
        Box::pin(work.map_err(move |e| error::failed(&self.path, doing, &e)))
    }
}

/// A transaction that writes. It asks for the write lock at once, because SQLite refuses rather than waits where a
/// transaction that began by reading wants to write while another process did.
async fn begin(db: &mut SqliteConnection) -> sqlx::Result<SqliteTransaction<'_>> {
    db.begin_with("begin immediate").await
}

/// Each method is one transaction. Dropping its future before it is ready rolls the transaction back, or leaves it
/// committed as a whole.
impl Ledger for Sqlite {
    fn enroll<'a>(&'a self, name: &'a str, settings: &'a str) -> Reply<'a, DirectoryRow> {
        self.reply("enrolling a directory", async move {
            let mut db = self.db.lock().await;
            let mut tx = begin(&mut db).await?;
            let row = listener::enroll(&mut tx, name, settings).await?;
            tx.commit().await?;
            Ok(row)
        })
    }

    fn known<'a>(&'a self, directory: i64, who: &'a [EntryId]) -> Reply<'a, Vec<Member>> {
        self.reply("reading members", async move {
            listener::known(&mut *self.db.lock().await, directory, who).await
        })
    }

    fn begin_listing(&self, directory: i64) -> Reply<'_, ()> {
        self.reply("beginning a listing", async move {
            listener::begin_listing(&mut *self.db.lock().await, directory).await
        })
    }

    fn commit<'a>(&'a self, batch: &'a Batch, now: Timestamp) -> Reply<'a, Committed> {
        self.reply("committing changes", async move {
            let mut db = self.db.lock().await;
            let mut tx = begin(&mut db).await?;
            let committed = listener::commit(&mut tx, batch, now).await?;
            tx.commit().await?;
            Ok(committed)
        })
    }

    fn unseen(&self, directory: i64, after: i64, limit: u32) -> Reply<'_, Vec<Member>> {
        self.reply("reading unseen members", async move {
            listener::unseen(&mut *self.db.lock().await, directory, after, limit).await
        })
    }

    fn end_listing<'a>(
        &'a self,
        directory: i64,
        end: &'a Listing,
        hold_above: Option<u32>,
        now: Timestamp,
    ) -> Reply<'a, ListingOutcome> {
        self.reply("ending a listing", async move {
            let mut db = self.db.lock().await;
            let mut tx = begin(&mut db).await?;
            let outcome = listener::end_listing(&mut tx, directory, end, hold_above, now).await?;
            tx.commit().await?;
            Ok(outcome)
        })
    }

    fn observe<'a>(&'a self, directory: i64, state: &'a DirectoryState, now: Timestamp) -> Reply<'a, ()> {
        self.reply("recording a directory's state", async move {
            listener::observe(&mut *self.db.lock().await, directory, state, now).await
        })
    }

    fn claim(&self, max: u32, lease: Duration, now: Timestamp) -> Reply<'_, Vec<Task>> {
        self.reply("claiming tasks", async move {
            tasks::claim(&mut *self.db.lock().await, max, lease, now).await
        })
    }

    fn settle<'a>(&'a self, settled: &'a [(i64, Settlement)], now: Timestamp) -> Reply<'a, ()> {
        self.reply("settling tasks", async move {
            tasks::settle(&mut *self.db.lock().await, settled, now).await
        })
    }

    fn next_due(&self) -> Reply<'_, Option<Timestamp>> {
        self.reply("looking for the next task", async move {
            tasks::next_due(&mut *self.db.lock().await).await
        })
    }

    fn unchecked(&self) -> Reply<'_, Unchecked> {
        self.reply("counting unchecked tasks", async move {
            tasks::unchecked(&mut *self.db.lock().await).await
        })
    }

    fn had_accounts<'a>(&'a self, accounts: &'a [EmailAddress], now: Timestamp) -> Reply<'a, u64> {
        self.reply("comparing accounts", async move {
            tasks::had_accounts(&mut *self.db.lock().await, accounts, now).await
        })
    }

    fn checked(
        &self,
        begun: Timestamp,
        hold_above: Option<u32>,
        now: Timestamp,
    ) -> Reply<'_, Vec<(String, u64)>> {
        self.reply("ending the comparison of accounts", async move {
            let mut db = self.db.lock().await;
            let mut tx = begin(&mut db).await?;
            let held = tasks::checked(&mut tx, begun, hold_above, now).await?;
            tx.commit().await?;
            Ok(held)
        })
    }

    fn approve<'a>(
        &'a self,
        addresses: Option<&'a [EmailAddress]>,
        now: Timestamp,
    ) -> Reply<'a, Vec<String>> {
        self.reply("approving invitations", async move {
            people::approve(&mut *self.db.lock().await, addresses, now).await
        })
    }

    fn held(&self) -> Reply<'_, Vec<TaskReport>> {
        self.reply("reading held invitations", async move {
            people::held(&mut *self.db.lock().await).await
        })
    }

    fn retry<'a>(&'a self, addresses: Option<&'a [EmailAddress]>, now: Timestamp) -> Reply<'a, Vec<String>> {
        self.reply("releasing quarantined invitations", async move {
            people::retry(&mut *self.db.lock().await, addresses, now).await
        })
    }

    fn quarantined(&self) -> Reply<'_, Vec<TaskReport>> {
        self.reply("reading quarantined invitations", async move {
            people::quarantined(&mut *self.db.lock().await).await
        })
    }

    fn report(&self) -> Reply<'_, Report> {
        self.reply("reading the report", async move {
            let mut db = self.db.lock().await;
            // One transaction, so that the numbers belong together.
            report::report(&mut *db.begin().await?).await
        })
    }

    fn recall<'a>(&'a self, name: &'a str) -> Reply<'a, Option<Vec<u8>>> {
        self.reply("reading a note", async move {
            people::recall(&mut *self.db.lock().await, name).await
        })
    }

    fn remember<'a>(&'a self, name: &'a str, note: &'a [u8]) -> Reply<'a, ()> {
        self.reply("keeping a note", async move {
            people::remember(&mut *self.db.lock().await, name, note).await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_disk_fails_with_the_remedy_and_what_was_there_before_stays() {
        let ledger = Sqlite::in_memory().await.unwrap();
        ledger.remember("note", b"small").await.unwrap();
        // As near to a full disk as a test gets: the file may not grow beyond 64 pages.
        sqlx::raw_sql("pragma max_page_count = 64")
            .execute(&mut *ledger.db.lock().await)
            .await
            .unwrap();
        let error = ledger.remember("note", &[0; 1 << 20]).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "the state file :memory: failed while keeping a note: database or disk is full; free some space on \
             its file system"
        );
        assert_eq!(ledger.recall("note").await.unwrap(), Some(b"small".to_vec()));
    }

    #[tokio::test]
    async fn a_call_that_is_dropped_half_way_leaves_nothing_behind() {
        let ledger = Sqlite::in_memory().await.unwrap();
        {
            let mut db = ledger.db.lock().await;
            let mut tx = begin(&mut db).await.unwrap();
            listener::enroll(&mut tx, "main", "").await.unwrap();
        }
        assert_eq!(ledger.report().await.unwrap().directories, []);
    }
}
