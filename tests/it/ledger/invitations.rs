//! Who is owed an invitation: each rule of `TaskWrite`.

use ldap_usher::ledger::{Duplicate, Ledger, Origin};
use ldap_usher::model::{Listing, Outcome, Settlement};

use super::{Book, LEASE, addresses, at, cancel, dn, email, open, present, readdress, reopen, retry};

const INVITED: Settlement = Settlement::Done(Outcome::Invited);

#[tokio::test]
async fn a_single_change_is_queued_at_once_and_a_listing_s_find_waits_for_its_end() {
    let book = Book::new().await;
    assert_eq!(book.joins(1, "ann").await.queued, 1);
    let batch = book.batch(Origin::Listing, vec![present(2, "bob")], vec![open(2, "bob")]);
    assert_eq!(book.ledger.commit(&batch, at(1)).await.unwrap().queued, 0);
    assert_eq!(addresses(&book.claims(2).await), ["ann@example.org"]);
    assert_eq!(book.ends(&Listing::Changes, Some(1)).await.queued, 1);
    assert_eq!(addresses(&book.claims(2).await), ["bob@example.org"]);
}

#[tokio::test]
async fn a_listing_that_finds_more_new_people_than_allowed_holds_them_all() {
    let book = Book::new().await;
    let outcome = book.lists(&[(1, "ann"), (2, "bob"), (3, "cat")], Some(2)).await;
    assert_eq!((outcome.queued, outcome.held), (0, 3));
    book.joins(4, "dan").await;
    assert_eq!(
        addresses(&book.claims(3).await),
        ["dan@example.org"],
        "single changes go on"
    );
    let outcome = book.lists(&[(5, "eve"), (6, "fay")], Some(2)).await;
    assert_eq!((outcome.queued, outcome.held), (2, 0));
}

#[tokio::test]
async fn an_invitation_is_opened_once_and_again_only_when_the_person_left_and_came_back() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    assert_eq!(book.joins(1, "ann").await.queued, 0);
    book.settles(2, INVITED).await;
    book.joins(1, "ann").await;
    assert_eq!(book.tasks().await, "done 1");
    book.leaves(1, "ann").await;
    assert_eq!(book.tasks().await, "done 1", "what was sent cannot be cancelled");
    let committed = book.live(vec![present(1, "ann")], vec![reopen(1, "ann")]).await;
    assert_eq!((committed.queued, book.tasks().await.as_str()), (1, "queued 1"));
    assert_eq!(book.claims(3).await[0].attempts, 0);
}

#[tokio::test]
async fn who_leaves_before_being_invited_is_not_invited_until_they_come_back() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    book.leaves(1, "ann").await;
    assert_eq!(book.claims(2).await, []);
    assert_eq!(book.joins(1, "ann").await.queued, 1);
    assert_eq!(addresses(&book.claims(2).await), ["ann@example.org"]);
}

#[tokio::test]
async fn leaving_also_ends_what_is_staged_held_or_quarantined() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    book.settles(2, Settlement::Quarantine("refused".into())).await;
    book.lists(&[(1, "ann"), (2, "bob")], Some(0)).await;
    let batch = book.batch(Origin::Listing, vec![present(3, "cat")], vec![open(3, "cat")]);
    book.ledger.commit(&batch, at(3)).await.unwrap();
    assert_eq!(book.tasks().await, "staged 1, held 1, quarantined 1");
    for (n, name) in [(1, "ann"), (2, "bob"), (3, "cat")] {
        book.leaves(n, name).await;
    }
    assert_eq!(book.tasks().await, "cancelled 3");
}

#[tokio::test]
async fn two_entries_with_one_address_get_one_invitation_and_are_reported_as_a_pair_once() {
    let book = Book::new().await;
    assert_eq!(book.joins(1, "info").await.duplicates, []);
    let committed = book.joins(2, "info").await;
    let pair = Duplicate {
        address: email("info"),
        dn: dn(2),
        holder_dn: dn(1),
    };
    assert_eq!((committed.queued, committed.duplicates), (0, vec![pair]));
    assert_eq!(book.claims(2).await.len(), 1);

    let both = vec![present(3, "desk"), present(4, "desk")];
    let committed = book.live(both, vec![open(3, "desk"), open(4, "desk")]).await;
    assert_eq!((committed.queued, committed.duplicates.len()), (1, 1));
}

#[tokio::test]
async fn when_one_of_two_with_one_address_leaves_the_other_inherits_the_invitation() {
    let book = Book::new().await;
    book.joins(1, "info").await;
    book.joins(2, "info").await;
    book.leaves(1, "info").await;
    let claimed = book.claims(2).await;
    assert_eq!((claimed.len(), &claimed[0].dn), (1, &dn(2)));
    book.settle(2, &[(claimed[0].id, retry(3, false))]).await;
    book.leaves(2, "info").await;
    assert_eq!(book.tasks().await, "cancelled 1");
}

#[tokio::test]
async fn the_other_of_a_pair_who_gets_an_address_of_their_own_is_invited_there() {
    let book = Book::new().await;
    book.joins(1, "info").await;
    book.joins(2, "info").await;
    book.settles(2, INVITED).await;
    book.moves(2, "info", "bob", false).await;
    assert_eq!(addresses(&book.claims(3).await), ["bob@example.org"]);
    assert_eq!(book.tasks().await, "queued 1, done 1");
}

