//! A store for a dry run: a copy of the state that nobody else sees. Its journal tells afterwards what was done.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::open::{Access, connect};
use super::{Sqlite, error, schema};
use crate::store::StoreError;

/// The journal is that of the dry run alone, and is read person by person.
const OWN_JOURNAL: &str = "delete from journal; create index journal_person on journal (entry_id)";

impl Sqlite {
    /// A store that begins as the state file is now, or empty where there is none, and vanishes with this value. As
    /// after [`Sqlite::open`], what was claimed is due again and in doubt. The state file is only read, whether or
    /// not a service is running on it.
    ///
    /// # Errors
    /// [`StoreError::Open`] where the state cannot be read or there is no room for the copy.
    pub async fn dry_run(path: &Path) -> Result<Self, StoreError> {
        let mut db = match fs::exists(path) {
            Ok(true) => copy(&Self::open_any(path, Access::Read)?, path)?,
            // SQLite's own temporary file: it has no name, and goes with the connection.
            Ok(false) => connect(Path::new(""), Access::Scratch)?,
            Err(e) => return Err(error::open_io(path, "it cannot be reached", &e)),
        };
        schema::migrate(&mut db)
            .and_then(|()| db.execute_batch(OWN_JOURNAL))
            .map_err(|e| error::open_sqlite(path, &e))?;
        Ok(Self::inline(path.into(), db))
    }
}

/// A copy in a temporary file that has no name any more once it is open: it holds addresses and a session.
fn copy(state: &Connection, path: &Path) -> Result<Connection, StoreError> {
    let target = temporary().map_err(|e| error::open_io(path, "it cannot be copied", &e))?;
    let copied = state
        .execute("vacuum into ?", [target.to_string_lossy()])
        .map_err(|e| error::open_sqlite(&target, &e))
        .and_then(|_| connect(&target, Access::Scratch));
    // A name that stays does no harm but to look untidy.
    let _ = fs::remove_file(&target);
    copied
}

/// An empty file that nobody else can read.
fn temporary() -> io::Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("ldap-usher-plan-{:016x}", rand::random::<u64>()));
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    Ok(path)
}
