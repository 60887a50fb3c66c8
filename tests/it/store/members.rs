//! Directories and their members: what the listener relies on.

use ldap_usher::model::Source;
use ldap_usher::model::{Cursor, Listing, Standing};
use ldap_usher::rules::membership::Sighting;
use ldap_usher::store::{Decisions, DirectoryState};

use super::{Book, at, dn, email, entry, gone, id, on_both, sighting, there};

on_both! {
    a_cursor_is_kept_until_the_settings_change,
    a_member_is_stored_as_last_seen_and_keeps_its_row,
    members_whom_a_listing_did_not_name_are_read_in_pages_without_those_who_had_left,
    members_whom_a_complete_listing_did_not_name_leave,
    a_listing_that_is_not_complete_makes_nobody_a_leaver,
    a_listing_of_one_directory_does_not_affect_the_members_of_another,
    the_report_counts_members_by_standing_and_shows_each_stream,
    an_address_that_passes_to_another_person_within_one_batch_keeps_its_invitation,
    a_dn_with_a_character_that_a_database_refuses_costs_nobody_the_membership,
}

async fn a_dn_with_a_character_that_a_database_refuses_costs_nobody_the_membership() {
    let book = Book::new().await;
    let mut odd = entry(1, Some("ann"));
    odd.dn = "uid=1\0,dc=example,dc=org".into();
    for _ in 0..2 {
        let sightings = vec![sighting(&odd), there(2, "bob")];
        book.live(sightings).await;
        assert_eq!(book.known(1).await.standing, Standing::Member);
    }
    assert_eq!(book.claims(9).await.len(), 2);
}

async fn a_cursor_is_kept_until_the_settings_change() {
    let book = Book::new().await;
    let mut batch = book.batch(5, Source::Stream, vec![]);
    batch.cursor = Some(Cursor(vec![0, 255]));
    book.store.apply(batch).await.unwrap();

    let row = book.store.register("main", "scope", "settings").await.unwrap();
    assert_eq!((row.id, row.settings_changed), (book.directory, false));
    assert_eq!(row.cursor, Some(Cursor(vec![0, 255])));
    assert_eq!(
        book.store.report().await.unwrap().directories[0].cursor_stored,
        Some(at(5))
    );

    let row = book
        .store
        .register("main", "scope", "another base")
        .await
        .unwrap();
    assert_eq!(
        (row.id, row.settings_changed, row.cursor),
        (book.directory, true, None)
    );
    let row = book
        .store
        .register("main", "scope", "another base")
        .await
        .unwrap();
    assert_eq!((row.settings_changed, row.cursor), (false, None));
    assert_ne!(
        book.store.register("other", "scope", "").await.unwrap().id,
        book.directory
    );
}

async fn a_member_is_stored_as_last_seen_and_keeps_its_row() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    let row = book.known(1).await.row;
    let mut odd = entry(1, Some("bee"));
    odd.dn = "uid=\"ann\\,\u{1f600}\",dc=example".into();
    let mut without = odd.clone();
    without.attributes.clear();
    for (sighting, standing) in [
        (sighting(&odd), Standing::Member),
        (sighting(&without), Standing::WithoutAddress("has no mail".into())),
        (gone(1), Standing::Left),
    ] {
        book.live(vec![sighting]).await;
        let member = book.known(1).await;
        assert_eq!((member.row, member.id, &member.dn), (row, id(1), &odd.dn));
        assert_eq!((member.standing, member.address), (standing, Some(email("bee"))));
    }
    let other = book.store.register("other", "", "").await.unwrap().id;
    assert_eq!(book.store.known(other, &[id(1)]).await.unwrap(), []);
    assert_eq!(book.store.known(book.directory, &[id(9)]).await.unwrap(), []);
}

async fn members_whom_a_listing_did_not_name_are_read_in_pages_without_those_who_had_left() {
    let book = Book::new().await;
    let all: Vec<u8> = (1..=150).collect();
    book.live(all.iter().map(|&n| there(n, &format!("p{n}"))).collect())
        .await;
    book.leaves(4).await;
    book.store.begin_listing(book.directory).await.unwrap();
    let named = vec![there(1, "p1"), Sighting::Present(id(2))];
    book.store.append(book.directory, named).await.unwrap();
    book.store.compare(book.directory, true).await.unwrap();
    let (mut after, mut unseen) = (0, Vec::new());
    loop {
        let page = book.store.differences(book.directory, after, 40).await.unwrap();
        let Some(last) = page.last() else { break };
        assert!(page.len() <= 40);
        after = last.place;
        unseen.extend(page.into_iter().map(|member| member.id));
    }
    let expected = all.iter().filter(|n| ![1, 2, 4].contains(*n));
    assert_eq!(unseen, expected.map(|&n| id(n)).collect::<Vec<_>>());
}

async fn members_whom_a_complete_listing_did_not_name_leave() {
    let book = Book::new().await;
    for (n, name) in [(1, "ann"), (3, "cat")] {
        book.joins(n, name).await;
    }
    book.lists(&[(1, "ann")]).await;
    let left = book.known(3).await;
    assert_eq!(left.standing, Standing::Left);
    assert_eq!(left.address, Some(email("cat")), "the address stays");
    assert_eq!(book.tasks().await, "queued 1, cancelled 1");
    let listed = book.store.report().await.unwrap().directories[0].listed;
    assert_eq!(listed, Some(at(2)));
}

async fn a_listing_that_is_not_complete_makes_nobody_a_leaver() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    for how in [Listing::Changes, Listing::Partial("size limit".into())] {
        book.lists_at(2, &[], &how).await;
        assert_eq!(book.known(1).await.standing, Standing::Member);
    }
    assert_eq!(book.store.report().await.unwrap().directories[0].listed, None);
}

async fn a_listing_of_one_directory_does_not_affect_the_members_of_another() {
    let book = Book::new().await;
    let other = book.store.register("other", "scope", "").await.unwrap().id;
    let mut batch = book.batch(1, Source::Stream, vec![there(1, "ann")]);
    batch.directory = other;
    book.store.apply(batch).await.unwrap();
    book.lists(&[(2, "bob")]).await;
    assert_eq!(
        book.store.known(other, &[id(1)]).await.unwrap()[0].standing,
        Standing::Member
    );
}

async fn the_report_counts_members_by_standing_and_shows_each_stream() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    book.joins(2, "bob").await;
    book.leaves(2).await;
    book.live(vec![sighting(&entry(3, None))]).await;
    let state = DirectoryState {
        stream: "syncrepl".into(),
        connected: true,
        error: Some("refused".into()),
    };
    book.store.observe(book.directory, &state, at(7)).await.unwrap();

    let report = book.store.report().await.unwrap();
    assert_eq!((report.members, report.without_address), (1, 1));
    let directory = &report.directories[0];
    assert_eq!((directory.name.as_str(), &directory.state), ("main", &state));
    assert_eq!((directory.members, directory.without_address), (1, 1));
    assert_eq!(directory.recorded, Some(at(7)));
    assert_eq!(book.tasks().await, "queued 1, cancelled 1");
}

async fn an_address_that_passes_to_another_person_within_one_batch_keeps_its_invitation() {
    for swap in [false, true] {
        let book = Book::new().await;
        book.joins(1, "info").await;
        let mut sightings = vec![gone(1), there(2, "info")];
        if swap {
            sightings.reverse();
        }
        let committed = book.live(sightings).await;
        assert_eq!(committed.duplicates, []);
        let claimed = book.claims(2).await;
        assert_eq!((claimed.len(), &claimed[0].dn), (1, &dn(2)));
    }
}
