//! The client of Vaultwarden's admin API.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use futures::future::join_all;
use ldap_usher::clock::{Clock, Timestamp};
use ldap_usher::model::{Disposition, EmailAddress, Outcome, Rejection};
use ldap_usher::tls::TlsOptions;
use ldap_usher::vaultwarden::{
    Account, Admin, ClientSettings, Identity, InMemory, Recognition, SessionStore, SignUps, SingleSignOn,
    Vaultwarden, VaultwardenError as Error,
};
use serde_json::{Value, json};

use crate::support::front::Front;
use crate::support::stand_in::{Fault, Moment, On, Setup, StandIn};
use crate::tls;

const FOREVER: usize = usize::MAX;
const SOON: Duration = Duration::from_secs(10);
const START: Timestamp = Timestamp(1_800_000_000_000);

pub fn address(text: &str) -> EmailAddress {
    EmailAddress::parse(text.as_bytes()).unwrap()
}

pub fn settings(url: &str) -> ClientSettings {
    ClientSettings::new(url.parse().unwrap(), "sesame".into())
}

fn client(stand_in: &StandIn) -> Vaultwarden {
    client_of(&settings(&stand_in.url()))
}

pub fn client_of(settings: &ClientSettings) -> Vaultwarden {
    client_with(settings, Arc::new(InMemory::default()), Duration::ZERO)
}

/// A client that keeps its session in `store`, and is started so long after [`START`].
fn client_with(settings: &ClientSettings, store: Arc<dyn SessionStore>, after: Duration) -> Vaultwarden {
    Vaultwarden::new(settings, store, Clock::following_tokio(START + after)).unwrap()
}

/// A client that does not wait for long.
fn impatient(stand_in: &StandIn) -> Vaultwarden {
    client_of(&ClientSettings {
        timeout: Duration::from_millis(300),
        slow_timeout: Duration::from_millis(300),
        ..settings(&stand_in.url())
    })
}

fn version(major: u32, minor: u32) -> StandIn {
    StandIn::with(Setup {
        version: (major, minor),
        ..Setup::default()
    })
}

/// One that tells something else than usual of its configuration.
fn telling(key: &'static str, value: Value) -> StandIn {
    StandIn::with(Setup {
        told: vec![(key, value)],
        ..Setup::default()
    })
}

pub async fn addresses(client: &Vaultwarden) -> Result<Vec<String>, Error> {
    client
        .accounts()
        .map_ok(|account| account.email)
        .try_collect()
        .await
}

/// Invites, and says how it went.
async fn invite(client: &Vaultwarden, who: &EmailAddress) -> Result<Outcome, Error> {
    client.invite(who).await.map(|invitation| invitation.outcome)
}

// -- the everyday -------------------------------------------------------------------------------------------------

#[tokio::test]
async fn an_invitation_creates_an_account_that_can_be_looked_up() {
    let stand_in = StandIn::start();
    let client = client(&stand_in);
    let ann = address("Ann+vault@Example.org");

    assert_eq!(client.account(&ann).await, Ok(None));
    assert_eq!(invite(&client, &ann).await, Ok(Outcome::Invited));
    let account = client.account(&ann).await.unwrap().unwrap();

    assert_eq!(stand_in.invited(), ["ann+vault@example.org"]);
    assert_eq!(account.email, "ann+vault@example.org");
    assert!(account.invited && account.enabled == Some(true) && !account.id.is_empty());
}

#[tokio::test]
async fn an_existing_account_is_a_success() {
    let stand_in = StandIn::start();
    stand_in.preload(["ann@example.org"]);
    let client = client(&stand_in);
    assert_eq!(
        invite(&client, &address("ann@example.org")).await,
        Ok(Outcome::HadAccount)
    );
    assert!(stand_in.mailed().is_empty());
}

#[tokio::test]
async fn all_accounts_are_listed_with_those_who_are_disabled() {
    let stand_in = StandIn::start();
    stand_in.preload((0..3000).map(|n| format!("person-{n:04}@example.org")));
    stand_in.disable("person-0007@example.org");
    let accounts: Vec<Account> = client(&stand_in).accounts().try_collect().await.unwrap();

    assert_eq!(accounts.len(), 3000);
    let disabled: Vec<_> = accounts
        .iter()
        .filter(|a| a.enabled == Some(false))
        .map(|a| &a.email)
        .collect();
    assert_eq!(disabled, ["person-0007@example.org"]);
    assert!(accounts.iter().all(|account| !account.invited));
}

#[tokio::test]
async fn being_alive_and_the_version_need_no_session() {
    let stand_in = StandIn::start();
    let client = client(&stand_in);
    assert_eq!(client.alive().await, Ok(()));
    assert_eq!(client.version().await, Ok(Some("1.37.0".into())));
    assert_eq!(stand_in.logins(), 0);
}

#[tokio::test]
async fn a_sub_path_is_part_of_every_call_with_or_without_a_slash_at_its_end() {
    let stand_in = StandIn::with(Setup {
        sub_path: "/vault".into(),
        ..Setup::default()
    });
    for (url, who) in [
        (stand_in.url(), "ann@example.org"),
        (stand_in.url() + "/", "bob@example.org"),
    ] {
        let client = client_of(&settings(&url));
        assert_eq!(client.alive().await, Ok(()));
        assert_eq!(invite(&client, &address(who)).await, Ok(Outcome::Invited));
        assert_eq!(client.account(&address(who)).await.unwrap().unwrap().email, who);
    }
}

