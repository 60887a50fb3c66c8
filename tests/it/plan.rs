//! `plan` changes nothing, and the `sync` that follows does exactly what it said.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use ldap_usher::app::{DryRun, PlanEntry, PlannedAction, run_dry};
use ldap_usher::clock::{Clock, Timestamp};
use ldap_usher::directory::{Changes, Directory, DirectoryError, Opened};
use ldap_usher::listener::Listener;
use ldap_usher::model::Release;
use ldap_usher::model::{
    ActionKind, ActionState, Attribute, Change, Cursor, EmailAddress, Entry, EntryId, Listing, Settlement,
    Standing,
};
use ldap_usher::retry::{Retry, RetryNow};
use ldap_usher::rules::membership::{Accept, Policy};
use ldap_usher::rules::{LeavePolicies, LeavePolicy, Limits, ReminderPolicy};
use ldap_usher::store::interface::*;
use ldap_usher::store::{PersonQuery, PersonReport, Sqlite, Which};
use ldap_usher::telemetry::Observer;
use ldap_usher::vaultwarden::{Admin, ClientSettings, InMemory, Vaultwarden};
use ldap_usher::worker::{Accounts, AccountsSettings, Recheck, Until, Worker, WorkerSettings};
use proptest::prelude::*;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::support::queue::Queue as _;
use crate::support::stand_in::{Fault, On, Setup, StandIn};

/// What happened before.
#[derive(Debug, Clone)]
enum Step {
    /// A person has this value as address from now on, or none, and matches.
    Put(u8, Option<u8>),
    Remove(u8),
    /// The directories are listed; of the first one only a part, if so.
    List {
        cut_short: bool,
    },
    /// What is due is delivered; Vaultwarden refuses this address.
    Deliver {
        refused: u8,
    },
    /// As many invitations were under way when the service was killed.
    Kill(u32),
    /// As many invitations failed and wait for their next attempt.
    Defer(u32),
    Approve(u8),
    /// Somebody has registered, or their account was deleted: Vaultwarden and the store know different things.
    Register(u8),
}

/// People below this live in the first directory, the others in the second one.
const BORDER: u8 = 6;
const PEOPLE: u8 = 9;

fn history() -> impl Strategy<Value = Vec<Step>> {
    let mail = || proptest::option::weighted(0.85, 0..8u8);
    let step = prop_oneof![
        8 => (0..PEOPLE, mail()).prop_map(|(who, mail)| Step::Put(who, mail)),
        3 => (0..PEOPLE).prop_map(Step::Remove),
        4 => proptest::bool::weighted(0.2).prop_map(|cut_short| Step::List { cut_short }),
        2 => (0..8u8).prop_map(|refused| Step::Deliver { refused }),
        1 => (1..3u32).prop_map(Step::Kill),
        1 => (1..3u32).prop_map(Step::Defer),
        1 => (0..8u8).prop_map(Step::Approve),
        2 => (0..8u8).prop_map(Step::Register),
    ];
    proptest::collection::vec(step, 1..30)
}

/// One value is no address.
fn value(mail: u8) -> String {
    match mail {
        7 => "not an address".into(),
        _ => format!("mail{mail}@example.org"),
    }
}

/// One of two directories, in which people are found by a listing only.
#[derive(Default)]
struct Listed {
    people: Mutex<BTreeMap<u8, Option<u8>>>,
    cut_short: Mutex<bool>,
}

fn entry(person: u8, mail: Option<u8>) -> Entry {
    Entry {
        id: EntryId::from_slice(&[person; 16]).unwrap(),
        dn: format!("uid=person{person}"),
        attributes: vec![Attribute {
            name: "mail".into(),
            values: mail.map(|mail| value(mail).into_bytes()).into_iter().collect(),
        }],
    }
}

impl Directory for Listed {
    fn open(&self, _: Option<Cursor>) -> BoxFuture<'_, Result<Opened, DirectoryError>> {
        unreachable!("neither `plan` nor `sync` opens a stream")
    }

    fn list(&self) -> BoxFuture<'_, Result<Changes, DirectoryError>> {
        let people = self.people.lock().unwrap().clone();
        let (count, end) = match *self.cut_short.lock().unwrap() {
            true => (people.len() / 2, Listing::Partial("cut short".into())),
            false => (people.len(), Listing::Complete),
        };
        let entries = people.into_iter().take(count);
        let told = [Change::ListingBegin]
            .into_iter()
            .chain(entries.map(|(person, mail)| Change::Upsert(entry(person, mail))))
            .chain([Change::ListingEnd(end)]);
        let told: Vec<_> = told.map(Ok).collect();
        async { Ok(stream::iter(told).boxed()) }.boxed()
    }

    fn lookup<'a>(&'a self, who: &'a [EntryId]) -> BoxFuture<'a, Result<Vec<Entry>, DirectoryError>> {
        let people = self.people.lock().unwrap().clone();
        let all = people.into_iter().map(|(person, mail)| entry(person, mail));
        let found = all.filter(|entry| who.contains(&entry.id)).collect();
        async { Ok(found) }.boxed()
    }
}

