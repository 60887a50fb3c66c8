//! After any sequence of changes, nobody is disabled who is there, and nobody is left alone who is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ldap_usher::clock::Timestamp;
use ldap_usher::model::{
    Action, ActionKind, ActionState, EntryId, ListedAccount, Outcome, Release, Settlement, Source, WorkerId,
};
use ldap_usher::rules::membership::Sighting;
use ldap_usher::rules::{
    DecisionContext, LeavePolicies, LeavePolicy, Limits, Protect, ReminderPolicy, Verdict, differs,
};
use ldap_usher::store::interface::*;
use ldap_usher::store::{ChangeBatch, Claim, Decisions, Scope, Step as Decided, Which};
use proptest::prelude::*;
use tokio::runtime::Runtime;

use super::faces::{self, Face};
use super::{OWNER, email, entry, gone, on_both};

on_both! {
    whoever_comes_back_and_leaves_before_anything_was_done_about_it_loses_the_account,
    an_account_whose_address_passed_to_somebody_else_leaves_with_them,
    whoever_leaves_again_before_they_are_enabled_stays_disabled,
    whoever_registers_before_an_unanswered_invitation_is_looked_up_keeps_the_account,
    ;
    properties: after_any_history_nobody_is_disabled_who_is_there_and_nobody_is_left_alone_who_is_gone
}

const DIRECTORIES: usize = 2;
const PEOPLE: u8 = 3;
/// The accounts at the last one are protected.
const ADDRESSES: [&str; 4] = ["ann", "bob", "eve", "boss"];
const GRACE: Duration = Duration::from_secs(3);
const REMINDERS: ReminderPolicy = ReminderPolicy {
    after: Duration::from_secs(5),
    limit: 2,
};

/// A person, by the number of their directory and their own.
type Who = (usize, u8);

/// One step of a history.
#[derive(Debug, Clone)]
enum Step {
    /// A person joins or changes, with an address or none.
    There(Who, Option<usize>),
    /// A person leaves.
    Gone(Who),
    /// A person changes (or leaves) and the stream does not report it.
    Unreported(Who, Option<Option<usize>>),
    /// A listing of everyone, or one that is cut short after this number.
    List(usize, Option<usize>),
    /// Actions that are due are attempted. With `true` the person comes back during the attempt.
    Attempt(Vec<(Attempt, bool)>),
    /// The worker ends with its claims.
    Die,
    /// An administrator approves everything.
    Approve,
    /// The accounts are compared, and reminders are opened.
    Compare,
    /// An administrator does this to the account at an address.
    Hand(usize, Hand),
    /// Time passes.
    Wait(i64),
}

/// What becomes of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attempt {
    Works,
    /// It takes effect, and the answer is lost.
    Unanswered,
    /// It is lost.
    Lost,
    Refused,
    Later,
}

#[derive(Debug, Clone, Copy)]
enum Hand {
    Disable,
    Enable,
    Delete,
    Create,
    Register,
}

fn step() -> impl Strategy<Value = Step> {
    let who = || (0..DIRECTORIES, 0..PEOPLE);
    let address = || prop::option::weighted(0.9, 0..ADDRESSES.len());
    let attempt = prop::sample::select(vec![
        Attempt::Works,
        Attempt::Works,
        Attempt::Works,
        Attempt::Unanswered,
        Attempt::Lost,
        Attempt::Refused,
        Attempt::Later,
    ]);
    let hand = prop::sample::select(vec![
        Hand::Disable,
        Hand::Enable,
        Hand::Delete,
        Hand::Create,
        Hand::Register,
    ]);
    prop_oneof![
        6 => (who(), address()).prop_map(|(who, address)| Step::There(who, address)),
        4 => who().prop_map(Step::Gone),
        2 => (who(), prop::option::of(address())).prop_map(|(who, address)| Step::Unreported(who, address)),
        3 => (0..DIRECTORIES, prop::option::of(0..3_usize)).prop_map(|(n, cut)| Step::List(n, cut)),
        8 => prop::collection::vec((attempt, prop::bool::weighted(0.2)), 1..4).prop_map(Step::Attempt),
        1 => Just(Step::Die),
        1 => Just(Step::Approve),
        2 => Just(Step::Compare),
        1 => (0..ADDRESSES.len(), hand).prop_map(|(address, hand)| Step::Hand(address, hand)),
        3 => (0..6_000_i64).prop_map(Step::Wait),
    ]
}

