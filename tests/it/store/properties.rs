//! After any sequence of changes, exactly the people who are present have been invited.

use std::sync::Arc;

use std::collections::{BTreeMap, BTreeSet};

use ldap_usher::clock::Timestamp;
use ldap_usher::model::Release;
use ldap_usher::model::Source;
use ldap_usher::model::{ActionState, Outcome, Settlement, WorkerId};
use ldap_usher::rules::membership::Sighting;
use ldap_usher::rules::{Limits, Verdict};
use ldap_usher::store::interface::*;
use ldap_usher::store::{ChangeBatch, Decisions, Which};
use proptest::prelude::*;
use tokio::runtime::Runtime;

use super::faces::{self, Face};
use super::{OWNER, entry, gone, on_both};
use crate::support::queue::Queue as _;

on_both! {
    ;
    properties: after_any_history_exactly_the_people_who_are_present_are_invited
}

const DIRECTORIES: usize = 2;
const PEOPLE: u8 = 3;
const ADDRESSES: [&str; 3] = ["ann", "bob", "info"];

/// One step of a history.
#[derive(Debug, Clone)]
enum Step {
    /// A person joins or changes, with an address or none.
    There(usize, u8, Option<usize>),
    /// A person leaves.
    Gone(usize, u8),
    /// A person changes (or leaves) and the stream does not report it.
    Unreported(usize, u8, Option<Option<usize>>),
    /// A listing of everyone, or one that is cut short after this number.
    List(usize, Option<usize>),
    /// Everything due is attempted, with these outcomes.
    Attempt(Vec<Attempt>),
    /// The worker ends with its claims.
    Die,
    /// The administrator approves everything.
    Approve,
}

#[derive(Debug, Clone, Copy)]
enum Attempt {
    Invited,
    Refused,
    Later,
    Unknown,
}

fn step() -> impl Strategy<Value = Step> {
    let address = prop::option::weighted(0.8, 0..ADDRESSES.len());
    let attempt = prop::sample::select(vec![
        Attempt::Invited,
        Attempt::Invited,
        Attempt::Refused,
        Attempt::Later,
        Attempt::Unknown,
    ]);
    prop_oneof![
        6 => (0..DIRECTORIES, 0..PEOPLE, address.clone()).prop_map(|(d, n, a)| Step::There(d, n, a)),
        3 => (0..DIRECTORIES, 0..PEOPLE).prop_map(|(d, n)| Step::Gone(d, n)),
        2 => (0..DIRECTORIES, 0..PEOPLE, prop::option::of(address)).prop_map(|(d, n, a)| Step::Unreported(d, n, a)),
        3 => (0..DIRECTORIES, prop::option::of(0..3_usize)).prop_map(|(d, cut)| Step::List(d, cut)),
        4 => prop::collection::vec(attempt, 1..4).prop_map(Step::Attempt),
        1 => Just(Step::Die),
        1 => Just(Step::Approve),
    ]
}

/// The directories, the store, and Vaultwarden.
struct World {
    store: Arc<dyn Store>,
    rows: Vec<i64>,
    limits: Limits,
    people: BTreeMap<(usize, u8), Option<usize>>,
    /// Every address that anyone was ever reported with.
    ever: BTreeSet<usize>,
    /// Every address that each person was ever reported with.
    theirs: BTreeMap<(usize, u8), BTreeSet<usize>>,
    accounts: BTreeSet<String>,
    /// The number of invitations sent to addresses without an account.
    mails: usize,
    /// The number of times that an absent person was reported as present.
    joins: usize,
    now: i64,
    owner: i64,
}

impl World {
    async fn new(limits: Limits) -> Self {
        let store = faces::new_store().await;
        store.take_over(WorkerId(OWNER), Timestamp(0)).await.unwrap();
        let mut rows = Vec::new();
        for n in 0..DIRECTORIES {
            let name = format!("directory {n}");
            rows.push(store.register(&name, &name, "").await.unwrap().id);
        }
        Self {
            store,
            rows,
            limits,
            people: BTreeMap::new(),
            ever: BTreeSet::new(),
            theirs: BTreeMap::new(),
            accounts: BTreeSet::new(),
            mails: 0,
            joins: 0,
            now: 1_000_000,
            owner: OWNER,
        }
    }

