//! People who have not registered are reminded, never more often than configured: the comparison of accounts and the worker
//! on a real store, with a clock that is moved.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::stream::{self, BoxStream, StreamExt};
use ldap_usher::clock::{Clock, Timestamp};
use ldap_usher::model::{ActionState, Attribute, EmailAddress, Entry, EntryId, Outcome, Source};
use ldap_usher::retry::RetryNow;
use ldap_usher::rules::membership::{Accept, Policy, Sighting};
use ldap_usher::rules::{Limits, ReminderPolicy, Verdict};
use ldap_usher::store::interface::*;
use ldap_usher::store::{ChangeBatch, Decisions, Sqlite, Which};
use ldap_usher::telemetry::{GRACE, Observer};
use ldap_usher::vaultwarden::{Account, AccountChange, Admin, Changed, Invitation, Reply, VaultwardenError};
use ldap_usher::worker::{Accounts, AccountsSettings, Until, Worker, WorkerSettings};
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

const HOUR: i64 = 3_600_000;
/// A reminder follows the last mail after four hours, twice at most.
const REMINDERS: ReminderPolicy = ReminderPolicy {
    after: Duration::from_secs(4 * 3600),
    limit: 2,
};

fn mail(person: u8) -> String {
    format!("person{person}@example.org")
}

/// A Vaultwarden that notes the time of each mail.
struct Vault {
    now: Arc<AtomicI64>,
    accounts: Mutex<BTreeMap<String, Account>>,
    /// The hour and the address of each mail.
    mails: Mutex<Vec<(i64, String)>>,
    sends_mail: AtomicBool,
}

impl Vault {
    fn mail(&self, address: &str) {
        let hour = self.now.load(Ordering::Relaxed) / HOUR;
        self.mails.lock().unwrap().push((hour, address.into()));
    }

    /// The hours in which this person was mailed.
    fn hours(&self, person: u8) -> Vec<i64> {
        let mails = self.mails.lock().unwrap();
        let theirs = mails.iter().filter(|(_, address)| *address == mail(person));
        theirs.map(|(hour, _)| *hour).collect()
    }

    fn edit(&self, person: u8, edit: impl FnOnce(&mut Account)) {
        edit(self.accounts.lock().unwrap().get_mut(&mail(person)).unwrap());
    }
}

impl Admin for Vault {
    fn invite<'a>(&'a self, address: &'a EmailAddress) -> Reply<'a, Invitation> {
        async {
            let mut accounts = self.accounts.lock().unwrap();
            if accounts.contains_key(address.as_str()) {
                return Ok(Invitation {
                    outcome: Outcome::HadAccount,
                    account: None,
                });
            }
            let id = format!(
                "63efca19-3103-4a59-8531-{:012x}",
                self.mails.lock().unwrap().len()
            );
            let account = Account {
                id: id.clone(),
                email: address.to_string(),
                invited: true,
                enabled: Some(true),
            };
            accounts.insert(address.to_string(), account);
            self.mail(address.as_str());
            Ok(Invitation {
                outcome: Outcome::Invited,
                account: Some(id),
            })
        }
        .boxed()
    }

    fn change<'a>(&'a self, id: &'a str, change: AccountChange) -> Reply<'a, Changed> {
        async move {
            assert_eq!(change, AccountChange::Resend);
            let accounts = self.accounts.lock().unwrap();
            Ok(match accounts.values().find(|account| account.id == id) {
                None => Changed::NoAccount,
                Some(account) if !account.invited => Changed::AlreadyRegistered,
                Some(account) => {
                    self.mail(&account.email);
                    Changed::Done
                }
            })
        }
        .boxed()
    }

    fn account<'a>(&'a self, address: &'a EmailAddress) -> Reply<'a, Option<Account>> {
        async { Ok(self.accounts.lock().unwrap().get(address.as_str()).cloned()) }.boxed()
    }

    fn account_by_id<'a>(&'a self, id: &'a str) -> Reply<'a, Option<Account>> {
        async move {
            let accounts = self.accounts.lock().unwrap();
            Ok(accounts.values().find(|account| account.id == id).cloned())
        }
        .boxed()
    }

    fn accounts(&self) -> BoxStream<'_, Result<Account, VaultwardenError>> {
        let accounts: Vec<Account> = self.accounts.lock().unwrap().values().cloned().collect();
        stream::iter(accounts.into_iter().map(Ok)).boxed()
    }

    fn sends_mail(&self) -> Reply<'_, Option<bool>> {
        async { Ok(Some(self.sends_mail.load(Ordering::Relaxed))) }.boxed()
    }

    fn alive(&self) -> Reply<'_, ()> {
        async { Ok(()) }.boxed()
    }
}

/// Vaultwarden, the state in a file, and the clock, which begins at hour 0.
struct Stage {
    dir: TempDir,
    store: Option<Arc<Sqlite>>,
    vault: Arc<Vault>,
    now: Arc<AtomicI64>,
    start: i64,
    invite_deleted: bool,
}

