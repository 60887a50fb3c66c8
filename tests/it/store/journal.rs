//! The journal returns what was written, and is pruned.

use ldap_usher::clock::Timestamp;
use ldap_usher::model::{ActionKind, ActionState, Event, Hold, Release, Source, What};
use ldap_usher::rules::Noted;
use ldap_usher::store::PersonQuery;
use proptest::prelude::*;
use tokio::runtime::Runtime;

use super::faces::Face;
use super::{Book, at, dn, email, id, on_both};

on_both! {
    old_events_are_removed_in_steps_and_newer_ones_stay,
    the_events_of_a_person_are_in_order_and_a_repeated_sighting_adds_none,
    only_the_last_events_of_each_person_are_read_if_more_are_not_wanted,
    the_last_events_come_newest_first,
    hours_count_who_joined_left_and_was_invited_and_each_listing_once;
    properties: the_journal_returns_the_events_in_the_order_of_writing
}

fn what() -> impl Strategy<Value = What> {
    // PostgreSQL has no NUL in a text.
    let text = || "[^\\x00]{0,20}";
    prop_oneof![
        Just(What::Joined),
        text().prop_map(|reason| What::WithoutAddress { reason }),
        (text(), any::<bool>()).prop_map(|(from, invite)| What::ChangedAddress { from, invite }),
        proptest::option::of(text()).prop_map(|reason| What::Left { reason }),
        proptest::sample::select(vec![Hold::Listing, Hold::Hour, Hold::Person]).prop_map(|by| What::Held {
            by,
            action: ActionKind::Invite
        }),
        proptest::sample::select(vec![Release::Approved, Release::Comparison]).prop_map(|because| {
            What::Released {
                because,
                action: ActionKind::Disable,
            }
        }),
        proptest::option::of(proptest::sample::select(ActionState::ALL.to_vec())).prop_map(|formerly| {
            What::Owed {
                state: ActionState::Queued,
                formerly,
            }
        }),
        (text(), any::<u32>(), any::<i64>()).prop_map(|(error, attempts, retry_at)| What::Failed {
            action: ActionKind::Delete,
            error,
            attempts,
            retry_at
        }),
        any::<u64>().prop_map(|after_ms| What::Invited { after_ms }),
        any::<[u64; 4]>().prop_map(|[joined, left, queued, held]| What::Listed {
            joined,
            left,
            queued,
            held
        }),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let source = proptest::sample::select(vec![
        Source::Stream,
        Source::Listing,
        Source::Audit,
        Source::Vaultwarden,
    ]);
    let person = proptest::option::of((0..9u8).prop_map(id));
    let address = proptest::option::of("[a-z]{1,5}".prop_map(|name: String| email(&name)));
    (0..1_000i64, person, "[^\\x00]{0,20}", address, source, what()).prop_map(
        |(second, person, dn, address, source, what)| Event {
            at: at(second),
            directory: "main".into(),
            person,
            dn,
            address,
            source,
            what,
        },
    )
}

/// Stores events as those of ended listings.
async fn note(book: &Book, events: impl Iterator<Item = Noted>) {
    for noted in events {
        let ended = book.store.end_listing(book.directory, false, Some(noted), at(0));
        ended.await.unwrap();
    }
}

fn the_journal_returns_the_events_in_the_order_of_writing(face: &Face, runtime: &Runtime) {
    let events = proptest::collection::vec(event(), 0..30);
    face.holds(runtime, [48, 10], &events, async |events| {
        let book = Book::new().await;
        let noted = |event: &Event| Noted {
            directory: book.directory,
            event: event.clone(),
        };
        note(&book, events.iter().map(noted)).await;
        let (mut read, mut last) = (Vec::new(), 0);
        loop {
            let page = book.store.journal(last, Timestamp(i64::MIN), 7).await.unwrap();
            let Some((number, _)) = page.last() else {
                break;
            };
            last = *number;
            read.extend(page.into_iter().map(|(_, event)| event));
        }
        prop_assert_eq!(read, events);
        prop_assert_eq!(book.store.journal_end().await.unwrap(), last);
        Ok(())
    });
}

async fn old_events_are_removed_in_steps_and_newer_ones_stay() {
    let book = Book::new().await;
    let noted = |second| Noted {
        directory: book.directory,
        event: Event {
            at: at(second),
            directory: "main".into(),
            person: Some(id(1)),
            dn: dn(1),
            address: None,
            source: Source::Stream,
            what: What::Joined,
        },
    };
    note(&book, (0..10).map(noted)).await;
    let steps = [
        book.store.prune(at(5), 3).await.unwrap(),
        book.store.prune(at(5), 3).await.unwrap(),
        book.store.prune(at(5), 3).await.unwrap(),
    ];
    assert_eq!(steps, [3, 2, 0]);
    let left = book.store.journal(0, Timestamp(0), 100).await.unwrap();
    assert_eq!(
        left.iter().map(|(_, event)| event.at).collect::<Vec<_>>(),
        (5..10).map(at).collect::<Vec<_>>()
    );
}

async fn the_events_of_a_person_are_in_order_and_a_repeated_sighting_adds_none() {
    let book = Book::new().await;
    book.joins(1, "ann").await;
    book.joins(1, "ann").await;
    book.leaves(1).await;
    let people = book
        .store
        .people(PersonQuery::Address(email("ann")), 0)
        .await
        .unwrap();
    let kinds: Vec<What> = people[0].events.iter().map(|event| event.what.clone()).collect();
    let owed = What::Owed {
        state: ActionState::Queued,
        formerly: None,
    };
    let expected = [
        What::Joined,
        owed,
        What::Left { reason: None },
        What::Cancelled {
            action: ActionKind::Invite,
            reason: None,
        },
    ];
    assert_eq!(kinds, expected);
    assert_eq!(people.len(), 1);
}

async fn only_the_last_events_of_each_person_are_read_if_more_are_not_wanted() {
    let book = Book::new().await;
    for n in 1..=2 {
        book.joins(n, "ann").await;
        book.leaves(n).await;
    }
    let ann = PersonQuery::Address(email("ann"));
    let all = book.store.people(ann.clone(), 0).await.unwrap();
    let last = book.store.people(ann, 2).await.unwrap();
    assert_eq!((all.len(), last.len()), (2, 2));
    for (all, last) in all.iter().zip(&last) {
        assert!(all.events.len() > 2, "{all:?}");
        assert_eq!(last.events, all.events[all.events.len() - 2..]);
    }
}

/// An event that nobody in particular caused.
fn noted(book: &Book, at: Timestamp, source: Source, what: What) -> Noted {
    Noted {
        directory: book.directory,
        event: Event {
            at,
            directory: "main".into(),
            person: None,
            dn: String::new(),
            address: None,
            source,
            what,
        },
    }
}

async fn happens(book: &Book, at: Timestamp, source: Source, what: What) {
    let noted = Some(noted(book, at, source, what));
    book.store
        .end_listing(book.directory, false, noted, at)
        .await
        .unwrap();
}

async fn the_last_events_come_newest_first() {
    let book = Book::new().await;
    for second in 1..=4 {
        happens(&book, at(second), Source::Stream, What::Joined).await;
    }
    let latest = book.store.latest(3).await.unwrap();
    let times: Vec<Timestamp> = latest.iter().map(|(_, event)| event.at).collect();
    assert_eq!(times, [at(4), at(3), at(2)]);
    assert_eq!(latest[0].0, book.store.journal_end().await.unwrap());
}

async fn hours_count_who_joined_left_and_was_invited_and_each_listing_once() {
    let book = Book::new().await;
    let hour = 3600;
    let listed = || What::Listed {
        joined: 600,
        left: 4,
        queued: 0,
        held: 0,
    };
    let told = What::Left {
        reason: Some("a NUL: \0".into()),
    };
    let events = [
        (1, Source::Stream, What::Joined),
        (2, Source::LookUp, What::Rejoined),
        (3, Source::Listing, What::Joined),
        (4, Source::Listing, listed()),
        (5, Source::Stream, What::Left { reason: None }),
        (6, Source::Audit, What::Left { reason: None }),
        (7, Source::Vaultwarden, What::HadAccount),
        (hour, Source::Vaultwarden, What::Invited { after_ms: 40 }),
        (hour + 1, Source::Vaultwarden, What::Invited { after_ms: 100 }),
        (3 * hour, Source::Administrator, What::Adopted),
    ];
    for (second, source, what) in events {
        happens(&book, at(second), source, what).await;
    }
    let end = book.store.journal_end().await.unwrap();
    let hours = book.store.hours(0, end).await.unwrap();
    let numbers: Vec<_> = hours
        .iter()
        .map(|hour| {
            (
                hour.began,
                hour.joined,
                hour.left,
                hour.invited,
                hour.delays_ms,
                hour.longest_ms,
            )
        })
        .collect();
    let began = |n: i64| at(n * hour);
    let expected = [
        (began(0), 602, 5, 0, 0, 0),
        (began(1), 0, 0, 2, 140, 100),
        (began(3), 0, 0, 0, 0, 0),
    ];
    assert_eq!(numbers, expected);
    // Pages add up to the whole.
    let mut joined = 0;
    for upto in 1..=end {
        let page = book.store.hours(upto - 1, upto).await.unwrap();
        joined += page.iter().map(|hour| hour.joined).sum::<u64>();
    }
    assert_eq!(joined, 602);
    // PostgreSQL has no such text, and counts the others nevertheless.
    happens(&book, at(4 * hour), Source::Stream, told).await;
    happens(&book, at(4 * hour), Source::Stream, What::Joined).await;
    let end = book.store.journal_end().await.unwrap();
    let hours = book.store.hours(0, end).await.unwrap();
    assert_eq!(hours.last().unwrap().joined, 1);
}