struct World {
    _dir: tempfile::TempDir,
    state: PathBuf,
    directories: [Arc<Listed>; 2],
    stand_in: StandIn,
    hold_above: Option<u32>,
    invite_changed_address: bool,
    leave: Leave,
}

/// What happens to the accounts of leavers.
#[derive(Debug, Clone, Copy, Default)]
struct Leave {
    /// They are disabled after this time; `None` leaves them alone.
    disable_after: Option<Duration>,
    /// If more leave at once than this, they are held.
    hold_above: Option<u32>,
}

/// Who is owed what in a state, person by person.
type Standings = BTreeMap<String, Vec<(Standing, Option<(String, ActionState)>)>>;

impl World {
    fn limits(&self) -> Limits {
        Limits {
            invites_per_listing: self.hold_above,
            leavers_per_listing: self.leave.hold_above,
            ..Limits::default()
        }
    }

    fn leave(&self) -> Arc<LeavePolicies> {
        let policy = LeavePolicy {
            action: self.leave.disable_after.map(|_| ActionKind::Disable),
            grace: self.leave.disable_after.unwrap_or_default(),
        };
        Arc::new(LeavePolicies {
            directories: ["first", "second"].map(|name| (name.into(), policy)).into(),
            ..LeavePolicies::default()
        })
    }

    fn policy(&self) -> Policy {
        Policy {
            mail_attributes: vec!["mail".into()],
            accept: Accept::default(),
            disabled_are_members: false,
            now: Timestamp(0),
            invite_changed_address: self.invite_changed_address,
        }
    }

    fn listeners(&self, store: &Arc<Sqlite>) -> Vec<Listener> {
        let names = ["first", "second"];
        let directories = names.into_iter().zip(self.directories.clone());
        directories
            .map(|(name, directory)| Listener {
                name: name.into(),
                directory,
                store: store.clone(),
                observer: Observer::new([], Duration::ZERO),
                clock: Clock::system(),
                wake: Arc::new(Notify::new()),
                scope: "scope".into(),
                fingerprint: "settings".into(),
                policy: self.policy(),
                limits: self.limits(),
                leave: self.leave(),
                max_journaled_joins: u64::MAX,
                audit_interval: Some(Duration::from_secs(3600)),
                retry_now: RetryNow::default(),
                jitter: rand::random,
                retry: Retry {
                    first: Duration::ZERO,
                    ceiling: Duration::ZERO,
                    floor: Duration::ZERO,
                },
            })
            .collect()
    }

    fn vaultwarden(&self) -> Vaultwarden {
        let settings = ClientSettings::new(self.stand_in.url().parse().unwrap(), "sesame".to_owned().into());
        Vaultwarden::new(&settings, Arc::new(InMemory::default()), Clock::system()).unwrap()
    }

    fn worker(&self, store: &Arc<Sqlite>, vaultwarden: Arc<dyn Admin>) -> Worker {
        Worker {
            recheck: Arc::new(Recheck {
                directories: ["first", "second"]
                    .into_iter()
                    .zip(self.directories.clone())
                    .map(|(name, directory)| {
                        let directory: Arc<dyn Directory> = directory;
                        (name.into(), (directory, self.policy()))
                    })
                    .collect(),
                limits: self.limits(),
                leave: self.leave(),
                wake: Arc::default(),
            }),
            retry_now: RetryNow::default(),
            jitter: rand::random,
            store: store.clone(),
            vaultwarden,
            observer: Observer::new([], Duration::ZERO),
            clock: Clock::system(),
            wake: Arc::new(Notify::new()),
            settings: WorkerSettings {
                concurrency: 4,
                per_minute: None,
                limits: self.limits(),
                only: None,
                resend_after: Duration::ZERO,
            },
        }
    }

    fn accounts(&self, worker: &Worker) -> Accounts {
        Accounts {
            store: worker.store.clone(),
            vaultwarden: worker.vaultwarden.clone(),
            observer: worker.observer.clone(),
            clock: worker.clock.clone(),
            wake: worker.wake.clone(),
            settings: AccountsSettings {
                interval: Duration::from_secs(3600),
                limits: self.limits(),
                leave: self.leave(),
                reminders: ReminderPolicy {
                    after: Duration::from_secs(3600),
                    limit: 0,
                },
                invite_deleted: false,
            },
        }
    }

