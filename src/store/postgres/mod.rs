//! The store in a PostgreSQL database, which several instances may share.
//!
//! Transactions that decide follow each other, because each begins by locking the only row of the table `writer`: a decision
//! depends on people of other directories, on counts and on the brakes, so that anything finer would have to be repeated.
//! Claims of actions do not need that lock. Commits do not wait for the disk (`synchronous_commit`): the last ones may be lost
//! if the server loses power, and never one without those after it, as with SQLite.
//!
//! A pooler in transaction mode may be in between: nothing here depends on a session of the database, and statements are prepared
//! only where a service has found that its connections keep them.

mod accounts;
mod admin_store;
mod book;
mod columns;
mod connect;
mod copy;
mod counts;
mod describe;
mod directories;
mod dry_run;
mod error;
mod forget;
mod instance;
mod journal;
mod lease;
mod listener_store;
mod listing;
mod notes;
mod people;
mod queue;
mod queue_store;
mod report;
mod schema;
mod settings;
mod sql;
mod writers;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use deadpool_postgres::Pool;
use futures::{FutureExt, TryFutureExt, try_join};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::interface::{BaseStore, Decision, Duty, Reply, Store};
use super::sqlite::Scratch;
use super::{ACCOUNTS_DUTY, Report, Scope, StoreError};
use crate::clock::Clock;
use error::Failure;
use instance::Instance;
use lease::Fence;
use sql::Db;

pub use describe::Database;
pub use settings::Settings;
pub(super) use sql::stored;

/// How long a transaction may take: longer than each of its statements (`statement_timeout`).
const DEADLINE: Duration = Duration::from_secs(35);

/// What a store may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Read.
    Read,
    /// Read and write, beside the services that use it.
    Write,
    /// Everything, as one of the services that use it.
    Service,
}

/// Makes every statement use its index. The statistics of a new table lack for a minute, and a plan is kept while the table
/// grows: the first listing would read all that it has written again for each page.
macro_rules! by_index {
    () => {
        "set local enable_seqscan = off; set local enable_hashjoin = off; set local enable_mergejoin = off; set local jit = off"
    };
}

/// The kind of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// It sees one state of the database, and writes nothing.
    Read,
    /// It claims actions, beside transactions that decide.
    Claim,
    /// It writes what depends on what it reads.
    Decide,
    /// It writes instances and leases. Its commit waits for the disk.
    Lead,
}

impl Kind {
    /// The statements that begin it. A client that has stopped, or is cut off, loses its locks after five seconds.
    fn begin(self) -> &'static str {
        match self {
            Self::Read => {
                concat!(
                    "begin isolation level repeatable read read only; set local statement_timeout = '30s';",
                    "set local idle_in_transaction_session_timeout = '5s';",
                    by_index!()
                )
            }
            Self::Claim | Self::Decide => {
                concat!(
                    "begin isolation level read committed read write; set local statement_timeout = '30s';",
                    "set local idle_in_transaction_session_timeout = '5s'; set local lock_timeout = '10s';",
                    "set local synchronous_commit = off;",
                    by_index!()
                )
            }
            Self::Lead => {
                "begin isolation level read committed read write;
                 set local statement_timeout = '5s'; set local idle_in_transaction_session_timeout = '5s'"
            }
        }
    }
}

/// A store in a PostgreSQL database.
#[derive(Clone)]
pub struct Postgres {
    settings: Arc<Settings>,
    pool: Pool,
    /// Whether connections keep statements. Only a service finds out: it is not worth it for a command.
    prepares: Arc<AtomicBool>,
    /// The transactions in progress.
    transactions: TaskTracker,
    /// The listings in progress.
    listings: Arc<Scratch>,
    /// This process.
    instance: Arc<Instance>,
    /// The lease without which no decision of this store is committed.
    fence: Option<Arc<Fence>>,
    /// What runs in the background as long as a service has the store open.
    _background: Arc<Mutex<JoinSet<()>>>,
}