impl Stage {
    /// So many people have just been invited.
    async fn with(people: u8) -> Self {
        let start = 500_000 * HOUR;
        let now = Arc::new(AtomicI64::new(start));
        let vault = Vault {
            now: now.clone(),
            accounts: Mutex::default(),
            mails: Mutex::default(),
            sends_mail: AtomicBool::new(true),
        };
        let mut stage = Self {
            dir: tempfile::tempdir().unwrap(),
            store: None,
            vault: Arc::new(vault),
            now,
            start,
            invite_deleted: false,
        };
        stage.open().await;
        stage.come(0..people).await;
        stage.work().await;
        stage
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("state.db")
    }

    async fn open(&mut self) {
        self.store = Some(Arc::new(Sqlite::open(&self.path()).await.unwrap()));
    }

    /// The process ends.
    fn close(&mut self) {
        let store = Arc::into_inner(self.store.take().unwrap()).expect("nobody else uses the store");
        drop(store);
    }

    /// The process ends and begins again.
    async fn restart(&mut self) {
        self.close();
        self.open().await;
    }

    fn store(&self) -> Arc<Sqlite> {
        self.store.clone().unwrap()
    }

    fn clock(&self) -> Clock {
        let now = self.now.clone();
        Clock::read_by(move || Timestamp(now.load(Ordering::Relaxed)))
    }

    async fn come(&self, people: std::ops::Range<u8>) {
        let policy = policy();
        let sightings = people.map(|n| {
            let values = vec![mail(n).into_bytes()];
            let name = "mail".into();
            Sighting::Entry(policy.facts(&Entry {
                id: EntryId::from_slice(&[n; 16]).unwrap(),
                dn: format!("uid=person{n}"),
                attributes: vec![Attribute { name, values }],
            }))
        });
        self.report(sightings.collect()).await;
    }

    async fn go(&self, person: u8) {
        let gone = Sighting::Gone(EntryId::from_slice(&[person; 16]).unwrap());
        self.report(vec![gone]).await;
    }

    async fn report(&self, sightings: Vec<Sighting>) {
        let store = self.store();
        let directory = store.register("main", "scope", "settings").await.unwrap().id;
        let batch = ChangeBatch {
            leave: Arc::default(),
            leaving: None,
            directory,
            source: Source::Stream,
            summarised: false,
            sightings,
            together: Default::default(),
            cursor: None,
            policy: policy(),
            limits: Limits::default(),
            listing: Verdict::Invite,
            arrived: self.clock().now(),
        };
        store.apply(batch).await.unwrap();
    }

    /// The accounts are compared, and what is due is done.
    async fn look(&self) {
        let accounts = Accounts {
            store: self.store(),
            vaultwarden: self.vault.clone(),
            observer: Observer::new(["main".to_owned()], GRACE),
            clock: self.clock(),
            wake: Arc::new(Notify::new()),
            settings: AccountsSettings {
                interval: Duration::from_secs(3600),
                limits: Limits::default(),
                leave: Arc::default(),
                reminders: REMINDERS,
                invite_deleted: self.invite_deleted,
            },
        };
        accounts.look().await.unwrap();
        self.work().await;
    }

    async fn work(&self) {
        let worker = Worker {
            store: self.store(),
            vaultwarden: self.vault.clone(),
            observer: Observer::new(["main".to_owned()], GRACE),
            clock: self.clock(),
            wake: Arc::new(Notify::new()),
            settings: WorkerSettings {
                only: None,
                concurrency: 2,
                per_minute: None,
                limits: Limits::default(),
                resend_after: Duration::from_secs(180),
            },
            recheck: Arc::default(),
            retry_now: RetryNow::default(),
            jitter: rand::random,
        };
        let never = CancellationToken::new();
        worker.run(Until::Drained, &never, &never).await.unwrap();
    }

    fn hour(&self) -> i64 {
        (self.now.load(Ordering::Relaxed) - self.start) / HOUR
    }

    /// Compares every hour until this one.
    async fn until(&self, hour: i64) {
        while self.hour() < hour {
            self.now.fetch_add(HOUR, Ordering::Relaxed);
            self.look().await;
        }
    }

