//! A Vaultwarden whose admin page asks for a one-time code.

use std::time::Duration;

use ldap_usher::clock::Clock;
use tokio::time::Instant;

use crate::support::browser::client;
use crate::support::service::Config;
use crate::support::slapd::Slapd;
use crate::support::stand_in::{Setup, one_time_code};
use crate::support::world::World;

/// "12345678901234567890", and the same in base32.
const SECRET: (&[u8], &str) = (b"12345678901234567890", "gezd gnbv gy3t qojq gezd gnbv gy3t qojq");

async fn world(session: Duration) -> World {
    World::with(Slapd::builder().people(1)).await.vault(Setup {
        totp: Some(SECRET.0.into()),
        session,
        ..Setup::default()
    })
}

#[tokio::test]
async fn each_login_sends_the_code_of_the_moment_and_none_is_sent_twice() {
    let mut world = world(Duration::from_secs(1)).await;
    world = world.vaultwarden_keys(&format!("admin_totp_secret = {:?}", SECRET.1));
    world.start().await;
    world.invites("person1").await;
    assert_eq!(world.vault.logins(), 1);
    // The session has ended, and its code was used: the next login waits for the next one.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    world.people().add_person("ann").await;
    let began = Instant::now();
    let address = "ann@example.org";
    assert!(
        world
            .vault
            .wait_for_invite(address, Duration::from_secs(45))
            .await
    );
    assert!(began.elapsed() < Duration::from_secs(35));
    assert_eq!(world.vault.logins(), 2, "{}", world.service().output());
}

#[tokio::test]
async fn a_code_that_is_asked_for_and_cannot_be_made_is_named() {
    let world = world(Duration::from_secs(600)).await;
    let check = world.ask(&["check"]).await;
    let text = String::from_utf8_lossy(&check.stdout).into_owned();
    assert_eq!(check.status.code(), Some(1), "{text}");
    assert!(
        text.contains("asks for a one-time code -> set `admin_totp_secret_file`"),
        "{text}"
    );
}

#[tokio::test]
async fn a_code_of_another_secret_is_refused_with_what_to_check() {
    let world = world(Duration::from_secs(600)).await;
    let world = world.vaultwarden_keys("admin_totp_secret = \"JBSWY3DPEHPK3PXP\"");
    let check = world.ask(&["check"]).await;
    let text = String::from_utf8_lossy(&check.stdout).into_owned();
    assert_eq!(check.status.code(), Some(1), "{text}");
    assert!(
        text.contains("refuses the admin token or the one-time code") && text.contains("the clocks"),
        "{text}"
    );
}

#[tokio::test]
async fn a_code_with_which_somebody_else_has_logged_in_delays_nobody_for_long() {
    let world = world(Duration::from_secs(600)).await;
    let world = world.vaultwarden_keys(&format!("admin_totp_secret = {:?}", SECRET.1));
    // Early in a step, so that the program sends the same code.
    let into_step = Clock::system().now().0 % 30_000;
    if into_step > 15_000 {
        tokio::time::sleep(Duration::from_millis((30_000 - into_step).cast_unsigned())).await;
    }
    let code = one_time_code(SECRET.0, Clock::system().now().0 / 30_000);
    let form = [("token", "sesame"), ("totp", &code)];
    let url = format!("{}/admin", world.vault.url());
    let login = client().post(url).form(&form).send().await.unwrap();
    assert_eq!(login.status(), 200);
    // Both use one file for their sessions.
    let config = Config::new(&world.config());
    let check = async || String::from_utf8(config.ask(&["check"]).await.stdout).unwrap();
    let said = check().await;
    assert!(
        said.contains("somebody else has just logged in with the same code"),
        "{said}"
    );
    let said = check().await;
    assert!(
        said.contains("the admin API answers to the admin token"),
        "{said}"
    );
}

#[tokio::test]
async fn what_is_no_secret_is_an_error_that_does_not_repeat_it() {
    let world = world(Duration::from_secs(600)).await;
    let world = world.vaultwarden_keys("admin_totp_secret = \"hunter1890\"");
    let shown = world.ask(&["config", "show"]).await;
    let text = String::from_utf8_lossy(&shown.stderr).into_owned();
    assert_eq!(shown.status.code(), Some(2), "{text}");
    assert!(
        text.contains("admin_totp_secret") && text.contains("is not a secret in base32"),
        "{text}"
    );
    assert!(!text.contains("hunter"), "{text}");
}
