//! Claims, owners, the comparison with accounts, approval.

use ldap_usher::model::Release;
use ldap_usher::model::{ActionState, Outcome, Settlement, WorkerId};
use ldap_usher::model::{Listing, Source};
use ldap_usher::store::{Decisions, Unchecked, Which};

use super::{Book, OWNER, addresses, at, dn, email, on_both, refused, retry, there};
use crate::support::queue::Queue as _;

on_both! {
    a_claimed_invitation_is_not_claimed_again_until_another_worker_takes_over,
    a_worker_whose_claims_were_taken_over_changes_nothing_but_what_it_has_done,
    a_note_is_swapped_only_for_the_expected_one,
    no_stored_time_is_further_in_the_future_than_the_longest_wait,
    times_that_are_brought_back_leave_no_doubt_behind,
    a_task_that_keeps_failing_never_delays_another,
    an_outage_does_not_count_as_a_failure_of_the_task,
    a_quarantined_task_is_shown_with_its_reason_newest_first_and_not_claimed,
    the_invitation_of_a_person_with_an_account_is_done_unless_it_is_in_flight,
    people_with_accounts_do_not_count_towards_the_limit_of_a_listing,
    invitations_that_stay_held_after_the_comparison_are_returned_and_not_judged_again,
    an_invitation_queued_during_a_comparison_does_not_count_as_compared,
    approval_releases_only_the_named_held_tasks,
    a_note_is_kept_under_its_name_and_replaced;
    only sqlite: due_times_move_when_the_clock_is_set;
    only postgres: due_times_do_not_depend_on_the_clock_of_this_machine
}

async fn a_claimed_invitation_is_not_claimed_again_until_another_worker_takes_over() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    let claimed = book.claims(10).await;
    assert_eq!((claimed.len(), claimed[0].in_doubt), (1, None));
    assert_eq!((&claimed[0].dn, claimed[0].directory.as_str()), (&dn(1), "main"));
    assert_eq!(claimed[0].arrived, at(1));
    assert_eq!(book.store.next_due().await.unwrap(), None);
    // The time makes no difference.
    assert_eq!(book.claims(10_000_000).await, []);
    book.store.take_over(WorkerId(OWNER), at(20)).await.unwrap();
    assert_eq!(book.claims(20).await, [], "that is the worker itself");
    book.store.take_over(WorkerId(OWNER + 1), at(30)).await.unwrap();
    let claimed = book.store.claim(OWNER + 1, 100, at(30)).await.unwrap();
    assert_eq!(claimed[0].in_doubt, Some(at(30)));
}

async fn a_worker_whose_claims_were_taken_over_changes_nothing_but_what_it_has_done() {
    let book = Book::new().await;
    for (n, name) in [(1, "ann"), (2, "bob"), (3, "cat"), (4, "dan")] {
        book.joins(n, name).await;
    }
    book.store.take_over(WorkerId(OWNER), at(2)).await.unwrap();
    let before = book.claims(2).await;
    assert_eq!(before.len(), 4);
    book.store.take_over(WorkerId(OWNER + 1), at(3)).await.unwrap();
    let claimed = book.store.claim(OWNER + 1, 100, at(3)).await.unwrap();
    assert_eq!(claimed.len(), 4);

    // The first worker goes on. What it has not done stays with the second one.
    book.settle(
        4,
        vec![
            (before[0].id, Settlement::NotBegun),
            (before[1].id, retry(5, false)),
            (before[2].id, refused("refused")),
            (before[3].id, Settlement::from(Outcome::Invited)),
        ],
    )
    .await;
    assert_eq!(book.tasks().await, "queued 3, done 1");
    assert_eq!(book.store.claim(OWNER + 1, 100, at(10)).await.unwrap(), []);
    let settled = claimed
        .iter()
        .map(|action| (action.id, Settlement::from(Outcome::HadAccount)))
        .collect();
    let events = book
        .store
        .settle(OWNER + 1, settled, book.limits, at(10))
        .await
        .unwrap();
    assert_eq!((events.len(), book.tasks().await.as_str()), (3, "done 4"));
}

async fn due_times_move_when_the_clock_is_set() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    book.settles(5000, retry(5010, true)).await;
    book.store.rebase(-3_600_000).await.unwrap();
    assert_eq!(book.store.next_due().await.unwrap(), Some(at(1410)));
    assert_eq!(book.claims(1410).await[0].in_doubt, Some(at(1400)));
}

