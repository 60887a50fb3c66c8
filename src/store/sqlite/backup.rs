//! A backup of the state file, while a service may use it.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::open::Access;
use super::{Sqlite, error};
use crate::store::StoreError;

impl Sqlite {
    /// Writes the state, as it is at one moment, into a new file that only this user can read. Returns its size in bytes.
    ///
    /// # Errors
    /// [`StoreError::Open`]: the state cannot be read, there is a file already, or it cannot be written. There is no file then.
    pub(in crate::store) async fn backup(path: &Path, to: &Path) -> Result<u64, StoreError> {
        let db = Self::open_any(path, Access::Read)?;
        if fs::symlink_metadata(to).is_ok() {
            return Err(refused(to, &io::ErrorKind::AlreadyExists.into()));
        }
        // Written beside and named at the end, so that a file of this name is a whole backup.
        let name = to.file_name().unwrap_or_default().to_string_lossy();
        let partial = to.with_file_name(format!(".{name}.{:016x}", rand::random::<u64>()));
        let written = create(&partial)
            .map_err(|error| refused(to, &error))
            .and_then(|()| {
                db.execute("vacuum into ?", [partial.to_string_lossy()])
                    .map_err(|e| error::open_sqlite(to, &e))
            })
            .and_then(|_| finish(&partial, to).map_err(|error| refused(to, &error)));
        // After a failure, or because it has its name now.
        let _ = fs::remove_file(&partial);
        written
    }
}

/// Creates an empty file that only this user can read.
fn create(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600).open(path)?;
    Ok(())
}

/// Gives the file its name, unless there is one with it. Returns its size.
fn finish(partial: &Path, to: &Path) -> io::Result<u64> {
    let file = File::open(partial)?;
    file.sync_all()?;
    fs::hard_link(partial, to)?;
    let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(file.metadata()?.len())
}

fn refused(to: &Path, error: &io::Error) -> StoreError {
    let remedy = match error.kind() {
        io::ErrorKind::AlreadyExists => "; name a new file, or remove that one first",
        io::ErrorKind::NotFound => "; create its folder",
        io::ErrorKind::PermissionDenied => "; choose a folder in which this user may write",
        io::ErrorKind::StorageFull => "; free some space",
        _ => "",
    };
    StoreError::Backup {
        file: to.display().to_string(),
        cause: format!("{error}{remedy}"),
    }
}