#[tokio::test]
async fn unusual_addresses_are_looked_up_as_they_are() {
    let stand_in = StandIn::start();
    let client = client(&stand_in);
    for text in [
        "jörg@exämple.org",
        "a/b@example.org",
        "50%@example.org",
        "who?@example.org",
        "#1@example.org",
    ] {
        let who = address(text);
        assert_eq!(invite(&client, &who).await, Ok(Outcome::Invited), "{text}");
        assert_eq!(client.account(&who).await.unwrap().unwrap().email, text);
    }
}

// -- the session --------------------------------------------------------------------------------------------------

#[tokio::test]
async fn one_login_serves_many_callers_at_once() {
    let stand_in = StandIn::start();
    let client = client(&stand_in);
    let people: Vec<_> = (0..20)
        .map(|n| address(&format!("person-{n}@example.org")))
        .collect();
    let outcomes = join_all(people.iter().map(|who| invite(&client, who))).await;

    assert!(
        outcomes.iter().all(|outcome| *outcome == Ok(Outcome::Invited)),
        "{outcomes:?}"
    );
    assert_eq!(stand_in.logins(), 1);
    assert_eq!(stand_in.invited().into_iter().collect::<BTreeSet<_>>().len(), 20);
}

#[tokio::test]
async fn one_failed_login_is_the_answer_to_all_who_waited_for_it() {
    let stand_in = StandIn::start();
    let client = client_of(&ClientSettings {
        admin_token: "wrong".into(),
        ..settings(&stand_in.url())
    });
    let people: Vec<_> = (0..20)
        .map(|n| address(&format!("person-{n}@example.org")))
        .collect();
    let outcomes = join_all(people.iter().map(|who| invite(&client, who))).await;

    assert!(
        outcomes
            .iter()
            .all(|outcome| matches!(outcome, Err(Error::WrongToken { .. }))),
        "{outcomes:?}"
    );
    assert_eq!(stand_in.logins(), 1);
}

#[tokio::test]
async fn a_restart_goes_on_with_the_session_that_was_stored() {
    let stand_in = StandIn::start();
    let store = Arc::new(InMemory::default());
    for n in 0..10 {
        let client = client_with(&settings(&stand_in.url()), store.clone(), Duration::from_secs(n));
        assert_eq!(client.account(&address("ann@example.org")).await, Ok(None));
    }
    assert_eq!(stand_in.logins(), 1);
}

#[tokio::test]
async fn a_session_past_its_lifetime_is_not_sent() {
    let stand_in = StandIn::start();
    let store = Arc::new(InMemory::default());
    let settings = settings(&stand_in.url());
    let ann = address("ann@example.org");
    client_with(&settings, store.clone(), Duration::ZERO)
        .account(&ann)
        .await
        .unwrap();
    let before = stand_in.calls().len();

    client_with(&settings, store, Duration::from_secs(20 * 60 + 1))
        .account(&ann)
        .await
        .unwrap();
    assert_eq!(stand_in.calls()[before].cookie, None);
    assert_eq!(stand_in.logins(), 2);
}

#[tokio::test]
async fn a_session_that_vaultwarden_forgot_is_opened_again_and_the_call_repeated() {
    let stand_in = StandIn::start();
    let client = client(&stand_in);
    invite(&client, &address("ann@example.org")).await.unwrap();
    stand_in.forget_sessions();
    assert_eq!(
        invite(&client, &address("bob@example.org")).await,
        Ok(Outcome::Invited)
    );
    assert_eq!(addresses(&client).await.unwrap().len(), 2);
    assert_eq!(stand_in.logins(), 2);
}

#[tokio::test]
async fn a_stored_session_is_never_sent_to_another_url() {
    let [first, second] = [StandIn::start(), StandIn::start()];
    let store = Arc::new(InMemory::default());
    let ann = address("ann@example.org");
    client_with(&settings(&first.url()), store.clone(), Duration::ZERO)
        .account(&ann)
        .await
        .unwrap();
    client_with(&settings(&second.url()), store, Duration::ZERO)
        .account(&ann)
        .await
        .unwrap();

    let known: BTreeSet<_> = first.calls().into_iter().filter_map(|call| call.cookie).collect();
    assert!(!known.is_empty());
    // Serial numbers are per stand-in, so that the very same session would be accepted: it must not be tried.
    assert_eq!(second.calls()[0].cookie, None);
    assert_eq!(second.logins(), 1);
}

#[tokio::test]
async fn a_stored_note_that_is_garbage_costs_a_login_and_nothing_more() {
    let stand_in = StandIn::start();
    let store = Arc::new(InMemory::default());
    assert!(store.replace(None, b"\xff{".to_vec()).await);
    let client = client_with(&settings(&stand_in.url()), store, Duration::ZERO);
    assert_eq!(client.account(&address("ann@example.org")).await, Ok(None));
}