#[derive(Debug, Clone)]
struct Account {
    id: usize,
    registered: bool,
    enabled: bool,
    /// Whether this program made it, and can know that.
    ours: bool,
    /// Whether an administrator disabled or enabled it.
    by_hand: bool,
    /// The person for whose leaving it was disabled, if this program did it.
    disabled_for: Option<Who>,
}

/// The directories, the store, and Vaultwarden.
struct World {
    store: Arc<dyn Store>,
    rows: Vec<i64>,
    limits: Limits,
    leave: Arc<LeavePolicies>,
    people: BTreeMap<Who, Option<usize>>,
    /// Everyone who ever had an address.
    had: BTreeMap<usize, BTreeSet<Who>>,
    accounts: BTreeMap<String, Account>,
    made: usize,
    mails: usize,
    joins: usize,
    reminders: usize,
    now: i64,
    owner: i64,
}

impl World {
    async fn new(limits: Limits, action: ActionKind) -> Self {
        let store = faces::new_store().await;
        store.take_over(WorkerId(OWNER), Timestamp(0)).await.unwrap();
        let mut rows = Vec::new();
        let mut directories = BTreeMap::new();
        for n in 0..DIRECTORIES {
            let name = format!("directory {n}");
            rows.push(store.register(&name, &name, "").await.unwrap().id);
            let policy = LeavePolicy {
                action: Some(action),
                grace: GRACE,
            };
            directories.insert(name, policy);
        }
        let protect = Protect {
            addresses: vec![email("boss")],
            ..Protect::default()
        };
        Self {
            store,
            rows,
            limits,
            leave: Arc::new(LeavePolicies {
                directories,
                protect,
                ..LeavePolicies::default()
            }),
            people: BTreeMap::new(),
            had: BTreeMap::new(),
            accounts: BTreeMap::new(),
            made: 0,
            mails: 0,
            joins: 0,
            reminders: 0,
            now: 1_000_000,
            owner: OWNER,
        }
    }

    fn time(&self) -> Timestamp {
        Timestamp(self.now)
    }

    // -- the directories ----------------------------------------------------------------------------------------

    fn batch(&self, directory: usize, source: Source, sightings: Vec<Sighting>) -> ChangeBatch {
        ChangeBatch {
            leave: self.leave.clone(),
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
            arrived: self.time(),
        }
    }

    fn set(&mut self, who: Who, address: Option<Option<usize>>) {
        match address {
            Some(address) => self.people.insert(who, address),
            None => self.people.remove(&who),
        };
        if let Some(Some(address)) = address {
            self.had.entry(address).or_default().insert(who);
        }
    }

    fn sighting(&self, who: Who) -> Sighting {
        match self.people.get(&who) {
            Some(address) => super::sighting(&entry(who.1, address.map(|address| ADDRESSES[address]))),
            None => gone(who.1),
        }
    }

    /// The directory reports the person as they are.
    async fn report(&mut self, who: Who, source: Source) {
        self.joins += usize::from(self.people.contains_key(&who));
        let batch = self.batch(who.0, source, vec![self.sighting(who)]);
        self.store.apply(batch).await.unwrap();
    }

    async fn list(&mut self, directory: usize, cut: Option<usize>) {
        let row = self.rows[directory];
        let named: Vec<Sighting> = (0..PEOPLE)
            .filter(|&n| self.people.contains_key(&(directory, n)))
            .take(cut.unwrap_or(usize::MAX))
            .map(|n| self.sighting((directory, n)))
            .collect();
        self.joins += named.len();
        let differences = super::differences(&*self.store, row, named, cut.is_none()).await;
        let (listed, unlisted) = super::split_unlisted(differences);
        let batch = self.batch(
            directory,
            Source::Listing,
            [listed.clone(), unlisted.clone()].concat(),
        );
        let leaving = self.store.leaving(batch).await.unwrap();
        let held = leaving
            .brake
            .check_listing(leaving.count, leaving.members, &self.limits, self.time());
        for sightings in [listed, unlisted] {
            let batch = ChangeBatch {
                leaving: held,
                ..self.batch(directory, Source::Listing, sightings)
            };
            super::apply_listed(&*self.store, batch, cut.is_some()).await;
        }
        let ended = self.store.end_listing(row, cut.is_none(), None, self.time());
        ended.await.unwrap();
    }

