//! Listings as sets: what each named, compared with the members.

use ldap_usher::clock::Timestamp;
use ldap_usher::model::Source;
use ldap_usher::model::{Attribute, Listing, Standing};
use ldap_usher::rules::membership::{Policy, Sighting};

use super::faces::Place;
use super::{
    Book, addresses, differences, entry, gone, id, on_both, policy, sighting, split_unlisted, there,
};

on_both! {
    the_last_sighting_of_an_entry_in_a_listing_wins,
    an_entry_that_was_decided_on_is_no_difference_until_it_changes,
    an_entry_is_decided_on_again_after_new_settings_and_when_its_account_expires,
    after_a_crash_between_differences_the_listing_is_repeated_and_nobody_is_lost,
    a_partial_listing_adds_the_people_whom_it_named_and_makes_nobody_a_leaver,
    other_transactions_do_not_wait_for_a_comparison;
    only postgres: a_nul_in_a_dn_is_replaced_and_is_no_difference_afterwards
}

async fn on(place: &Place) -> Book {
    Book::on(place.open().await).await.at_work().await
}

async fn compared(book: &Book, named: Vec<Sighting>) -> Vec<Option<Sighting>> {
    let found = differences(&*book.store, book.directory, named, false).await;
    found.into_iter().map(|found| found.sighting).collect()
}

async fn the_last_sighting_of_an_entry_in_a_listing_wins() {
    let place = Place::new().await;
    let book = on(&place).await;
    book.joins(3, "cat").await;
    book.joins(4, "dan").await;
    // In the order of addresses, the last sightings of Eve and of Zoe would come first.
    let named = vec![
        there(1, "ann"),
        gone(1),
        there(2, "zoe"),
        there(2, "bob"),
        gone(3),
        there(3, "cat"),
        Sighting::Present(id(4)),
        gone(4),
        there(5, "bee"),
        there(5, "eve"),
    ];
    book.names(2, named, &Listing::Complete).await;
    let ends = [
        (1, Standing::Left, "ann"),
        (2, Standing::Member, "bob"),
        (3, Standing::Member, "cat"),
        (4, Standing::Left, "dan"),
        (5, Standing::Member, "eve"),
    ];
    for (n, standing, name) in ends {
        let member = book.known(n).await;
        let address = member.address.map(|address| address.to_string());
        assert_eq!(
            (n, member.standing, address),
            (n, standing, Some(format!("{name}@example.org")))
        );
    }
    book.ends(2, &Listing::Complete).await;
    let mut claimed = book.claims(9).await;
    claimed.sort_by(|one, other| one.address.cmp(&other.address));
    assert_eq!(
        addresses(&claimed),
        ["bob@example.org", "cat@example.org", "eve@example.org"]
    );
}

async fn an_entry_that_was_decided_on_is_no_difference_until_it_changes() {
    let place = Place::new().await;
    let book = on(&place).await;
    let all = || vec![there(1, "ann"), sighting(&entry(2, None)), there(3, "cat")];
    book.lists_at(2, &[], &Listing::Complete).await;
    book.names(2, all(), &Listing::Complete).await;
    book.ends(2, &Listing::Complete).await;
    assert_eq!(compared(&book, all()).await, []);
    assert_eq!(
        compared(&book, (1..=3).map(|n| Sighting::Present(id(n))).collect()).await,
        []
    );

    let mut moved = entry(1, Some("ann"));
    moved.dn = "uid=elsewhere".into();
    for changed in [sighting(&moved), there(2, "bob"), sighting(&entry(3, None))] {
        assert_eq!(
            compared(&book, vec![changed.clone()]).await,
            [Some(changed.clone())],
            "{changed:?}"
        );
    }
    // A person who left is decided on again, even if the entry is the same, or only reported as present.
    book.leaves(3).await;
    for back in [there(3, "cat"), Sighting::Present(id(3))] {
        assert_eq!(compared(&book, vec![back.clone()]).await, [Some(back)]);
    }
}

