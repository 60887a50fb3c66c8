//! Opening the state file: its modes, its lock, its settings, its schema.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, SqlSafeStr, SqliteConnection};
use tokio::sync::Mutex;

use super::lock::ServiceLock;
use super::{Sqlite, error, tasks};
use crate::ledger::LedgerError;

/// Written into the header of our files by the first migration.
const APPLICATION_ID: i64 = 0x7573_6872;

/// How long one process waits for another's transaction. The longest are those that end the listing of a large
/// directory.
const BUSY: Duration = Duration::from_secs(30);

impl Sqlite {
    /// Opens the state file as its one service.
    ///
    /// A missing file is created with mode 0600, and so are missing folders above it, with mode 0700. A file of an
    /// older version is brought up to date. Tasks that were claimed by a process that died are due again at once,
    /// and in doubt.
    ///
    /// # Errors
    /// [`LedgerError::InUse`] where another service has it open, [`LedgerError::Open`] for all else.
    pub async fn open(path: &Path) -> Result<Self, LedgerError> {
        create(path)?;
        let path = resolve(path)?;
        let lock = ServiceLock::take(&path).await?;
        let mut db = connect(&path, writer()).await?;
        schema(&mut db, &path).await?;
        sqlx::raw_sql("pragma journal_mode = wal")
            .execute(&mut db)
            .await
            .map_err(|e| error::open_sqlite(&path, &e))?;
        migrate(&mut db, &path).await?;
        tasks::end_leases(&mut db)
            .await
            .map_err(|e| error::open_sqlite(&path, &e))?;
        Ok(Self::new(path, db, Some(lock)))
    }

    /// Opens the state file for a few small writes, whether or not a service is running on it. Never creates it and
    /// never changes its schema.
    ///
    /// # Errors
    /// [`LedgerError::Open`], [`LedgerError::Older`].
    pub async fn open_shared(path: &Path) -> Result<Self, LedgerError> {
        Self::open_existing(path, writer()).await
    }

    /// Opens the state file for reading, whether or not a service is running on it. Never creates it and never
    /// changes it; the methods that write fail.
    ///
    /// # Errors
    /// [`LedgerError::Open`], [`LedgerError::Older`].
    pub async fn open_read_only(path: &Path) -> Result<Self, LedgerError> {
        Self::open_existing(
            path,
            SqliteConnectOptions::new().read_only(true).busy_timeout(BUSY),
        )
        .await
    }

    /// Whether a service has the state file open.
    ///
    /// # Errors
    /// [`LedgerError::Open`] where its lock cannot be read.
    pub fn is_served(path: &Path) -> Result<bool, LedgerError> {
        let path = resolve(path)?;
        ServiceLock::is_held(&path).map_err(|e| error::open_io(&path, "its lock file", &e))
    }

    /// A ledger that lives as long as this value.
    ///
    /// # Errors
    /// [`LedgerError::Open`] where memory is short.
    pub async fn in_memory() -> Result<Self, LedgerError> {
        let path = PathBuf::from(":memory:");
        let mut db = connect(&path, writer()).await?;
        migrate(&mut db, &path).await?;
        Ok(Self::new(path, db, None))
    }

    /// A connection to a file of this program, of whatever older version.
    pub(super) async fn open_any(
        path: &Path,
        options: SqliteConnectOptions,
    ) -> Result<SqliteConnection, LedgerError> {
        let path = resolve(path)?;
        let mut db = connect(&path, options.busy_timeout(BUSY)).await?;
        match schema(&mut db, &path).await? {
            Some(version) if version > latest() => Err(error::newer(&path, version)),
            _ => Ok(db),
        }
    }

    async fn open_existing(path: &Path, options: SqliteConnectOptions) -> Result<Self, LedgerError> {
        let path = resolve(path)?;
        let mut db = connect(&path, options).await?;
        match schema(&mut db, &path).await? {
            Some(version) if version > latest() => Err(error::newer(&path, version)),
            Some(version) if version == latest() => Ok(Self::new(path, db, None)),
            _ => Err(LedgerError::Older {
                path: path.display().to_string(),
            }),
        }
    }