    async fn list(&self, store: &Arc<Sqlite>) {
        for listener in self.listeners(store) {
            let _ = listener.list_once().await;
        }
    }

    async fn deliver(&self, store: &Arc<Sqlite>) {
        let never = CancellationToken::new();
        let worker = self.worker(store, Arc::new(self.vaultwarden()));
        worker.run(Until::Drained, &never, &never).await.unwrap();
    }

    async fn open(&self) -> Arc<Sqlite> {
        Arc::new(Sqlite::open(&self.state).await.unwrap())
    }

    /// Lives through what happened.
    async fn live(&self, history: &[Step]) {
        let mut store = self.open().await;
        let now = || Clock::system().now();
        for step in history {
            match *step {
                Step::Put(person, mail) => {
                    let directory = &self.directories[usize::from(person >= BORDER)];
                    directory.people.lock().unwrap().insert(person, mail);
                }
                Step::Remove(person) => {
                    let directory = &self.directories[usize::from(person >= BORDER)];
                    directory.people.lock().unwrap().remove(&person);
                }
                Step::List { cut_short } => {
                    *self.directories[0].cut_short.lock().unwrap() = cut_short;
                    self.list(&store).await;
                }
                Step::Deliver { refused } => {
                    let address = value(refused);
                    let fault = Fault::Error(500, "SMTP 5xx error: permanent error (550): no such user");
                    self.stand_in.fail(On::Invite, Some(&address), 1, fault);
                    self.deliver(&store).await;
                    self.stand_in.heal();
                }
                Step::Kill(count) => {
                    store.claim(1, count, now()).await.unwrap();
                    drop(store);
                    store = self.open().await;
                }
                Step::Defer(count) => {
                    let claimed = store.claim(1, count, now()).await.unwrap();
                    let later = Settlement::RetryAt {
                        at: Timestamp(now().0 + 3_600_000),
                        failed: true,
                        in_doubt: false,
                        error: "greylisted".into(),
                    };
                    let settled = claimed.iter().map(|task| (task.id, later.clone())).collect();
                    store.settle(1, settled, self.limits(), now()).await.unwrap();
                }
                Step::Approve(mail) => {
                    let address: Vec<_> = EmailAddress::parse(value(mail).as_bytes()).into_iter().collect();
                    store
                        .release(
                            &[ActionState::Held],
                            Which::To(&address),
                            Release::Approved,
                            now(),
                        )
                        .await
                        .unwrap();
                }
                Step::Register(mail) => self.stand_in.preload([value(mail)]),
            }
        }
    }

    /// As the command does it.
    async fn plan(&self) -> Vec<PlanEntry> {
        let copy = Arc::new(Sqlite::dry_run(&self.state).await.unwrap());
        let invited = Arc::default();
        let dry_run = DryRun::new(Arc::new(self.vaultwarden()), Arc::clone(&invited));
        let worker = self.worker(&copy, Arc::new(dry_run));
        let listeners = self.listeners(&copy);
        let mut plan = run_dry(&listeners, (&self.accounts(&worker), &worker), copy, invited)
            .await
            .unwrap();
        let mut all = Vec::new();
        loop {
            let part = plan.next().await.unwrap();
            if part.is_empty() {
                return all;
            }
            all.extend(part);
        }
    }

    async fn standings(&self) -> Standings {
        let store = Sqlite::dry_run(&self.state).await.unwrap();
        let mut standings = Standings::new();
        for PersonReport { member, actions, .. } in
            store.people(PersonQuery::After(0, 1000), 0).await.unwrap()
        {
            let fates = standings.entry(member.dn).or_default();
            let open = actions.iter().filter(|owed| owed.state != ActionState::Cancelled);
            fates.extend(open.map(|owed| {
                (
                    member.standing.clone(),
                    Some((owed.address.to_string(), owed.state)),
                )
            }));
            if fates.is_empty() {
                fates.push((member.standing, None));
            }
        }
        standings
    }
}

fn chosen(plan: &[PlanEntry], action: PlannedAction, of: impl Fn(&PlanEntry) -> String) -> BTreeSet<String> {
    let chosen: Vec<_> = plan.iter().filter(|planned| planned.action == action).collect();
    let set: BTreeSet<_> = chosen.iter().map(|planned| of(planned)).collect();
    assert_eq!(set.len(), chosen.len(), "somebody stands twice in {plan:#?}");
    set
}