impl Postgres {
    /// Opens a store. A service creates it if it is missing, and brings an older one up to date.
    ///
    /// # Errors
    /// [`StoreError::Open`], and [`StoreError::Older`] for whoever is not a service.
    pub(super) async fn open(settings: &Settings, access: Access) -> Result<Self, StoreError> {
        let failed = |failure: &Failure| error::open(settings, failure);
        let store = Self::unopened(settings)?;
        match access {
            Access::Service => {
                store.create().await.map_err(|failure| failed(&failure))?;
                store.probe().await.map_err(|failure| failed(&failure))?;
                store.enter().await.map_err(|failure| failed(&failure))?;
                store.start_background();
            }
            Access::Read | Access::Write => {
                let found = store
                    .perform(Kind::Read, |db| async move { schema::version(&db).await })
                    .await;
                match found.map_err(|failure| failed(&failure))? {
                    0 => {
                        return Err(failed(&Failure::Schema(
                            "it does not exist; start the service first, which creates it, or correct `state`".into(),
                        )));
                    }
                    schema::LATEST => {}
                    version if version > schema::LATEST => return Err(failed(&schema::newer(version))),
                    _ => {
                        return Err(StoreError::Older {
                            store: error::name(settings),
                        });
                    }
                }
            }
        }
        Ok(store)
    }

    /// Opens a store that no service uses, and creates it if it is missing.
    ///
    /// # Errors
    /// [`StoreError::Open`].
    pub(super) async fn offline(settings: &Settings) -> Result<Self, StoreError> {
        let store = Self::unopened(settings)?;
        let created = store.create().await;
        created.map_err(|failure| error::open(settings, &failure))?;
        Ok(store)
    }

    fn unopened(settings: &Settings) -> Result<Self, StoreError> {
        let failed = |failure: &Failure| error::open(settings, failure);
        Ok(Self {
            settings: Arc::new(settings.clone()),
            pool: connect::pool(settings).map_err(|error| failed(&Failure::Tls(error)))?,
            prepares: Arc::default(),
            transactions: TaskTracker::new(),
            listings: Arc::new(Scratch::new()),
            instance: Arc::new(Instance::new(settings)),
            fence: None,
            _background: Arc::default(),
        })
    }

    /// Whether a service uses the store.
    ///
    /// # Errors
    /// [`StoreError::Open`].
    pub(super) async fn is_served(settings: &Settings) -> Result<bool, StoreError> {
        let store = Self::open(settings, Access::Read).await?;
        let served = store
            .perform(Kind::Read, |db| async move { instance::is_served(&db).await })
            .await;
        served.map_err(|failure| error::open(settings, &failure))
    }

    /// Finds out whether connections keep statements.
    async fn probe(&self) -> Result<(), Failure> {
        let (first, second) = (self.pool.get().await?, self.pool.get().await?);
        let keeps = sql::keeps_statements(first, second).await;
        self.prepares.store(keeps, Ordering::Relaxed);
        Ok(())
    }

    /// Starts the heartbeat of this instance, and listens to notifications.
    fn start_background(&self) {
        // The store that they use keeps no background alive.
        let store = Self {
            _background: Arc::default(),
            ..self.clone()
        };
        let mut background = self._background.lock().unwrap_or_else(PoisonError::into_inner);
        background.spawn(store.clone().live());
        background.spawn(store.listen());
    }

    /// Creates the schema or brings it up to date. Another instance may do so at the same time.
    async fn create(&self) -> Result<(), Failure> {
        const TRIES: u32 = 5;
        let mut tries = 0;
        loop {
            tries += 1;
            let done = self
                .perform(Kind::Claim, |db| async move { schema::migrate(&db).await })
                .await;
            // The codes of a unique violation, of a duplicate schema, and of a duplicate table.
            let collided = |failure: &Failure| {
                let code = failure.code().map(|code| code.code());
                matches!(code, Some("23505" | "42P06" | "42P07"))
            };
            match done {
                Err(failure) if collided(&failure) && tries < TRIES => {}
                done => return done,
            }
        }
    }

    /// Runs a transaction. It goes on if the caller no longer waits.
    async fn perform<T, F, W>(&self, kind: Kind, work: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(Db) -> W + Send + 'static,
        W: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        let store = self.clone();
        let transaction = async move {
            let db = store.begin(kind).await?;
            let done = work(db.clone()).await?;
            db.commit().await?;
            Ok(done)
        };
        let transaction =
            timeout(DEADLINE, transaction).map(|done| done.unwrap_or(Err(Failure::TimedOut(DEADLINE))));
        // The only error is a panic.
        let ended = self.transactions.spawn(transaction).await;
        ended.unwrap_or(Err(Failure::Panicked))
    }

