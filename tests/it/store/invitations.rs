//! The rules on who is invited.

use ldap_usher::model::{ActionState, Listing, Outcome, Settlement, WorkerId};
use ldap_usher::store::Which;

use crate::support::queue::Queue as _;

use super::{Book, OWNER, addresses, at, dn, email, gone, on_both, refused, retry, there};

on_both! {
    single_changes_and_listings_within_the_limit_are_queued_at_once,
    an_invitation_is_repeated_only_if_the_person_left_and_came_back,
    a_person_who_leaves_before_being_invited_is_not_invited_until_they_come_back,
    leaving_also_cancels_a_held_or_quarantined_invitation,
    two_entries_with_one_address_get_one_invitation_and_are_reported_as_a_pair_once,
    when_one_of_two_with_one_address_leaves_the_other_inherits_the_invitation,
    the_second_of_two_with_one_address_is_invited_at_a_new_address_of_their_own,
    a_changed_address_replaces_one_that_was_not_invited_yet,
    the_changed_address_of_an_invited_person_is_invited_only_if_configured,
    a_person_who_leaves_while_their_invitation_is_in_flight_counts_as_invited_if_it_succeeds,
    the_invitation_in_flight_of_a_person_who_leaves_is_not_repeated_if_it_fails,
    the_invitation_in_doubt_of_a_leaver_is_looked_up_and_then_cancelled,
    an_address_that_changes_in_flight_is_invited_if_the_old_one_was_not,
    a_late_settlement_of_a_task_that_is_in_doubt_again_changes_nothing,
    an_invitation_in_flight_that_fails_passes_to_another_person_with_the_address,
    an_invitation_that_is_claimed_or_in_doubt_is_not_cancelled,
    an_address_is_invited_again_for_a_new_person_once_its_former_person_has_left,
    a_quarantined_address_is_retried_for_another_person_only_after_its_person_has_left,
    a_person_who_came_back_without_an_address_is_invited_again_when_they_get_one,
    the_departure_of_an_unknown_person_and_a_repeated_sighting_change_nothing,
}

const INVITED: Settlement = Settlement::Done {
    outcome: Outcome::Invited,
    account: None,
};

async fn single_changes_and_listings_within_the_limit_are_queued_at_once() {
    let book = Book::limited(1).await;
    assert_eq!(book.joins(1, "ann").await.queued, 1);
    let brought = book.names(2, vec![there(2, "bob")], &Listing::Changes).await;
    assert_eq!(brought.queued, 1);
    assert_eq!(
        addresses(&book.claims(2).await),
        ["ann@example.org", "bob@example.org"]
    );
}

async fn an_invitation_is_repeated_only_if_the_person_left_and_came_back() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    assert_eq!(book.joins(1, "ann").await.queued, 0);
    book.settles(2, INVITED).await;
    book.joins(1, "ann").await;
    assert_eq!(book.tasks().await, "done 1");
    book.leaves(1).await;
    assert_eq!(book.tasks().await, "done 1", "what was sent cannot be cancelled");
    let committed = book.joins(1, "ann").await;
    assert_eq!((committed.queued, book.tasks().await.as_str()), (1, "queued 1"));
    assert_eq!(book.claims(3).await[0].attempts, 0);
}

async fn a_person_who_leaves_before_being_invited_is_not_invited_until_they_come_back() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    book.leaves(1).await;
    assert_eq!(book.claims(2).await, []);
    assert_eq!(book.joins(1, "ann").await.queued, 1);
    assert_eq!(addresses(&book.claims(2).await), ["ann@example.org"]);
}

async fn leaving_also_cancels_a_held_or_quarantined_invitation() {
    let mut book = Book::new().await;
    book.joins(1, "ann").await;
    book.settles(2, refused("refused")).await;
    book.limits.invites_per_listing = Some(0);
    book.lists(&[(1, "ann"), (2, "bob")]).await;
    assert_eq!(book.tasks().await, "held 1, quarantined 1");
    for n in 1..=2 {
        book.leaves(n).await;
    }
    assert_eq!(book.tasks().await, "cancelled 2");
}