    fn batch(&self, directory: usize, source: Source, sightings: Vec<Sighting>) -> ChangeBatch {
        ChangeBatch {
            leave: Arc::default(),
            leaving: None,
            directory: self.rows[directory],
            source,
            summarised: false,
            sightings,
            together: Default::default(),
            cursor: None,
            policy: super::policy(false),
            limits: self.limits,
            listing: Verdict::Invite,
            arrived: Timestamp(self.now),
        }
    }

    async fn report(&mut self, directory: usize, source: Source, sightings: Vec<Sighting>) {
        let batch = self.batch(directory, source, sightings);
        self.store.apply(batch).await.unwrap();
    }

    fn become_known(&mut self, directory: usize, n: u8, address: Option<usize>) {
        self.joins += 1;
        if let Some(address) = address {
            self.ever.insert(address);
            self.theirs.entry((directory, n)).or_default().insert(address);
        }
    }

    fn sighting(&self, directory: usize, n: u8) -> Sighting {
        match self.people.get(&(directory, n)) {
            Some(address) => super::sighting(&entry(n, address.map(|address| ADDRESSES[address]))),
            None => gone(n),
        }
    }

    async fn list(&mut self, directory: usize, cut: Option<usize>) {
        let row = self.rows[directory];
        let there: Vec<(u8, Option<usize>)> = (0..PEOPLE)
            .filter_map(|n| Some((n, *self.people.get(&(directory, n))?)))
            .take(cut.unwrap_or(usize::MAX))
            .collect();
        for &(n, address) in &there {
            self.become_known(directory, n, address);
        }
        let named = there.iter().map(|&(n, _)| self.sighting(directory, n)).collect();
        let differences = super::differences(&*self.store, row, named, cut.is_none()).await;
        let (listed, gone) = super::split_unlisted(differences);
        let batch = self.batch(directory, Source::Listing, listed);
        super::apply_listed(&*self.store, batch, cut.is_some()).await;
        self.report(directory, Source::Listing, gone).await;
        let now = Timestamp(self.now);
        let ended = self.store.end_listing(row, cut.is_none(), None, now);
        ended.await.unwrap();
    }

    async fn attempt(&mut self, attempts: &[Attempt]) {
        for &attempt in attempts {
            let claimed = self
                .store
                .claim(self.owner, 1, Timestamp(self.now))
                .await
                .unwrap();
            let Some(task) = claimed.into_iter().next() else {
                return;
            };
            let address = task.address.to_string();
            let known = self.accounts.contains(&address);
            let settlement = match attempt {
                _ if known => Settlement::from(Outcome::HadAccount),
                _ if task.in_doubt.is_some() => retry_at(self.now, false),
                Attempt::Invited | Attempt::Unknown => {
                    self.accounts.insert(address);
                    self.mails += 1;
                    match attempt {
                        Attempt::Unknown => retry_at(self.now, true),
                        _ => Settlement::from(Outcome::Invited),
                    }
                }
                Attempt::Refused => super::refused("no such mailbox"),
                Attempt::Later => retry_at(self.now + 1000, false),
            };
            let settled = vec![(task.id, settlement)];
            self.store
                .settle(self.owner, settled, self.limits, Timestamp(self.now))
                .await
                .unwrap();
        }
    }

