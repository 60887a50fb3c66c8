//! The store in an SQLite file. One connection reads and writes, because SQLite has one writer at a time; another one compares
//! listings.
//!
//! The journal mode is WAL with `synchronous = NORMAL`: a commit costs no sync and transactions reach the disk in order. The
//! last ones may be lost in a power loss. Each contains the cursor, so the directory then repeats the changes.

mod accounts;
mod admin_store;
mod backup;
mod book;
mod columns;
mod connection;
mod copy;
mod counts;
mod directories;
mod dry_run;
mod error;
mod file;
mod forget;
mod journal;
mod listing;
mod lock;
mod notes;
mod open;
mod people;
mod queue;
mod report;
mod schema;
mod scratch;
mod selection;
mod staging;
mod writers;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use futures::future::BoxFuture;
use rusqlite::Transaction;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::interface::{BaseStore, Decision, Duty, Judge, Lease, ListenerStore, QueueStore, Reply, Store};
use super::{
    Claim, Claimed, Difference, DirectoryRow, DirectoryState, ManagedRow, Matched, Report, Scope, Unchecked,
};
use crate::clock::{Clock, Timestamp};
use crate::model::{EntryId, ListedAccount, Member, WorkerId};
use crate::rules::Noted;
use crate::rules::membership::Sighting;
use connection::Connection;
use lock::ServiceLock;
pub(super) use scratch::Scratch;
use staging::Listings;

/// The name of the note with the mark that is also in the lock file.
const MARK: &str = "mark";

/// A store in an SQLite file.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    /// The connection for listings, which may be busy for seconds; `None` if `db` is used for them.
    listings: Option<Connection>,
    /// The members that each listing has named.
    named: Arc<Mutex<Listings>>,
    // Declared before `lock`, so that it is closed before the lock is released.
    db: Connection,
    /// Held while the service runs; `None` if the file is opened in another way.
    lock: Option<ServiceLock>,
    /// Notified when actions may be due.
    wake: Arc<Notify>,
}

impl Sqlite {
    /// Runs a transaction that only reads.
    fn read<'a, T: Send + 'static>(
        &'a self,
        doing: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Reply<'a, T> {
        self.run(doing, false, work)
    }

    /// Runs a transaction that writes.
    fn write<'a, T: Send + 'static>(
        &'a self,
        doing: &'static str,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Reply<'a, T> {
        self.run(doing, true, work)
    }

    fn run<'a, T: Send + 'static>(
        &'a self,
        doing: &'static str,
        writes: bool,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Reply<'a, T> {
        self.run_on(&self.db, doing, writes, work)
    }

    /// Runs a transaction on the connection for listings, which only reads the state.
    fn on_listings<'a, T: Send + 'static>(
        &'a self,
        doing: &'static str,
        work: impl FnOnce(&Transaction<'_>, &mut Listings) -> rusqlite::Result<T> + Send + 'static,
    ) -> Reply<'a, T> {
        let named = self.named.clone();
        self.run_on(
            self.listings.as_ref().unwrap_or(&self.db),
            doing,
            false,
            move |db| work(db, &mut named.lock().unwrap_or_else(PoisonError::into_inner)),
        )
    }

    fn run_on<'a, T: Send + 'static>(
        &'a self,
        connection: &Connection,
        doing: &'static str,
        writes: bool,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> Reply<'a, T> {
        let answer = connection.transact(writes, work);
        async move { answer.await.map_err(|e| error::failed(&self.path, doing, &e)) }.boxed()
    }
}

impl BaseStore for Sqlite {
    fn transact(&self, scope: Scope, mut decision: Decision) -> Reply<'_, ()> {
        self.write("saving a decision", move |db| {
            book::decide(db, scope, &mut *decision)
        })
    }

    fn report(&self) -> Reply<'_, Report> {
        self.read("reading the report", report::report)
    }

    fn get_note<'a>(&'a self, name: &'a str) -> Reply<'a, Option<Vec<u8>>> {
        let name = name.to_owned();
        self.read("reading a note", move |db| notes::get(db, &name))
    }

    fn set_note<'a>(&'a self, name: &'a str, note: &'a [u8]) -> Reply<'a, ()> {
        let (name, note) = (name.to_owned(), note.to_owned());
        self.write("storing a note", move |db| notes::set(db, &name, &note))
    }

    fn swap_note<'a>(&'a self, name: &'a str, expected: Option<&'a [u8]>, note: &'a [u8]) -> Reply<'a, bool> {
        let (name, expected, note) = (name.to_owned(), expected.map(<[u8]>::to_vec), note.to_owned());
        self.write("storing a note", move |db| {
            notes::swap(db, &name, expected.as_deref(), &note)
        })
    }
}

impl Store for Sqlite {
    fn duty(self: Arc<Self>, _: &str) -> Duty {
        Duty {
            lease: Arc::new(Sole),
            store: self,
        }
    }

    fn clock(&self) -> Clock {
        Clock::system()
    }

    fn wake(&self) -> Arc<Notify> {
        self.wake.clone()
    }

    fn depart(&self) -> Reply<'_, ()> {
        async { Ok(()) }.boxed()
    }
}

/// The lease of the only service that may use a file.
struct Sole;

impl Lease for Sole {
    fn take(&self) -> BoxFuture<'_, CancellationToken> {
        async { CancellationToken::new() }.boxed()
    }

    fn release(&self) {}
}