    // -- the worker ---------------------------------------------------------------------------------------------

    async fn exchange(&self, settled: Vec<(i64, Settlement)>, max: u32) -> Vec<Action> {
        let claim = Claim {
            only: None,
            owner: WorkerId(self.owner),
            max: Box::new(move |_| max),
        };
        let policies = (self.limits, self.leave.clone());
        let exchanged = self.store.settle_and_claim(settled, policies, claim, self.time());
        exchanged.await.unwrap().1.actions
    }

    async fn attempt(&mut self, attempt: Attempt, comes_back: bool) {
        let Some(task) = self.exchange(Vec::new(), 1).await.into_iter().next() else {
            return;
        };
        let who = self.who(&task);
        let settlement = match task.kind {
            ActionKind::Invite => self.invite(&task, attempt),
            ActionKind::Resend => self.resend(&task, attempt),
            ActionKind::Enable => self.change(&task, attempt),
            _ => self.leave(&task, attempt).await,
        };
        if comes_back {
            let address = ADDRESSES.iter().position(|name| email(name) == task.address);
            self.set(who, Some(address));
            self.report(who, Source::Stream).await;
        }
        self.exchange(vec![(task.id, settlement)], 0).await;
    }

    fn who(&self, task: &Action) -> Who {
        let directory = self.rows.iter().position(|row| *row == task.directory_row);
        let n = (0..PEOPLE).find(|&n| EntryId::from_slice(&[n; 16]).unwrap() == task.entry);
        (directory.unwrap(), n.unwrap())
    }

    /// How a call is settled that `effect` makes.
    fn call(&mut self, attempt: Attempt, effect: impl FnOnce(&mut Self) -> Settlement) -> Settlement {
        match attempt {
            Attempt::Works => effect(self),
            Attempt::Unanswered => {
                effect(self);
                self.retry(0, true)
            }
            Attempt::Lost => self.retry(0, true),
            Attempt::Refused => super::refused("the last owner"),
            Attempt::Later => self.retry(1000, false),
        }
    }

    fn retry(&self, after: i64, in_doubt: bool) -> Settlement {
        Settlement::RetryAt {
            at: Timestamp(self.now + after),
            failed: true,
            in_doubt,
            error: "no answer".into(),
        }
    }

    fn invite(&mut self, task: &Action, attempt: Attempt) -> Settlement {
        let address = task.address.to_string();
        if let Some(account) = self.accounts.get_mut(&address) {
            let was_mine = task.in_doubt.is_some() && !account.registered && account.ours;
            if was_mine {
                return done(Outcome::Invited, Some(account.id));
            }
            // A lost call and an older account look the same as an unanswered call and a quick registration.
            if task.in_doubt.is_some() {
                account.ours = false;
            }
            return done(Outcome::HadAccount, None);
        }
        if task.in_doubt.is_some() {
            return self.retry(0, false);
        }
        self.call(attempt, |world| {
            world.mails += 1;
            done(Outcome::Invited, Some(world.make(address, true)))
        })
    }

    fn make(&mut self, address: String, ours: bool) -> usize {
        self.made += 1;
        let account = Account {
            id: self.made,
            registered: !ours,
            enabled: true,
            ours,
            by_hand: false,
            disabled_for: None,
        };
        self.accounts.insert(address, account);
        self.made
    }

    fn resend(&mut self, task: &Action, attempt: Attempt) -> Settlement {
        // A second mail would be worse than none.
        if task.in_doubt.is_some() {
            return done(Outcome::CarriedOut, None);
        }
        let Some(address) = self.account_of(task) else {
            return Outcome::NoAccount.into();
        };
        if self.accounts[&address].registered {
            return Outcome::NotNeeded.into();
        }
        self.call(attempt, |world| {
            world.mails += 1;
            world.reminders += 1;
            Outcome::CarriedOut.into()
        })
    }

