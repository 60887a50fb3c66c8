//! Stores the session with Vaultwarden. Vaultwarden allows few logins (by default three, then one in five minutes), and
//! administrators run `check` and `plan` several times before the service has a state file. So these commands keep their
//! session in a file, and the service takes it over.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::{BoxFuture, FutureExt};

use crate::store::{BaseStore, StoreError};
use crate::vaultwarden::SessionStore;

/// The name of the note in the store.
const NOTE: &str = "vaultwarden-session";

/// Reads the session from the store, or else from the file; saves it to one of the two. Where it cannot be saved, or is
/// not read again, it is kept in memory until another process saves one.
pub(super) struct Sessions {
    store: Option<Arc<dyn BaseStore>>,
    file: Option<PathBuf>,
    /// Whether the store is only read.
    read_only: bool,
    memory: Mutex<Memory>,
}

/// What this process knows of the note.
#[derive(Default)]
struct Memory {
    /// The note that was read last.
    read: Option<Vec<u8>>,
    /// The note that this process would have saved, and the one that it would have replaced.
    unsaved: Option<(Vec<u8>, Option<Vec<u8>>)>,
}

/// How a note was saved.
enum Saved {
    /// It is read from now on.
    Yes,
    /// Another one is read than was expected.
    Changed,
    /// It is not read: it could not be saved, or was saved beside the one that is read.
    No,
}

impl Sessions {
    /// For the service: saves to the store.
    pub(super) fn of_service(store: Arc<dyn BaseStore>, file: Option<PathBuf>) -> Self {
        Self::new(Some(store), file, false)
    }

    /// For commands that do not change the state file: saves to the file.
    pub(super) fn of_command(store: Option<Arc<dyn BaseStore>>, file: Option<PathBuf>) -> Self {
        Self::new(store, file, true)
    }

    fn new(store: Option<Arc<dyn BaseStore>>, file: Option<PathBuf>, read_only: bool) -> Self {
        Self {
            store,
            file,
            read_only,
            memory: Mutex::default(),
        }
    }

