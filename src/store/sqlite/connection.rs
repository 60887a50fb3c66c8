//! A connection to a database, on its own thread.
//!
//! # Guarantees
//! - Each job is one transaction, which is done as a whole or not at all, even if its caller no longer waits.
//! - After an error the connection is replaced: SQLite rolls back some transactions by itself and leaves others open, and
//!   only a new connection certainly has none. The next transaction opens it, so writes resume as soon as the disk works.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use futures::FutureExt;
use futures::future::BoxFuture;
use rusqlite::{Transaction, TransactionBehavior};
use tokio::sync::oneshot;

/// Opens a connection again.
pub(super) type Opener = Box<dyn Fn() -> rusqlite::Result<rusqlite::Connection> + Send>;

type Job = Box<dyn FnOnce(&mut Slot) + Send>;

/// A connection that is replaced after an error.
pub(super) struct Slot {
    db: Option<rusqlite::Connection>,
    /// `None` if the database exists only as long as its connection.
    opener: Option<Opener>,
}

/// Runs transactions.
pub(super) enum Connection {
    /// On its own thread.
    Threaded {
        jobs: Option<Sender<Job>>,
        thread: Option<JoinHandle<()>>,
    },
    /// On the thread of the caller: for databases in memory or temporary files.
    Inline(Arc<Mutex<Slot>>),
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}

impl Connection {
    /// Starts a thread for a connection. `opener` opens it if it is missing or has failed.
    pub(super) fn threaded(db: Option<rusqlite::Connection>, opener: Opener) -> Self {
        let (jobs, queue) = mpsc::channel::<Job>();
        let mut slot = Slot {
            db,
            opener: Some(opener),
        };
        let thread = thread::Builder::new().name("store".into()).spawn(move || {
            for job in queue {
                // A job that panics sends no reply, and the state of its connection is unknown.
                if catch_unwind(AssertUnwindSafe(|| job(&mut slot))).is_err() {
                    slot.db = None;
                }
            }
        });
        // If the thread cannot be started, each transaction fails.
        Self::Threaded {
            jobs: thread.is_ok().then_some(jobs),
            thread: thread.ok(),
        }
    }

    /// Uses a connection without a thread.
    pub(super) fn inline(db: rusqlite::Connection) -> Self {
        Self::Inline(Arc::new(Mutex::new(Slot {
            db: Some(db),
            opener: None,
        })))
    }

    /// Runs `work` in one transaction.
    pub(super) fn transact<T: Send + 'static>(
        &self,
        writes: bool,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> BoxFuture<'static, rusqlite::Result<T>> {
        match self {
            Self::Inline(slot) => {
                let slot = slot.clone();
                async move {
                    // Other tasks may run before and after, as with a thread.
                    tokio::task::yield_now().await;
                    let done = slot
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .transact(writes, work);
                    tokio::task::yield_now().await;
                    done
                }
                .boxed()
            }
            Self::Threaded { jobs, .. } => {
                let (reply, received) = oneshot::channel();
                let job: Job = Box::new(move |slot| {
                    // The caller may no longer wait.
                    let _ = reply.send(slot.transact(writes, work));
                });
                let sent = jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
                async move {
                    match received.await {
                        Ok(done) if sent => done,
                        _ => Err(aborted()),
                    }
                }
                .boxed()
            }
        }
    }
}

impl Drop for Connection {
    /// Waits for the jobs in the queue, so that the database is closed before its lock is released.
    fn drop(&mut self) {
        if let Self::Threaded { jobs, thread } = self {
            *jobs = None;
            if let Some(thread) = thread.take() {
                let _ = thread.join();
            }
        }
    }
}

impl Slot {
    fn transact<T>(
        &mut self,
        writes: bool,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let db = match &mut self.db {
            Some(db) => db,
            none => none.insert(self.opener.as_ref().ok_or_else(aborted)?()?),
        };
        let done = run(db, writes, work);
        if done.is_err() && self.opener.is_some() {
            self.db = None;
        }
        done
    }
}

fn run<T>(
    db: &mut rusqlite::Connection,
    writes: bool,
    work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    // A writing transaction takes the write lock at its start: SQLite refuses, and does not wait, if a transaction that began
    // by reading wants to write after another process has written.
    let behavior = if writes {
        TransactionBehavior::Immediate
    } else {
        TransactionBehavior::Deferred
    };
    let tx = db.transaction_with_behavior(behavior)?;
    let done = work(&tx)?;
    tx.commit()?;
    Ok(done)
}

/// The error for a transaction that did not run.
fn aborted() -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT);
    rusqlite::Error::SqliteFailure(code, Some("the transaction was aborted".into()))
}