    pub(super) fn new(path: PathBuf, db: SqliteConnection, lock: Option<ServiceLock>) -> Self {
        Self {
            path,
            db: Mutex::new(db),
            _lock: lock,
        }
    }
}

/// SQLite gives its `-wal` and `-shm` files the mode of the main file, so that one exists before SQLite sees it.
fn create(path: &Path) -> Result<(), LedgerError> {
    if let Some(folder) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(|e| error::open_io(path, "its folder cannot be created", &e))?;
    }
    match OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
    {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => {
            Err(error::open_io(path, "it cannot be created", &e))
        }
        _ => Ok(()),
    }
}

/// The file's one name, whatever links lead to it: two services must find the same lock.
fn resolve(path: &Path) -> Result<PathBuf, LedgerError> {
    let resolved = fs::canonicalize(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => error::open(
            path,
            "it does not exist; start the service first, which creates it, or correct `state`",
        ),
        _ => error::open_io(path, "it cannot be reached", &e),
    })?;
    if resolved.is_dir() {
        return Err(error::open(path, "it is a folder; let `state` name a file"));
    }
    Ok(resolved)
}

/// Measured with 1,000,000 members: the cache bounds the memory, most of which stays with the process after a listing;
/// the rarer checkpoints save a fifth of the time.
pub(super) fn writer() -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .synchronous(SqliteSynchronous::Normal)
        .busy_timeout(BUSY)
        .pragma("cache_size", "-8000")
        .pragma("wal_autocheckpoint", "20000")
        .pragma("journal_size_limit", "100000000")
}

pub(super) async fn connect(
    path: &Path,
    options: SqliteConnectOptions,
) -> Result<SqliteConnection, LedgerError> {
    options
        .filename(path)
        .disable_statement_logging()
        .connect()
        .await
        .map_err(|e| error::open_sqlite(path, &e))
}

/// The version of the file's schema; none in a file that is still empty.
async fn schema(db: &mut SqliteConnection, path: &Path) -> Result<Option<i64>, LedgerError> {
    let version = async {
        let ours: i64 = sqlx::query_scalar("pragma application_id")
            .fetch_one(&mut *db)
            .await?;
        if ours == APPLICATION_ID {
            return sqlx::query_scalar("select max(version) from _sqlx_migrations")
                .fetch_one(&mut *db)
                .await
                .map(Ok);
        }
        // A process that died during its very first start leaves the table of migrations alone.
        let foreign: bool = sqlx::query_scalar(
            "select exists (select 1 from sqlite_schema where tbl_name <> '_sqlx_migrations')",
        )
        .fetch_one(&mut *db)
        .await?;
        Ok(if foreign || ours != 0 { Err(()) } else { Ok(None) })
    };
    version
        .await
        .map_err(|e: sqlx::Error| error::open_sqlite(path, &e))?
        .map_err(|()| {
            error::open(
                path,
                "it is a database of another program; correct `state`, or move that file away",
            )
        })
}

pub(super) async fn migrate(db: &mut SqliteConnection, path: &Path) -> Result<(), LedgerError> {
    Migrator::with_migrations(migrations())
        .run(db)
        .await
        .map_err(|e| error::migration(path, &e))
}

/// Every version of the schema, oldest first. Append only: files of every older version must open.
fn migrations() -> Vec<Migration> {
    [(1, "ledger", include_str!("../migrations/0001_ledger.sql"))]
        .map(|(version, name, sql)| {
            Migration::new(
                version,
                name.into(),
                MigrationType::Simple,
                sql.into_sql_str(),
                false,
            )
        })
        .into()
}

fn latest() -> i64 {
    migrations().last().map_or(0, |migration| migration.version)
}
