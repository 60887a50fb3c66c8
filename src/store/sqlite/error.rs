//! Turns errors of SQLite and of the operating system into errors with a remedy.

use std::io;
use std::path::Path;

use crate::store::StoreError;

/// Primary result codes, <https://www.sqlite.org/rescode.html>.
const PERM: i32 = 3;
const BUSY: i32 = 5;
const READONLY: i32 = 8;
const IOERR: i32 = 10;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const CANTOPEN: i32 = 14;
const NOTADB: i32 = 26;

/// The kind and the place of the store, for error messages.
pub(super) fn name(path: &Path) -> String {
    format!("state file {}", path.display())
}

/// The error for a failed transaction.
pub(super) fn failed(path: &Path, doing: &'static str, error: &rusqlite::Error) -> StoreError {
    StoreError::Failed {
        store: name(path),
        doing,
        cause: cause(error),
    }
}

/// The error for a file that cannot be opened for this cause.
pub(super) fn open(path: &Path, cause: impl Into<String>) -> StoreError {
    StoreError::Open {
        store: name(path),
        cause: cause.into(),
    }
}

/// The error for a file that SQLite cannot open.
pub(super) fn open_sqlite(path: &Path, error: &rusqlite::Error) -> StoreError {
    open(path, cause(error))
}

/// The error for a file, its folder or its lock that cannot be created or opened.
pub(super) fn open_io(path: &Path, what: &str, error: &io::Error) -> StoreError {
    let remedy = match error.kind() {
        io::ErrorKind::NotFound => "; create its folder, or correct `state`",
        io::ErrorKind::PermissionDenied => "; run as the user who owns it, or change its owner",
        io::ErrorKind::ReadOnlyFilesystem => {
            "; mount the file system writable, or point `state` to one that is"
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "; free some space",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "; there is a file where a folder is expected: correct `state`"
        }
        _ => "",
    };
    open(path, format!("{what}: {error}{remedy}"))
}

/// The error for a file of a later version of this program.
pub(super) fn newer(path: &Path, version: usize) -> StoreError {
    open(
        path,
        format!("it was written by a newer ldap-usher (schema {version}); use that version"),
    )
}

fn cause(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(failure, message) => {
            // The low byte of an extended code is the primary one.
            let remedy = remedy(failure.extended_code & 0xff);
            let message = message.clone().unwrap_or_else(|| failure.to_string());
            format!("{message}{remedy}")
        }
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        rusqlite::Error::InvalidPath(path) => format!(
            "{} is not the state file that it was before; restore it, or restart the service",
            path.display()
        ),
        other => other.to_string(),
    }
}

fn remedy(code: i32) -> &'static str {
    match code {
        FULL => "; free some space on its file system",
        READONLY => "; make the file, its folder and its file system writable for this user",
        PERM | CANTOPEN => "; check that this user may read and write the file and its folder",
        BUSY => "; another program holds it locked: close that one (an sqlite3 shell, a backup)",
        IOERR => "; check the disk and the file system",
        CORRUPT => {
            "; stop the service and restore the file from a backup, or move it away: everyone is then \
             compared with Vaultwarden's accounts again"
        }
        NOTADB => "; it is not a state file of ldap-usher: correct `state`, or move that file away",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_of_the_operating_system_names_the_file_and_a_remedy() {
        for (kind, remedy) in [
            (io::ErrorKind::PermissionDenied, "run as the user who owns it"),
            (
                io::ErrorKind::ReadOnlyFilesystem,
                "mount the file system writable",
            ),
            (io::ErrorKind::StorageFull, "free some space"),
            (io::ErrorKind::NotADirectory, "correct `state`"),
        ] {
            let text = open_io(Path::new("/x/state.db"), "it cannot be created", &kind.into()).to_string();
            assert!(text.contains("/x/state.db") && text.contains(remedy), "{text}");
        }
    }

    #[test]
    fn each_result_code_that_an_operator_can_act_on_has_a_remedy() {
        for code in [PERM, BUSY, READONLY, IOERR, CORRUPT, FULL, CANTOPEN, NOTADB] {
            assert!(!remedy(code).is_empty(), "{code}");
        }
    }
}