async fn two_entries_with_one_address_get_one_invitation_and_are_reported_as_a_pair_once() {
    let book = Book::new().await;
    assert_eq!(book.joins(1, "info").await.duplicates, []);
    let committed = book.joins(2, "info").await;
    let pair = (email("info"), dn(2), dn(1));
    assert_eq!((committed.queued, committed.duplicates), (0, vec![pair]));
    assert_eq!(book.claims(2).await.len(), 1);

    let committed = book.live(vec![there(3, "desk"), there(4, "desk")]).await;
    assert_eq!((committed.queued, committed.duplicates.len()), (1, 1));
}

async fn when_one_of_two_with_one_address_leaves_the_other_inherits_the_invitation() {
    let book = Book::new().await;
    book.joins(1, "info").await;
    book.joins(2, "info").await;
    book.leaves(1).await;
    let claimed = book.claims(2).await;
    assert_eq!((claimed.len(), &claimed[0].dn), (1, &dn(2)));
    book.settle(2, vec![(claimed[0].id, retry(3, false))]).await;
    book.leaves(2).await;
    assert_eq!(book.tasks().await, "cancelled 1");
}

async fn the_second_of_two_with_one_address_is_invited_at_a_new_address_of_their_own() {
    let book = Book::new().await;
    book.joins(1, "info").await;
    book.joins(2, "info").await;
    book.settles(2, INVITED).await;
    book.joins(2, "bob").await;
    assert_eq!(addresses(&book.claims(3).await), ["bob@example.org"]);
    assert_eq!(book.tasks().await, "queued 1, done 1");
}

async fn a_changed_address_replaces_one_that_was_not_invited_yet() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    book.joins(1, "bee").await;
    assert_eq!(addresses(&book.claims(2).await), ["bee@example.org"]);
    assert_eq!(book.tasks().await, "queued 1, cancelled 1");
}

async fn the_changed_address_of_an_invited_person_is_invited_only_if_configured() {
    let mut book = Book::new().await;
    book.joins(1, "ann").await;
    book.settles(2, INVITED).await;
    book.joins(1, "bee").await;
    book.joins(1, "cee").await;
    assert_eq!(book.tasks().await, "done 1", "nor after a second change");
    book.invite_changed_address = true;
    book.joins(1, "dee").await;
    assert_eq!(addresses(&book.claims(3).await), ["dee@example.org"]);
}

async fn a_person_who_leaves_while_their_invitation_is_in_flight_counts_as_invited_if_it_succeeds() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    let task = book.claims(2).await[0].id;
    book.leaves(1).await;
    assert_eq!(book.tasks().await, "queued 1");
    book.settle(3, vec![(task, INVITED)]).await;
    assert_eq!(book.tasks().await, "done 1");
}

async fn the_invitation_in_flight_of_a_person_who_leaves_is_not_repeated_if_it_fails() {
    for failure in [retry(3, false), refused("refused")] {
        let book = Book::new().await;
        book.joins(1, "ann").await;
        let task = book.claims(2).await[0].id;
        book.leaves(1).await;
        book.settle(3, vec![(task, failure)]).await;
        assert_eq!(book.tasks().await, "cancelled 1");
        assert_eq!(book.store.next_due().await.unwrap(), None);
        book.settle(4, vec![(task, retry(5, false))]).await;
        assert_eq!(
            book.tasks().await,
            "cancelled 1",
            "a late settlement does not revive it"
        );
    }
}

async fn the_invitation_in_doubt_of_a_leaver_is_looked_up_and_then_cancelled() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    let task = book.claims(2).await[0].id;
    book.leaves(1).await;
    book.settle(3, vec![(task, retry(4, true))]).await;
    let claimed = book.claims(4).await;
    assert!(claimed[0].in_doubt.is_some());
    book.settle(5, vec![(task, retry(5, false))]).await;
    assert_eq!(book.tasks().await, "cancelled 1");
}

