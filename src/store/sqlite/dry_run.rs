//! A store for a dry run: a private copy of the state. Its journal records what the dry run does.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tokio::task::spawn_blocking;

use super::copy::receive;
use super::open::{Access, connect};
use super::{Sqlite, error, schema};
use crate::store::StoreError;
use crate::store::copy::Receiver;

/// Empties the journal, which then contains only events of the dry run, and indexes it, because it is read by person.
const OWN_JOURNAL: &str = "delete from journal; create index journal_person on journal (entry_id)";

impl Sqlite {
    /// Opens a copy of the state file, or an empty store if there is none. It lives as long as this value. The state file
    /// is only read, even while a service uses it.
    ///
    /// # Errors
    /// [`StoreError::Open`] if the state cannot be read or there is no space for the copy.
    pub async fn dry_run(path: &Path) -> Result<Self, StoreError> {
        let mut db = match fs::exists(path) {
            Ok(true) => copy(&Self::open_any(path, Access::Read)?, path)?,
            // SQLite's own temporary file, which has no name and is removed with the connection.
            Ok(false) => connect(Path::new(""), Access::Scratch)?,
            Err(e) => return Err(error::open_io(path, "it cannot be reached", &e)),
        };
        schema::migrate(&mut db)
            .and_then(|()| db.execute_batch(OWN_JOURNAL))
            .map_err(|e| error::open_sqlite(path, &e))?;
        Ok(Self::inline(path.into(), db))
    }

    /// Creates a store from what is received. Its journal is empty.
    pub(in crate::store) async fn scratch_of(receiver: Receiver) -> Result<Self, StoreError> {
        let path = PathBuf::from("(a copy)");
        let made = spawn_blocking(move || {
            let mut db = connect(Path::new(""), Access::Scratch)?;
            let failed = |e: &rusqlite::Error| error::open_sqlite(&path, e);
            schema::migrate(&mut db).map_err(|e| failed(&e))?;
            let tx = db.transaction().map_err(|e| failed(&e))?;
            receive(&tx, receiver, "", |_, _| {}).map_err(|stopped| stopped.named(&path))?;
            tx.execute_batch(OWN_JOURNAL)
                .and_then(|()| tx.commit())
                .map_err(|e| failed(&e))?;
            Ok(Self::inline(path, db))
        });
        // The only error is a panic.
        made.await.unwrap_or(Err(StoreError::Undecided))
    }
}

/// Opens a copy in a temporary file, and removes its name because it contains addresses and a session.
fn copy(state: &Connection, path: &Path) -> Result<Connection, StoreError> {
    let target = temporary().map_err(|e| error::open_io(path, "it cannot be copied", &e))?;
    let copied = state
        .execute("vacuum into ?", [target.to_string_lossy()])
        .map_err(|e| error::open_sqlite(&target, &e))
        .and_then(|_| connect(&target, Access::Scratch));
    // A file that cannot be removed is harmless: only this user can read it.
    let _ = fs::remove_file(&target);
    copied
}

/// Creates an empty file that only this user can read.
fn temporary() -> io::Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("ldap-usher-plan-{:016x}", rand::random::<u64>()));
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    Ok(path)
}
