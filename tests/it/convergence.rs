//! Whatever a directory tells, in whatever order, with whatever interruptions: at rest the store knows exactly its
//! members, and owes exactly their invitations.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use ldap_usher::clock::{Clock, Timestamp};
use ldap_usher::directory::{Changes, Directory, DirectoryError, Opened, StreamKind};
use ldap_usher::listener::Listener;
use ldap_usher::model::{Attribute, Change, Cursor, Entry, EntryId, Event, Listing, Source, Standing, What};
use ldap_usher::retry::{Retry, RetryNow};
use ldap_usher::rules::Limits;
use ldap_usher::rules::membership::{Accept, Policy};
use ldap_usher::store::Sqlite;
use ldap_usher::store::interface::*;
use ldap_usher::telemetry::Observer;
use proptest::prelude::*;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::support::journal::{Resume, Scripted, address, id};
use crate::support::queue::Queue as _;

/// What happens to the directory, or to the connection.
#[derive(Debug, Clone)]
enum Step {
    /// A person has this address from now on, or none, and matches.
    Put(u8, Option<u8>),
    /// A person matches no more.
    Remove(u8),
    /// As `Put` and `Remove`, but the stream loses it: only an audit can tell.
    PutUnheard(u8, Option<u8>),
    RemoveUnheard(u8),
    /// The connection breaks; the next session resumes in a way of the server's choice.
    Break(Resume),
    /// The service is killed and started again.
    Restart,
    /// Nothing happens until the service has caught up.
    Rest,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let person = || 0..6u8;
    let mail = || proptest::option::weighted(0.8, 0..5u8);
    let resume = prop_oneof![
        Just(Resume::Changes),
        Just(Resume::Present),
        Just(Resume::Refuse),
        Just(Resume::BreakAgain)
    ];
    let step = prop_oneof![
        6 => (person(), mail()).prop_map(|(who, mail)| Step::Put(who, mail)),
        3 => person().prop_map(Step::Remove),
        1 => (person(), mail()).prop_map(|(who, mail)| Step::PutUnheard(who, mail)),
        1 => person().prop_map(Step::RemoveUnheard),
        2 => resume.prop_map(Step::Break),
        1 => Just(Step::Restart),
        5 => Just(Step::Rest),
    ];
    proptest::collection::vec(step, 1..25)
}

fn listener(directory: Arc<dyn Directory>, store: Arc<Sqlite>) -> Listener {
    let instant = Duration::from_millis(1);
    Listener {
        name: "main".into(),
        directory,
        store,
        observer: Observer::new(["main".to_owned()], Duration::from_secs(300)),
        clock: Clock::system(),
        wake: Arc::new(Notify::new()),
        scope: "scope".into(),
        fingerprint: "settings".into(),
        policy: Policy {
            mail_attributes: vec!["mail".into()],
            accept: Accept::default(),
            disabled_are_members: false,
            now: Timestamp(0),
            invite_changed_address: false,
        },
        limits: Limits::default(),
        leave: Arc::default(),
        max_journaled_joins: u64::MAX,
        audit_interval: Some(Duration::from_secs(3600)),
        retry: Retry {
            first: instant,
            ceiling: instant,
            floor: Duration::ZERO,
        },
        retry_now: RetryNow::default(),
        jitter: rand::random,
    }
}

struct Bench {
    directory: Arc<Scripted>,
    store: Arc<Sqlite>,
}

impl Bench {
    fn listener(&self) -> Listener {
        listener(self.directory.clone(), self.store.clone())
    }

    /// Waits until the stored cursor is at the end of the journal.
    async fn caught_up(&self) {
        let caught_up = async {
            loop {
                let row = self.store.register("main", "scope", "settings").await.unwrap();
                let end = self
                    .directory
                    .0
                    .lock()
                    .unwrap()
                    .journal
                    .len()
                    .to_string()
                    .into_bytes();
                if row.cursor == Some(Cursor(end)) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), caught_up)
            .await
            .expect("the cursor reaches the end of the journal");
    }

    /// Members with their addresses.
    async fn known(&self) -> BTreeMap<u8, String> {
        let row = self.store.register("main", "scope", "settings").await.unwrap();
        let ids: Vec<EntryId> = (0..6).map(id).collect();
        let members = self.store.known(row.id, &ids).await.unwrap();
        let present = members
            .iter()
            .filter(|member| member.standing == Standing::Member);
        present
            .map(|m| (m.id.as_bytes()[0], m.address.as_ref().unwrap().to_string()))
            .collect()
    }

    fn expected(&self) -> BTreeMap<u8, String> {
        let world = self.directory.0.lock().unwrap();
        world
            .people
            .iter()
            .filter_map(|(&person, mail)| Some((person, address((*mail)?))))
            .collect()
    }
}

