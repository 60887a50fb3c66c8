//! The invite worker on a real store.

mod server;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::stream::{BoxStream, StreamExt, empty};
use ldap_usher::clock::{Clock, Timestamp};
use ldap_usher::directory::Directory;
use ldap_usher::model::Source;
use ldap_usher::model::{ActionKind, ActionState, Attribute, EmailAddress, Entry, EntryId, Outcome};
use ldap_usher::retry::RetryNow;
use ldap_usher::rules::membership::{Accept, Policy, Sighting};
use ldap_usher::rules::{LeavePolicies, LeavePolicy, Limits, Verdict};
use ldap_usher::store::interface::*;
use ldap_usher::store::{ChangeBatch, Decisions, DirectoryState, Sqlite};
use ldap_usher::telemetry::{GRACE, Observer};
use ldap_usher::vaultwarden::{Account, AccountChange, Admin, Changed, Invitation, Reply, VaultwardenError};
use ldap_usher::worker::{Recheck, Until, Worker, WorkerSettings};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::support::journal::Scripted;
use server::{Behaviour, Server};

/// Invites everyone; like the real client it keeps its session in the store.
struct Obliging(Arc<dyn Store>);

impl Admin for Obliging {
    fn invite<'a>(&'a self, address: &'a EmailAddress) -> Reply<'a, Invitation> {
        async {
            self.0.get_note("session").await.unwrap();
            self.0
                .set_note("session", address.as_str().as_bytes())
                .await
                .unwrap();
            Ok(Invitation {
                outcome: Outcome::Invited,
                account: None,
            })
        }
        .boxed()
    }

    fn sends_mail(&self) -> Reply<'_, Option<bool>> {
        async { Ok(Some(true)) }.boxed()
    }

    fn change<'a>(&'a self, _: &'a str, _: AccountChange) -> Reply<'a, Changed> {
        async { Ok(Changed::NoAccount) }.boxed()
    }

    fn account_by_id<'a>(&'a self, _: &'a str) -> Reply<'a, Option<Account>> {
        async { Ok(None) }.boxed()
    }

    fn account<'a>(&'a self, _: &'a EmailAddress) -> Reply<'a, Option<Account>> {
        async { Ok(None) }.boxed()
    }

    fn accounts(&self) -> BoxStream<'_, Result<Account, VaultwardenError>> {
        empty().boxed()
    }

    fn alive(&self) -> Reply<'_, ()> {
        async { Ok(()) }.boxed()
    }
}

/// So many invitations that are due.
async fn queue(store: &dyn Store, count: u8) -> i64 {
    bring(store, Source::Stream, 0..count, Clock::system().now()).await
}

/// New people, told at that time.
async fn bring(store: &dyn Store, source: Source, people: std::ops::Range<u8>, now: Timestamp) -> i64 {
    let sightings = people.map(|n| {
        let mail = Attribute {
            name: "mail".into(),
            values: vec![format!("person{n}@example.org").into()],
        };
        Sighting::Entry(policy().facts(&Entry {
            id: EntryId::from_slice(&[n; 16]).unwrap(),
            dn: format!("uid=person{n}"),
            attributes: vec![mail],
        }))
    });
    report(store, source, sightings.collect(), Arc::default(), now).await
}

async fn report(
    store: &dyn Store,
    source: Source,
    sightings: Vec<Sighting>,
    leave: Arc<LeavePolicies>,
    now: Timestamp,
) -> i64 {
    let directory = store.register("main", "scope", "settings").await.unwrap().id;
    let batch = ChangeBatch {
        leave,
        leaving: None,
        directory,
        source,
        summarised: false,
        sightings,
        together: Default::default(),
        cursor: None,
        policy: policy(),
        limits: Limits::default(),
        listing: Verdict::Hold,
        arrived: now,
    };
    store.apply(batch).await.unwrap();
    directory
}

