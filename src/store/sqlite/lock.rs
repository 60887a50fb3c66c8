//! An advisory lock on a file beside the state file, so that only one service uses it.
//!
//! A separate file, because a lock on the database file would conflict with SQLite's. The kernel releases the lock when the
//! process ends. The file is never removed: otherwise two processes could lock two files of the same name.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

use super::{error, file};
use crate::store::StoreError;

/// The number of attempts to take the lock: `status` holds it for an instant to test whether it is free, and a service that
/// is being restarted may not have ended yet.
const TRIES: u32 = 10;
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(100);

/// The lock of a running service. Dropping it releases it.
#[derive(Debug)]
pub(super) struct ServiceLock {
    /// Kept open, because closing it releases the lock. Its first line is the process id, its second line the mark.
    file: File,
}

impl ServiceLock {
    /// Takes the lock of this state file and writes the process id into its file.
    ///
    /// # Errors
    /// [`StoreError::InUse`] if another process holds it for a second.
    pub(super) async fn take(state: &Path) -> Result<Self, StoreError> {
        let path = file::beside(state, ".lock");
        let failed = |e: io::Error| error::open_io(state, &format!("its lock file {}", path.display()), &e);
        let mut file = open(&path, true).map_err(failed)?;
        for _ in 0..TRIES {
            match file.try_lock() {
                Ok(()) => return Self::write_pid(file).map_err(failed),
                Err(TryLockError::WouldBlock) => tokio::time::sleep(PAUSE).await,
                Err(TryLockError::Error(e)) => return Err(failed(e)),
            }
        }
        let mut pid = String::new();
        let known = file.read_to_string(&mut pid).is_ok();
        let pid = pid.lines().next().unwrap_or_default().to_owned();
        let known = known && !pid.trim().is_empty();
        Err(StoreError::InUse {
            store: error::name(state),
            pid: if known {
                format!(" (process {})", pid.trim())
            } else {
                String::new()
            },
        })
    }

    fn write_pid(file: File) -> io::Result<Self> {
        let lock = Self { file };
        let mark = lock.mark()?;
        lock.write(&mark)?;
        Ok(lock)
    }

    /// The mark beside the state file; empty if there is none.
    pub(super) fn mark(&self) -> io::Result<String> {
        let (mut file, mut text) = (&self.file, String::new());
        file.rewind()?;
        file.take(1024).read_to_string(&mut text)?;
        Ok(text.lines().nth(1).unwrap_or_default().to_owned())
    }

    /// Writes the process id and a mark.
    pub(super) fn write(&self, mark: &str) -> io::Result<()> {
        let mut file = &self.file;
        file.rewind()?;
        file.set_len(0)?;
        file.write_all(format!("{}\n{mark}\n", std::process::id()).as_bytes())
    }

    /// Whether a process holds the lock of this state file.
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

/// Opens the lock file without following a link. Does not change it, because another process may hold the lock.
fn open(path: &Path, create: bool) -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(create)
        .create(create)
        .truncate(false)
        .mode(0o600)
        // `O_NONBLOCK`, because opening a named pipe would wait for its other end.
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)
        .map_err(|error| match error.raw_os_error() {
            Some(libc::ELOOP) => unusable("it is a symbolic link, which could lead anywhere; remove it"),
            _ => error,
        })?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.nlink() > 1 {
        return Err(unusable(
            "it is not a regular file, or it has a second name (hard link); remove it",
        ));
    }
    Ok(file)
}

fn unusable(cause: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, cause)
}
