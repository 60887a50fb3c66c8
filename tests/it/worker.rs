//! The invite worker on a real ledger.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::stream::{BoxStream, StreamExt, empty};
use ldap_usher::clock::Clock;
use ldap_usher::invite::{Settings, Until, Worker};
use ldap_usher::ledger::{Decisions, DirectoryState, Ledger, Sqlite, Taken};
use ldap_usher::model::{Attribute, EmailAddress, Entry, EntryId, Outcome};
use ldap_usher::observe::{GRACE, Observer};
use ldap_usher::retry::Nudge;
use ldap_usher::rules::membership::{Policy, Sighting};
use ldap_usher::rules::{Limits, Origin};
use ldap_usher::vaultwarden::{Account, Admin, Reply, VaultwardenError};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// Invites everyone; like the real client it keeps its session in the ledger.
struct Obliging(Arc<dyn Ledger>);

impl Admin for Obliging {
    fn invite<'a>(&'a self, address: &'a EmailAddress) -> Reply<'a, Outcome> {
        async {
            self.0.recall("session").await.unwrap();
            self.0
                .remember("session", address.as_str().as_bytes())
                .await
                .unwrap();
            Ok(Outcome::Invited)
        }
        .boxed()
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
async fn queue(ledger: &dyn Ledger, count: u8) -> i64 {
    let directory = ledger.enroll("main", "scope", "settings").await.unwrap().id;
    let sightings = (0..count).map(|n| {
        let mail = Attribute {
            name: "mail".into(),
            values: vec![format!("person{n}@example.org").into()],
        };
        Sighting::Entry(Entry {
            id: EntryId::from_slice(&[n; 16]).unwrap(),
            dn: format!("uid=person{n}"),
            attributes: vec![mail],
        })
    });
    let told = Taken {
        directory,
        origin: Origin::Live,
        sightings: sightings.collect(),
        cursor: None,
        policy: Policy {
            mail_attributes: vec!["mail".into()],
            disabled_are_members: false,
            invite_changed_address: false,
        },
        limits: Limits::default(),
        arrived: Clock::system().now(),
    };
    ledger.take(told).await.unwrap();
    directory
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_attempt_that_waits_for_the_ledger_never_blocks_the_worker_that_waits_for_it_too() {
    let dir = tempfile::tempdir().unwrap();
    let ledger: Arc<dyn Ledger> = Arc::new(Sqlite::open(&dir.path().join("state.db")).await.unwrap());
    let directory = queue(ledger.as_ref(), 90).await;
    // A listener that is busy.
    let mut others = JoinSet::new();
    others.spawn({
        let ledger = ledger.clone();
        let state = DirectoryState {
            stream: "syncrepl".into(),
            connected: true,
            error: None,
        };
        async move {
            loop {
                ledger
                    .observe(directory, &state, Clock::system().now())
                    .await
                    .unwrap();
            }
        }
    });
    let worker = Worker {
        ledger: ledger.clone(),
        vaultwarden: Arc::new(Obliging(ledger)),
        observer: Observer::new(["main".to_owned()], GRACE),
        clock: Clock::system(),
        wake: Arc::new(Notify::new()),
        settings: Settings {
            concurrency: 8,
            per_minute: None,
            limits: Limits::default(),
            resend_after: Duration::ZERO,
        },
        nudge: Nudge::default(),
        dice: rand::random,
    };
    let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
    let tally = timeout(Duration::from_secs(20), worker.run(Until::Drained, &stop, &abort))
        .await
        .expect("the worker goes on")
        .unwrap();
    assert_eq!(tally.invited, 90);
}