#[tokio::test]
async fn logins_stay_within_the_limit_even_across_restarts() {
    let stand_in = StandIn::start();
    let store = Arc::new(InMemory::default());
    let settings = settings(&stand_in.url());
    let ann = address("ann@example.org");
    for restart in 0..3 {
        stand_in.forget_sessions();
        client_with(&settings, store.clone(), Duration::from_secs(restart))
            .account(&ann)
            .await
            .unwrap();
    }
    stand_in.forget_sessions();
    let error = client_with(&settings, store.clone(), Duration::from_secs(3))
        .account(&ann)
        .await
        .unwrap_err();
    let Disposition::RetryAfter(wait) = error.disposition() else {
        panic!("{error}");
    };
    assert!(
        wait > Duration::from_secs(290) && wait <= Duration::from_secs(301),
        "{wait:?}"
    );
    assert_eq!(stand_in.logins(), 3);

    // When the wait is over it does try again. The stand-in's clock did not move, so it says no.
    let later = client_with(&settings, store, wait + Duration::from_secs(5));
    assert!(matches!(
        later.account(&ann).await,
        Err(Error::RateLimited { .. })
    ));
    assert_eq!(stand_in.logins(), 4);
}

#[tokio::test]
async fn a_limiter_that_others_have_used_up_is_left_alone_for_five_minutes() {
    let stand_in = StandIn::with(Setup {
        limiter: Some((1, Duration::from_secs(300))),
        ..Setup::default()
    });
    let ann = address("ann@example.org");
    client(&stand_in).account(&ann).await.unwrap();
    let client = client(&stand_in);
    for _ in 0..5 {
        let error = client.account(&ann).await.unwrap_err();
        assert!(
            matches!(error.disposition(), Disposition::RetryAfter(wait) if wait.as_secs() >= 299),
            "{error}"
        );
    }
    assert_eq!(stand_in.logins(), 2);
}

#[tokio::test]
async fn the_limits_that_vaultwarden_tells_are_kept_even_across_restarts() {
    let ann = address("ann@example.org");
    for (burst, seconds) in [(1, 60), (2, 3600)] {
        let stand_in = StandIn::with(Setup {
            limiter: Some((burst, Duration::from_secs(seconds))),
            ..Setup::default()
        });
        let store = Arc::new(InMemory::default());
        let settings = settings(&stand_in.url());
        for restart in 0..u64::from(burst) {
            let client = client_with(&settings, store.clone(), Duration::from_secs(restart));
            client.account(&ann).await.unwrap();
            stand_in.forget_sessions();
        }
        let client = client_with(&settings, store, Duration::from_secs(burst.into()));
        let error = client.account(&ann).await.unwrap_err();
        assert!(
            matches!(error, Error::LoginsSpent { wait, .. } if (seconds - 10..=seconds + 1).contains(&wait.as_secs())),
            "{error}"
        );
        assert_eq!(
            stand_in.logins(),
            burst as usize,
            "nothing was tried that would be refused"
        );
    }
}

#[tokio::test]
async fn a_vaultwarden_that_allows_more_logins_is_logged_in_to_as_often() {
    let stand_in = StandIn::with(Setup {
        limiter: Some((10, Duration::from_secs(300))),
        ..Setup::default()
    });
    let client = client(&stand_in);
    for _ in 0..10 {
        assert_eq!(client.account(&address("ann@example.org")).await, Ok(None));
        stand_in.forget_sessions();
    }
    assert_eq!(stand_in.logins(), 10);
}

#[tokio::test]
async fn a_limiter_that_others_have_used_up_is_left_alone_as_long_as_vaultwarden_tells() {
    let stand_in = StandIn::with(Setup {
        limiter: Some((2, Duration::from_secs(40))),
        ..Setup::default()
    });
    let ann = address("ann@example.org");
    let mine = client(&stand_in);
    mine.account(&ann).await.unwrap();
    client(&stand_in).account(&ann).await.unwrap();
    stand_in.forget_sessions();
    for _ in 0..2 {
        let error = mine.account(&ann).await.unwrap_err();
        let Disposition::RetryAfter(wait) = error.disposition() else {
            panic!("{error}");
        };
        assert!((35..=41).contains(&wait.as_secs()), "{error}");
    }
    assert_eq!(stand_in.logins(), 3);
}