#[tokio::test]
async fn a_changed_address_is_invited_in_place_of_one_that_was_not_sent() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    book.moves(1, "ann", "bee", false).await;
    assert_eq!(addresses(&book.claims(2).await), ["bee@example.org"]);
    assert_eq!(book.tasks().await, "queued 1, cancelled 1");
}

#[tokio::test]
async fn once_someone_was_invited_a_changed_address_is_invited_only_on_request() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    book.settles(2, INVITED).await;
    book.moves(1, "ann", "bee", false).await;
    book.moves(1, "bee", "cee", false).await;
    assert_eq!(book.tasks().await, "done 1", "nor after a second change");
    book.moves(1, "cee", "dee", true).await;
    assert_eq!(addresses(&book.claims(3).await), ["dee@example.org"]);
}

#[tokio::test]
async fn a_held_invitation_stays_held_under_a_changed_address() {
    let book = Book::new().await;
    book.lists(&[(1, "ann"), (2, "bob")], Some(1)).await;
    book.moves(1, "ann", "bee", true).await;
    assert_eq!(book.tasks().await, "held 2, cancelled 1");
    let held = book.ledger.held().await.unwrap();
    assert!(
        held.iter()
            .any(|task| task.address == "bee@example.org" && task.dn == dn(1))
    );
}

#[tokio::test]
async fn who_leaves_while_their_invitation_is_in_flight_was_invited_if_it_succeeds() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    let task = book.claims(2).await[0].id;
    book.leaves(1, "ann").await;
    assert_eq!(book.tasks().await, "queued 1");
    book.settle(3, &[(task, INVITED)]).await;
    assert_eq!(book.tasks().await, "done 1");
}

#[tokio::test]
async fn who_leaves_while_their_invitation_is_in_flight_is_not_tried_again_if_it_fails() {
    for failure in [retry(3, false), Settlement::Quarantine("refused".into())] {
        let book = Book::new().await;
        book.joins(1, "ann").await;
        let task = book.claims(2).await[0].id;
        book.leaves(1, "ann").await;
        book.settle(3, &[(task, failure)]).await;
        assert_eq!(book.tasks().await, "cancelled 1");
        assert_eq!(book.ledger.next_due().await.unwrap(), None);
        book.settle(4, &[(task, retry(5, false))]).await;
        assert_eq!(
            book.tasks().await,
            "cancelled 1",
            "a late settlement does not revive it"
        );
    }
}

#[tokio::test]
async fn a_doubtful_invitation_of_a_leaver_is_looked_up_and_then_dropped() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    let task = book.claims(2).await[0].id;
    book.leaves(1, "ann").await;
    book.settle(3, &[(task, retry(4, true))]).await;
    let claimed = book.claims(4).await;
    assert!(claimed[0].in_doubt);
    book.settle(5, &[(task, retry(5, false))]).await;
    assert_eq!(book.tasks().await, "cancelled 1");
}

#[tokio::test]
async fn an_address_that_changes_in_flight_is_invited_if_the_old_one_was_not() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    let task = book.claims(2).await[0].id;
    book.moves(1, "ann", "bee", false).await;
    assert_eq!(book.tasks().await, "queued 1");
    book.settle(3, &[(task, retry(4, false))]).await;
    assert_eq!(addresses(&book.claims(4).await), ["bee@example.org"]);
    assert_eq!(book.tasks().await, "queued 1, cancelled 1");
}

#[tokio::test]
async fn a_late_settlement_of_a_task_that_is_in_doubt_again_changes_nothing() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    let task = book.claims(2).await[0].id;
    book.moves(1, "ann", "bee", false).await;
    book.settle(3, &[(task, retry(4, true))]).await;
    book.settle(3, &[(task, retry(4, false))]).await;
    assert_eq!(book.tasks().await, "queued 1");
    assert!(book.claims(4).await[0].in_doubt);
}

#[tokio::test]
async fn an_in_flight_invitation_that_fails_goes_to_whoever_else_holds_the_address() {
    let book = Book::new().await;
    book.joins(1, "info").await;
    let task = book.claims(2).await[0].id;
    book.leaves(1, "info").await;
    book.joins(2, "info").await;
    book.settle(3, &[(task, retry(4, false))]).await;
    let claimed = book.claims(4).await;
    assert_eq!((claimed[0].id, &claimed[0].dn), (task, &dn(2)));
}

#[tokio::test]
async fn what_is_leased_or_in_doubt_is_not_cancelled() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    book.ledger.claim(1, LEASE, at(2)).await.unwrap();
    book.leaves(1, "ann").await;
    assert_eq!(book.tasks().await, "queued 1");
    let task = book.claims(100).await[0].clone();
    assert!(task.in_doubt, "the lease ran out");
    book.joins(1, "ann").await;
    book.settle(101, &[(task.id, retry(102, true))]).await;
    book.leaves(1, "ann").await;
    assert_eq!(book.tasks().await, "queued 1");
}

#[tokio::test]
async fn a_write_for_somebody_else_s_invitation_or_for_nobody_changes_nothing() {
    let book = Book::new().await;
    book.joins(1, "info").await;
    book.joins(2, "info").await;
    let tasks = vec![
        cancel(2, "info"),
        open(9, "who"),
        cancel(9, "who"),
        readdress(9, "who", "else", true),
    ];
    let committed = book.live(vec![], tasks).await;
    assert_eq!((committed.queued, committed.duplicates.len()), (0, 0));
    assert_eq!(book.claims(2).await[0].dn, dn(1));
    assert_eq!(book.tasks().await, "queued 1");
}
