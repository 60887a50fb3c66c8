//! Directories that are renamed in, removed from and put back into the configuration.

use std::sync::Arc;

use ldap_usher::model::Source;
use ldap_usher::model::{Outcome, Settlement, Standing};
use ldap_usher::store::{Configured, Decisions};

use super::{Book, addresses, at, dn, on_both, there};

on_both! {
    a_renamed_directory_keeps_its_people_and_their_invitations,
    people_of_a_directory_that_is_not_configured_do_not_count,
    the_invitation_of_a_retired_directory_passes_to_another_person_with_the_address,
    a_directory_that_is_configured_again_continues_and_nobody_counts_as_having_left,
}

/// Records which directories are configured.
async fn configure(book: &Book, directories: &[(&str, &str)]) -> Configured {
    let configured = directories
        .iter()
        .map(|(name, scope)| ((*name).to_owned(), (*scope).to_owned()))
        .collect();
    let configured = book.store.configure(configured).await.unwrap();
    book.store
        .retire(book.limits, Arc::default(), at(9))
        .await
        .unwrap();
    configured
}

/// The same store with another directory.
async fn other(book: Book, name: &str, scope: &str) -> Book {
    let directory = book.store.register(name, scope, "").await.unwrap().id;
    Book { directory, ..book }
}

async fn a_renamed_directory_keeps_its_people_and_their_invitations() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    let configured = configure(&book, &[("staff", "scope")]).await;
    assert_eq!(configured.renamed, [("main".into(), "staff".into())]);
    assert_eq!(configured.retired, [""; 0]);
    let row = book.store.register("staff", "scope", "settings").await.unwrap();
    assert_eq!(row.id, book.directory);
    let claimed = book.claims(10).await;
    assert_eq!(
        (addresses(&claimed), claimed[0].directory.as_str()),
        (vec!["ann@example.org"], "staff")
    );
}

async fn people_of_a_directory_that_is_not_configured_do_not_count() {
    let book = Book::limited(1).await;
    book.joins(1, "ann").await;
    book.settles(2, Settlement::from(Outcome::Invited)).await;
    book.joins(2, "bob").await;
    book.takes(3, Source::Listing, vec![there(3, "cat")]).await;
    let configured = configure(&book, &[("other", "other scope")]).await;
    assert_eq!(configured.retired, ["main"]);
    assert_eq!(
        book.tasks().await,
        "done 1, cancelled 2",
        "neither queued nor held for ever"
    );
    let report = book.store.report().await.unwrap();
    assert_eq!((report.members, report.directories[0].retired), (0, true));

    // They are no duplicates of others, no invitation passes to them, and a new person with one of their addresses is
    // invited.
    let book = other(book, "other", "other scope").await;
    for (n, name) in [(1, "ann"), (2, "bob")] {
        let committed = book.joins(n, name).await;
        assert_eq!((committed.queued, committed.duplicates), (1, vec![]));
    }
    book.leaves(2).await;
    assert_eq!(addresses(&book.claims(10).await), ["ann@example.org"]);
    assert_eq!(
        configure(&book, &[("other", "other scope")]).await,
        Configured::default()
    );
}

async fn the_invitation_of_a_retired_directory_passes_to_another_person_with_the_address() {
    let book = Book::new().await;
    book.joins(1, "info").await;
    let book = other(book, "other", "other scope").await;
    book.joins(2, "info").await;
    configure(&book, &[("other", "other scope")]).await;
    let claimed = book.claims(10).await;
    assert_eq!((claimed.len(), &claimed[0].dn), (1, &dn(2)));
}

async fn a_directory_that_is_configured_again_continues_and_nobody_counts_as_having_left() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    book.settles(2, Settlement::from(Outcome::Invited)).await;
    book.joins(2, "bob").await;
    configure(&book, &[]).await;
    assert_eq!(book.known(1).await.standing, Standing::Member);

    configure(&book, &[("main", "scope")]).await;
    let row = book.store.register("main", "scope", "settings").await.unwrap();
    assert_eq!((row.id, row.cursor), (book.directory, None));
    book.lists(&[(1, "ann"), (2, "bob")]).await;
    assert_eq!(addresses(&book.claims(10).await), ["bob@example.org"]);
}