impl ListenerStore for Sqlite {
    fn register<'a>(&'a self, name: &'a str, scope: &'a str, settings: &'a str) -> Reply<'a, DirectoryRow> {
        let (name, scope, settings) = (name.to_owned(), scope.to_owned(), settings.to_owned());
        self.write("registering a directory", move |db| {
            directories::register(db, &name, &scope, &settings)
        })
    }

    fn observe<'a>(&'a self, directory: i64, state: &'a DirectoryState, now: Timestamp) -> Reply<'a, ()> {
        let state = state.clone();
        self.write("recording a directory's state", move |db| {
            directories::observe(db, directory, &state, now)
        })
    }

    fn known<'a>(&'a self, directory: i64, who: &'a [EntryId]) -> Reply<'a, Vec<Member>> {
        let who = who.to_vec();
        self.read("reading members", move |db| book::known(db, directory, &who))
    }

    fn begin_listing(&self, directory: i64) -> Reply<'_, ()> {
        self.on_listings("beginning a listing", move |db, listings| {
            staging::begin(db, listings, directory)
        })
    }

    fn append(&self, directory: i64, named: Vec<Sighting>) -> Reply<'_, ()> {
        self.on_listings("storing what a listing named", move |db, listings| {
            listing::append(db, listings, directory, &named)
        })
    }

    fn compare(&self, directory: i64, complete: bool) -> Reply<'_, ()> {
        self.on_listings("comparing a listing", move |db, listings| {
            listing::compare(db, listings, directory, complete)
        })
    }

    fn differences(&self, directory: i64, after: i64, limit: u32) -> Reply<'_, Vec<Difference>> {
        self.on_listings("reading what a listing found", move |db, _| {
            staging::differences(db, directory, after, limit)
        })
    }

    fn leavers(&self, directory: i64, after: i64, limit: u32) -> Reply<'_, Vec<Difference>> {
        self.on_listings("reading who may have left", move |db, _| {
            staging::leavers(db, directory, after, limit)
        })
    }

    fn end_listing(
        &self,
        directory: i64,
        complete: bool,
        noted: Option<Noted>,
        now: Timestamp,
    ) -> Reply<'_, ()> {
        const DOING: &str = "ending a listing";
        async move {
            self.on_listings(DOING, move |db, listings| staging::end(db, listings, directory))
                .await?;
            self.write(DOING, move |db| {
                journal::append(db, noted.as_slice())?;
                listing::ended(db, directory, complete, now)
            })
            .await
        }
        .boxed()
    }
}

impl QueueStore for Sqlite {
    fn take_over(&self, owner: WorkerId, now: Timestamp) -> Reply<'_, ()> {
        self.write("taking over the queue", move |db| {
            queue::take_over(db, owner.0, now)
        })
    }

    fn rebase(&self, by: i64) -> Reply<'_, ()> {
        self.write("moving stored times", move |db| queue::rebase(db, by))
    }

    fn exchange(
        &self,
        scope: Scope,
        mut decision: Decision,
        claim: Claim,
        now: Timestamp,
    ) -> Reply<'_, Claimed> {
        self.write("settling and claiming actions", move |db| {
            book::decide(db, scope, &mut *decision)?;
            queue::claim_some(db, claim, now)
        })
    }

    fn next_due(&self) -> Reply<'_, Option<Timestamp>> {
        self.read("looking for the next action", |db| queue::next_due(db, None))
    }

    fn pardon<'a>(&'a self, fault: &'a str, now: Timestamp) -> Reply<'a, Vec<String>> {
        let fault = fault.to_owned();
        self.write("releasing quarantined actions", move |db| {
            queue::pardon(db, &fault, now)
        })
    }

    fn unchecked(&self) -> Reply<'_, Unchecked> {
        self.read("counting actions", queue::unchecked)
    }

    fn begin_comparison(&self) -> Reply<'_, ()> {
        self.write("beginning the comparison of accounts", |db| {
            queue::begin_comparison(db)
        })
    }

    fn end_comparison(&self, mut judge: Judge, now: Timestamp) -> Reply<'_, Vec<(String, u64)>> {
        self.write("ending the comparison of accounts", move |db| {
            queue::end_comparison(db, &mut *judge, now)
        })
    }

    fn matched(&self, listed: Vec<ListedAccount>) -> Reply<'_, Vec<Matched>> {
        self.read("comparing accounts", move |db| accounts::matched(db, listed))
    }

    fn renew_mark(&self) -> Reply<'_, bool> {
        async {
            let Some(lock) = &self.lock else {
                return Ok(true);
            };
            let stored = self.get_note(MARK).await?.unwrap_or_default();
            // A lock file that cannot be read proves nothing.
            let beside = lock.mark().unwrap_or_default();
            let mark = format!("{:016x}", rand::random::<u64>());
            self.set_note(MARK, mark.as_bytes()).await?;
            if let Err(error) = lock.write(&mark) {
                tracing::warn!(%error, "the lock file beside the state cannot be written");
            }
            Ok(stored == beside.as_bytes())
        }
        .boxed()
    }

    fn witnesses(&self, directory: i64, limit: u32) -> Reply<'_, Vec<EntryId>> {
        self.read("reading members", move |db| {
            accounts::witnesses(db, directory, limit)
        })
    }

    fn managed(&self, after: i64, limit: u32) -> Reply<'_, Vec<ManagedRow>> {
        self.read("reading the accounts in our care", move |db| {
            accounts::managed(db, after, limit)
        })
    }
}
