//! Directories and their members: what the listener relies on.

use ldap_usher::ledger::{DirectoryState, Ledger, MemberWrite, Origin};
use ldap_usher::model::{Cursor, Listing, Standing};

use super::{Book, at, cancel, dn, id, left, open, present};

#[tokio::test]
async fn a_cursor_is_kept_until_the_settings_change() {
    let book = Book::new().await;
    let mut batch = book.batch(Origin::Live, vec![], vec![]);
    batch.cursor = Some(Cursor(vec![0, 255]));
    book.ledger.commit(&batch, at(5)).await.unwrap();

    let row = book.ledger.enroll("main", "settings").await.unwrap();
    assert_eq!((row.id, row.settings_changed), (book.directory, false));
    assert_eq!(row.cursor, Some(Cursor(vec![0, 255])));
    assert_eq!(
        book.ledger.report().await.unwrap().directories[0].cursor_stored,
        Some(at(5))
    );

    let row = book.ledger.enroll("main", "another base").await.unwrap();
    assert_eq!(
        (row.id, row.settings_changed, row.cursor),
        (book.directory, true, None)
    );
    let row = book.ledger.enroll("main", "another base").await.unwrap();
    assert_eq!((row.settings_changed, row.cursor), (false, None));
    assert_ne!(book.ledger.enroll("other", "").await.unwrap().id, book.directory);
}

#[tokio::test]
async fn a_member_is_known_as_last_written_and_under_one_row_for_ever() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    let row = book.known(1).await.row;
    let odd = "uid=\"ann\\,\u{1f600}\",dc=example";
    for standing in [
        Standing::WithoutAddress("`mail` is empty".into()),
        Standing::Left,
        Standing::Member,
    ] {
        let write = MemberWrite {
            dn: odd.into(),
            standing: standing.clone(),
            ..present(1, "bee")
        };
        book.live(vec![write.clone()], vec![]).await;
        let member = book.known(1).await;
        assert_eq!((member.row, member.id, member.dn), (row, id(1), odd.into()));
        assert_eq!((member.standing, member.address), (standing, write.address));
    }
    let other = book.ledger.enroll("other", "").await.unwrap().id;
    assert_eq!(book.ledger.known(other, &[id(1)]).await.unwrap(), []);
    assert_eq!(book.ledger.known(book.directory, &[id(9)]).await.unwrap(), []);
}

#[tokio::test]
async fn after_a_complete_listing_whoever_it_did_not_see_has_left() {
    let book = Book::new().await;
    for (n, name) in [(1, "ann"), (2, "bob"), (3, "cat"), (4, "dan")] {
        book.joins(n, name).await;
    }
    book.leaves(4, "dan").await;
    book.ledger.begin_listing(book.directory).await.unwrap();
    let mut batch = book.batch(Origin::Listing, vec![present(1, "ann")], vec![]);
    batch.seen = vec![book.known(2).await.row];
    book.ledger.commit(&batch, at(2)).await.unwrap();

    let unseen = book.ledger.unseen(book.directory, 0, 10).await.unwrap();
    assert_eq!(unseen.iter().map(|member| member.id).collect::<Vec<_>>(), [id(3)]);
    assert_eq!(
        book.ledger
            .unseen(book.directory, unseen[0].row, 10)
            .await
            .unwrap(),
        []
    );
    let outcome = book.ends(&Listing::Complete, None).await;
    assert_eq!((outcome.left, outcome.left_dns), (1, vec![dn(3)]));
    let gone = book.known(3).await;
    assert_eq!(gone.standing, Standing::Left);
    assert_eq!(gone.address, present(3, "cat").address, "the address stays");
    assert_eq!(book.tasks().await, "queued 2, cancelled 2");
    assert_eq!(
        book.ledger.report().await.unwrap().directories[0].listed,
        Some(at(2))
    );
}

#[tokio::test]
async fn a_listing_that_is_not_complete_makes_nobody_a_leaver() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    for how in [Listing::Changes, Listing::Partial("size limit".into())] {
        book.ledger.begin_listing(book.directory).await.unwrap();
        assert_eq!(book.ends(&how, None).await.left, 0);
        assert_eq!(book.known(1).await.standing, Standing::Member);
    }
    assert_eq!(book.ledger.report().await.unwrap().directories[0].listed, None);
}

#[tokio::test]
async fn one_directory_s_listing_says_nothing_about_another_s_members() {
    let book = Book::new().await;
    let other = book.ledger.enroll("other", "").await.unwrap().id;
    let mut batch = book.batch(Origin::Live, vec![present(1, "ann")], vec![open(1, "ann")]);
    batch.directory = other;
    book.ledger.commit(&batch, at(1)).await.unwrap();
    assert_eq!(book.lists(&[(2, "bob")], None).await.left, 0);
    assert_eq!(book.ledger.unseen(other, 0, 9).await.unwrap(), []);
    assert_eq!(
        book.ledger.known(other, &[id(1)]).await.unwrap()[0].standing,
        Standing::Member
    );
}

#[tokio::test]
async fn unseen_members_come_in_pages_and_leavers_are_named_up_to_a_hundred_and_all_counted() {
    let book = Book::new().await;
    let all: Vec<u8> = (1..=150).collect();
    let members = all.iter().map(|&n| present(n, &format!("p{n}"))).collect();
    book.live(members, vec![]).await;
    book.ledger.begin_listing(book.directory).await.unwrap();
    let (mut after, mut seen) = (0, Vec::new());
    loop {
        let page = book.ledger.unseen(book.directory, after, 40).await.unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 40);
        after = last.row;
        seen.extend(page.into_iter().map(|member| member.dn));
    }
    assert_eq!(seen, all.iter().map(|&n| dn(n)).collect::<Vec<_>>());
    let outcome = book.ends(&Listing::Complete, None).await;
    assert_eq!((outcome.left, outcome.left_dns.len()), (150, 100));
}

#[tokio::test]
async fn the_report_counts_members_by_standing_and_shows_each_stream() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    book.joins(2, "bob").await;
    book.leaves(2, "bob").await;
    let unaddressed = MemberWrite {
        address: None,
        standing: Standing::WithoutAddress("no `mail`".into()),
        ..present(3, "cat")
    };
    book.live(vec![unaddressed], vec![]).await;
    let state = DirectoryState {
        stream: "syncrepl".into(),
        connected: true,
        error: Some("refused".into()),
    };
    book.ledger.observe(book.directory, &state, at(7)).await.unwrap();

    let report = book.ledger.report().await.unwrap();
    assert_eq!((report.members, report.without_address), (1, 1));
    let directory = &report.directories[0];
    assert_eq!((directory.name.as_str(), &directory.state), ("main", &state));
    assert_eq!((directory.members, directory.without_address), (1, 1));
    assert_eq!(directory.recorded, Some(at(7)));
    assert_eq!(book.tasks().await, "queued 1, cancelled 1");
}

#[tokio::test]
async fn an_address_that_changes_hands_within_one_batch_keeps_its_invitation() {
    for swap in [false, true] {
        let book = Book::new().await;
        book.joins(1, "info").await;
        let mut tasks = vec![cancel(1, "info"), open(2, "info")];
        if swap {
            tasks.reverse();
        }
        let committed = book.live(vec![left(1, "info"), present(2, "info")], tasks).await;
        assert_eq!(committed.duplicates, []);
        let claimed = book.claims(2).await;
        assert_eq!((claimed.len(), &claimed[0].dn), (1, &dn(2)));
    }
}