    /// The hours in which this person was mailed.
    fn mailed(&self, person: u8) -> Vec<i64> {
        let hours = self.vault.hours(person);
        hours.iter().map(|hour| hour - self.start / HOUR).collect()
    }
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

#[tokio::test]
async fn whoever_does_not_register_is_reminded_as_often_as_configured_and_no_more() {
    let stage = Stage::with(3).await;
    stage.until(30).await;
    for person in 0..3 {
        assert_eq!(stage.mailed(person), [0, 4, 8], "{person}");
    }
}

#[tokio::test]
async fn whoever_registered_left_or_had_an_account_is_not_reminded() {
    let stage = Stage::with(4).await;
    let had = Account {
        id: "63efca19-3103-4a59-8531-00000000aaaa".into(),
        email: mail(9),
        invited: true,
        enabled: Some(true),
    };
    stage.vault.accounts.lock().unwrap().insert(mail(9), had);
    stage.come(9..10).await;
    stage.until(2).await;
    stage.vault.edit(0, |account| account.invited = false);
    stage.go(1).await;
    stage.until(5).await;
    stage.vault.edit(2, |account| account.invited = false);
    stage.until(20).await;
    assert_eq!(stage.mailed(0), [0]);
    assert_eq!(stage.mailed(1), [0]);
    assert_eq!(stage.mailed(2), [0, 4]);
    assert_eq!(stage.mailed(3), [0, 4, 8]);
    assert!(stage.mailed(9).is_empty());
}

#[tokio::test]
async fn where_mail_is_off_nobody_is_reminded() {
    let stage = Stage::with(2).await;
    stage.vault.sends_mail.store(false, Ordering::Relaxed);
    stage.until(20).await;
    assert_eq!(stage.mailed(0), [0]);
    // From the moment at which it is on, it is as if it always had been.
    stage.vault.sends_mail.store(true, Ordering::Relaxed);
    stage.until(40).await;
    assert_eq!(stage.mailed(0), [0, 21, 25]);
}

#[tokio::test]
async fn a_restart_is_no_reason_to_remind_again() {
    let mut stage = Stage::with(2).await;
    for hour in 1..=15 {
        stage.until(hour).await;
        stage.restart().await;
        stage.look().await;
    }
    assert_eq!(stage.mailed(1), [0, 4, 8]);
}

#[tokio::test]
async fn a_state_from_a_backup_reminds_nobody_too_early() {
    for (made, restored) in [(3, 5), (3, 4), (7, 9), (2, 10)] {
        let mut stage = Stage::with(2).await;
        let backup = stage.dir.path().join("backup.db");
        stage.until(made).await;
        stage.close();
        std::fs::copy(stage.path(), &backup).unwrap();
        stage.open().await;
        stage.until(restored).await;
        stage.close();
        std::fs::copy(&backup, stage.path()).unwrap();
        stage.open().await;
        stage.until(40).await;
        let mailed = stage.mailed(0);
        let pauses = mailed.windows(2).map(|pair| pair[1] - pair[0]);
        assert!(
            pauses.min() >= Some(4),
            "made at {made}, restored at {restored}: {mailed:?}"
        );
        // The backup does not know of the reminders since it was made.
        assert!(mailed.len() <= 5, "{mailed:?}");
    }
}

#[tokio::test]
async fn a_clock_that_jumps_by_a_year_and_back_reminds_nobody_too_early() {
    const YEAR: i64 = 365 * 24;
    let stage = Stage::with(2).await;
    stage.until(2).await;
    stage.now.fetch_add(YEAR * HOUR, Ordering::Relaxed);
    stage.look().await;
    stage.look().await;
    assert_eq!(stage.mailed(0), [0]);
    stage.now.fetch_sub(YEAR * HOUR, Ordering::Relaxed);
    stage.until(40).await;
    let mailed = stage.mailed(0);
    let pauses = mailed.windows(2).map(|pair| pair[1] - pair[0]);
    assert!(mailed.len() <= 3 && pauses.min() >= Some(4), "{mailed:?}");
}

#[tokio::test]
async fn whom_an_administrator_disabled_by_hand_is_not_reminded_until_they_are_enabled() {
    let stage = Stage::with(2).await;
    stage.vault.edit(0, |account| account.enabled = Some(false));
    stage.until(10).await;
    assert_eq!(stage.mailed(0), [0]);
    stage.vault.edit(0, |account| account.enabled = Some(true));
    stage.until(12).await;
    assert_eq!(stage.mailed(0).len(), 2);
    assert_eq!(stage.mailed(1), [0, 4, 8]);
}

#[tokio::test]
async fn an_account_that_an_administrator_deleted_is_invited_again_only_where_that_is_configured() {
    for invite in [false, true] {
        let mut stage = Stage::with(3).await;
        stage.invite_deleted = invite;
        stage.until(1).await;
        stage.vault.accounts.lock().unwrap().remove(&mail(0));
        stage.until(30).await;
        let expected: &[i64] = if invite { &[0, 2, 6, 10] } else { &[0] };
        assert_eq!(stage.mailed(0), expected);
        assert_eq!(stage.mailed(1), [0, 4, 8]);
    }
}

#[tokio::test]
async fn many_accounts_that_are_missing_at_once_are_held_and_nobody_is_mailed() {
    for invite in [false, true] {
        let mut stage = Stage::with(8).await;
        stage.invite_deleted = invite;
        stage.until(1).await;
        let all = std::mem::take(&mut *stage.vault.accounts.lock().unwrap());
        stage.until(12).await;
        let held = |store: Arc<Sqlite>| async move {
            store.in_state(ActionState::Held, Which::All).await.unwrap().len()
        };
        assert_eq!(held(stage.store()).await, 8);
        assert_eq!(stage.mailed(3), [0]);
        // They are there again, as after another mistake.
        *stage.vault.accounts.lock().unwrap() = all;
        stage.until(30).await;
        assert_eq!(held(stage.store()).await, 0);
        assert_eq!(stage.mailed(3).len(), 3);
    }
}