    async fn take(&mut self, step: &Step) {
        match *step {
            Step::There(directory, n, address) => {
                self.people.insert((directory, n), address);
                self.become_known(directory, n, address);
                let sighting = self.sighting(directory, n);
                self.report(directory, Source::Stream, vec![sighting]).await;
            }
            Step::Gone(directory, n) => {
                self.people.remove(&(directory, n));
                self.report(directory, Source::Stream, vec![gone(n)]).await;
            }
            Step::Unreported(directory, n, address) => {
                match address {
                    Some(address) => self.people.insert((directory, n), address),
                    None => self.people.remove(&(directory, n)),
                };
            }
            Step::List(directory, cut) => self.list(directory, cut).await,
            Step::Attempt(ref attempts) => self.attempt(attempts).await,
            Step::Die => {
                self.store
                    .claim(self.owner, 2, Timestamp(self.now))
                    .await
                    .unwrap();
                self.owner += 1;
                self.store
                    .take_over(WorkerId(self.owner), Timestamp(self.now))
                    .await
                    .unwrap();
            }
            Step::Approve => {
                let all = Which::All;
                let now = Timestamp(self.now);
                self.store
                    .release(&[ActionState::Held], all, Release::Approved, now)
                    .await
                    .unwrap();
            }
        }
        self.now += 1000;
    }

    /// Everything is listed, approved and retried, and nothing fails any more.
    async fn settle_everything(&mut self) {
        for _ in 0..2 {
            for directory in 0..DIRECTORIES {
                self.list(directory, None).await;
            }
            let states = [ActionState::Held, ActionState::Quarantined];
            let all = Which::All;
            let now = Timestamp(self.now);
            self.store
                .release(&states, all, Release::Approved, now)
                .await
                .unwrap();
            self.now += 10_000;
            self.attempt(&[Attempt::Invited; 50]).await;
        }
    }
}

fn retry_at(ms: i64, in_doubt: bool) -> Settlement {
    Settlement::RetryAt {
        at: Timestamp(ms),
        failed: true,
        in_doubt,
        error: "refused".into(),
    }
}

async fn play(steps: Vec<Step>, limits: Limits) -> Result<(), TestCaseError> {
    let mut world = World::new(limits).await;
    for step in &steps {
        world.take(step).await;
    }
    world.settle_everything().await;
    let report = world.store.report().await.unwrap();
    for state in [ActionState::Queued, ActionState::Held] {
        prop_assert_eq!(report.count(state), 0, "{:?}", state);
    }
    // The stored counts are right.
    for state in ActionState::ALL {
        let rows = world.store.in_state(state, Which::All).await.unwrap();
        prop_assert_eq!(report.count(state), rows.len() as u64, "{:?}", state);
    }
    let with_address = |(_, address): &(_, &Option<usize>)| address.is_some();
    let members = world.people.iter().filter(with_address).count() as u64;
    prop_assert_eq!(report.members, members);
    prop_assert_eq!(report.without_address, world.people.len() as u64 - members);
    // Everyone present with an address has an account, possibly at a former address.
    for (person, address) in &world.people {
        if address.is_none() {
            continue;
        }
        let theirs = &world.theirs[person];
        let invited = theirs.iter().any(|&address| {
            let address = super::email(ADDRESSES[address]);
            world.accounts.contains(address.as_str())
        });
        prop_assert!(invited, "{:?} has no account at any of {:?}", person, theirs);
    }
    // No address is invited that no entry had, and there are no more invitations than joins.
    for account in &world.accounts {
        let known = world
            .ever
            .iter()
            .any(|&address| super::email(ADDRESSES[address]).as_str() == account);
        prop_assert!(known, "{account} belongs to nobody");
    }
    prop_assert!(
        world.mails <= world.joins,
        "{} mails, {} people",
        world.mails,
        world.joins
    );
    Ok(())
}

fn after_any_history_exactly_the_people_who_are_present_are_invited(face: &Face, runtime: &Runtime) {
    let histories = (
        prop::collection::vec(step(), 1..40),
        prop::option::of(0..3_u32),
        prop::option::of(0..4_u32),
    );
    face.holds(
        runtime,
        [300, 20],
        &histories,
        |(steps, per_listing, per_hour)| {
            let limits = Limits {
                invites_per_listing: per_listing,
                invites_per_hour: per_hour,
                ..Limits::default()
            };
            play(steps, limits)
        },
    );
}