#[tokio::test]
async fn a_configuration_that_cannot_be_had_costs_nobody_an_invitation() {
    for fault in [
        Fault::Page(403),
        Fault::Page(404),
        Fault::Page(502),
        Fault::Redirect("https://sso.example.org/login"),
        Fault::Truncate,
        Fault::Error(500, "no"),
    ] {
        let stand_in = StandIn::start();
        stand_in.fail(On::Configuration, None, FOREVER, fault.clone());
        let invited = invite(&client(&stand_in), &address("ann@example.org")).await;
        assert_eq!(invited, Ok(Outcome::Invited), "{fault:?}");
        assert_eq!(stand_in.logins(), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn a_wrong_token_is_tried_once_and_a_restart_may_try_a_better_one_at_once() {
    let stand_in = StandIn::start();
    let store = Arc::new(InMemory::default());
    let ann = address("ann@example.org");
    let wrong = ClientSettings {
        admin_token: "wrong".into(),
        ..settings(&stand_in.url())
    };
    let client = client_with(&wrong, store.clone(), Duration::ZERO);
    for _ in 0..5 {
        let error = invite(&client, &ann).await.unwrap_err();
        assert!(matches!(error, Error::WrongToken { .. }), "{error}");
        assert_eq!(error.disposition(), Disposition::Operator);
        assert!(!error.to_string().contains("wrong"), "{error}");
    }
    assert_eq!(stand_in.logins(), 1);

    let better = client_with(&settings(&stand_in.url()), store, Duration::from_secs(1));
    assert_eq!(invite(&better, &ann).await, Ok(Outcome::Invited));
}

#[tokio::test]
async fn a_session_that_is_refused_right_after_the_login_is_the_operators_matter() {
    let stand_in = StandIn::start();
    stand_in.fail(On::Invite, None, FOREVER, Fault::SessionLost);
    let error = client(&stand_in)
        .invite(&address("ann@example.org"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::SessionRefused { .. }), "{error}");
    assert_eq!(stand_in.logins(), 1);
}

#[tokio::test]
async fn without_an_admin_token_check_nobody_logs_in() {
    let stand_in = StandIn::with(Setup {
        open: true,
        ..Setup::default()
    });
    let client = client(&stand_in);
    assert_eq!(client.account(&address("ann@example.org")).await, Ok(None));
    assert_eq!(
        invite(&client, &address("ann@example.org")).await,
        Ok(Outcome::Invited)
    );
    assert_eq!(stand_in.logins(), 0);
}

#[test]
fn a_token_that_cannot_be_right_is_refused_before_anything_is_sent() {
    let problem = |token: &str| {
        let settings = ClientSettings {
            admin_token: token.into(),
            ..settings("http://127.0.0.1:1")
        };
        let created = Vaultwarden::new(&settings, Arc::new(InMemory::default()), Clock::system());
        created.err().unwrap()
    };
    assert_eq!(problem(" \n"), Error::EmptyToken);
    assert_eq!(
        problem("$argon2id$v=19$m=65540,t=3,p=4$c2FsdA$aGFzaA\n"),
        Error::HashedToken
    );
}

#[tokio::test]
async fn white_space_around_the_token_does_not_matter() {
    let stand_in = StandIn::start();
    let client = client_of(&ClientSettings {
        admin_token: " sesame\n".into(),
        ..settings(&stand_in.url())
    });
    assert_eq!(client.account(&address("ann@example.org")).await, Ok(None));
}

// -- other versions -----------------------------------------------------------------------------------------------

#[tokio::test]
async fn every_version_is_spoken_with() {
    for minor in [19, 20, 22, 24, 25, 26, 27, 28, 30, 31, 32, 33, 37] {
        let stand_in = version(1, minor);
        stand_in.preload(["old@example.org"]);
        let client = client(&stand_in);
        let [ann, old] = [address("ann@example.org"), address("old@example.org")];
        assert_eq!(invite(&client, &ann).await, Ok(Outcome::Invited), "1.{minor}");
        assert_eq!(invite(&client, &old).await, Ok(Outcome::HadAccount), "1.{minor}");
        assert!(client.account(&ann).await.unwrap().unwrap().invited, "1.{minor}");
        assert!(!client.account(&old).await.unwrap().unwrap().invited, "1.{minor}");
        assert_eq!(
            client.account(&address("bob@example.org")).await,
            Ok(None),
            "1.{minor}"
        );
        assert_eq!(addresses(&client).await.unwrap().len(), 2, "1.{minor}");
        assert_eq!(stand_in.logins(), 1, "1.{minor}");
    }
}

#[tokio::test]
async fn an_old_version_is_looked_up_before_anyone_has_logged_in() {
    for minor in [19, 26, 27] {
        let stand_in = version(1, minor);
        stand_in.preload(["ann@example.org"]);
        let client = client(&stand_in);
        assert!(
            client
                .account(&address("ann@example.org"))
                .await
                .unwrap()
                .is_some(),
            "1.{minor}"
        );
        assert_eq!(stand_in.logins(), 1, "1.{minor}");
    }
}

#[tokio::test]
async fn an_old_version_that_forgot_the_session_is_recognised_by_its_404() {
    let stand_in = version(1, 26);
    let client = client(&stand_in);
    invite(&client, &address("ann@example.org")).await.unwrap();
    stand_in.forget_sessions();
    assert_eq!(
        invite(&client, &address("bob@example.org")).await,
        Ok(Outcome::Invited)
    );
    assert_eq!(stand_in.logins(), 2);
}

#[tokio::test]
async fn an_old_versions_redirect_without_a_session_means_a_wrong_token() {
    let stand_in = version(1, 25);
    let client = client_of(&ClientSettings {
        admin_token: "wrong".into(),
        ..settings(&stand_in.url())
    });
    let error = invite(&client, &address("ann@example.org")).await.unwrap_err();
    assert!(matches!(error, Error::WrongToken { .. }), "{error}");
}

// -- refused invitations ------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_500_that_is_one_persons_fault_is_told_from_one_that_is_everybodys() {
    let reject = |words: &str, key: Option<&str>| {
        Disposition::Reject(Rejection {
            reason: format!("Vaultwarden says: {words}"),
            key: key.map(Into::into),
        })
    };
    for (words, expected) in [
        ("Address", reject("Address", Some("address"))),
        (
            "SMTP 5xx error: permanent error (550): no such user",
            reject("SMTP 5xx error: permanent error (550): no such user", None),
        ),
        (
            "SMTP 5xx error: permanent error (550): 5.1.1 <ann@example.org>: Recipient address rejected",
            reject(
                "SMTP 5xx error: permanent error (550): 5.1.1 <ann@example.org>: Recipient address rejected",
                None,
            ),
        ),
        (
            "SMTP 5xx error: permanent error (554): 5.7.1 <ann@example.org>: Relay access denied",
            reject(
                "SMTP 5xx error: permanent error (554): 5.7.1 <ann@example.org>: Relay access denied",
                Some("554 5.7.1 <*>: relay access denied"),
            ),
        ),
        (
            "SMTP 5xx error: permanent error (550): 5.7.1 <vault@example.org>: Sender address rejected",
            Disposition::Outage,
        ),
        (
            "SMTP 5xx error: permanent error (550): relay not permitted",
            Disposition::Outage,
        ),
        (
            "SMTP 4xx error: transient error (451): greylisted",
            Disposition::Retry,
        ),
        (
            "SMTP 5xx error: permanent error (535): no - Authentication credentials invalid",
            Disposition::Outage,
        ),
        (
            "SMTP error: Connection error: Connection refused (os error 111)",
            Disposition::Outage,
        ),
        ("Error saving user", Disposition::Retry),
    ] {
        let stand_in = StandIn::start();
        stand_in.fail(
            On::Invite,
            Some("ann@example.org"),
            FOREVER,
            Fault::Error(500, words),
        );
        let client = client(&stand_in);
        let error = invite(&client, &address("ann@example.org")).await.unwrap_err();
        assert_eq!(error.disposition(), expected, "{error}");
        assert!(error.to_string().contains(words), "{error}");
        // It was looked up first, and nobody else is affected.
        assert_eq!(stand_in.count("GET /admin/users/by-mail/ann@example.org"), 1);
        assert_eq!(
            invite(&client, &address("bob@example.org")).await,
            Ok(Outcome::Invited)
        );
    }
}

#[tokio::test]
async fn of_two_invitations_at_once_both_succeed_and_one_account_is_made() {
    let stand_in = StandIn::start();
    stand_in.fail(On::Invite, None, 2, Fault::Hold(Moment::Mailed));
    let client = client(&stand_in);
    let ann = address("ann@example.org");
    let (one, other, held) = tokio::join!(invite(&client, &ann), invite(&client, &ann), async {
        let held = stand_in.wait_until_held(2, SOON).await;
        stand_in.release();
        held
    });
    assert!(held);
    let outcomes = BTreeSet::from([one.unwrap().as_str(), other.unwrap().as_str()]);
    assert_eq!(outcomes, BTreeSet::from(["had-account", "invited"]));
    assert_eq!(stand_in.invited(), ["ann@example.org"]);
}

// -- outages and unknown outcomes ---------------------------------------------------------------------------------

#[tokio::test]
async fn a_vaultwarden_that_is_down_is_an_outage_and_is_used_again_once_it_is_up() {
    let mut stand_in = StandIn::start();
    let client = client(&stand_in);
    invite(&client, &address("ann@example.org")).await.unwrap();
    stand_in.down();
    // Uses up the connection that was open, of which nobody knows at once that it broke.
    assert_eq!(
        client.alive().await.unwrap_err().disposition(),
        Disposition::Outage
    );
    let error = invite(&client, &address("bob@example.org")).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("Connection refused"), "{error}");
    assert_eq!(error.disposition(), Disposition::Outage);
    assert_eq!(
        client.alive().await.unwrap_err().disposition(),
        Disposition::Outage
    );

    stand_in.up();
    assert_eq!(
        invite(&client, &address("bob@example.org")).await,
        Ok(Outcome::Invited)
    );
    assert_eq!(stand_in.logins(), 1);
}

#[tokio::test]
async fn an_invitation_whose_connection_breaks_has_an_unknown_outcome() {
    for (moment, exists) in [
        (Moment::Arrived, false),
        (Moment::Mailed, false),
        (Moment::Saved, true),
    ] {
        let stand_in = StandIn::start();
        let client = client(&stand_in);
        let ann = address("ann@example.org");
        stand_in.fail(On::Invite, None, 1, Fault::Drop(moment));
        let error = invite(&client, &ann).await.unwrap_err();
        assert!(
            matches!(error, Error::OutcomeUnknown { .. }),
            "{moment:?}: {error}"
        );
        assert_eq!(error.disposition(), Disposition::Ambiguous);
        assert_eq!(
            client.account(&ann).await.unwrap().is_some(),
            exists,
            "{moment:?}"
        );
    }
}

#[tokio::test]
async fn an_invitation_that_takes_too_long_has_an_unknown_outcome_and_may_still_succeed() {
    let stand_in = telling("smtp_timeout", Value::Null);
    let client = impatient(&stand_in);
    let ann = address("ann@example.org");
    client.account(&ann).await.unwrap();
    stand_in.fail(On::Invite, None, 1, Fault::Delay(Duration::from_secs(1)));
    assert_eq!(
        invite(&client, &ann).await.unwrap_err().disposition(),
        Disposition::Ambiguous
    );
}

#[tokio::test]
async fn a_vaultwarden_that_waits_long_for_its_mail_server_is_waited_for() {
    let stand_in = telling("smtp_timeout", json!(2));
    let client = impatient(&stand_in);
    let ann = address("ann@example.org");
    client.account(&ann).await.unwrap();
    stand_in.fail(On::Invite, None, 1, Fault::Delay(Duration::from_secs(1)));
    assert_eq!(invite(&client, &ann).await, Ok(Outcome::Invited));
}

#[tokio::test]
async fn a_look_up_that_takes_too_long_is_an_outage() {
    let stand_in = StandIn::start();
    let client = impatient(&stand_in);
    stand_in.fail(On::ByMail, None, 1, Fault::Delay(Duration::from_secs(5)));
    let error = client.account(&address("ann@example.org")).await.unwrap_err();
    assert_eq!(error.disposition(), Disposition::Outage, "{error}");
}

#[tokio::test]
async fn a_500_to_anything_but_an_invitation_is_an_outage() {
    for on in [On::Login, On::ByMail] {
        let stand_in = StandIn::start();
        stand_in.fail(on, None, 1, Fault::Error(500, "Error loading users"));
        let error = client(&stand_in)
            .account(&address("ann@example.org"))
            .await
            .unwrap_err();
        assert_eq!(error.disposition(), Disposition::Outage, "{error}");
    }
}

#[tokio::test]
async fn a_list_that_alone_cannot_be_had_concerns_no_other_call() {
    for fault in [
        Fault::Page(504),
        Fault::Page(502),
        Fault::Page(403),
        Fault::Page(200),
        Fault::Error(500, "Error loading users"),
        Fault::Truncate,
        Fault::Delay(Duration::from_secs(5)),
    ] {
        let stand_in = StandIn::start();
        stand_in.preload((0..500).map(|n| format!("person-{n}@example.org")));
        let client = impatient(&stand_in);
        stand_in.fail(On::List, None, 1, fault.clone());
        let error = addresses(&client).await.unwrap_err();
        assert!(matches!(error, Error::NoList { .. }), "{fault:?}: {error}");
        assert_eq!(error.disposition(), Disposition::Retry);
        assert_eq!(
            invite(&client, &address("ann@example.org")).await,
            Ok(Outcome::Invited)
        );
    }
}

#[tokio::test]
async fn a_list_that_fails_as_everything_else_does_is_the_servers_trouble() {
    for (fault, expected) in [
        (Fault::Page(504), Disposition::Outage),
        (Fault::Page(502), Disposition::Outage),
        (Fault::Page(200), Disposition::Operator),
        (
            Fault::Page(429),
            Disposition::RetryAfter(Duration::from_secs(300)),
        ),
    ] {
        let stand_in = StandIn::start();
        stand_in.fail(On::All, None, FOREVER, fault);
        let error = addresses(&client(&stand_in)).await.unwrap_err();
        assert_eq!(error.disposition(), expected, "{error}");
    }
    let mut stand_in = StandIn::start();
    let client = client(&stand_in);
    stand_in.down();
    let error = addresses(&client).await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn what_a_proxy_says_for_a_vaultwarden_that_is_gone_is_an_outage_or_unknown() {
    for (status, expected) in [
        (502, Disposition::Outage),
        (503, Disposition::Outage),
        (504, Disposition::Ambiguous),
        (429, Disposition::RetryAfter(Duration::from_secs(300))),
    ] {
        let stand_in = StandIn::start();
        stand_in.fail(On::Invite, None, FOREVER, Fault::Page(status));
        let error = client(&stand_in)
            .invite(&address("ann@example.org"))
            .await
            .unwrap_err();
        assert_eq!(error.disposition(), expected, "{error}");
    }
}

// -- which Vaultwarden it is --------------------------------------------------------------------------------------

/// A server with these accounts, and an identity noted of it.
async fn noted(setup: Setup, people: usize) -> (StandIn, Identity) {
    let stand_in = StandIn::with(setup);
    stand_in.preload((0..people).map(person));
    let recognition = client(&stand_in).recognise(&Identity::default()).await.unwrap();
    assert!(matches!(recognition, Recognition::First(_)), "{recognition:?}");
    (stand_in, recognition.identity().clone())
}

fn person(number: usize) -> String {
    format!("person-{number:03}@example.org")
}

#[tokio::test]
async fn a_server_is_the_same_after_an_upgrade_a_change_of_domain_and_most_deletions() {
    for minor in [19, 20, 25, 28, 37] {
        let (old, identity) = noted(
            Setup {
                version: (1, minor),
                ..Setup::default()
            },
            40,
        )
        .await;
        assert!(identity.domain() == (minor >= 26).then_some("https://vault.example.org"));
        // It is told by one look-up.
        let before = old.calls().len();
        let again = client(&old).recognise(&identity).await.unwrap();
        assert_eq!(again, Recognition::Same(identity.clone()), "1.{minor}");
        let what: Vec<_> = old.calls()[before..]
            .iter()
            .filter(|call| call.status != Some(401))
            .map(|call| call.what.clone())
            .collect();
        assert!(!what.contains(&"GET /admin/users".into()), "{what:?}");

        let (new, _) = noted(
            Setup {
                version: (1, 38),
                domain: "https://secrets.example.com".into(),
                sub_path: "/vault".into(),
                ..Setup::default()
            },
            40,
        )
        .await;
        new.delete((0..15).map(person));
        let upgraded = client(&new).recognise(&identity).await.unwrap();
        let Recognition::Same(renewed) = upgraded else {
            panic!("1.{minor}: {upgraded:?}");
        };
        // Others took the places of the deleted ones.
        assert_eq!(renewed.domain(), Some("https://secrets.example.com/vault"));
        new.delete((15..16).map(person));
        let later = client(&new).recognise(&renewed).await.unwrap();
        assert!(matches!(later, Recognition::Same(_)), "{later:?}");
    }
}

#[tokio::test]
async fn a_server_without_any_of_the_noted_accounts_is_another_one() {
    for minor in [19, 22, 37] {
        let version = (1, minor);
        let (emptied, identity) = noted(
            Setup {
                version,
                ..Setup::default()
            },
            3,
        )
        .await;
        let (other, _) = noted(
            Setup {
                version,
                accounts: 0x9999,
                domain: "https://elsewhere.example.org".into(),
                ..Setup::default()
            },
            3,
        )
        .await;
        let recognition = client(&other).recognise(&identity).await.unwrap();
        let Recognition::Other(elsewhere) = recognition else {
            panic!("1.{minor}: {recognition:?}");
        };
        let back = client(&other).recognise(&elsewhere).await.unwrap();
        assert_eq!(back, Recognition::Same(elsewhere));

        emptied.delete((0..3).map(person));
        let recognition = client(&emptied).recognise(&identity).await.unwrap();
        assert!(
            matches!(&recognition, Recognition::Other(empty) if empty.is_empty()),
            "{recognition:?}"
        );
    }
}

#[tokio::test]
async fn a_server_that_had_no_accounts_is_not_another_one_when_it_has_some() {
    let (stand_in, nobody) = noted(Setup::default(), 0).await;
    assert!(nobody.is_empty());
    stand_in.preload([person(1)]);
    let recognition = client(&stand_in).recognise(&nobody).await.unwrap();
    assert!(
        matches!(&recognition, Recognition::First(identity) if !identity.is_empty()),
        "{recognition:?}"
    );
}

#[tokio::test]
async fn a_server_in_trouble_is_never_taken_for_another_one() {
    let (mut stand_in, identity) = noted(Setup::default(), 20).await;
    stand_in.delete((0..10).map(person));
    stand_in.fail(On::List, None, FOREVER, Fault::Page(504));
    let recognition = client(&stand_in).recognise(&identity).await.unwrap();
    assert!(matches!(recognition, Recognition::Same(_)), "{recognition:?}");
    stand_in.delete((10..20).map(person));
    let error = client(&stand_in).recognise(&identity).await.unwrap_err();
    assert!(matches!(error, Error::NoList { .. }), "{error}");
    stand_in.heal();
    for fault in [
        Fault::Page(404),
        Fault::Page(200),
        Fault::Page(502),
        Fault::Error(500, "Error"),
        Fault::Redirect("https://sso.example.org/login"),
    ] {
        stand_in.fail(On::ById, None, FOREVER, fault);
        assert!(client(&stand_in).recognise(&identity).await.is_err());
        stand_in.heal();
    }
    stand_in.down();
    assert!(client(&stand_in).recognise(&identity).await.is_err());
}

// -- its configuration --------------------------------------------------------------------------------------------

#[tokio::test]
async fn the_configuration_is_told_by_every_version_as_far_as_it_knows() {
    for (minor, knows_limits, knows_links, knows_sso) in [
        (19, false, false, false),
        (24, true, false, false),
        (27, true, true, false),
        (37, true, true, true),
    ] {
        let told = client(&version(1, minor)).configuration().await.unwrap().unwrap();
        assert_eq!(
            (told.mail, told.sign_ups),
            (Some(true), Some(SignUps::Closed)),
            "1.{minor}"
        );
        assert_eq!(told.login_burst == Some(3), knows_limits, "1.{minor}");
        assert_eq!(told.link_lifetime.is_some(), knows_links, "1.{minor}");
        assert_eq!(
            told.single_sign_on == Some(SingleSignOn::Off),
            knows_sso,
            "1.{minor}"
        );
    }
    let hidden = StandIn::start();
    hidden.fail(On::Configuration, None, FOREVER, Fault::Page(404));
    let client = client(&hidden);
    client.account(&address("ann@example.org")).await.unwrap();
    assert_eq!(client.configuration().await, Ok(None));
    assert_eq!(hidden.logins(), 1);
}

// -- something else than Vaultwarden ------------------------------------------------------------------------------

#[tokio::test]
async fn a_foreign_login_page_is_recognised() {
    let stand_in = StandIn::start();
    stand_in.fail(On::All, None, FOREVER, Fault::Page(200));
    let client = client(&stand_in);
    let ann = address("ann@example.org");
    for error in [
        invite(&client, &ann).await.unwrap_err(),
        client.account(&ann).await.unwrap_err(),
        addresses(&client).await.unwrap_err(),
        client.alive().await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::Foreign { .. }), "{error}");
        assert_eq!(error.disposition(), Disposition::Operator);
    }
    assert_eq!(stand_in.logins(), 0);
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_its_target_is_named_without_its_secrets() {
    let [stand_in, elsewhere] = [StandIn::start(), StandIn::start()];
    let target: &'static str = Box::leak(format!("{}/login?state=abc", elsewhere.url()).into_boxed_str());
    stand_in.fail(On::All, None, FOREVER, Fault::Redirect(target));
    let error = client(&stand_in)
        .invite(&address("ann@example.org"))
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains(&format!("a redirect to {}/login;", elsewhere.url())),
        "{error}"
    );
    assert_eq!(error.disposition(), Disposition::Operator);
    assert!(elsewhere.calls().is_empty());
}