    /// Begins a transaction. A connection that the server has closed meanwhile is replaced.
    async fn begin(&self, kind: Kind) -> Result<Db, Failure> {
        let mut tries = 0;
        loop {
            let connection = self.pool.get().await?;
            let prepares = self.prepares.load(Ordering::Relaxed);
            match Db::begin((connection, prepares), kind.begin(), |db| self.lock(db, kind)).await {
                Err(failure) if failure.is_lost() && tries < connect::CONNECTIONS => tries += 1,
                begun => return begun,
            }
        }
    }

    /// Locks what a transaction of this kind needs.
    async fn lock(&self, db: Db, kind: Kind) -> Result<(), Failure> {
        if kind != Kind::Decide {
            return Ok(());
        }
        let writer = async { db.query("select 1 from ldap_usher.writer for update", &[]).await };
        match &self.fence {
            Some(fence) => {
                try_join!(writer, lease::check(&db, fence, self.instance.id))?;
            }
            None => {
                writer.await?;
            }
        }
        Ok(())
    }

    /// Whether no other instance compares actions with the accounts.
    fn compares(&self) -> bool {
        !self.instance.leases.named(ACCOUNTS_DUTY).is_elsewhere()
    }

    /// Runs a step of a listing.
    fn listing<'a, T: Send + 'a>(
        &'a self,
        doing: &'static str,
        work: impl Future<Output = Result<T, Failure>> + Send + 'a,
    ) -> Reply<'a, T> {
        work.map_err(move |failure| match failure {
            Failure::Listing(error) => error,
            failure => error::failed(&self.settings, doing, &failure),
        })
        .boxed()
    }

    /// Runs a transaction, and names it if it fails.
    fn run<'a, T, F, W>(&'a self, doing: &'static str, kind: Kind, work: F) -> Reply<'a, T>
    where
        T: Send + 'static,
        F: FnOnce(Db) -> W + Send + 'static,
        W: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        self.perform(kind, work)
            .map_err(move |failure| error::failed(&self.settings, doing, &failure))
            .boxed()
    }

    fn read<'a, T, F, W>(&'a self, doing: &'static str, work: F) -> Reply<'a, T>
    where
        T: Send + 'static,
        F: FnOnce(Db) -> W + Send + 'static,
        W: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        self.run(doing, Kind::Read, work)
    }

    fn write<'a, T, F, W>(&'a self, doing: &'static str, work: F) -> Reply<'a, T>
    where
        T: Send + 'static,
        F: FnOnce(Db) -> W + Send + 'static,
        W: Future<Output = Result<T, Failure>> + Send + 'static,
    {
        self.run(doing, Kind::Decide, work)
    }
}

impl BaseStore for Postgres {
    fn transact(&self, scope: Scope, mut decision: Decision) -> Reply<'_, ()> {
        self.write("saving a decision", move |db| async move {
            book::decide(&db, scope, &mut decision).await
        })
    }

    fn report(&self) -> Reply<'_, Report> {
        self.read(
            "reading the report",
            |db| async move { report::report(&db).await },
        )
    }

    fn get_note<'a>(&'a self, name: &'a str) -> Reply<'a, Option<Vec<u8>>> {
        let name = name.to_owned();
        self.read(
            "reading a note",
            move |db| async move { notes::get(&db, &name).await },
        )
    }

    fn set_note<'a>(&'a self, name: &'a str, note: &'a [u8]) -> Reply<'a, ()> {
        let (name, note) = (name.to_owned(), note.to_owned());
        self.write("storing a note", move |db| async move {
            notes::set(&db, &name, &note).await
        })
    }

    fn swap_note<'a>(&'a self, name: &'a str, expected: Option<&'a [u8]>, note: &'a [u8]) -> Reply<'a, bool> {
        let (name, expected, note) = (name.to_owned(), expected.map(<[u8]>::to_vec), note.to_owned());
        self.write("storing a note", move |db| async move {
            notes::swap(&db, &name, expected.as_deref(), &note).await
        })
    }
}

impl Store for Postgres {
    fn duty(self: Arc<Self>, name: &str) -> Duty {
        let fence = self.instance.leases.named(name);
        Duty {
            lease: fence.clone(),
            store: Arc::new(Self {
                fence: Some(fence),
                ..Self::clone(&self)
            }),
        }
    }

    fn clock(&self) -> Clock {
        self.instance.clock()
    }

    fn wake(&self) -> Arc<Notify> {
        self.instance.wake.clone()
    }

    fn depart(&self) -> Reply<'_, ()> {
        self.listing("leaving the state", async move { Postgres::depart(self).await })
    }
}