    /// The address of the account that an action concerns.
    fn account_of(&self, task: &Action) -> Option<String> {
        let address = task.address.to_string();
        let is_it = |(at, account): &(&String, &Account)| match &task.account {
            Some(id) => account.id.to_string() == *id,
            None => **at == address,
        };
        Some(self.accounts.iter().find(is_it)?.0.clone())
    }

    /// As the worker does: looks the person up, waits for the grace, looks at the account, and calls.
    async fn leave(&mut self, task: &Action, attempt: Attempt) -> Settlement {
        let who = self.who(task);
        if self.people.contains_key(&who) {
            self.report(who, Source::LookUp).await;
            let is_done = match self.account_of(task) {
                None => true,
                Some(address) => task.kind == ActionKind::Disable && !self.accounts[&address].enabled,
            };
            return match task.in_doubt {
                None => Settlement::Cancel("the person is in the directory".into()),
                Some(_) if is_done => Outcome::CarriedOut.into(),
                Some(_) => self.retry(0, false),
            };
        }
        let due = task.arrived + GRACE;
        if self.time() < due {
            return Settlement::RetryAt {
                at: due,
                failed: false,
                in_doubt: task.in_doubt.is_some(),
                error: String::new(),
            };
        }
        self.change(task, attempt)
    }

    fn change(&mut self, task: &Action, attempt: Attempt) -> Settlement {
        let who = self.who(task);
        let Some(address) = self.account_of(task) else {
            return Outcome::NoAccount.into();
        };
        let (kind, account) = (task.kind, &self.accounts[&address]);
        let is_done = match kind {
            ActionKind::Disable => !account.enabled,
            ActionKind::Enable => account.enabled,
            _ => false,
        };
        if is_done {
            return match task.in_doubt {
                Some(_) => Outcome::CarriedOut.into(),
                None => Outcome::NotNeeded.into(),
            };
        }
        if kind.is_leave() {
            assert!(account.ours, "{address} is not in our care");
            assert_ne!(address, email("boss").as_str(), "it is protected");
            assert!(!self.people.contains_key(&who), "{who:?} is there");
        }
        self.call(attempt, |world| {
            if kind == ActionKind::Delete {
                world.accounts.remove(&address);
            } else if let Some(account) = world.accounts.get_mut(&address) {
                account.enabled = kind == ActionKind::Enable;
                account.disabled_for = (kind == ActionKind::Disable).then_some(who);
            }
            Outcome::CarriedOut.into()
        })
    }

    // -- Vaultwarden's accounts ---------------------------------------------------------------------------------

    fn listed(&self) -> Vec<ListedAccount> {
        let list = self.accounts.iter().map(|(address, account)| ListedAccount {
            id: account.id.to_string(),
            address: email(address.split('@').next().unwrap()),
            invited: !account.registered,
            enabled: Some(account.enabled),
        });
        list.collect()
    }

    /// As the service does at intervals.
    async fn compare(&mut self) {
        self.now += 1;
        let (began, listed) = (self.time(), self.listed());
        let matched = self.store.matched(listed.clone()).await.unwrap();
        let seen: Vec<_> = matched
            .into_iter()
            .filter(|one| {
                one.known
                    .as_ref()
                    .map_or(one.waits, |known| differs(known, one.waits, &one.listed))
            })
            .map(|one| (one.row, one.listed))
            .collect();
        let rows = seen.iter().map(|(row, _)| *row).collect();
        self.decide(rows, move |book, context| {
            for (row, listed) in &seen {
                book.observe_account(*row, listed, began, context);
            }
        })
        .await;
        let managed = self.store.managed(0, 100).await.unwrap();
        let is_listed = |id: &Option<String>| listed.iter().any(|listed| Some(&listed.id) == id.as_ref());
        let older = managed
            .into_iter()
            .filter(|managed| managed.account.since < began);
        let (present, missing): (Vec<_>, Vec<_>) =
            older.partition(|managed| managed.account.id.is_none() || is_listed(&managed.account.id));
        let rows: Vec<i64> = missing.iter().map(|managed| managed.row).collect();
        self.decide(rows.clone(), move |book, context| {
            for &row in &rows {
                book.account_missing(row, began, false, context);
            }
        })
        .await;
        let rows: Vec<i64> = present.iter().map(|managed| managed.row).collect();
        self.decide(rows.clone(), move |book, context| {
            for &row in &rows {
                book.remind(row, &REMINDERS, context);
            }
        })
        .await;
        self.now += 1;
    }