async fn due_times_do_not_depend_on_the_clock_of_this_machine() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    book.settles(5000, retry(5010, true)).await;
    book.store.rebase(-3_600_000).await.unwrap();
    assert_eq!(book.store.next_due().await.unwrap(), Some(at(5010)));
    assert_eq!(book.claims(5010).await[0].in_doubt, Some(at(5000)));
}

async fn no_stored_time_is_further_in_the_future_than_the_longest_wait() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    book.settles(1_000_000, retry(1_000_010, true)).await;
    // The clock was set back while no service ran.
    book.store.take_over(WorkerId(OWNER), at(1000)).await.unwrap();
    assert_eq!(book.store.next_due().await.unwrap(), Some(at(4600)));
    assert_eq!(book.claims(4600).await[0].in_doubt, Some(at(1000)));
}

async fn times_that_are_brought_back_leave_no_doubt_behind() {
    let book = Book::limited(1).await;
    book.lists_at(1_000_000, &[(2, "bob"), (3, "cat")], &Listing::Complete)
        .await;
    book.takes(1_000_000, Source::Stream, vec![there(1, "ann")]).await;
    assert_eq!(book.tasks().await, "queued 1, held 2");
    book.store.take_over(WorkerId(OWNER), at(1000)).await.unwrap();
    assert_eq!(book.tasks().await, "queued 1, held 2");
    let claimed = book.claims(4600).await;
    assert_eq!((claimed.len(), claimed[0].in_doubt), (1, None));
}

async fn a_task_that_keeps_failing_never_delays_another() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    book.joins(2, "bob").await;
    let mut second = 2;
    for _ in 0..3 {
        let claimed = book.store.claim(OWNER, 1, at(second)).await.unwrap();
        assert_eq!(addresses(&claimed), ["ann@example.org"]);
        book.settle(second, vec![(claimed[0].id, retry(second + 10, false))])
            .await;
        let next = book.store.claim(OWNER, 1, at(second)).await.unwrap();
        assert_eq!(addresses(&next), ["bob@example.org"]);
        book.settle(second, vec![(next[0].id, retry(second + 11, false))])
            .await;
        second += 11;
    }
    let report = book.store.report().await.unwrap();
    assert_eq!(
        report
            .failing
            .iter()
            .map(|task| task.attempts)
            .collect::<Vec<_>>(),
        [3, 3]
    );
    assert_eq!(report.failing[0].reason, "no route to host");
}

async fn an_outage_does_not_count_as_a_failure_of_the_task() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    let outage = Settlement::RetryAt {
        at: at(9),
        failed: false,
        in_doubt: true,
        error: "503".into(),
    };
    book.settles(2, outage).await;
    assert_eq!(book.store.next_due().await.unwrap(), Some(at(9)));
    assert_eq!(book.claims(8).await, []);
    let claimed = book.claims(9).await;
    assert_eq!((claimed[0].attempts, claimed[0].in_doubt), (0, Some(at(2))));
}

async fn a_quarantined_task_is_shown_with_its_reason_newest_first_and_not_claimed() {
    let book = Book::new().await;
    for (n, name) in [(1, "ann"), (2, "bob")] {
        book.joins(n, name).await;
        book.settles(i64::from(n) + 1, refused(&format!("{name} is refused")))
            .await;
    }
    let quarantined = book.store.report().await.unwrap().quarantined;
    assert_eq!(
        quarantined
            .iter()
            .map(|task| task.reason.as_str())
            .collect::<Vec<_>>(),
        ["bob is refused", "ann is refused"]
    );
    assert_eq!((quarantined[0].dn.clone(), quarantined[0].attempts), (dn(2), 1));
    assert_eq!(book.claims(1000).await, []);
    assert_eq!(book.store.next_due().await.unwrap(), None);
}

async fn the_invitation_of_a_person_with_an_account_is_done_unless_it_is_in_flight() {
    let book = Book::limited(1).await;
    book.lists(&[(1, "ann"), (2, "bob")]).await;
    book.joins(3, "cat").await;
    let claimed = book.claims(2).await[0].id;
    book.joins(4, "dan").await;
    assert_eq!(
        book.store.unchecked().await.unwrap(),
        Unchecked {
            queued: 2,
            held: 2,
            all_held: 2
        }
    );
    let accounts = ["ann", "cat", "dan", "stranger"].map(email);
    assert_eq!(book.store.had_accounts(accounts.into(), at(3)).await.unwrap(), 2);
    assert_eq!(book.tasks().await, "queued 1, held 1, done 2");
    book.settle(4, vec![(claimed, Settlement::from(Outcome::HadAccount))])
        .await;
    assert_eq!(book.tasks().await, "held 1, done 3");
}

