//! One service per state file: an advisory lock on a file beside it.
//!
//! A file of its own, because a lock on the database file itself would get in the way of SQLite's. The kernel frees
//! it when the process ends in any way; the file stays, since removing it would let two processes lock two files of
//! one name.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use super::{error, file};
use crate::store::StoreError;

/// How often a lock that is held is tried again: `status` takes it for an instant to see whether it is free, and a
/// service that is being restarted may still be on its way out.
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(100);

/// The lock of a running service; dropping it frees it.
#[derive(Debug)]
pub(super) struct ServiceLock {
    /// Only its being open matters.
    _file: File,
}

impl ServiceLock {
    /// Takes the lock of this state file and writes this process's id into it.
    ///
    /// # Errors
    /// [`StoreError::InUse`] where another process keeps it for a second.
    pub(super) async fn take(state: &Path) -> Result<Self, StoreError> {
        let path = file::beside(state, ".lock");
        let failed = |e: io::Error| error::open_io(state, &format!("its lock file {}", path.display()), &e);
        let mut file = open(&path, true).map_err(failed)?;
        for _ in 0..TRIES {
            match file.try_lock() {
                Ok(()) => return Self::sign(file).map_err(failed),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(PAUSE).await,
                Err(TryLockError::Error(e)) => return Err(failed(e)),
            }
        }
        let mut pid = String::new();
        let known = file.read_to_string(&mut pid).is_ok() && !pid.trim().is_empty();
        Err(StoreError::InUse {
            store: error::name(state),
            pid: if known {
                format!(" (process {})", pid.trim())
            } else {
                String::new()
            },
        })
    }

    fn sign(mut file: File) -> io::Result<Self> {
        file.rewind()?;
        file.set_len(0)?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self { _file: file })
    }

    /// Whether some process holds the lock of this state file.
    pub(super) fn is_held(state: &Path) -> io::Result<bool> {
        let file = match open(&file::beside(state, ".lock"), false) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            other => other?,
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(e)) => Err(e),
        }
    }
}

/// Never follows a link, and changes nothing: the file becomes ours only with the lock.
fn open(path: &Path, create: bool) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(create)
        .create(create)
        .truncate(false)
        .mode(0o600)
        // Without the second one, opening a named pipe waits for somebody at its other end.
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .map_err(|error| match error.raw_os_error() {
            Some(libc::ELOOP) => foreign("it is a symbolic link, which could lead anywhere; remove it"),
            _ => error,
        })?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.nlink() > 1 {
        return Err(foreign("it is no file of its own; remove it"));
    }
    Ok(file)
}

fn foreign(cause: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, cause)
}
