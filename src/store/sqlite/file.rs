//! The files of a state: made, found, and kept for nobody else to read, since there is a session with Vaultwarden in them.

use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::error;
use crate::store::StoreError;

/// What stands beside a state: SQLite's log and its index, its older journal, and the lock of the service.
const BESIDE: [&str; 4] = ["-wal", "-shm", "-journal", ".lock"];

/// The file of this name beside a state.
pub(super) fn beside(state: &Path, suffix: &str) -> PathBuf {
    let mut name = state.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Makes the file and the folders above it, where they are missing. SQLite gives its own files the mode of this one, so
/// that it exists before SQLite sees it.
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

/// The file's one name, whatever links lead to it: two services must find the same lock.
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

/// Takes the rights of others from the state and from what stands beside it.
///
/// # Errors
/// [`StoreError::Open`] where everyone keeps them, or where a file beside it is a link to somewhere else.
pub(super) fn tighten(state: &Path) -> Result<(), StoreError> {
    let beside = BESIDE.map(|suffix| beside(state, suffix));
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
            judge(path, mode, changed.as_ref())?;
        }
    }
    Ok(())
}

/// What follows where others had rights, of which `changed` says whether they could be taken away.
fn judge(path: &Path, mode: u32, changed: Result<&(), &io::Error>) -> Result<(), StoreError> {
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
    fn a_state_that_everyone_keeps_the_right_to_use_is_refused_and_one_of_a_group_is_not() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let path = Path::new("/state.db");
        judge(path, 0o666, Ok(&())).unwrap();
        judge(path, 0o660, Err(&denied)).unwrap();
        for mode in [0o604, 0o602, 0o666] {
            let refused = judge(path, mode, Err(&denied)).unwrap_err().to_string();
            assert!(refused.contains("chmod 600 it as its owner"), "{refused}");
        }
    }
}
