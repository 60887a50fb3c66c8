//! The one connection to a database, on a thread of its own.
//!
//! # Guarantees
//! - What is handed over is one transaction, and is done as a whole or not at all, whether or not its caller still waits.
//! - After an error the connection is given up: SQLite rolls some transactions back by itself and leaves others open, and
//!   only a new connection is sure to have none. The next transaction opens it; so writes go on as soon as the disk does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use futures::FutureExt;
use futures::future::BoxFuture;
use rusqlite::{Transaction, TransactionBehavior};
use tokio::sync::oneshot;

/// How a connection is opened anew.
pub(super) type Opener = Box<dyn Fn() -> rusqlite::Result<rusqlite::Connection> + Send>;

type Job = Box<dyn FnOnce(&mut Slot) + Send>;

/// A connection that is replaced when it has failed.
pub(super) struct Slot {
    db: Option<rusqlite::Connection>,
    /// `None` where the database lives and dies with its connection.
    opener: Option<Opener>,
}

/// Where transactions are handed over.
pub(super) enum Connection {
    /// To a thread of its own.
    Threaded {
        jobs: Option<Sender<Job>>,
        thread: Option<JoinHandle<()>>,
    },
    /// To whoever asks, for databases in memory: nothing there waits for a disk.
    Inline(Arc<Mutex<Slot>>),
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connection")
    }
}

impl Connection {
    /// This connection on a thread of its own, which `opener` opens where it is missing or has failed.
    pub(super) fn threaded(db: Option<rusqlite::Connection>, opener: Opener) -> Self {
        let (jobs, queue) = mpsc::channel::<Job>();
        let mut slot = Slot {
            db,
            opener: Some(opener),
        };
        let thread = thread::Builder::new().name("store".into()).spawn(move || {
            for job in queue {
                // A job that panics has no answer, and leaves a connection that nobody knows the state of.
                if catch_unwind(AssertUnwindSafe(|| job(&mut slot))).is_err() {
                    slot.db = None;
                }
            }
        });
        // Without a thread each call says that the connection is closed.
        Self::Threaded {
            jobs: thread.is_ok().then_some(jobs),
            thread: thread.ok(),
        }
    }

    /// This connection without a thread.
    pub(super) fn inline(db: rusqlite::Connection) -> Self {
        Self::Inline(Arc::new(Mutex::new(Slot {
            db: Some(db),
            opener: None,
        })))
    }

    /// Does `work` in one transaction.
    pub(super) fn transact<T: Send + 'static>(
        &self,
        writes: bool,
        work: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<T> + Send + 'static,
    ) -> BoxFuture<'static, rusqlite::Result<T>> {
        match self {
            Self::Inline(slot) => {
                let slot = slot.clone();
                async move {
                    // Other tasks run before and after, as they do where there is a thread.
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
                let (answer, answered) = oneshot::channel();
                let job: Job = Box::new(move |slot| {
                    // Nobody may be waiting any more.
                    let _ = answer.send(slot.transact(writes, work));
                });
                let sent = jobs.as_ref().is_some_and(|jobs| jobs.send(job).is_ok());
                async move {
                    match answered.await {
                        Ok(done) if sent => done,
                        _ => Err(given_up()),
                    }
                }
                .boxed()
            }
        }
    }
}

impl Drop for Connection {
    /// Waits for what was handed over, so that the database is closed before its lock is given back.
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
            none => none.insert(self.opener.as_ref().ok_or_else(given_up)?()?),
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
    // A transaction that writes asks for the write lock at once, because SQLite refuses rather than waits where one
    // that began by reading wants to write while another process did.
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

/// The error for a transaction that nobody carried out.
fn given_up() -> rusqlite::Error {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_ABORT);
    rusqlite::Error::SqliteFailure(code, Some("the transaction was given up".into()))
}
