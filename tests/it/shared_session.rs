//! Several processes that use one admin token share one session, and one budget of logins.

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use ldap_usher::clock::{Clock, Timestamp};
use ldap_usher::model::EmailAddress;
use ldap_usher::vaultwarden::{Admin, ClientSettings, InMemory, SessionStore, Vaultwarden, VaultwardenError};
use tokio::time::Instant;

use crate::support::stand_in::{Fault, On, Setup, StandIn};

fn settings(url: &str) -> ClientSettings {
    ClientSettings::new(url.parse().unwrap(), "sesame".into())
}

/// Clients on one store, as in processes of their own.
fn clients(stand_in: &StandIn, count: usize) -> Vec<Vaultwarden> {
    let store = Arc::new(InMemory::default());
    (0..count).map(|_| on(stand_in, store.clone())).collect()
}

fn on(stand_in: &StandIn, store: Arc<dyn SessionStore>) -> Vaultwarden {
    with_clock(stand_in, store, 0)
}

/// A client whose clock is `ahead` by so many milliseconds.
fn with_clock(stand_in: &StandIn, store: Arc<dyn SessionStore>, ahead: i64) -> Vaultwarden {
    let clock = Clock::following_tokio(Timestamp(1_800_000_000_000 + ahead));
    Vaultwarden::new(&settings(&stand_in.url()), store, clock).unwrap()
}

fn ann() -> EmailAddress {
    EmailAddress::parse(b"ann@example.org").unwrap()
}

/// Each of them calls at the same time.
async fn call(clients: &[Vaultwarden]) {
    let ann = ann();
    for answer in join_all(clients.iter().map(|client| client.account(&ann))).await {
        assert_eq!(answer, Ok(None));
    }
}

#[tokio::test]
async fn processes_that_start_at_the_same_time_log_in_once() {
    let stand_in = StandIn::start();
    let clients = clients(&stand_in, 4);
    call(&clients).await;
    assert_eq!(stand_in.logins(), 1);
}

#[tokio::test]
async fn processes_whose_clocks_differ_by_seconds_log_in_once() {
    for (first, second) in [(0, 4000), (4000, 0)] {
        let stand_in = StandIn::start();
        let store = Arc::new(InMemory::default());
        let first = with_clock(&stand_in, store.clone(), first);
        let second = with_clock(&stand_in, store, second);
        stand_in.fail(On::Login, None, 1, Fault::Delay(Duration::from_secs(1)));
        let later = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            second.account(&ann()).await
        };
        let ann = ann();
        let answers = tokio::join!(first.account(&ann), later);
        assert_eq!(answers, (Ok(None), Ok(None)));
        assert_eq!(stand_in.logins(), 1);
    }
}

#[tokio::test]
async fn a_one_time_code_that_one_process_has_sent_is_not_sent_by_another() {
    let secret = "12345678901234567890";
    let stand_in = StandIn::with(Setup {
        totp: Some(secret.into()),
        ..Setup::default()
    });
    // Vaultwarden may have got the code, although the login was given up.
    stand_in.fail(On::Login, None, 1, Fault::Delay(Duration::from_secs(60)));
    let settings = ClientSettings {
        totp_secret: Some("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ".into()),
        timeout: Duration::from_secs(2),
        ..settings(&stand_in.url())
    };
    let store = Arc::new(InMemory::default());
    let client = || Vaultwarden::new(&settings, store.clone(), Clock::system()).unwrap();
    let (first, second, ann) = (client(), client(), ann());
    let step = || Clock::system().now().0 / 30_000;
    let began = step();
    let answers = tokio::join!(first.account(&ann), second.account(&ann));
    assert!(answers.0.is_err() != answers.1.is_err(), "{answers:?}");
    assert_eq!(stand_in.logins(), 1);
    assert!(step() > began, "the code was sent twice");
}

#[tokio::test]
async fn a_wrong_token_is_tried_once_by_all() {
    let stand_in = StandIn::with(Setup {
        token: Some("another".into()),
        ..Setup::default()
    });
    let clients = clients(&stand_in, 3);
    let ann = ann();
    for _ in 0..2 {
        for answer in join_all(clients.iter().map(|client| client.account(&ann))).await {
            let error = answer.unwrap_err();
            assert!(matches!(error, VaultwardenError::WrongToken { .. }), "{error}");
        }
    }
    assert_eq!(stand_in.logins(), 1);
}

#[tokio::test]
async fn a_session_that_vaultwarden_forgot_is_opened_once_for_all() {
    let stand_in = StandIn::start();
    let clients = clients(&stand_in, 3);
    call(&clients).await;
    stand_in.forget_sessions();
    call(&clients).await;
    assert_eq!(stand_in.logins(), 2);
    // Also if only one of them noticed before.
    stand_in.forget_sessions();
    call(&clients[..1]).await;
    call(&clients).await;
    assert_eq!(stand_in.logins(), 3);
}

#[tokio::test]
async fn the_budget_of_logins_is_one_for_all() {
    let stand_in = StandIn::with(Setup::default());
    let clients = clients(&stand_in, 2);
    for n in 0..3 {
        stand_in.forget_sessions();
        call(&clients[n % 2..=n % 2]).await;
    }
    stand_in.forget_sessions();
    for client in &clients {
        let spent = client.account(&ann()).await.unwrap_err();
        assert!(matches!(spent, VaultwardenError::LoginsSpent { .. }), "{spent}");
    }
    assert_eq!(stand_in.logins(), 3);
}

/// Gives up a call while it logs in.
async fn give_up_a_login(stand_in: &StandIn, client: &Vaultwarden) {
    stand_in.fail(On::Login, None, 1, Fault::Delay(Duration::from_secs(60)));
    let ann = ann();
    let login = tokio::time::timeout(Duration::from_millis(500), client.account(&ann));
    assert!(login.await.is_err(), "it was still logging in");
}

#[tokio::test]
async fn a_process_that_dies_while_it_logs_in_delays_the_others_by_seconds_and_not_for_ever() {
    let stand_in = StandIn::start();
    let store = Arc::new(InMemory::default());
    let dying = on(&stand_in, store.clone());
    give_up_a_login(&stand_in, &dying).await;
    drop(dying);

    let began = Instant::now();
    // Its clock is behind, so that the login of the other one seems to end later.
    call(&[with_clock(&stand_in, store, -4000)]).await;
    let waited = began.elapsed();
    assert!(
        waited > Duration::from_secs(10) && waited < Duration::from_secs(18),
        "{waited:?}"
    );
}

#[tokio::test]
async fn a_process_does_not_wait_for_a_login_that_it_gave_up_itself() {
    let stand_in = StandIn::start();
    let client = on(&stand_in, Arc::new(InMemory::default()));
    give_up_a_login(&stand_in, &client).await;
    let began = Instant::now();
    call(&[client]).await;
    let waited = began.elapsed();
    assert!(waited < Duration::from_secs(5), "{waited:?}");
}

#[tokio::test]
async fn a_note_of_an_earlier_version_is_understood() {
    let stand_in = StandIn::start();
    let store = Arc::new(InMemory::default());
    call(&[on(&stand_in, store.clone())]).await;
    let note = store.load().await.unwrap();
    let mut note: serde_json::Value = serde_json::from_slice(&note).unwrap();
    for new in ["login", "refused"] {
        assert!(note.as_object_mut().unwrap().remove(new).is_some());
    }
    let former = Arc::new(InMemory::default());
    assert!(former.replace(None, note.to_string().into_bytes()).await);
    call(&[on(&stand_in, former)]).await;
    assert_eq!(stand_in.logins(), 1);
}