fn in_state(standings: &Standings, state: ActionState) -> BTreeSet<String> {
    let tasks = standings.values().flatten().filter_map(|(_, task)| task.clone());
    tasks
        .filter(|(_, other)| *other == state)
        .map(|(address, _)| address)
        .collect()
}

fn who_left(standings: &Standings) -> BTreeSet<String> {
    let left = |fates: &[(Standing, _)]| fates.iter().all(|(standing, _)| *standing == Standing::Left);
    let leavers = standings.iter().filter(|(_, fates)| left(fates));
    leavers.map(|(dn, _)| dn.clone()).collect()
}

async fn plan_then_sync(
    history: Vec<Step>,
    hold_above: Option<u32>,
    invite_changed_address: bool,
    leave: Leave,
) {
    let dir = tempfile::tempdir().unwrap();
    let world = World {
        state: dir.path().join("state.db"),
        _dir: dir,
        directories: Default::default(),
        stand_in: StandIn::with(Setup {
            limiter: None,
            ..Setup::default()
        }),
        hold_above,
        invite_changed_address,
        leave,
    };
    world.live(&history).await;
    let (before, invited_before) = (world.standings().await, world.stand_in.invited());
    let changes = || world.stand_in.all_changes();
    let changed_before = changes().len();

    let plan = world.plan().await;
    assert_eq!(world.standings().await, before, "the plan changed the state");
    assert_eq!(
        world.stand_in.invited(),
        invited_before,
        "the plan invited somebody"
    );
    assert_eq!(changes().len(), changed_before, "the plan changed an account");

    let store = world.open().await;
    world.list(&store).await;
    let worker = world.worker(&store, Arc::new(world.vaultwarden()));
    world.accounts(&worker).look().await.unwrap();
    drop(worker);
    world.deliver(&store).await;
    drop(store);
    let after = world.standings().await;
    let email = |planned: &PlanEntry| planned.email.clone().unwrap();

    let invited: Vec<_> = world.stand_in.invited().split_off(invited_before.len());
    assert_eq!(
        chosen(&plan, PlannedAction::Invite, email),
        invited.into_iter().collect(),
        "{plan:#?}"
    );
    for (action, name) in [
        (PlannedAction::Disable, "disable"),
        (PlannedAction::Enable, "enable"),
    ] {
        let changed = changes().split_off(changed_before).into_iter();
        let changed = changed.filter(|(_, change)| *change == name);
        assert_eq!(
            chosen(&plan, action, email),
            changed.map(|(address, _)| address).collect(),
            "{plan:#?}"
        );
    }
    assert_eq!(
        chosen(&plan, PlannedAction::Hold, email),
        in_state(&after, ActionState::Held),
        "{plan:#?}"
    );
    let open = in_state(&after, ActionState::Queued);
    assert_eq!(chosen(&plan, PlannedAction::Later, email), open, "{plan:#?}");
    let left: BTreeSet<_> = &who_left(&after) - &who_left(&before);
    let said: BTreeSet<_> = chosen(&plan, PlannedAction::Left, |planned| planned.dn.clone());
    // Of a leaver whose invitation was under way when the service was killed, what becomes of it is said.
    assert!(said.is_subset(&left), "{plan:#?}");
    let named: BTreeSet<_> = plan.iter().map(|planned| planned.dn.clone()).collect();
    let unnamed: Vec<_> = after.keys().filter(|dn| !named.contains(*dn)).collect();
    let long_gone = who_left(&before);
    assert!(
        unnamed.iter().all(|dn| long_gone.contains(*dn)),
        "{unnamed:?} do not stand in {plan:#?}"
    );
}

#[tokio::test]
async fn an_account_at_an_address_that_came_up_after_the_accounts_were_listed_is_seen_by_the_plan() {
    let history = vec![
        Step::Register(4),
        Step::Put(2, Some(0)),
        Step::List { cut_short: false },
        Step::Kill(1),
        Step::Put(2, Some(4)),
        Step::Put(1, Some(3)),
    ];
    plan_then_sync(history, Some(1), false, Leave::default()).await;
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_sync_does_exactly_what_the_plan_said_whatever_happened_before(
        history in history(),
        hold_above in proptest::option::of(0..6u32),
        invite_changed_address in any::<bool>(),
        disable_after in proptest::option::of(prop_oneof![
            3 => Just(Duration::ZERO),
            1 => Just(Duration::from_secs(3600)),
        ]),
        hold_leavers_above in proptest::option::of(0..3u32),
    ) {
        let leave = Leave {
            disable_after,
            hold_above: hold_leavers_above,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(plan_then_sync(history, hold_above, invite_changed_address, leave));
    }
}