async fn play(steps: Vec<Step>) {
    let bench = Bench {
        directory: Arc::new(Scripted::default()),
        store: Arc::new(Sqlite::in_memory().await.unwrap()),
    };
    let mut listener = bench.listener();
    let mut stop = CancellationToken::new();
    let mut running = tokio::task::JoinSet::new();
    let start = |listener: Listener, stop: CancellationToken, running: &mut tokio::task::JoinSet<_>| {
        running.spawn(async move { listener.run(&stop).await });
    };
    start(listener, stop.clone(), &mut running);
    for step in steps {
        match step {
            Step::Put(person, mail) | Step::PutUnheard(person, mail) => {
                let mut world = bench.directory.0.lock().unwrap();
                world.people.insert(person, mail);
            }
            Step::Remove(person) | Step::RemoveUnheard(person) => {
                bench.directory.0.lock().unwrap().people.remove(&person);
            }
            _ => {}
        }
        match step {
            Step::Put(person, _) | Step::Remove(person) => {
                bench.directory.0.lock().unwrap().journal.push(person);
                bench.directory.tell(person).await;
            }
            Step::PutUnheard(..) | Step::RemoveUnheard(_) => {}
            Step::Break(resume) => {
                bench.directory.0.lock().unwrap().resume = Some(resume);
                bench.directory.hang_up().await;
            }
            Step::Restart => {
                running.shutdown().await;
                bench.directory.0.lock().unwrap().session = None;
                stop = CancellationToken::new();
                start(bench.listener(), stop.clone(), &mut running);
            }
            Step::Rest => bench.caught_up().await,
        }
        tokio::task::yield_now().await;
    }
    // At rest: the last session resumes, then one full listing finds what no stream told.
    bench.directory.0.lock().unwrap().resume = Some(Resume::Changes);
    bench.directory.hang_up().await;
    bench.caught_up().await;
    stop.cancel();
    while running.join_next().await.is_some() {}
    listener = bench.listener();
    listener.list_once().await.unwrap();

    let expected = bench.expected();
    assert_eq!(bench.known().await, expected);
    let owed = bench.store.claim(1, 1000, Clock::system().now()).await.unwrap();
    let owed: BTreeSet<String> = owed.into_iter().map(|task| task.address.to_string()).collect();
    assert_eq!(owed, expected.into_values().collect());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_interleaving_of_changes_breaks_and_listings_ends_with_the_members_of_the_final_directory(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(play(steps));
    }
}

/// A directory that lists many people and reports changes while they are taken in.
struct Busy;

const MANY: u32 = 10_000;

impl Busy {
    fn id(person: u32) -> EntryId {
        let mut bytes = [0; 16];
        bytes[12..].copy_from_slice(&person.to_be_bytes());
        EntryId::from_slice(&bytes).unwrap()
    }

    fn entry(person: u32, mail: &str) -> Entry {
        Entry {
            id: Self::id(person),
            dn: format!("uid=person{person}"),
            attributes: vec![Attribute {
                name: "mail".into(),
                values: vec![mail.into()],
            }],
        }
    }
}

impl Directory for Busy {
    fn open(&self, _: Option<Cursor>) -> BoxFuture<'_, Result<Opened, DirectoryError>> {
        let listed = (1..=MANY).map(|n| Change::Upsert(Self::entry(n, &format!("p{n:05}@example.org"))));
        let listing = [Change::ListingBegin]
            .into_iter()
            .chain(listed)
            .chain([Change::ListingEnd(Listing::Complete)]);
        // These two come last in the order in which a listing is taken in.
        let live = [
            Change::Upsert(Self::entry(MANY + 1, "live@example.org")),
            Change::Upsert(Self::entry(MANY - 1, "changed@example.org")),
            Change::Gone(Self::id(MANY)),
            Change::Checkpoint(Cursor(b"end".into())),
        ];
        let later = stream::once(async move {
            tokio::time::sleep(Duration::from_millis(20)).await;
            stream::iter(live)
        });
        let changes = stream::iter(listing)
            .chain(later.flatten())
            .map(Ok)
            .chain(stream::pending());
        let opened = Opened {
            refused: Vec::new(),
            resumed: false,
            server: "ldap://busy".into(),
            stream: StreamKind::Syncrepl,
            why: "it is scripted",
            reconcile: false,
            changes: changes.boxed(),
        };
        async { Ok(opened) }.boxed()
    }

    fn list(&self) -> BoxFuture<'_, Result<Changes, DirectoryError>> {
        unreachable!("the stream lists")
    }

    fn lookup<'a>(&'a self, _: &'a [EntryId]) -> BoxFuture<'a, Result<Vec<Entry>, DirectoryError>> {
        async { Ok(Vec::new()) }.boxed()
    }
}

#[tokio::test]
async fn a_change_does_not_wait_for_a_large_listing_and_is_newer_than_what_was_listed() {
    let store = Arc::new(Sqlite::in_memory().await.unwrap());
    let (listener, stop) = (listener(Arc::new(Busy), store.clone()), CancellationToken::new());
    let mut running = tokio::task::JoinSet::new();
    let stopped = stop.clone();
    running.spawn(async move { listener.run(&stopped).await });
    let row = loop {
        let row = store.register("main", "scope", "settings").await.unwrap();
        if row.cursor.is_some() {
            break row.id;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    // The cursor is stored last.
    assert_eq!(store.report().await.unwrap().members, u64::from(MANY));
    assert_eq!(store.known(row, &[Busy::id(MANY)]).await.unwrap(), []);
    let changed = store.known(row, &[Busy::id(MANY - 1)]).await.unwrap();
    assert_eq!(
        changed[0].address.as_ref().unwrap().as_str(),
        "changed@example.org"
    );
    let events = store.journal(0, Timestamp(0), 1_000_000).await.unwrap();
    let joined = |source| {
        let is = move |(_, event): &(i64, Event)| event.what == What::Joined && event.source == source;
        events.iter().rposition(is).unwrap()
    };
    assert!(joined(Source::Stream) < joined(Source::Listing));
    stop.cancel();
    while running.join_next().await.is_some() {}
}
