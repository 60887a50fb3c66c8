//! The state file: its mode, its lock, and the files that are refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use ldap_usher::model::Release;
use ldap_usher::model::Source;
use ldap_usher::model::{ActionState, Cursor, Outcome, Settlement, WorkerId};
use ldap_usher::store::interface::*;
use ldap_usher::store::{Decisions, Sqlite, StoreError, Which};

use super::{Book, OWNER, addresses, at, email, id, there};

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Executes SQL on the file without the store.
pub(super) fn sql(path: &Path, statement: &str) {
    rusqlite::Connection::open(path)
        .unwrap()
        .execute_batch(statement)
        .unwrap();
}

async fn refusal(path: &Path) -> String {
    Sqlite::open(path).await.unwrap_err().to_string()
}

#[tokio::test]
async fn only_the_owner_can_use_the_file_and_the_files_of_sqlite_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("deep/er/state.db");
    let book = Book::on(Arc::new(Sqlite::open(&path).await.unwrap())).await;
    book.joins(1, "ann").await;
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    for entry in fs::read_dir(path.parent().unwrap()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(mode(&entry.path()), 0o600, "{:?}", entry.file_name());
    }
    assert!(path.with_extension("db-wal").exists());
}

#[tokio::test]
async fn the_rights_of_other_users_are_removed_at_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    drop(Book::on(Arc::new(Sqlite::open(&path).await.unwrap())).await);
    fs::write(folder.path().join("state.db-journal"), "").unwrap();
    for entry in fs::read_dir(folder.path()).unwrap() {
        fs::set_permissions(entry.unwrap().path(), PermissionsExt::from_mode(0o644)).unwrap();
    }
    let book = Book::on(Arc::new(Sqlite::open(&path).await.unwrap())).await;
    book.joins(1, "ann").await;
    for entry in fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(mode(&entry.path()), 0o600, "{:?}", entry.file_name());
    }
}

#[tokio::test]
async fn a_lock_file_that_is_a_link_or_no_regular_file_is_refused_and_its_target_is_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let (path, lock) = (
        folder.path().join("state.db"),
        folder.path().join("state.db.lock"),
    );
    let treasure = folder.path().join("treasure");
    fs::write(&treasure, "gold").unwrap();

    std::os::unix::fs::symlink(&treasure, &lock).unwrap();
    assert!(refusal(&path).await.contains("it is a symbolic link"));
    assert!(Sqlite::is_served(&path).is_err());
    fs::remove_file(&lock).unwrap();

    std::os::unix::fs::symlink(folder.path().join("nothing"), &lock).unwrap();
    assert!(refusal(&path).await.contains("it is a symbolic link"));
    assert!(!folder.path().join("nothing").exists());
    fs::remove_file(&lock).unwrap();

    fs::hard_link(&treasure, &lock).unwrap();
    assert!(
        refusal(&path)
            .await
            .contains("it is not a regular file, or it has a second name (hard link); remove it")
    );
    fs::remove_file(&lock).unwrap();
    assert_eq!(fs::read_to_string(&treasure).unwrap(), "gold");

    Sqlite::open(&path).await.unwrap();
}

#[tokio::test]
async fn everything_is_preserved_across_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let book = Book::on(Arc::new(Sqlite::open(&path).await.unwrap())).await;
    book.joins(1, "ann").await;
    book.joins(2, "bob").await;
    let mut batch = book.batch(3, Source::Stream, vec![]);
    batch.cursor = Some(Cursor(b"csn=1".into()));
    book.store.apply(batch).await.unwrap();
    book.store.set_note("cookie", b"abc").await.unwrap();
    drop(book);

    let book = Book::on(Arc::new(Sqlite::open(&path).await.unwrap())).await;
    let row = book.store.register("main", "scope", "settings").await.unwrap();
    assert_eq!(row.cursor, Some(Cursor(b"csn=1".into())));
    assert_eq!(
        book.store.get_note("cookie").await.unwrap(),
        Some(b"abc".to_vec())
    );
    assert_eq!(
        addresses(&book.claims(4).await),
        ["ann@example.org", "bob@example.org"]
    );
}

#[tokio::test]
async fn the_claims_of_a_process_that_ended_are_due_at_once_and_in_doubt() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let book = Book::on(Arc::new(Sqlite::open(&path).await.unwrap())).await;
    book.joins(1, "ann").await;
    assert_eq!(book.claims(4).await[0].in_doubt, None);
    assert_eq!(book.claims(5).await, []);
    drop(book);

    let book = Book::on(Arc::new(Sqlite::open(&path).await.unwrap())).await;
    book.store.take_over(WorkerId(OWNER + 1), at(5)).await.unwrap();
    assert_eq!(book.store.next_due().await.unwrap(), Some(at(1)));
    assert_eq!(book.claims(5).await[0].in_doubt, Some(at(5)));
}

#[tokio::test]
async fn a_second_service_is_refused_with_the_process_id_of_the_first_and_can_open_the_file_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let first = Sqlite::open(&path).await.unwrap();
    let link = folder.path().join("link.db");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    for name in [&path, &link] {
        let error = Sqlite::open(name).await.unwrap_err();
        assert!(matches!(error, StoreError::InUse { .. }), "{error}");
        assert!(
            error
                .to_string()
                .contains(&format!("(process {})", std::process::id())),
            "{error}"
        );
    }
    drop(first);
    Sqlite::open(&path).await.unwrap();
}