    async fn decide(
        &self,
        invitations: Vec<i64>,
        mut rule: impl FnMut(&mut ldap_usher::rules::Book, &DecisionContext<'_>) + Send + 'static,
    ) {
        let scope = Scope {
            tasks: invitations,
            ..Scope::default()
        };
        let (limits, leave, now) = (self.limits, self.leave.clone(), self.time());
        let decided = self.store.decide(scope, move |book| {
            let context = DecisionContext::single(Source::Vaultwarden, now, now, &limits, &leave);
            rule(book, &context);
            Decided::Done(())
        });
        decided.await.unwrap();
    }

    fn hand(&mut self, address: usize, hand: Hand) {
        let address = email(ADDRESSES[address]).to_string();
        if let Hand::Create = hand {
            if !self.accounts.contains_key(&address) {
                self.make(address, false);
            }
            return;
        }
        let Some(account) = self.accounts.get_mut(&address) else {
            return;
        };
        match hand {
            Hand::Disable | Hand::Enable => {
                account.enabled = matches!(hand, Hand::Enable);
                account.by_hand = true;
                account.disabled_for = None;
            }
            Hand::Register => account.registered = true,
            Hand::Delete => drop(self.accounts.remove(&address)),
            Hand::Create => {}
        }
    }

    // -- history ------------------------------------------------------------------------------------------------

    async fn take(&mut self, step: &Step) {
        match *step {
            Step::There(who, address) => {
                self.set(who, Some(address));
                self.report(who, Source::Stream).await;
            }
            Step::Gone(who) => {
                self.set(who, None);
                self.report(who, Source::Stream).await;
            }
            Step::Unreported(who, address) => self.set(who, address),
            Step::List(directory, cut) => self.list(directory, cut).await,
            Step::Attempt(ref attempts) => {
                for &(attempt, comes_back) in attempts {
                    self.attempt(attempt, comes_back).await;
                }
            }
            Step::Die => {
                self.exchange(Vec::new(), 2).await;
                self.owner += 1;
                let owner = WorkerId(self.owner);
                self.store.take_over(owner, self.time()).await.unwrap();
            }
            Step::Approve => self.approve(&[ActionState::Held]).await,
            Step::Compare => self.compare().await,
            Step::Hand(address, hand) => self.hand(address, hand),
            Step::Wait(time) => self.now += time,
        }
        self.now += 500;
    }

    async fn approve(&self, states: &[ActionState]) {
        let because = Release::Approved;
        let released = self.store.release(states, Which::All, because, self.time());
        released.await.unwrap();
    }

    /// Everything is listed and nothing fails any more. Held leavers stay so unless they are approved.
    async fn come_to_rest(&mut self, approves: bool) {
        for _ in 0..3 {
            for directory in 0..DIRECTORIES {
                self.list(directory, None).await;
            }
            self.compare().await;
            if approves {
                self.approve(&[ActionState::Held, ActionState::Quarantined]).await;
            }
            for _ in 0..3 {
                for _ in 0..20 {
                    self.attempt(Attempt::Works, false).await;
                }
                self.now += 10_000;
            }
        }
    }
}

fn done(outcome: Outcome, account: Option<usize>) -> Settlement {
    Settlement::Done {
        outcome,
        account: account.map(|id| id.to_string()),
    }
}

async fn play(
    steps: Vec<Step>,
    limits: Limits,
    action: ActionKind,
    approves: bool,
) -> Result<(), TestCaseError> {
    let mut world = World::new(limits, action).await;
    for step in &steps {
        world.take(step).await;
    }
    world.come_to_rest(approves).await;
    let mut blocked = BTreeSet::new();
    for state in [ActionState::Held, ActionState::Quarantined] {
        let tasks = world.store.in_state(state, Which::All).await.unwrap();
        blocked.extend(tasks.into_iter().map(|task| task.address));
    }
    for (number, name) in ADDRESSES.iter().enumerate() {
        let address = email(name).to_string();
        let Some(account) = world.accounts.get(&address) else {
            continue;
        };
        let nobody = BTreeSet::new();
        let had = world.had.get(&number).unwrap_or(&nobody);
        // An account that was disabled for one person is not opened to another one who has the address now.
        if let Some(who) = account.disabled_for {
            let is_shared = had.len() > 1;
            prop_assert!(
                is_shared || !world.people.contains_key(&who) || blocked.contains(&address),
                "{} stays disabled although {:?} is there",
                address,
                who
            );
        }
        let is_claimed = had.iter().any(|who| world.people.contains_key(who));
        let is_owed = account.ours && !account.by_hand && *name != "boss";
        prop_assert!(
            !account.enabled || is_claimed || !is_owed || blocked.contains(&address),
            "{} is enabled although everyone is gone",
            address
        );
    }
    prop_assert!(
        world.mails <= world.joins + world.reminders,
        "{} mails, {} joins, {} reminders",
        world.mails,
        world.joins,
        world.reminders
    );
    Ok(())
}

async fn whoever_comes_back_and_leaves_before_anything_was_done_about_it_loses_the_account() {
    let steps = vec![
        Step::There((0, 0), Some(0)),
        Step::Attempt(vec![(Attempt::Works, false)]),
        Step::Gone((0, 0)),
        Step::There((0, 0), Some(0)),
        Step::Gone((0, 0)),
    ];
    let story = play(steps, Limits::default(), ActionKind::Disable, false);
    story.await.unwrap();
}

async fn an_account_whose_address_passed_to_somebody_else_leaves_with_them() {
    let works = Step::Attempt(vec![(Attempt::Works, false); 2]);
    let steps = vec![
        Step::There((0, 1), Some(1)),
        Step::There((0, 0), Some(0)),
        works,
        Step::Gone((0, 0)),
        Step::There((0, 1), Some(0)),
        Step::Gone((0, 1)),
    ];
    let story = play(steps, Limits::default(), ActionKind::Disable, false);
    story.await.unwrap();
}

/// An account that is registered when an unanswered invitation is looked up may be older than the invitation.
async fn whoever_registers_before_an_unanswered_invitation_is_looked_up_keeps_the_account() {
    let mut world = World::new(Limits::default(), ActionKind::Disable).await;
    for step in [
        Step::There((0, 0), Some(0)),
        Step::Attempt(vec![(Attempt::Unanswered, false)]),
        Step::Hand(0, Hand::Register),
        Step::Gone((0, 0)),
    ] {
        world.take(&step).await;
    }
    world.come_to_rest(true).await;
    assert!(world.accounts["ann@example.org"].enabled);
    assert!(world.store.managed(0, 100).await.unwrap().is_empty());
}

async fn whoever_leaves_again_before_they_are_enabled_stays_disabled() {
    let mut world = World::new(Limits::default(), ActionKind::Disable).await;
    let works = Step::Attempt(vec![(Attempt::Works, false); 3]);
    let [there, gone] = [Step::There((0, 0), Some(0)), Step::Gone((0, 0))];
    for step in [
        &there,
        &works,
        &gone,
        &works,
        &Step::Wait(5000),
        &works,
        &there,
        &gone,
        &works,
    ] {
        world.take(step).await;
    }
    assert!(!world.accounts["ann@example.org"].enabled);
    world.take(&there).await;
    world.take(&works).await;
    assert!(world.accounts["ann@example.org"].enabled);
}

fn after_any_history_nobody_is_disabled_who_is_there_and_nobody_is_left_alone_who_is_gone(
    face: &Face,
    runtime: &Runtime,
) {
    let histories = (
        prop::collection::vec(step(), 1..60),
        prop::option::of(0..3_u32),
        prop::option::of(0..4_u32),
        any::<bool>(),
        any::<bool>(),
    );
    face.holds(
        runtime,
        [300, 10],
        &histories,
        |(steps, per_listing, per_hour, deletes, approves)| {
            let limits = Limits {
                leavers_per_listing: per_listing,
                leavers_per_hour: per_hour,
                ..Limits::default()
            };
            let action = if deletes {
                ActionKind::Delete
            } else {
                ActionKind::Disable
            };
            play(steps, limits, action, approves)
        },
    );
}