#[tokio::test]
async fn a_login_that_is_redirected_elsewhere_is_no_wrong_token() {
    let stand_in = StandIn::start();
    stand_in.fail(
        On::Login,
        None,
        1,
        Fault::Redirect("https://sso.example.org/login"),
    );
    let error = client(&stand_in)
        .invite(&address("ann@example.org"))
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Guarded { .. }), "{error}");
}

#[tokio::test]
async fn a_url_without_the_sub_path_is_named_as_such() {
    let stand_in = StandIn::with(Setup {
        sub_path: "/vault".into(),
        ..Setup::default()
    });
    let url = stand_in.url();
    let client = client_of(&settings(url.strip_suffix("/vault").unwrap()));
    for error in [
        client.alive().await.unwrap_err(),
        invite(&client, &address("ann@example.org")).await.unwrap_err(),
        client.account(&address("ann@example.org")).await.unwrap_err(),
    ] {
        assert!(matches!(error, Error::WrongPath { .. }), "{error}");
    }
    assert_eq!(stand_in.logins(), 0);
}

#[tokio::test]
async fn an_admin_page_that_is_switched_off_is_named_as_such() {
    for minor in [24, 37] {
        let stand_in = StandIn::with(Setup {
            version: (1, minor),
            token: None,
            ..Setup::default()
        });
        let error = client(&stand_in)
            .invite(&address("ann@example.org"))
            .await
            .unwrap_err();
        assert!(matches!(error, Error::AdminDisabled { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_proxy_that_blocks_the_admin_api_is_named_as_such_without_a_login() {
    for status in [403, 404] {
        let stand_in = StandIn::start();
        stand_in.fail(On::Invite, None, FOREVER, Fault::Page(status));
        let error = client(&stand_in)
            .invite(&address("ann@example.org"))
            .await
            .unwrap_err();
        assert!(
            matches!(error, Error::Blocked { status: s, .. } if s == status),
            "{error}"
        );
        assert_eq!(stand_in.logins(), 0);
    }
}

#[tokio::test]
async fn credentials_in_the_url_are_not_shown() {
    let mut stand_in = StandIn::start();
    stand_in.down();
    let url = stand_in.url().replace("http://", "http://proxy:hush@");
    let error = client_of(&settings(&url)).alive().await.unwrap_err().to_string();
    assert!(
        error.contains("http://127.0.0.1:") && !error.contains("hush"),
        "{error}"
    );
}

// -- TLS ----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_vaultwarden_whose_ca_is_named_is_trusted_and_any_other_is_the_operators_matter() {
    let stand_in = StandIn::start();
    let front = Front::of(&stand_in.url(), tls::acceptor()).await;
    let ca = tls::file(tls::CERTIFICATE.as_bytes());
    let mut settings = settings(&format!("https://localhost:{}", front.port()));
    settings.tls = TlsOptions {
        ca_file: Some(ca.path().into()),
        verify: true,
        ..TlsOptions::default()
    };
    assert_eq!(client_of(&settings).alive().await, Ok(()));

    // The same certificate under a name that is not in it.
    settings.url.set_host(Some("127.0.0.2")).unwrap();
    let error = client_of(&settings).alive().await.unwrap_err();
    assert!(matches!(error, Error::Untrusted { .. }), "{error}");
    assert_eq!(error.disposition(), Disposition::Operator);
}

#[tokio::test]
async fn a_port_that_speaks_no_tls_is_the_operators_matter() {
    let stand_in = StandIn::start();
    let mut settings = settings(&stand_in.url().replace("http://", "https://"));
    settings.tls.verify = false;
    let error = client_of(&settings).alive().await.unwrap_err();
    assert!(matches!(error, Error::Untrusted { .. }), "{error}");
}

#[tokio::test]
async fn requests_go_through_the_proxy_and_carry_the_headers() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let proxy = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = proxy.local_addr().unwrap();
    let mut settings = ClientSettings::new("http://vault.example.org/".parse().unwrap(), "sesame".into());
    settings.proxy = Some(format!("http://ann:hidden@{address}").into());
    settings.headers = Some("X-Guard: open sesame\n".into());
    let vaultwarden = Vaultwarden::new(&settings, Arc::new(InMemory::default()), Clock::system()).unwrap();
    let serve = async {
        let (mut stream, _) = proxy.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0);
        }
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n\"now\"")
            .await
            .unwrap();
        String::from_utf8(request).unwrap()
    };
    let (alive, request) = tokio::join!(vaultwarden.alive(), serve);
    alive.unwrap();
    assert!(
        request.starts_with("GET http://vault.example.org/alive "),
        "{request}"
    );
    for header in [
        "x-guard: open sesame",
        "proxy-authorization: Basic YW5uOmhpZGRlbg==",
    ] {
        assert!(request.contains(header), "{request}");
    }
}
