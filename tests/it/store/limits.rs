//! The limits on invitations: what is held, and that it stays held.

use std::sync::Arc;

use ldap_usher::model::Release;
use ldap_usher::model::Source;
use ldap_usher::model::{ActionState, Listing, Outcome, Settlement};
use ldap_usher::rules::Verdict;
use ldap_usher::store::{ChangeBatch, Decisions, Which};

use super::{Book, Committed, addresses, at, dn, email, entry, id, on_both, sighting, there};

on_both! {
    the_report_names_those_who_are_held_first_come_first_shown,
    a_listing_that_finds_more_new_people_than_allowed_holds_them_all_and_single_changes_go_on,
    a_comparison_during_a_listing_over_its_limit_releases_nobody,
    people_of_a_listing_before_a_crash_are_not_counted_twice,
    repeated_partial_listings_together_release_no_more_than_one_complete_listing,
    a_held_person_stays_held_after_changes_of_the_address,
    approving_one_person_releases_nobody_else,
    people_of_one_change_are_limited_like_those_of_a_listing,
    single_changes_over_the_limit_of_an_hour_are_held_and_reported_and_the_next_hour_starts_at_zero,
    an_entry_that_changes_its_address_again_and_again_invites_no_strangers,
}

fn cut() -> Listing {
    Listing::Partial("size limit".into())
}

async fn a_listing_that_finds_more_new_people_than_allowed_holds_them_all_and_single_changes_go_on() {
    let book = Book::limited(2).await;
    let outcome = book.lists(&[(1, "ann"), (2, "bob"), (3, "cat")]).await;
    assert_eq!((outcome.queued, outcome.held), (0, 3));
    book.joins(4, "dan").await;
    assert_eq!(addresses(&book.claims(3).await), ["dan@example.org"]);
}

async fn a_comparison_during_a_listing_over_its_limit_releases_nobody() {
    let book = Book::limited(3).await;
    let part = |people: [u8; 2]| ChangeBatch {
        leave: Arc::default(),
        leaving: None,
        listing: Verdict::Hold,
        ..book.batch(
            2,
            Source::Listing,
            people.map(|n| there(n, &format!("p{n}"))).into(),
        )
    };
    // So far their number is within the limit of one listing.
    book.store.apply(part([1, 2])).await.unwrap();
    assert_eq!(book.store.unchecked().await.unwrap().held, 0);
    assert_eq!(book.compares(3, &["p1"]).await, []);
    assert_eq!(book.tasks().await, "held 1, done 1");

    book.store.apply(part([3, 4])).await.unwrap();
    book.store.apply(part([5, 6])).await.unwrap();
    book.ends(4, &Listing::Complete).await;
    assert_eq!(book.compares(5, &[]).await, [("main".into(), 5)]);
    assert_eq!(book.tasks().await, "held 5, done 1");
}

async fn people_of_a_listing_before_a_crash_are_not_counted_twice() {
    let book = Book::limited(10).await;
    let people = |range: std::ops::RangeInclusive<u8>| range.map(|n| there(n, &format!("p{n}"))).collect();
    book.takes(2, Source::Listing, people(1..=6)).await;
    // The listing did not end; the next one names everyone.
    let brought = book.names(3, people(1..=10), &Listing::Complete).await;
    assert_eq!((brought.queued, brought.held), (4, 0));
    book.ends(3, &Listing::Complete).await;
    let brought = book.lists_at(4, &[(11, "late")], &cut()).await;
    assert_eq!((brought.queued, brought.held), (0, 1));
}

async fn repeated_partial_listings_together_release_no_more_than_one_complete_listing() {
    let book = Book::limited(3).await;
    let outcome = book.lists_at(10, &[(1, "ann"), (2, "bob")], &cut()).await;
    assert_eq!((outcome.queued, outcome.held), (2, 0));
    for (second, n) in [(20, 3), (30, 5), (40, 7)] {
        let (one, two) = (format!("p{n}"), format!("q{n}"));
        let outcome = book.lists_at(second, &[(n, &one), (n + 1, &two)], &cut()).await;
        assert_eq!((outcome.queued, outcome.held), (0, 2));
    }
    assert_eq!(book.compares(50, &[]).await, [("main".into(), 6)]);
    assert_eq!(book.tasks().await, "queued 2, held 6");
    // After an hour without changes, new people are invited, and the held ones are still held.
    book.lists_at(3700, &[(9, "eve"), (10, "fay")], &cut()).await;
    assert_eq!(book.tasks().await, "queued 4, held 6");
}

