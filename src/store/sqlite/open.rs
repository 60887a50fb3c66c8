//! Opening the state file: its modes, its lock, its settings, its schema.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::connection;
use super::file::{create, resolve, tighten};
use super::lock::ServiceLock;
use super::schema::{self, Schema};
use super::{Sqlite, error};
use crate::store::StoreError;

/// How long one process waits for another's transaction. The longest are those that end the listing of a large
/// directory.
const BUSY: Duration = Duration::from_secs(30);
/// More than there are statements.
const STATEMENTS: usize = 64;

impl Sqlite {
    /// Opens the state file as its one service.
    ///
    /// A missing file is created with mode 0600, and so are missing folders above it, with mode 0700. An existing one is
    /// given that mode. A file of an older version is brought up to date.
    ///
    /// # Errors
    /// [`StoreError::InUse`] where another service has it open, [`StoreError::Open`] for all else.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        create(path)?;
        let path = resolve(path)?;
        tighten(&path)?;
        let lock = ServiceLock::take(&path).await?;
        let mut db = connect(&path, Access::Write)?;
        checked(&db, &path)?;
        db.pragma_update(None, "journal_mode", "wal")
            .and_then(|()| schema::migrate(&mut db))
            .map_err(|e| error::open_sqlite(&path, &e))?;
        Ok(Self::threaded(path, db, Access::Write, Some(lock)))
    }

    /// Opens the state file for a few small writes, whether or not a service is running on it. Never creates it and
    /// never changes its schema.
    ///
    /// # Errors
    /// [`StoreError::Open`], [`StoreError::Older`].
    pub async fn open_shared(path: &Path) -> Result<Self, StoreError> {
        Self::open_existing(path, Access::Write)
    }

    /// Opens the state file for reading, whether or not a service is running on it. Never creates it and never
    /// changes it; the methods that write fail.
    ///
    /// # Errors
    /// [`StoreError::Open`], [`StoreError::Older`].
    pub async fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        Self::open_existing(path, Access::Read)
    }

    /// Whether a service has the state file open.
    ///
    /// # Errors
    /// [`StoreError::Open`] where its lock cannot be read.
    pub fn is_served(path: &Path) -> Result<bool, StoreError> {
        let path = resolve(path)?;
        ServiceLock::is_held(&path).map_err(|e| error::open_io(&path, "its lock file", &e))
    }

    /// A store that lives as long as this value.
    ///
    /// # Errors
    /// [`StoreError::Open`] where memory is short.
    pub async fn in_memory() -> Result<Self, StoreError> {
        let path = PathBuf::from(":memory:");
        let mut db = connect(&path, Access::Write)?;
        schema::migrate(&mut db).map_err(|e| error::open_sqlite(&path, &e))?;
        Ok(Self::inline(path, db))
    }

    /// A connection to a file of this program, of whatever older version.
    pub(super) fn open_any(path: &Path, access: Access) -> Result<Connection, StoreError> {
        let path = resolve(path)?;
        let db = connect(&path, access)?;
        checked(&db, &path)?;
        Ok(db)
    }

    fn open_existing(path: &Path, access: Access) -> Result<Self, StoreError> {
        let path = resolve(path)?;
        let db = connect(&path, access)?;
        if checked(&db, &path)? == Schema::Version(schema::LATEST) {
            return Ok(Self::threaded(path, db, access, None));
        }
        Err(StoreError::Older {
            store: error::name(&path),
        })
    }

    fn threaded(path: PathBuf, db: Connection, access: Access, lock: Option<ServiceLock>) -> Self {
        // Only the service lists.
        let listings = lock
            .is_some()
            .then(|| connection::Connection::threaded(None, opener(&path, Access::Stage)));
        Self {
            listings,
            named: Arc::default(),
            db: connection::Connection::threaded(Some(db), opener(&path, access)),
            path,
            _lock: lock,
        }
    }

    pub(super) fn inline(path: PathBuf, db: Connection) -> Self {
        Self {
            path,
            listings: None,
            named: Arc::default(),
            db: connection::Connection::inline(db),
            _lock: None,
        }
    }
}

/// Opens the file anew.
fn opener(path: &Path, access: Access) -> connection::Opener {
    let file = path.to_owned();
    Box::new(move || {
        let db = open(&file, access)?;
        // Whatever has taken the file's place is not ours to write into.
        match schema::of(&db)? {
            Schema::Version(schema::LATEST) => Ok(db),
            _ => Err(rusqlite::Error::InvalidPath(file.clone())),
        }
    })
}

/// What a connection may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Read.
    Read,
    /// Read, and keep temporary tables.
    Stage,
    /// Read and write.
    Write,
    /// Read and write what nobody needs afterwards.
    Scratch,
}

pub(super) fn connect(path: &Path, access: Access) -> Result<Connection, StoreError> {
    open(path, access).map_err(|e| error::open_sqlite(path, &e))
}

/// Opens a file that exists. Measured with 1,000,000 members: the cache bounds the memory, most of which stays with the
/// process after a listing; the rarer checkpoints save a fifth of the time.
fn open(path: &Path, access: Access) -> rusqlite::Result<Connection> {
    let mode = match access {
        Access::Read | Access::Stage => OpenFlags::SQLITE_OPEN_READ_ONLY,
        Access::Write | Access::Scratch => OpenFlags::SQLITE_OPEN_READ_WRITE,
    };
    let db = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(BUSY)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    db.pragma_update(None, "foreign_keys", true)?;
    // Without it, SQLite plans a statement anew for each value that a partial index may depend on: that took a quarter of
    // the time of a listing. So states stand in the statements, not in parameters.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    if matches!(access, Access::Write | Access::Scratch) {
        db.pragma_update(None, "cache_size", -8000)?;
        db.pragma_update(None, "wal_autocheckpoint", 20000)?;
        db.pragma_update(None, "journal_size_limit", 100_000_000)?;
    }
    match access {
        Access::Read => {}
        // Sorting takes as much memory as the cache, more than once at a time.
        Access::Stage => {
            db.pragma_update(None, "cache_size", -2000)?;
            db.pragma_update(Some("temp"), "cache_size", -1000)?;
        }
        Access::Write => db.pragma_update(None, "synchronous", "normal")?,
        Access::Scratch => {
            db.pragma_update(None, "journal_mode", "memory")?;
            db.pragma_update(None, "synchronous", "off")?;
        }
    }
    Ok(db)
}

/// What is in the file, if it is ours and not newer than this program.
fn checked(db: &Connection, path: &Path) -> Result<Schema, StoreError> {
    match schema::of(db).map_err(|e| error::open_sqlite(path, &e))? {
        Schema::Foreign => Err(error::open(
            path,
            "it is a database of another program; correct `state`, or move that file away",
        )),
        Schema::Version(version) if version > schema::LATEST => Err(error::newer(path, version)),
        schema => Ok(schema),
    }
}
