//! Storage that fails: nothing acknowledged is lost, nothing is half done, and the next call works again.

use ldap_usher::model::{ActionState, Outcome, Settlement, WorkerId};
use ldap_usher::store::{Decisions, Sqlite, StoreError};
use std::sync::Arc;

use super::file::sql;
use super::{Book, at, there};
use crate::support::file_system::FileSystem;
use crate::support::queue::Queue as _;
use ldap_usher::model::Source;

const INVITED: Settlement = Settlement::Done {
    outcome: Outcome::Invited,
    account: None,
};

/// The writes from a new person to an invitation, each as the event of a trigger that makes it fail.
const WRITES: [(&str, &str); 6] = [
    ("insert on member", "a new person is stored"),
    ("insert on action", "the invitation is created"),
    ("update of cursor on directory", "the cursor is stored"),
    ("update of owner on action", "the invitation is claimed"),
    (
        "update of outcome on action when new.outcome is not null",
        "the invitation is settled",
    ),
    ("insert on note", "a session is stored"),
];

/// A new person joins and is invited. Returns the first error.
async fn joins_and_is_invited(book: &Book, n: u8) -> Result<(), StoreError> {
    let mut batch = book.batch(1, Source::Stream, vec![there(n, &format!("p{n}"))]);
    batch.cursor = Some(ldap_usher::model::Cursor(vec![n]));
    book.store.apply(batch).await?;
    let claimed = book.store.claim(20 + i64::from(n), 10, at(2)).await?;
    let settled = claimed.into_iter().map(|task| (task.id, INVITED)).collect();
    book.store
        .settle(20 + i64::from(n), settled, book.limits, at(3))
        .await?;
    book.store.set_note("session", &[n]).await
}

#[tokio::test]
async fn after_any_failed_write_the_store_resumes_by_itself_and_nothing_acknowledged_is_lost() {
    // SQLite itself does a "rollback" if the disk is full or fails; "abort" leaves the transaction open.
    for how in ["rollback", "abort"] {
        for (write, what) in WRITES {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("state.db");
            let book = Book::on(Arc::new(Sqlite::open(&path).await.unwrap())).await;
            joins_and_is_invited(&book, 1).await.unwrap();
            sql(
                &path,
                &format!(
                    "create trigger failing before {write} begin select raise({how}, 'disk I/O error'); end"
                ),
            );
            for owner in 0..3 {
                // The service restarts a worker after a failure of the store.
                let _ = book.store.take_over(WorkerId(owner), at(2)).await;
                let error = joins_and_is_invited(&book, 2).await.expect_err(what);
                assert!(error.to_string().contains("disk I/O error"), "{what}: {error}");
            }
            let done = book.store.report().await.unwrap().count(ActionState::Done);
            assert!(done >= 1, "{what}: what was answered is undone");
            sql(&path, "drop trigger failing");
            book.store.take_over(WorkerId(9), at(2)).await.unwrap();
            joins_and_is_invited(&book, 2)
                .await
                .unwrap_or_else(|error| panic!("{what}: {error}"));
            joins_and_is_invited(&book, 3).await.unwrap();
            assert_eq!(book.tasks().await, "done 3", "{what}");
            drop(book);
            let again = Book::on(Arc::new(Sqlite::open(&path).await.unwrap())).await;
            assert_eq!(
                again.tasks().await,
                "done 3",
                "{what}: nothing that was answered is undone"
            );
        }
    }
}

#[tokio::test]
async fn a_full_file_system_fails_with_the_remedy_and_writes_go_on_once_there_is_room() {
    let disk = FileSystem::mount(1024);
    let book = Book::on(Arc::new(
        Sqlite::open(&disk.path().join("state.db")).await.unwrap(),
    ))
    .await;
    let mut n = 0;
    let ballast = disk.path().join("ballast");
    disk.fill(&ballast);
    let error = loop {
        n += 1;
        if let Err(error) = joins_and_is_invited(&book, n).await {
            break error.to_string();
        }
        assert!(n < 250, "the disk never fills up");
    };
    assert!(error.contains("free some space on its file system"), "{error}");
    let done = u64::from(n - 1);
    for _ in 0..3 {
        assert!(joins_and_is_invited(&book, n).await.is_err());
    }
    std::fs::remove_file(&ballast).unwrap();
    book.store
        .take_over(WorkerId(super::OWNER + 1), at(2))
        .await
        .unwrap();
    joins_and_is_invited(&book, n).await.unwrap();
    assert_eq!(book.tasks().await, format!("done {}", done + 1));
}

#[tokio::test]
async fn a_decision_that_panics_fails_alone() {
    let folder = tempfile::tempdir().unwrap();
    let book = Book::on(Arc::new(
        Sqlite::open(&folder.path().join("state.db")).await.unwrap(),
    ))
    .await;
    let bug = book
        .store
        .decide::<()>(ldap_usher::store::Scope::default(), |_| panic!("a bug"));
    let error = bug.await.unwrap_err().to_string();
    assert!(error.contains("the transaction was aborted"), "{error}");
    joins_and_is_invited(&book, 1).await.unwrap();
    assert_eq!(book.tasks().await, "done 1");
}