async fn an_entry_is_decided_on_again_after_new_settings_and_when_its_account_expires() {
    let book = Book::new().await;
    let mut ann = entry(1, Some("ann"));
    let with = |name: &str, value: &str| Attribute {
        name: name.into(),
        values: vec![value.into()],
    };
    ann.attributes.push(with("mailPrimary", "ann@primary.org"));
    ann.attributes.push(with("pwdEndTime", "20300101000000Z"));
    book.live(vec![sighting(&ann)]).await;
    let differs = async |policy: Policy| {
        let seen = vec![Sighting::Entry(policy.facts(&ann))];
        !compared(&book, seen).await.is_empty()
    };
    assert!(!differs(policy(false)).await);
    let before = Policy {
        now: Timestamp(1_890_000_000_000),
        ..policy(false)
    };
    assert!(!differs(before.clone()).await);
    let expired = Policy {
        now: Timestamp(1_900_000_000_000),
        ..before
    };
    assert!(differs(expired.clone()).await);
    let ignored = Policy {
        disabled_are_members: true,
        ..expired
    };
    assert!(!differs(ignored).await);
    let primary = Policy {
        mail_attributes: vec!["mailPrimary".into(), "mail".into()],
        ..policy(false)
    };
    assert!(differs(primary).await);
}

async fn after_a_crash_between_differences_the_listing_is_repeated_and_nobody_is_lost() {
    let place = Place::new().await;
    let named = || (1..=100).map(|n| there(n, &format!("p{n}"))).collect();
    {
        let book = on(&place).await;
        book.joins(200, "leaver").await;
        book.claims(1).await;
        let found = differences(&*book.store, book.directory, named(), true).await;
        assert_eq!(found.len(), 101);
        let (listed, _) = split_unlisted(found.into_iter().take(30).collect());
        book.takes(2, Source::Listing, listed).await;
    }
    let book = Book::on(place.open().await).await;
    // The set of the ended process is forgotten.
    let lost = book.store.differences(book.directory, 0, 10).await;
    assert!(lost.is_err(), "{lost:?}");
    let found = differences(&*book.store, book.directory, named(), true).await;
    assert_eq!(found.len(), 71);
    let (listed, unlisted) = split_unlisted(found);
    book.takes(3, Source::Listing, listed).await;
    book.takes(3, Source::Listing, unlisted).await;
    book.ends(3, &Listing::Complete).await;
    assert_eq!(book.tasks().await, "queued 101");
    assert_eq!(book.known(200).await.standing, Standing::Left);
}

async fn a_partial_listing_adds_the_people_whom_it_named_and_makes_nobody_a_leaver() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    let cut = Listing::Partial("size limit".into());
    let outcome = book.lists_at(2, &[(2, "bob")], &cut).await;
    assert_eq!(outcome.queued, 1);
    for n in [1, 2] {
        assert_eq!(book.known(n).await.standing, Standing::Member);
    }
}

async fn other_transactions_do_not_wait_for_a_comparison() {
    let place = Place::new().await;
    let book = on(&place).await;
    let id = |n: u32| {
        let mut bytes = [7; 16];
        bytes[..4].copy_from_slice(&n.wrapping_mul(2_654_435_761).to_be_bytes());
        ldap_usher::model::EntryId::from_slice(&bytes).unwrap()
    };
    book.store.begin_listing(book.directory).await.unwrap();
    for chunk in 0..100_u32 {
        let named = (chunk * 1000..(chunk + 1) * 1000).map(|n| Sighting::Present(id(n)));
        book.store.append(book.directory, named.collect()).await.unwrap();
    }
    let mut comparison = std::pin::pin!(book.store.compare(book.directory, true));
    let mut reports = 0;
    loop {
        tokio::select! {
            biased;
            compared = &mut comparison => break compared.unwrap(),
            report = book.store.report() => {
                report.unwrap();
                reports += 1;
            }
        }
    }
    assert!(reports > 5, "{reports} reports during a comparison");
    let found = book.store.differences(book.directory, 0, 10).await.unwrap();
    assert_eq!(found.len(), 10);
}

async fn a_nul_in_a_dn_is_replaced_and_is_no_difference_afterwards() {
    let book = Book::new().await;
    let mut odd = entry(1, Some("ann"));
    odd.dn = "uid=a\0b".into();
    book.live(vec![sighting(&odd)]).await;
    assert_eq!(book.known(1).await.dn, "uid=a\u{fffd}b");
    assert_eq!(compared(&book, vec![sighting(&odd)]).await, []);
}
