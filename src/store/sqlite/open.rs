//! Opens the state file: checks mode, lock and schema, and sets the options of SQLite.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::connection;
use super::file::{create, resolve, restrict};
use super::lock::ServiceLock;
use super::schema::{self, Schema};
use super::{Sqlite, error};
use crate::store::StoreError;

/// How long a transaction waits for one of another process. A comparison with the accounts of a large directory takes the
/// longest.
const BUSY: Duration = Duration::from_secs(30);
/// The number of prepared statements that are cached: more than there are.
const STATEMENTS: usize = 64;

impl Sqlite {
    /// Opens the state file as its only service.
    ///
    /// Creates a missing file with mode 0600 and missing folders with mode 0700. Changes the mode of an existing file to
    /// 0600. Brings a file of an older version up to date.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another service has it open, otherwise [`StoreError::Open`].
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        create(path)?;
        let path = resolve(path)?;
        restrict(&path)?;
        let lock = ServiceLock::take(&path).await?;
        let mut db = connect(&path, Access::Write)?;
        checked(&db, &path)?;
        db.pragma_update(None, "journal_mode", "wal")
            .and_then(|()| schema::migrate(&mut db))
            .map_err(|e| error::open_sqlite(&path, &e))?;
        Ok(Self::threaded(path, db, Access::Write, Some(lock)))
    }

    /// Opens the state file for a few small writes, even while a service uses it. Never creates it or changes its schema.
    ///
    /// # Errors
    /// [`StoreError::Open`], [`StoreError::Older`].
    pub async fn open_shared(path: &Path) -> Result<Self, StoreError> {
        Self::open_existing(path, Access::Write)
    }

    /// Opens the state file for reading, even while a service uses it. Never creates or changes it; the methods that write
    /// fail.
    ///
    /// # Errors
    /// [`StoreError::Open`], [`StoreError::Older`].
    pub async fn open_read_only(path: &Path) -> Result<Self, StoreError> {
        Self::open_existing(path, Access::Read)
    }

    /// Whether a service has the state file open.
    ///
    /// # Errors
    /// [`StoreError::Open`] if its lock cannot be read.
    pub fn is_served(path: &Path) -> Result<bool, StoreError> {
        let path = resolve(path)?;
        ServiceLock::is_held(&path).map_err(|e| error::open_io(&path, "its lock file", &e))
    }

    /// Creates a store in memory. It lives as long as this value.
    ///
    /// # Errors
    /// [`StoreError::Open`] if there is not enough memory.
    pub async fn in_memory() -> Result<Self, StoreError> {
        let path = PathBuf::from(":memory:");
        let mut db = connect(&path, Access::Write)?;
        schema::migrate(&mut db).map_err(|e| error::open_sqlite(&path, &e))?;
        Ok(Self::inline(path, db))
    }

    /// Opens a state file of this or any older version.
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
        // Only the service has listings.
        let listings = lock
            .is_some()
            .then(|| connection::Connection::threaded(None, opener(&path, Access::Stage)));
        Self {
            listings,
            named: Arc::default(),
            db: connection::Connection::threaded(Some(db), opener(&path, access)),
            path,
            lock,
            wake: Arc::default(),
        }
    }

    pub(super) fn inline(path: PathBuf, db: Connection) -> Self {
        Self {
            path,
            listings: None,
            named: Arc::default(),
            db: connection::Connection::inline(db),
            lock: None,
            wake: Arc::default(),
        }
    }
}

/// Returns a function that opens the file again.
fn opener(path: &Path, access: Access) -> connection::Opener {
    let file = path.to_owned();
    Box::new(move || {
        let db = open(&file, access)?;
        // The file may have been replaced by another one.
        match schema::of(&db)? {
            Schema::Version(schema::LATEST) => Ok(db),
            _ => Err(rusqlite::Error::InvalidPath(file.clone())),
        }
    })
}

/// The rights of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Read.
    Read,
    /// Read, and write temporary tables.
    Stage,
    /// Read and write.
    Write,
    /// Read and write, without durability.
    Scratch,
}

pub(super) fn connect(path: &Path, access: Access) -> Result<Connection, StoreError> {
    open(path, access).map_err(|e| error::open_sqlite(path, &e))
}

/// Opens an existing file. Measured with 1,000,000 members: the size of the cache limits the memory, most of which the process
/// keeps after a listing; less frequent checkpoints save a fifth of the time.
pub(super) fn open(path: &Path, access: Access) -> rusqlite::Result<Connection> {
    let mode = match access {
        Access::Read | Access::Stage => OpenFlags::SQLITE_OPEN_READ_ONLY,
        Access::Write | Access::Scratch => OpenFlags::SQLITE_OPEN_READ_WRITE,
    };
    let db = Connection::open_with_flags(path, mode | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    db.busy_timeout(BUSY)?;
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    db.pragma_update(None, "foreign_keys", true)?;
    // Otherwise SQLite would plan a statement again for each value of a parameter on which a partial index depends, which
    // took a quarter of the time of a listing. In return, states must be literals in the statements.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    if matches!(access, Access::Write | Access::Scratch) {
        db.pragma_update(None, "cache_size", -8000)?;
        db.pragma_update(None, "wal_autocheckpoint", 20000)?;
        db.pragma_update(None, "journal_size_limit", 100_000_000)?;
    }
    match access {
        Access::Read => {}
        // Each sort takes as much memory as the cache, and there may be several at a time.
        Access::Stage => {
            db.pragma_update(None, "cache_size", -2000)?;
            db.pragma_update(Some("temp"), "cache_size", -1000)?;
            if !has_writable(&temporary_folders()) {
                db.pragma_update(None, "temp_store", "memory")?;
            }
        }
        Access::Write => db.pragma_update(None, "synchronous", "normal")?,
        Access::Scratch => {
            db.pragma_update(None, "journal_mode", "memory")?;
            db.pragma_update(None, "synchronous", "off")?;
        }
    }
    Ok(db)
}

/// The folders in which SQLite tries to put its temporary files (<https://sqlite.org/tempfiles.html>, section 5).
fn temporary_folders() -> Vec<PathBuf> {
    let named = ["SQLITE_TMPDIR", "TMPDIR"]
        .into_iter()
        .filter_map(std::env::var_os);
    let usual = ["/var/tmp", "/usr/tmp", "/tmp", "."].map(OsString::from);
    named.chain(usual).map(PathBuf::from).collect()
}

/// Whether a file can be created in one of these folders. In a read-only container there may be none.
fn has_writable(folders: &[PathBuf]) -> bool {
    folders.iter().any(|folder| {
        let file = folder.join(format!("ldap-usher-{:016x}", rand::random::<u64>()));
        let created = File::create_new(&file).is_ok();
        created && fs::remove_file(&file).is_ok()
    })
}

/// Returns the schema of the file, unless it is of another program or of a later version.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_for_temporary_files_is_one_in_which_a_file_can_be_created() {
        let folder = tempfile::tempdir().unwrap();
        let (missing, there) = (folder.path().join("missing"), folder.path().to_owned());
        assert!(!has_writable(&[]));
        assert!(!has_writable(std::slice::from_ref(&missing)));
        assert!(has_writable(&[missing, there]));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