fn policy() -> Policy {
    Policy {
        mail_attributes: vec!["mail".into()],
        accept: Accept::default(),
        disabled_are_members: false,
        now: Timestamp(0),
        invite_changed_address: false,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_waits_for_the_store_never_blocks_the_worker_that_waits_for_it_too() {
    let dir = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(Sqlite::open(&dir.path().join("state.db")).await.unwrap());
    let directory = queue(store.as_ref(), 90).await;
    // A listener that is busy.
    let mut others = JoinSet::new();
    others.spawn({
        let store = store.clone();
        let state = DirectoryState {
            stream: "syncrepl".into(),
            connected: true,
            error: None,
        };
        async move {
            loop {
                store
                    .observe(directory, &state, Clock::system().now())
                    .await
                    .unwrap();
            }
        }
    });
    let worker = Worker {
        store: store.clone(),
        vaultwarden: Arc::new(Obliging(store)),
        observer: Observer::new(["main".to_owned()], GRACE),
        clock: Clock::system(),
        wake: Arc::new(Notify::new()),
        settings: WorkerSettings {
            concurrency: 8,
            per_minute: None,
            limits: Limits::default(),
            only: None,
            resend_after: Duration::ZERO,
        },
        recheck: Arc::default(),
        retry_now: RetryNow::default(),
        jitter: rand::random,
    };
    let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
    let tally = timeout(Duration::from_secs(20), worker.run(Until::Drained, &stop, &abort))
        .await
        .expect("the worker goes on")
        .unwrap();
    assert_eq!(tally.invited, 90);
}

// -- in paused time -------------------------------------------------------------------------------------------------

/// Makes every wait almost as long as it may be, so that the number of attempts in a time does not depend on luck.
fn late() -> f64 {
    0.9 + rand::random::<f64>() / 10.0
}

/// A worker, its Vaultwarden, and a wall clock that can be set.
struct Stage {
    store: Arc<Sqlite>,
    server: Arc<Server>,
    offset: Arc<AtomicI64>,
    clock: Clock,
    running: JoinSet<()>,
    wake: Arc<Notify>,
    recheck: Arc<Recheck>,
}

impl Stage {
    async fn new() -> Self {
        let (real, offset) = (
            Clock::following_tokio(Timestamp(1_800_000_000_000)),
            Arc::new(AtomicI64::new(0)),
        );
        let set = offset.clone();
        Self {
            store: Arc::new(Sqlite::in_memory().await.unwrap()),
            server: Arc::default(),
            offset,
            clock: Clock::read_by(move || Timestamp(real.now().0 + set.load(Ordering::Relaxed))),
            running: JoinSet::new(),
            wake: Arc::default(),
            recheck: Arc::default(),
        }
    }

    /// Whoever is gone from this directory for so long loses their account.
    fn deletes_after(&mut self, grace: Duration, directory: Arc<Scripted>) {
        let policies = LeavePolicy {
            action: Some(ActionKind::Delete),
            grace,
        };
        let name = "main".to_owned();
        self.recheck = Arc::new(Recheck {
            directories: [(name.clone(), (directory as Arc<dyn Directory>, policy()))].into(),
            leave: Arc::new(LeavePolicies {
                directories: [(name, policies)].into(),
                ..LeavePolicies::default()
            }),
            wake: self.wake.clone(),
            ..Recheck::default()
        });
    }

    /// A person is reported as gone.
    async fn goes(&self, person: u8) {
        let gone = Sighting::Gone(EntryId::from_slice(&[person; 16]).unwrap());
        let (leave, now) = (self.recheck.leave.clone(), self.clock.now());
        report(&*self.store, Source::Stream, vec![gone], leave, now).await;
        self.wake.notify_one();
    }

    /// A worker starts.
    fn start(&mut self) {
        let worker = Worker {
            store: self.store.clone(),
            vaultwarden: self.server.clone(),
            observer: Observer::new(["main".to_owned()], GRACE),
            clock: self.clock.clone(),
            wake: self.wake.clone(),
            settings: WorkerSettings {
                concurrency: 8,
                per_minute: None,
                limits: Limits::default(),
                only: None,
                resend_after: Duration::from_secs(180),
            },
            recheck: self.recheck.clone(),
            retry_now: RetryNow::default(),
            jitter: late,
        };
        self.running.spawn(async move {
            let never = CancellationToken::new();
            worker.run(Until::Stopped, &never, &never).await.unwrap();
        });
    }

    /// People come, one by one.
    async fn come(&self, people: std::ops::Range<u8>) {
        bring(&*self.store, Source::Stream, people, self.clock.now()).await;
        self.wake.notify_one();
    }

    fn set_clock(&self, by: Duration, back: bool) {
        let by = i64::try_from(by.as_millis()).unwrap();
        self.offset
            .fetch_add(if back { -by } else { by }, Ordering::Relaxed);
    }

    /// A listing brings people who are held until the accounts were compared.
    async fn hold(&self, people: std::ops::Range<u8>) {
        let now = self.clock.now();
        let directory = bring(&*self.store, Source::Listing, people, now).await;
        self.store.end_listing(directory, true, None, now).await.unwrap();
    }

    /// Waits until so many are done, for no longer than this.
    async fn done(&self, count: u64, within: Duration) {
        let began = Instant::now();
        loop {
            let report = self.store.report().await.unwrap();
            if report.count(ActionState::Done) >= count {
                return;
            }
            assert!(began.elapsed() < within, "{:?} after {within:?}", report.tasks);
            sleep(Duration::from_millis(200)).await;
        }
    }
}

const HOUR: Duration = Duration::from_secs(3600);
const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_back_while_vaultwarden_is_down_delays_nobody() {
    let mut stage = Stage::new().await;
    stage.server.behaves(Behaviour::Down);
    stage.come(0..5).await;
    stage.start();
    sleep(10 * MINUTE).await;
    stage.set_clock(HOUR, true);
    sleep(Duration::from_secs(5)).await;
    stage.server.behaves(Behaviour::Works);
    stage.done(5, 2 * MINUTE).await;
    assert_eq!(stage.server.mails(), 5);
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_its_next_attempt_waits_no_longer_when_the_clock_is_set_back() {
    let mut stage = Stage::new().await;
    stage.server.behaves(Behaviour::Defers);
    stage.come(0..1).await;
    stage.start();
    sleep(MINUTE).await;
    stage.set_clock(24 * HOUR, true);
    sleep(Duration::from_secs(5)).await;
    stage.server.behaves(Behaviour::Works);
    // The wait of a task after a minute of failures is two minutes at most.
    stage.done(1, 3 * MINUTE).await;
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_forward_repeats_no_call_that_is_under_way() {
    let mut stage = Stage::new().await;
    stage.server.behaves(Behaviour::Slow(Duration::from_secs(50)));
    stage.come(0..3).await;
    stage.start();
    sleep(Duration::from_secs(20)).await;
    stage.set_clock(24 * HOUR, false);
    stage.done(3, MINUTE).await;
    sleep(2 * HOUR).await;
    assert_eq!(stage.server.mails(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_jumps_by_a_year_and_back_neither_shortens_nor_lengthens_the_grace_of_a_leaver() {
    const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
    let mut stage = Stage::new().await;
    let directory = Arc::new(Scripted::default());
    let people = (0..8).map(|person| (person, Some(person))).collect();
    directory.0.lock().unwrap().people = people;
    stage.deletes_after(HOUR, directory.clone());
    stage.come(0..8).await;
    stage.start();
    stage.done(8, MINUTE).await;
    for (leaver, back) in [(0, false), (1, true)] {
        let address = format!("person{leaver}@example.org");
        directory.0.lock().unwrap().people.remove(&leaver);
        stage.goes(leaver).await;
        // One who is there all the time is reported as gone as well.
        stage.goes(leaver + 4).await;
        sleep(10 * MINUTE).await;
        stage.set_clock(YEAR, back);
        sleep(45 * MINUTE).await;
        assert!(stage.server.has(&address), "{leaver}");
        sleep(10 * MINUTE).await;
        assert!(!stage.server.has(&address), "{leaver}");
        assert!(stage.server.has(&format!("person{}@example.org", leaver + 4)));
    }
    for person in 2..8 {
        assert!(stage.server.has(&format!("person{person}@example.org")));
    }
}

#[tokio::test(start_paused = true)]
async fn held_people_from_the_future_do_not_make_the_accounts_be_read_again_and_again() {
    let mut stage = Stage::new().await;
    stage.hold(0..3).await;
    stage.set_clock(HOUR, true);
    stage.start();
    sleep(5 * MINUTE).await;
    assert_eq!(stage.server.lists(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_a_worker_had_claimed_that_is_gone_is_looked_up_at_once_by_the_next() {
    let mut stage = Stage::new().await;
    stage.server.behaves(Behaviour::Slow(Duration::from_secs(2)));
    stage.come(0..3).await;
    stage.start();
    sleep(Duration::from_secs(1)).await;
    // Vaultwarden goes on with what it was told.
    stage.running.shutdown().await;
    sleep(Duration::from_secs(5)).await;
    stage.start();
    stage.done(3, Duration::from_secs(10)).await;
    assert_eq!(stage.server.mails(), 3);
}

#[tokio::test(start_paused = true)]
async fn accounts_that_cannot_be_listed_keep_nobody_from_being_invited_and_let_nobody_go_who_is_held() {
    let mut stage = Stage::new().await;
    stage.server.behaves(Behaviour::NoList);
    stage.come(0..120).await;
    stage.hold(200..203).await;
    stage.start();
    stage.done(120, MINUTE).await;
    stage.come(130..131).await;
    stage.done(121, MINUTE).await;
    sleep(HOUR).await;
    let report = stage.store.report().await.unwrap();
    assert_eq!(report.count(ActionState::Held), 3);
    // The list is asked for ever more rarely, and heeded once it comes.
    assert!(
        (2..40).contains(&stage.server.lists()),
        "{}",
        stage.server.lists()
    );
    stage.server.behaves(Behaviour::Works);
    stage.done(124, HOUR).await;
}

#[tokio::test(start_paused = true)]
async fn a_mail_server_that_takes_longer_than_the_patience_of_the_call_costs_no_second_mail() {
    let mut stage = Stage::new().await;
    // The call is given up after 90 s; Vaultwarden saves the account after 150.
    stage.server.behaves(Behaviour::Slow(Duration::from_secs(150)));
    stage.come(0..4).await;
    stage.start();
    stage.done(4, 10 * MINUTE).await;
    assert_eq!(stage.server.mails(), 4);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_came_to_nothing_is_repeated_when_it_was_looked_up_for_minutes() {
    let mut stage = Stage::new().await;
    stage.server.behaves(Behaviour::Swallows);
    stage.come(0..1).await;
    stage.start();
    sleep(MINUTE).await;
    stage.server.behaves(Behaviour::Works);
    sleep(MINUTE).await;
    assert_eq!(stage.server.mails(), 0, "it may still come to something");
    stage.done(1, 3 * MINUTE).await;
    assert_eq!(stage.server.mails(), 1);
}

#[tokio::test(start_paused = true)]
async fn whoever_was_set_aside_for_a_reason_that_proves_to_be_the_servers_is_invited_once_it_is_mended() {
    let mut stage = Stage::new().await;
    stage.server.behaves(Behaviour::RefusesEveryone);
    stage.start();
    for person in 0..5 {
        stage.come(person..person + 1).await;
        sleep(MINUTE).await;
    }
    let report = stage.store.report().await.unwrap();
    assert_eq!(report.count(ActionState::Quarantined), 0, "{:?}", report.tasks);
    stage.server.behaves(Behaviour::Works);
    stage.done(5, 15 * MINUTE).await;
}

#[tokio::test(start_paused = true)]
async fn one_persons_own_fault_that_looks_like_anyones_sets_nobody_else_aside() {
    let mut stage = Stage::new().await;
    stage.server.behaves(Behaviour::RefusesSome);
    stage.start();
    for person in 0..20 {
        stage.come(person..person + 1).await;
        sleep(MINUTE).await;
    }
    let report = stage.store.report().await.unwrap();
    assert_eq!(
        (
            report.count(ActionState::Done),
            report.count(ActionState::Quarantined)
        ),
        (15, 5)
    );
}
