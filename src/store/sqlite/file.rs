//! Creates and finds the files of the state, and restricts them to their owner, because they contain a session with Vaultwarden.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::error;
use crate::store::StoreError;

/// The suffixes of the files beside the state file: SQLite's log, its index, its older journal, and the lock of the service.
const SUFFIXES: [&str; 4] = ["-wal", "-shm", "-journal", ".lock"];

/// The path of the file beside the state file with this suffix.
pub(super) fn beside(state: &Path, suffix: &str) -> PathBuf {
    let mut name = state.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Creates the file and its folders if they are missing. This happens before SQLite opens the file, because SQLite gives its
/// own files the same mode.
pub(super) fn create(path: &Path) -> Result<(), StoreError> {
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

/// Resolves links, so that two services find the same lock.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, StoreError> {
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

/// Removes the rights of other users on the state file and the files beside it.
///
/// # Errors
/// [`StoreError::Open`] if all users keep rights, or if a file beside it is a symbolic link.
pub(super) fn restrict(state: &Path) -> Result<(), StoreError> {
    let beside = SUFFIXES.map(|suffix| beside(state, suffix));
    for path in std::iter::once(state).chain(beside.iter().map(PathBuf::as_path)) {
        let metadata = match fs::symlink_metadata(path) {
            Ok(metadata) => metadata,
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            Err(e) => return Err(error::open_io(path, "it cannot be reached", &e)),
        };
        if metadata.is_symlink() {
            return Err(error::open(
                path,
                "it is a symbolic link, which could lead anywhere; remove it",
            ));
        }
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            let changed = fs::set_permissions(path, Permissions::from_mode(0o600));
            report_rights(path, mode, changed.as_ref())?;
        }
    }
    Ok(())
}

/// Logs that other users had rights. `changed` is the result of removing them.
///
/// # Errors
/// All users keep rights.
fn report_rights(path: &Path, mode: u32, changed: Result<&(), &io::Error>) -> Result<(), StoreError> {
    let file = path.display();
    match changed {
        Ok(()) => {
            tracing::warn!(%file, mode = format!("{mode:04o}"), "others could use the state, in which there is a session with Vaultwarden; its mode is 0600 now");
        }
        Err(cause) if mode & 0o007 == 0 => {
            tracing::warn!(%file, mode = format!("{mode:04o}"), %cause, "a group may use the state, in which there is a session with Vaultwarden, and its mode cannot be changed; chmod 600 it as its owner");
        }
        Err(cause) => {
            return Err(error::open(
                path,
                format!(
                    "everyone on this machine may use it (mode {mode:04o}), there is a session with Vaultwarden in it, and its mode cannot be changed ({cause}); chmod 600 it as its owner"
                ),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_all_users_can_still_use_is_refused_and_one_that_a_group_can_use_is_not() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let path = Path::new("/state.db");
        report_rights(path, 0o666, Ok(&())).unwrap();
        report_rights(path, 0o660, Err(&denied)).unwrap();
        for mode in [0o604, 0o602, 0o666] {
            let refused = report_rights(path, mode, Err(&denied)).unwrap_err().to_string();
            assert!(refused.contains("chmod 600 it as its owner"), "{refused}");
        }
    }
}
