//! Whole days of the service in paused time, with everything around it failing at random: the real listener and the
//! real worker, a scripted directory, a scripted Vaultwarden, and a store in memory.
//!
//! What must hold (the oracle):
//! - a stored cursor covers nothing that is not stored with it, at every commit;
//! - after the faults have stopped, a new person is invited within [`BOUND`];
//! - at rest every member is invited, unless Vaultwarden refuses their address;
//! - nobody is who never was a member;
//! - nobody is invited again who has an account, unless they left and came back.
//!
//! A run follows from its seed; `SEED=7 cargo nextest run simulation` plays one again.

mod oracle;
mod script;
mod watched;

use std::sync::Arc;
use std::time::Duration;

use ldap_usher::clock::{Clock, Timestamp};
use ldap_usher::listener::Listener;
use ldap_usher::retry::{Retry, RetryNow};
use ldap_usher::rules::Limits;
use ldap_usher::rules::membership::{Accept, Policy};
use ldap_usher::telemetry::Observer;
use ldap_usher::worker::{Until, Worker, WorkerSettings};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::support::journal::{Resume, Scripted};
use oracle::Oracle;
use script::{Faults, Flaky, Server, chance, jitter, number, seed};
use watched::Watched;

const SEEDS: u64 = 300;
const STEPS: u32 = 40;
/// People, each with [`ADDRESSES`] that they may have; the last one comes when the faults have stopped.
const PEOPLE: u8 = 10;
const ADDRESSES: u8 = 3;
/// The longest waits after the last fault, one after another: for the directory, for Vaultwarden, for an attempt that
/// hangs.
const BOUND: Duration = Duration::from_secs(60 + 120 + 120 + 180);
/// When everything is at rest: the longest waits of a task are over.
const REST: Duration = Duration::from_secs(4 * 3600);

/// Everything outside the process, and the process while it runs.
struct Simulation {
    directory: Arc<Scripted>,
    faults: Arc<Faults>,
    server: Arc<Server>,
    oracle: Arc<Oracle>,
    store: Arc<Watched>,
    clock: Clock,
    running: JoinSet<()>,
}

impl Simulation {
    fn new() -> Self {
        let oracle = Arc::new(Oracle::default());
        let watching = oracle.clone();
        let faults = Arc::new(Faults::default());
        Self {
            directory: Arc::default(),
            server: Arc::new(Server::new(faults.clone())),
            faults,
            store: Arc::new(Watched::new(move |members, cursor| {
                watching.committed(members, cursor);
            })),
            oracle,
            clock: Clock::following_tokio(Timestamp(1_800_000_000_000)),
            running: JoinSet::new(),
        }
    }

    fn start(&mut self) {
        let (wake, observer) = (
            Arc::new(Notify::new()),
            Observer::new(["main".to_owned()], Duration::from_secs(300)),
        );
        let listener = Listener {
            name: "main".into(),
            directory: Arc::new(Flaky::new(self.directory.clone(), self.faults.clone())),
            store: self.store.clone(),
            observer: observer.clone(),
            clock: self.clock.clone(),
            wake: wake.clone(),
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
            audit_interval: Some(Duration::from_secs(6 * 3600)),
            retry: Retry {
                first: Duration::from_millis(500),
                ceiling: Duration::from_secs(60),
                floor: Duration::from_millis(50),
            },
            retry_now: RetryNow::default(),
            jitter,
        };
        let worker = Worker {
            store: self.store.clone(),
            vaultwarden: self.server.clone(),
            observer,
            clock: self.clock.clone(),
            wake,
            settings: WorkerSettings {
                concurrency: 4,
                per_minute: None,
                limits: Limits::default(),
                only: None,
                resend_after: Duration::from_secs(180),
            },
            recheck: Arc::default(),
            retry_now: RetryNow::default(),
            jitter,
        };
        self.running.spawn(async move {
            listener.run(&CancellationToken::new()).await.unwrap();
        });
        self.running.spawn(async move {
            let never = CancellationToken::new();
            worker.run(Until::Stopped, &never, &never).await.unwrap();
        });
    }

    /// The process dies; nothing is left of it but what it stored.
    async fn crash(&mut self) {
        self.running.shutdown().await;
        self.directory.0.lock().unwrap().session = None;
        self.start();
    }

    /// A person comes, or changes; with `None` they go.
    async fn change(&self, person: u8, to: Option<Option<u8>>) {
        {
            let mut world = self.directory.0.lock().unwrap();
            match to {
                Some(mail) => world.people.insert(person, mail),
                None => world.people.remove(&person),
            };
            world.journal.push(person);
            self.oracle.changed(person, to);
        }
        self.directory.tell(person).await;
    }

    async fn step(&mut self) {
        let person = number(PEOPLE.into()) as u8;
        let mail = person * ADDRESSES + number(ADDRESSES.into()) as u8;
        match number(20) {
            0..=8 => self.change(person, Some(Some(mail))).await,
            9 => self.change(person, Some(None)).await,
            10..=12 => self.change(person, None).await,
            13..=14 => self.directory.hang_up().await,
            15..=16 => self.crash().await,
            _ => sleep(Duration::from_secs(number(120))).await,
        }
        if chance(0.7) {
            sleep(Duration::from_millis(number(5000))).await;
        }
    }

    async fn play(mut self) {
        self.start();
        for _ in 0..STEPS {
            self.step().await;
        }
        self.faults.stop();
        self.directory.0.lock().unwrap().resume = Some(Resume::Changes);

        let (newcomer, mail) = (PEOPLE, PEOPLE * ADDRESSES);
        let came = Instant::now();
        self.change(newcomer, Some(Some(mail))).await;
        while !self.server.has_account(mail) {
            assert!(
                came.elapsed() < BOUND,
                "the newcomer is not invited within {BOUND:?}"
            );
            sleep(Duration::from_secs(1)).await;
        }
        let calm = Instant::now();
        while let Err(missing) = self.oracle.everyone_is_invited(&self.server) {
            assert!(calm.elapsed() < REST, "{missing}");
            sleep(Duration::from_secs(30)).await;
        }
        // Whatever is still to come would be an invitation too many.
        sleep(Duration::from_secs(600)).await;
        self.oracle.verdict(&self.server);
    }
}

/// Names the seed of a run that fails.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("play it again with SEED={}", self.0);
        }
    }
}

fn play(number: u64) {
    let _named = Named(number);
    seed(number);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async { Simulation::new().play().await });
}

#[test]
fn whatever_fails_everyone_is_invited_once_and_nobody_else_is() {
    match std::env::var("SEED") {
        Ok(seed) => play(seed.parse().expect("SEED is a number")),
        Err(_) => (0..SEEDS).for_each(play),
    }
}
