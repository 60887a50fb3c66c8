//! Stores the session with Vaultwarden. Vaultwarden allows few logins (by default three, then one in five minutes), and
//! administrators run `check` and `plan` several times before the service has a state file. So these commands keep their
//! session in a file, and the service takes it over.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};

use crate::store::BaseStore;
use crate::vaultwarden::SessionStore;

/// The name of the note in the store.
const NOTE: &str = "vaultwarden-session";

/// Reads the session from the store, or else from the file; saves it to one of the two.
pub(super) struct Sessions {
    store: Option<Arc<dyn BaseStore>>,
    file: Option<PathBuf>,
    /// Whether the store is only read.
    read_only: bool,
}

impl Sessions {
    /// For the service: saves to the store.
    pub(super) fn of_service(store: Arc<dyn BaseStore>, file: Option<PathBuf>) -> Self {
        Self {
            store: Some(store),
            file,
            read_only: false,
        }
    }

    /// For commands that do not change the state file: saves to the file.
    pub(super) fn of_command(store: Option<Arc<dyn BaseStore>>, file: Option<PathBuf>) -> Self {
        Self {
            store,
            file,
            read_only: true,
        }
    }

    async fn in_store(&self) -> Option<Vec<u8>> {
        let store = self.store.as_ref()?;
        store.get_note(NOTE).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the session with Vaultwarden cannot be read");
            None
        })
    }

    fn in_file(&self) -> Option<Vec<u8>> {
        let path = self.file.as_ref()?;
        match read(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::debug!(file = %path.display(), %error, "the session with Vaultwarden cannot be read");
                None
            }
            note => note.ok(),
        }
    }
}

impl SessionStore for Sessions {
    fn load(&self) -> BoxFuture<'_, Option<Vec<u8>>> {
        async {
            let in_store = self.in_store().await;
            in_store.or_else(|| self.in_file())
        }
        .boxed()
    }

    fn replace(&self, expected: Option<Vec<u8>>, note: Vec<u8>) -> BoxFuture<'_, bool> {
        async move {
            match (&self.store, &self.file) {
                (Some(store), _) if !self.read_only => {
                    // What is expected may come from the file, which is read while the store has no session.
                    let mut replaced = store.swap_note(NOTE, expected.as_deref(), &note).await;
                    if let Ok(false) = replaced
                        && self.in_store().await.is_none()
                    {
                        replaced = store.swap_note(NOTE, None, &note).await;
                    }
                    return replaced.unwrap_or_else(|error| {
                        tracing::warn!(%error, "the session with Vaultwarden cannot be saved");
                        true
                    });
                }
                (_, Some(file)) => {
                    if let Err(error) = write(file, &note) {
                        tracing::debug!(file = %file.display(), %error, "the session with Vaultwarden cannot be saved");
                    }
                }
                _ => {}
            }
            true
        }
        .boxed()
    }
}

/// Reads the file. Refuses one that other users can access, because they may have written it, and follows no link.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.permissions().mode() & 0o077 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "other users can access it",
        ));
    }
    let mut note = Vec::new();
    file.read_to_end(&mut note)?;
    Ok(note)
}

/// Replaces the file atomically by one that only this user can read.
fn write(path: &Path, note: &[u8]) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    let new = path.with_extension(format!("{}", std::process::id()));
    let _ = fs::remove_file(&new);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(note)?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_service_without_a_session_takes_over_the_one_that_a_command_saved() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("ldap-usher/session");
        let of_command = Sessions::of_command(None, Some(file.clone()));
        assert_eq!(of_command.load().await, None);
        assert!(
            of_command
                .replace(of_command.load().await, b"first".to_vec())
                .await
        );
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

        let store: Arc<dyn BaseStore> = crate::store::in_memory().await.unwrap();
        let service = Sessions::of_service(store.clone(), Some(file.clone()));
        assert_eq!(service.load().await.as_deref(), Some(&b"first"[..]));
        assert!(service.replace(service.load().await, b"second".to_vec()).await);
        assert!(
            of_command
                .replace(of_command.load().await, b"third".to_vec())
                .await
        );
        assert_eq!(service.load().await.as_deref(), Some(&b"second"[..]));

        // A command that has the store reads it and does not change it.
        let command = Sessions::of_command(Some(store.clone()), Some(file));
        assert!(command.replace(command.load().await, b"fourth".to_vec()).await);
        assert_eq!(
            store.get_note(NOTE).await.unwrap().as_deref(),
            Some(&b"second"[..])
        );
    }

    #[tokio::test]
    async fn a_session_file_that_others_can_read_or_that_is_a_link_is_ignored_and_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("session");
        let of_command = Sessions::of_command(None, Some(file.clone()));
        assert!(
            of_command
                .replace(of_command.load().await, b"first".to_vec())
                .await
        );
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(of_command.load().await, None);
        assert!(
            of_command
                .replace(of_command.load().await, b"second".to_vec())
                .await
        );
        assert_eq!(of_command.load().await.as_deref(), Some(&b"second"[..]));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

        let target = dir.path().join("target");
        fs::rename(&file, &target).unwrap();
        std::os::unix::fs::symlink(&target, &file).unwrap();
        assert_eq!(of_command.load().await, None);
        assert!(
            of_command
                .replace(of_command.load().await, b"third".to_vec())
                .await
        );
        assert_eq!(of_command.load().await.as_deref(), Some(&b"third"[..]));
        assert_eq!(fs::read(&target).unwrap(), b"second");
    }
}