async fn a_held_person_stays_held_after_changes_of_the_address() {
    for (changes, expected) in [
        (vec![there(1, "bee")], "held 2, cancelled 1"),
        (
            vec![sighting(&entry(1, None)), there(1, "bee")],
            "held 2, cancelled 1",
        ),
        (vec![super::gone(1), there(1, "ann")], "held 2"),
        (vec![super::gone(1), there(1, "bee")], "held 2, cancelled 1"),
    ] {
        let mut book = Book::limited(1).await;
        book.invite_changed_address = true;
        book.lists(&[(1, "ann"), (2, "bob")]).await;
        book.compares(3, &[]).await;
        for change in changes {
            book.live(vec![change]).await;
        }
        assert_eq!(book.tasks().await, expected);
        assert_eq!(book.compares(4, &[]).await, [], "it was judged");
        assert_eq!(book.tasks().await, expected);
    }
}

async fn approving_one_person_releases_nobody_else() {
    let book = Book::limited(2).await;
    book.lists(&[(1, "ann"), (2, "bob"), (3, "cat")]).await;
    // Before the comparison with the accounts, which Vaultwarden does not answer.
    let named = [email("ann")];
    let released = book
        .store
        .release(&[ActionState::Held], Which::To(&named), Release::Approved, at(3))
        .await;
    assert_eq!(released.unwrap(), ["ann@example.org"]);
    book.compares(4, &[]).await;
    assert_eq!(book.tasks().await, "queued 1, held 2");
}

async fn people_of_one_change_are_limited_like_those_of_a_listing() {
    let mut book = Book::limited(10).await;
    book.limits.invites_per_hour = Some(100);
    // A group of thirty becomes a member of the configured group. Its members are read in parts.
    for part in [1..=15_u8, 16..=30] {
        let people: Vec<u8> = part.collect();
        let mut batch = book.batch(
            1,
            Source::Stream,
            people.iter().map(|&n| there(n, &format!("p{n}"))).collect(),
        );
        batch.together = people.iter().map(|&n| (super::id(n), 30)).collect();
        let committed = Committed::by(&book.store.apply(batch).await.unwrap());
        assert_eq!((committed.queued, committed.held_together), (0, 15));
    }
    book.joins(40, "ann").await;
    assert_eq!(book.tasks().await, "queued 1, held 30");
    // Those with an account are done, and nobody else is released.
    book.compares(2, &["p1", "p2"]).await;
    assert_eq!(book.tasks().await, "queued 1, held 28, done 2");
}

async fn single_changes_over_the_limit_of_an_hour_are_held_and_reported_and_the_next_hour_starts_at_zero() {
    let mut book = Book::new().await;
    book.limits.invites_per_hour = Some(2);
    let all = (1..=4).map(|n| there(n, &format!("p{n}"))).collect();
    let committed = book.takes(1, Source::Stream, all).await;
    assert_eq!((committed.queued, committed.held_by_hour), (2, 2));
    let held = book.store.in_state(ActionState::Held, Which::All).await.unwrap();
    assert!(held[0].reason.contains("limits.invites_per_hour"), "{held:?}");
    assert_eq!(book.compares(2, &[]).await, [], "no comparison lets them go");
    assert_eq!(book.tasks().await, "queued 2, held 2");
    let committed = book.takes(3700, Source::Stream, vec![there(5, "p5")]).await;
    assert_eq!((committed.queued, committed.held_by_hour), (1, 0));
}

async fn an_entry_that_changes_its_address_again_and_again_invites_no_strangers() {
    let mut book = Book::new().await;
    book.limits.addresses_per_person = Some(2);
    for (invite, expected) in [(false, 1), (true, 2)] {
        book.invite_changed_address = invite;
        for n in 0..25 {
            book.live(vec![super::gone(1)]).await;
            book.live(vec![there(1, &format!("stranger{n}"))]).await;
            book.settles(2, Settlement::from(Outcome::Invited)).await;
        }
        let done = book.store.in_state(ActionState::Done, Which::All).await.unwrap();
        assert_eq!(done.len(), expected, "{done:?}");
    }
    let held = book.store.in_state(ActionState::Held, Which::All).await.unwrap();
    assert!(held.iter().all(
        |task| task.dn == dn(1) && task.reason.contains("addresses_per_person")
            || task.reason.contains("held back before")
    ));
}

async fn the_report_names_those_who_are_held_first_come_first_shown() {
    let book = Book::limited(1).await;
    book.lists(&[(1, "ann"), (2, "bob"), (3, "eve")]).await;
    let report = book.store.report().await.unwrap();
    let held: Vec<_> = report
        .held
        .iter()
        .map(|task| (task.address.as_str(), task.entry))
        .collect();
    let expected = [
        ("ann@example.org", id(1)),
        ("bob@example.org", id(2)),
        ("eve@example.org", id(3)),
    ];
    assert_eq!(held, expected);
    let rows: Vec<i64> = report.held.iter().map(|task| task.row).collect();
    book.store.discard(rows, at(3)).await.unwrap();
    assert!(book.store.report().await.unwrap().held.is_empty());
}