    /// Reads the store, or else the file.
    ///
    /// # Errors
    /// The store fails.
    async fn read(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let in_store = match &self.store {
            Some(store) => store.get_note(NOTE).await?,
            None => None,
        };
        Ok(in_store.or_else(|| self.in_file()))
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

    async fn save(&self, expected: Option<&[u8]>, note: &[u8]) -> Saved {
        if let Some(store) = self.store.as_ref().filter(|_| !self.read_only) {
            return swap(&**store, expected, note).await.unwrap_or_else(|error| {
                tracing::warn!(%error, "the session with Vaultwarden cannot be saved");
                Saved::No
            });
        }
        let Some(file) = &self.file else {
            return Saved::No;
        };
        match write(file, note) {
            Ok(()) if self.store.is_none() => Saved::Yes,
            Ok(()) => Saved::No,
            Err(error) => {
                tracing::debug!(file = %file.display(), %error, "the session with Vaultwarden cannot be saved");
                Saved::No
            }
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SessionStore for Sessions {
    fn load(&self) -> BoxFuture<'_, Option<Vec<u8>>> {
        async {
            let read = self.read().await;
            let mut memory = self.memory();
            match read {
                Ok(note) => {
                    // Another process has saved one since.
                    memory.unsaved.take_if(|(_, replaced)| *replaced != note);
                    memory.read = note;
                }
                Err(error) => tracing::warn!(%error, "the session with Vaultwarden cannot be read"),
            }
            let unsaved = memory.unsaved.as_ref().map(|(note, _)| note.clone());
            unsaved.or_else(|| memory.read.clone())
        }
        .boxed()
    }

    fn replace(&self, expected: Option<Vec<u8>>, note: Vec<u8>) -> BoxFuture<'_, bool> {
        async move {
            let replaced = match &self.memory().unsaved {
                Some((unsaved, replaced)) if expected.as_ref() == Some(unsaved) => replaced.clone(),
                _ => expected,
            };
            let saved = self.save(replaced.as_deref(), &note).await;
            let mut memory = self.memory();
            match saved {
                Saved::Changed => return false,
                Saved::Yes => {
                    memory.unsaved = None;
                    memory.read = Some(note);
                }
                Saved::No => memory.unsaved = Some((note, replaced)),
            }
            true
        }
        .boxed()
    }
}

/// Replaces the note in the store. What is expected may come from the file, which is read while the store has none.
async fn swap(store: &dyn BaseStore, expected: Option<&[u8]>, note: &[u8]) -> Result<Saved, StoreError> {
    let is_replaced = store.swap_note(NOTE, expected, note).await?
        || (store.get_note(NOTE).await?.is_none() && store.swap_note(NOTE, None, note).await?);
    Ok(if is_replaced { Saved::Yes } else { Saved::Changed })
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
    use crate::store::Sqlite;

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

    /// Saves `note` in place of what is there.
    async fn save(sessions: &Sessions, note: &str) -> bool {
        sessions.replace(sessions.load().await, note.into()).await
    }

    async fn loaded(sessions: &Sessions) -> String {
        String::from_utf8(sessions.load().await.unwrap_or_default()).unwrap()
    }

    #[tokio::test]
    async fn a_session_that_cannot_be_saved_is_kept_by_the_process_that_opened_it() {
        let dir = tempfile::tempdir().unwrap();
        let occupied = dir.path().join("folder");
        fs::write(&occupied, "").unwrap();
        for file in [None, Some(occupied.join("session"))] {
            let sessions = Sessions::of_command(None, file);
            assert!(save(&sessions, "first").await);
            assert_eq!(loaded(&sessions).await, "first");
            assert!(save(&sessions, "second").await);
            assert_eq!(loaded(&sessions).await, "second");
        }
    }

    #[tokio::test]
    async fn a_command_goes_on_with_its_own_session_until_the_service_opens_another() {
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn BaseStore> = crate::store::in_memory().await.unwrap();
        let service = Sessions::of_service(store.clone(), None);
        assert!(save(&service, "first").await);
        for file in [None, Some(dir.path().join("session"))] {
            let command = Sessions::of_command(Some(store.clone()), file);
            assert!(save(&command, "of the command").await);
            assert_eq!(loaded(&command).await, "of the command");
            assert!(save(&command, "of the command, too").await);
            assert_eq!(loaded(&command).await, "of the command, too");
            assert_eq!(loaded(&service).await, "first");
            assert!(save(&service, "second").await);
            assert_eq!(loaded(&command).await, "second");
            assert!(save(&service, "first").await);
        }
    }

    #[tokio::test]
    async fn while_the_store_saves_nothing_the_service_goes_on_with_its_session() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        let writer: Arc<dyn BaseStore> = Arc::new(Sqlite::open(&path).await.unwrap());
        let other = Sessions::of_service(writer, None);
        assert!(save(&other, "first").await);
        // Each write to it fails.
        let failing = Arc::new(Sqlite::open_read_only(&path).await.unwrap());
        let service = Sessions::of_service(failing, None);
        assert!(save(&service, "second").await);
        assert_eq!(loaded(&service).await, "second");
        assert!(save(&service, "third").await);
        assert_eq!(loaded(&service).await, "third");
        assert_eq!(loaded(&other).await, "first");
        assert!(save(&other, "fourth").await);
        assert_eq!(loaded(&service).await, "fourth");
    }

    #[tokio::test]
    async fn of_two_services_only_one_replaces_the_same_session() {
        let store: Arc<dyn BaseStore> = crate::store::in_memory().await.unwrap();
        let one = Sessions::of_service(store.clone(), None);
        let other = Sessions::of_service(store, None);
        assert!(save(&one, "first").await);
        let expected = other.load().await;
        assert!(one.replace(expected.clone(), b"second".to_vec()).await);
        assert!(!other.replace(expected, b"third".to_vec()).await);
        assert_eq!(loaded(&other).await, "second");
    }
}