async fn people_with_accounts_do_not_count_towards_the_limit_of_a_listing() {
    let book = Book::limited(2).await;
    book.lists(&[(1, "ann"), (2, "bob"), (3, "cat")]).await;
    assert_eq!(book.compares(4, &["ann"]).await, []);
    assert_eq!(book.tasks().await, "queued 2, done 1");
    assert_eq!(book.store.unchecked().await.unwrap(), Unchecked::default());
}

async fn invitations_that_stay_held_after_the_comparison_are_returned_and_not_judged_again() {
    let book = Book::limited(2).await;
    book.lists(&[(1, "ann"), (2, "bob"), (3, "cat")]).await;
    assert_eq!(book.compares(4, &[]).await, [("main".into(), 3)]);
    book.store
        .release(
            &[ActionState::Held],
            Which::To(&[email("cat")]),
            Release::Approved,
            at(5),
        )
        .await
        .unwrap();
    assert_eq!(book.compares(6, &[]).await, []);
    assert_eq!(book.tasks().await, "queued 1, held 2");
}

async fn an_invitation_queued_during_a_comparison_does_not_count_as_compared() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    book.store.begin_comparison().await.unwrap();
    book.takes(5, Source::Stream, vec![there(2, "bob")]).await;
    book.end_of_comparison(6).await;
    assert_eq!(
        book.store.unchecked().await.unwrap(),
        Unchecked {
            queued: 1,
            held: 0,
            all_held: 0
        }
    );
    book.settles(7, retry(8, false)).await;
    book.compares(8, &[]).await;
    assert_eq!(book.store.unchecked().await.unwrap(), Unchecked::default());
}

async fn approval_releases_only_the_named_held_tasks() {
    let book = Book::limited(0).await;
    book.lists(&[(1, "ann"), (2, "bob"), (3, "cat")]).await;
    let approve = |which, second| {
        book.store
            .release(&[ActionState::Held], which, Release::Approved, at(second))
    };
    let held = book.store.in_state(ActionState::Held, Which::All).await.unwrap();
    assert_eq!(
        held.iter().map(|task| task.dn.clone()).collect::<Vec<_>>(),
        [dn(1), dn(2), dn(3)]
    );
    assert_eq!((held[0].directory.as_str(), held[0].arrived), ("main", at(2)));
    let some = [email("bob"), email("stranger")];
    assert_eq!(approve(Which::To(&some), 3).await.unwrap(), ["bob@example.org"]);
    assert_eq!(addresses(&book.claims(4).await), ["bob@example.org"]);
    assert_eq!(approve(Which::To(&some), 3).await.unwrap(), Vec::<String>::new());
    assert_eq!(approve(Which::All, 5).await.unwrap().len(), 2);
    assert_eq!(book.tasks().await, "queued 3");
}

async fn a_note_is_kept_under_its_name_and_replaced() {
    let book = Book::new().await;
    assert_eq!(book.store.get_note("cookie").await.unwrap(), None);
    book.store.set_note("cookie", b"one").await.unwrap();
    book.store.set_note("cookie", b"\0two").await.unwrap();
    book.store.set_note("logins", b"").await.unwrap();
    assert_eq!(
        book.store.get_note("cookie").await.unwrap(),
        Some(b"\0two".to_vec())
    );
    assert_eq!(book.store.get_note("logins").await.unwrap(), Some(Vec::new()));
}

async fn a_note_is_swapped_only_for_the_expected_one() {
    let book = Book::new().await;
    let swap = async |expected: Option<&[u8]>, note: &[u8]| {
        book.store.swap_note("cookie", expected, note).await.unwrap()
    };
    assert!(!swap(Some(b"one"), b"two").await);
    assert_eq!(book.store.get_note("cookie").await.unwrap(), None);
    assert!(swap(None, b"one").await);
    assert!(!swap(None, b"two").await);
    assert!(!swap(Some(b""), b"two").await);
    assert!(swap(Some(b"one"), b"\0two").await);
    assert!(!swap(Some(b"one"), b"three").await);
    assert_eq!(
        book.store.get_note("cookie").await.unwrap(),
        Some(b"\0two".to_vec())
    );

    // Of those who expect the same at the same time, one succeeds.
    let notes: Vec<[u8; 1]> = (0..8).map(|n| [n]).collect();
    let swaps = notes.iter().map(|note| swap(Some(b"\0two"), note));
    let swapped = futures::future::join_all(swaps).await;
    assert_eq!(swapped.iter().filter(|swapped| **swapped).count(), 1);
}