async fn an_address_that_changes_in_flight_is_invited_if_the_old_one_was_not() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    let task = book.claims(2).await[0].id;
    book.joins(1, "bee").await;
    assert_eq!(book.tasks().await, "queued 1");
    book.settle(3, vec![(task, retry(4, false))]).await;
    assert_eq!(addresses(&book.claims(4).await), ["bee@example.org"]);
    assert_eq!(book.tasks().await, "queued 1, cancelled 1");
}

async fn a_late_settlement_of_a_task_that_is_in_doubt_again_changes_nothing() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    let task = book.claims(2).await[0].id;
    book.joins(1, "bee").await;
    book.settle(3, vec![(task, retry(4, true))]).await;
    book.settle(3, vec![(task, retry(4, false))]).await;
    assert_eq!(book.tasks().await, "queued 1");
    assert!(book.claims(4).await[0].in_doubt.is_some());
}

async fn an_invitation_in_flight_that_fails_passes_to_another_person_with_the_address() {
    let book = Book::new().await;
    book.joins(1, "info").await;
    let task = book.claims(2).await[0].id;
    book.leaves(1).await;
    book.joins(2, "info").await;
    book.settle(3, vec![(task, retry(4, false))]).await;
    let claimed = book.claims(4).await;
    assert_eq!((claimed[0].id, &claimed[0].dn), (task, &dn(2)));
}

async fn an_invitation_that_is_claimed_or_in_doubt_is_not_cancelled() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    book.claims(2).await;
    book.leaves(1).await;
    assert_eq!(book.tasks().await, "queued 1");
    book.store.take_over(WorkerId(OWNER + 1), at(100)).await.unwrap();
    let claims = async |second| book.store.claim(OWNER + 1, 100, at(second)).await.unwrap();
    let task = claims(100).await[0].clone();
    assert_eq!(task.in_doubt, Some(at(100)), "its worker is gone");
    book.joins(1, "ann").await;
    let settled = vec![(task.id, retry(102, true))];
    book.store
        .settle(OWNER + 1, settled, book.limits, at(101))
        .await
        .unwrap();
    book.leaves(1).await;
    assert_eq!(book.tasks().await, "queued 1");
    assert_eq!(
        claims(102).await[0].in_doubt,
        Some(at(100)),
        "doubt has one beginning"
    );
}

async fn an_address_is_invited_again_for_a_new_person_once_its_former_person_has_left() {
    for listed in [false, true] {
        let book = Book::new().await;
        book.joins(1, "info").await;
        book.settles(2, INVITED).await;
        if listed {
            // A listing names the new person before the store knows that the earlier one has left.
            book.lists(&[(2, "info")]).await;
        } else {
            book.leaves(1).await;
            book.joins(2, "info").await;
        }
        let claimed = book.claims(3).await;
        assert_eq!(
            (addresses(&claimed), &claimed[0].dn),
            (vec!["info@example.org"], &dn(2))
        );
    }
}

async fn a_quarantined_address_is_retried_for_another_person_only_after_its_person_has_left() {
    let book = Book::new().await;
    book.joins(1, "info").await;
    book.settles(2, refused("no such user")).await;
    book.joins(2, "info").await;
    assert_eq!(book.tasks().await, "quarantined 1");
    book.leaves(2).await;
    book.leaves(1).await;
    book.joins(2, "info").await;
    assert_eq!(book.tasks().await, "queued 1");
}

async fn a_person_who_came_back_without_an_address_is_invited_again_when_they_get_one() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    book.settles(2, INVITED).await;
    book.leaves(1).await;
    book.live(vec![super::sighting(&super::entry(1, None))]).await;
    assert_eq!(book.tasks().await, "done 1");
    assert_eq!(book.joins(1, "ann").await.queued, 1);
}

async fn the_departure_of_an_unknown_person_and_a_repeated_sighting_change_nothing() {
    let book = Book::new().await;
    book.joins(1, "info").await;
    book.joins(2, "info").await;
    let committed = book.live(vec![gone(9), there(2, "info")]).await;
    assert_eq!((committed.queued, committed.duplicates.len()), (0, 0));
    assert_eq!(book.claims(2).await[0].dn, dn(1));
    assert_eq!(
        book.store
            .in_state(ActionState::Queued, Which::All)
            .await
            .unwrap()
            .len(),
        1
    );
}