#[tokio::test]
async fn wrong_counts_are_corrected_even_if_they_change_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let book = Book::on(Arc::new(Sqlite::open(&path).await.unwrap())).await;
    book.joins(1, "ann").await;
    drop(book);
    sql(
        &path,
        "update member_count set members = 7; delete from action_count;",
    );
    let book = Book::on(Arc::new(Sqlite::open(&path).await.unwrap())).await;
    book.joins(2, "bob").await;
    assert_eq!(book.store.report().await.unwrap().members, 8);
    assert!(!book.store.check_counts().await.unwrap());
    let report = book.store.report().await.unwrap();
    assert_eq!((report.members, report.count(ActionState::Queued)), (2, 2));
    assert!(book.store.check_counts().await.unwrap());
}

#[tokio::test]
async fn commands_read_and_approve_whether_or_not_the_service_runs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let mut book = Book::on(Arc::new(Sqlite::open(&path).await.unwrap())).await;
    book.limits.invites_per_listing = Some(1);
    book.lists(&[(1, "ann"), (2, "bob")]).await;

    let reader = Sqlite::open_read_only(&path).await.unwrap();
    assert_eq!(reader.report().await.unwrap().members, 2);
    assert!(Sqlite::is_served(&path).unwrap());
    let shared = Sqlite::open_shared(&path).await.unwrap();
    let approved = shared
        .release(
            &[ActionState::Held],
            Which::To(&[email("bob")]),
            Release::Approved,
            at(3),
        )
        .await
        .unwrap();
    assert_eq!(approved, ["bob@example.org"]);
    assert_eq!(addresses(&book.claims(4).await), ["bob@example.org"]);
    assert_eq!(
        reader
            .in_state(ActionState::Held, Which::All)
            .await
            .unwrap()
            .len(),
        1,
        "a reader sees what others commit"
    );
    drop((book, reader, shared));

    assert!(!Sqlite::is_served(&path).unwrap());
    let reader = Sqlite::open_read_only(&path).await.unwrap();
    assert_eq!(
        reader.in_state(ActionState::Held, Which::All).await.unwrap()[0].address,
        "ann@example.org"
    );
    let shared = Sqlite::open_shared(&path).await.unwrap();
    assert_eq!(
        shared
            .release(&[ActionState::Held], Which::All, Release::Approved, at(5))
            .await
            .unwrap(),
        ["ann@example.org"]
    );
}

#[tokio::test]
async fn a_reader_changes_nothing_and_creates_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    for error in [
        Sqlite::open_read_only(&path).await.unwrap_err(),
        Sqlite::open_shared(&path).await.unwrap_err(),
    ] {
        assert!(
            error
                .to_string()
                .contains("it does not exist; start the service first"),
            "{error}"
        );
    }
    assert!(!path.exists());

    drop(Sqlite::open(&path).await.unwrap());
    let reader = Sqlite::open_read_only(&path).await.unwrap();
    let error = reader.set_note("name", b"note").await.unwrap_err().to_string();
    assert!(
        error.contains("while storing a note: attempt to write a readonly database"),
        "{error}"
    );

    fs::write(&path, "").unwrap();
    let error = Sqlite::open_read_only(&path).await.unwrap_err().to_string();
    assert!(error.contains("start the service once"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_not_a_state_file_is_refused_with_the_remedy_and_unchanged() {
    let folder = tempfile::tempdir().unwrap();
    let error = refusal(folder.path()).await;
    assert!(
        error.contains("it is a folder; let `state` name a file"),
        "{error}"
    );

    let text = folder.path().join("notes.txt");
    fs::write(&text, "not a database, just a long enough text. ".repeat(50)).unwrap();
    let error = refusal(&text).await;
    assert!(
        error.contains("file is not a database; it is not a state file of ldap-usher"),
        "{error}"
    );

    let error = refusal(&text.join("state.db")).await;
    assert!(error.contains("correct `state`"), "{error}");

    let foreign = folder.path().join("foreign.db");
    sql(&foreign, "create table vault (id)");
    let before = fs::read(&foreign).unwrap();
    let error = refusal(&foreign).await;
    assert!(error.contains("it is a database of another program"), "{error}");
    assert_eq!(fs::read(&foreign).unwrap(), before);
}

#[tokio::test]
async fn a_file_of_a_newer_version_is_refused_in_every_mode() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    drop(Sqlite::open(&path).await.unwrap());
    sql(&path, "pragma user_version = 999");
    for error in [
        Sqlite::open(&path).await.unwrap_err(),
        Sqlite::open_shared(&path).await.unwrap_err(),
        Sqlite::open_read_only(&path).await.unwrap_err(),
    ] {
        assert!(
            error
                .to_string()
                .contains("a newer ldap-usher (schema 999); use that version"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_statement_that_fails_undoes_its_whole_transaction() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.db");
    let book = Book::on(Arc::new(Sqlite::open(&path).await.unwrap())).await;
    book.joins(1, "ann").await;
    // The last statement of the transaction fails; those before it had succeeded.
    sql(
        &path,
        "create trigger refuse before update of cursor on directory
         begin select raise(abort, 'no more'); end",
    );
    let mut batch = book.batch(2, Source::Stream, vec![there(2, "bob")]);
    batch.cursor = Some(Cursor(b"csn=2".into()));
    let error = book.store.apply(batch.clone()).await.unwrap_err().to_string();
    assert!(error.contains("while saving a decision: no more"), "{error}");
    assert_eq!(book.tasks().await, "queued 1");
    assert_eq!(book.store.known(book.directory, &[id(2)]).await.unwrap(), []);

    sql(&path, "drop trigger refuse");
    book.store.apply(batch).await.unwrap();
    book.settles(4, Settlement::from(Outcome::Invited)).await;
    assert_eq!(book.tasks().await, "done 2");
}
