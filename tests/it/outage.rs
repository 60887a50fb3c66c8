//! Whatever Vaultwarden, its mail server or a proxy does: nobody is lost, nobody is invited twice, nobody is hammered.

use std::time::Duration;

use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

use crate::support::slapd::Slapd;
use crate::support::stand_in::{Fault, Moment, On, Setup};
use crate::support::world::{A_WHILE, PATIENCE, World};

const FOREVER: usize = usize::MAX;

/// What the service says, once, when Vaultwarden as a whole is in trouble.
const DOWN: &str = "Vaultwarden fails, invitations wait";
const BACK: &str = "Vaultwarden answers again";
/// Why an invitation waits that needs one login too many.
const LOGIN_LATER: &str = "requires a login, and its rate limit allows the next one in";

const NO_MAILBOX: &str = "SMTP 5xx error: permanent error (550): no such mailbox";
const GREYLISTED: &str = "SMTP 4xx error: transient error (451): greylisted";
const NO_MAIL_SERVER: &str = "SMTP error: Connection error: Connection refused (os error 111)";

fn mail(uid: &str) -> String {
    format!("{uid}@example.org")
}

/// The reason that `status` shows for an address among the `quarantined` or the `failing`.
fn reason(status: &serde_json::Value, list: &str, uid: &str) -> Option<String> {
    let tasks = status[list].as_array().unwrap();
    let task = tasks.iter().find(|task| task["address"] == mail(uid))?;
    Some(task["reason"].as_str().unwrap().to_owned())
}

impl World {
    /// Adds a person and waits until `status` says why they could not be invited yet.
    async fn fails_to_invite(&self, uid: &str) -> String {
        self.people().add_person(uid).await;
        let status = self
            .status_until(format!("a reason why {uid} is not invited"), |status| {
                reason(status, "failing", uid).is_some()
            })
            .await;
        reason(&status, "failing", uid).unwrap()
    }
}

// -- down -----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_vaultwarden_that_is_not_there_at_the_start_is_waited_for() {
    let mut world = World::with(Slapd::builder().people(3)).await;
    world.vault.down();
    world.start().await;
    world.says(&[DOWN, "is out of reach"], 1).await;
    world.vault.up();
    world.says(&[BACK], 1).await;
    world.invited_once(&["person1", "person2", "person3"]).await;
    assert_eq!(world.lines(&[DOWN]).len(), 1);
}

#[tokio::test]
async fn who_comes_while_vaultwarden_is_down_is_invited_when_it_is_back() {
    let mut world = World::running(Slapd::builder()).await;
    world.witness("ann").await;
    world.vault.down();
    let reason = world.fails_to_invite("bob").await;
    assert!(reason.contains("is out of reach: "), "{reason}");
    world.people().add_person("eve").await;
    world.tasks("queued", 2).await;

    world.vault.up();
    world.invites("bob").await;
    world.witness("mia").await;
    world.invited_once(&["ann", "bob", "eve", "mia"]).await;
    assert_eq!(world.vault.logins(), 1);
}

// -- slow -----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn one_slow_invitation_delays_nobody_else() {
    let world = World::running(Slapd::builder()).await;
    let ann = mail("ann");
    world
        .vault
        .fail(On::Invite, Some(&ann), 1, Fault::Hold(Moment::Mailed));
    world.people().add_person("ann").await;
    assert!(world.vault.wait_until_held(1, PATIENCE).await);
    world.witness("bob").await;
    world.witness("eve").await;
    assert!(!world.vault.invited().contains(&ann));
    world.vault.release();
    world.invited_once(&["ann", "bob", "eve"]).await;
}

// -- sessions and logins --------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_session_that_vaultwarden_forgot_costs_one_new_login() {
    let world = World::running(Slapd::builder()).await;
    world.witness("ann").await;
    world.vault.forget_sessions();
    for name in ["bob", "eve", "mia", "zoe"] {
        world.people().add_person(name).await;
    }
    world.invited_once(&["ann", "bob", "eve", "mia", "zoe"]).await;
    assert_eq!(world.vault.logins(), 2);
}

#[tokio::test]
async fn a_vaultwarden_that_refuses_every_session_is_asked_for_one_only() {
    let world = World::running(Slapd::builder()).await;
    world.vault.fail(On::Invite, None, FOREVER, Fault::SessionLost);
    let reason = world.fails_to_invite("ann").await;
    assert!(
        reason.contains("refuses the session that it has just opened"),
        "{reason}"
    );
    world.people().add_person("bob").await;
    world.tasks("queued", 2).await;
    sleep(A_WHILE).await;
    assert_eq!(world.vault.logins(), 1);
}

#[tokio::test]
async fn a_login_that_is_one_too_many_is_not_tried_again_not_even_after_a_restart() {
    let mut world = World::running(Slapd::builder()).await;
    world.vault.fail(On::Login, None, FOREVER, Fault::Page(429));
    let reason = world.fails_to_invite("ann").await;
    assert!(reason.contains("too many requests"), "{reason}");
    world.people().add_person("bob").await;
    world.tasks("queued", 2).await;
    for _ in 0..2 {
        world.restart().await;
        world.says(&[DOWN, LOGIN_LATER], 1).await;
    }
    sleep(A_WHILE).await;
    assert_eq!(world.vault.count("POST /admin"), 1);
}

#[tokio::test]
async fn restarts_go_on_with_the_session_and_without_it_stay_within_the_limit_of_logins() {
    // The limiter of the stand-in allows three logins in 300 seconds, as Vaultwarden's does.
    let mut world = World::running(Slapd::builder()).await;
    for n in 0..4 {
        world.witness(&format!("person{n}")).await;
        world.restart().await;
    }
    assert_eq!(world.vault.logins(), 1);

    for n in 4..6 {
        world.vault.forget_sessions();
        world.kill9().await;
        world.start().await;
        world.witness(&format!("person{n}")).await;
    }
    assert_eq!(world.vault.logins(), 3);

    world.vault.forget_sessions();
    world.restart().await;
    let reason = world.fails_to_invite("person6").await;
    assert!(reason.contains(LOGIN_LATER), "{reason}");
    assert_eq!(world.vault.logins(), 3);
    assert!(world.vault.calls().iter().all(|call| call.status != Some(429)));
}

#[tokio::test]
async fn a_wrong_token_is_named_and_seldom_tried() {
    let mut world = World::with(Slapd::builder().people(20)).await;
    world.token = "not-sesame".into();
    world.start().await;
    world
        .says(&[DOWN, "refuses the admin token", "ADMIN_TOKEN"], 1)
        .await;
    sleep(A_WHILE).await;
    assert_eq!(world.vault.logins(), 1);
    assert_eq!(world.tasks("queued", 20).await["tasks"]["done"], 0);

    world.stop().await;
    world.token = "sesame".into();
    world.start().await;
    world.tasks("done", 20).await;
    assert_eq!(world.vault.logins(), 2);
}

// -- mail -----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn an_address_that_the_mail_server_refuses_is_quarantined_and_delays_nobody() {
    let world = World::running(Slapd::builder()).await;
    world.vault.fail(
        On::Invite,
        Some(&mail("bob")),
        FOREVER,
        Fault::Error(500, NO_MAILBOX),
    );
    for name in ["ann", "bob", "eve"] {
        world.people().add_person(name).await;
    }
    let status = world.tasks("quarantined", 1).await;
    let reason = reason(&status, "quarantined", "bob").unwrap();
    assert_eq!(reason, format!("Vaultwarden says: {NO_MAILBOX}"));
    world.tasks("done", 2).await;
    world.invited(["ann", "eve"]).await;
    assert_eq!(world.vault.attempts(&mail("bob")), 1);
    assert_eq!(world.lines(&[DOWN]).len(), 0);
    assert_eq!(world.lines(&["cannot be invited", "bob@example.org"]).len(), 1);
}

#[tokio::test]
async fn an_address_that_the_mail_server_puts_off_is_tried_again() {
    let world = World::running(Slapd::builder()).await;
    world.vault.fail(
        On::Invite,
        Some(&mail("bob")),
        FOREVER,
        Fault::Error(500, GREYLISTED),
    );
    let reason = world.fails_to_invite("bob").await;
    assert_eq!(
        reason,
        format!("bob@example.org cannot be invited at the moment: Vaultwarden says: {GREYLISTED}")
    );
    world.witness("ann").await;
    world.vault.heal();
    world.tasks("done", 2).await;
    world.invited(["ann", "bob"]).await;
}

#[tokio::test]
async fn without_a_mail_server_everyone_waits_and_nobody_is_blamed() {
    let world = World::running(Slapd::builder()).await;
    world
        .vault
        .fail(On::Invite, None, FOREVER, Fault::Error(500, NO_MAIL_SERVER));
    let reason = world.fails_to_invite("ann").await;
    assert!(
        reason.contains("cannot send mail") && reason.contains("Connection refused"),
        "{reason}"
    );
    world.people().add_person("bob").await;
    let status = world.tasks("queued", 2).await;
    assert_eq!(status["tasks"]["quarantined"], 0);
    world.vault.heal();
    world.tasks("done", 2).await;
    world.invited(["ann", "bob"]).await;
}

#[tokio::test]
async fn one_address_that_upsets_vaultwarden_each_time_is_tried_less_and_less_while_others_go_on() {
    let world = World::running(Slapd::builder()).await;
    for (uid, message) in [("bad", "Error saving user"), ("worse", NO_MAIL_SERVER)] {
        world
            .vault
            .fail(On::Invite, Some(&mail(uid)), FOREVER, Fault::Error(500, message));
        world.people().add_person(uid).await;
    }
    let names: Vec<String> = (0..30).map(|n| format!("person{n}")).collect();
    for name in &names {
        world.witness(name).await;
        sleep(Duration::from_millis(200)).await;
    }
    world.invited(&names).await;
    for uid in ["bad", "worse"] {
        let attempts = world.vault.attempts(&mail(uid));
        assert!((1..=6).contains(&attempts), "{uid}: {attempts}");
    }
}

// -- foreign answers ------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_foreign_login_page_is_recognised_and_vaultwarden_behind_it_gets_no_token() {
    let world = World::running(Slapd::builder()).await;
    world.vault.fail(On::All, None, FOREVER, Fault::Page(200));
    let reason = world.fails_to_invite("ann").await;
    assert!(
        reason.contains("answers with a page that is not Vaultwarden's") && reason.contains("/admin"),
        "{reason}"
    );
    sleep(A_WHILE).await;
    assert_eq!((world.vault.logins(), world.vault.calls().len()), (0, 1));
}

#[tokio::test]
async fn redirects_are_not_followed_and_no_other_host_hears_the_token() {
    for on in [On::All, On::Login] {
        let elsewhere = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = elsewhere.local_addr().unwrap();
        let target: &'static str = format!("http://{address}/sign-in?rd=secret-of-the-proxy").leak();
        let world = World::running(Slapd::builder()).await;
        world.vault.fail(on, None, FOREVER, Fault::Redirect(target));
        let reason = world.fails_to_invite("ann").await;
        assert!(
            reason.contains(&format!(
                "is protected by a redirect to http://{address}/sign-in;"
            )),
            "{reason}"
        );
        let heard = timeout(A_WHILE, elsewhere.accept()).await;
        assert!(heard.is_err(), "{on:?}: somebody came");
    }
}

// -- death in the middle --------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_connection_that_breaks_leaves_a_doubt_that_is_looked_into_before_another_attempt() {
    for (moment, attempts, mails) in [
        (Moment::Arrived, 2, 1),
        (Moment::Mailed, 2, 2),
        (Moment::Saved, 1, 1),
    ] {
        let world = World::running(Slapd::builder()).await;
        world.vault.fail(On::Invite, None, 1, Fault::Drop(moment));
        world.people().add_person("ann").await;
        world.tasks("done", 1).await;
        world.invited(["ann"]).await;
        let vault = &world.vault;
        assert_eq!(
            (vault.attempts(&mail("ann")), vault.mailed().len()),
            (attempts, mails),
            "{moment:?}"
        );
        assert!(vault.count("GET /admin/users/by-mail/ann@example.org") >= 1);
        world
            .says(&["could not invite, will try again", "did not say whether"], 1)
            .await;
    }
}

#[tokio::test]
async fn a_vaultwarden_that_dies_between_mail_and_account_sends_a_second_mail_and_makes_one_account() {
    let mut world = World::running(Slapd::builder()).await;
    world.vault.fail(On::Invite, None, 1, Fault::Hold(Moment::Mailed));
    world.people().add_person("ann").await;
    assert!(world.vault.wait_until_held(1, PATIENCE).await);
    world.vault.down();
    world.vault.up();
    world.tasks("done", 1).await;
    world.invited(["ann"]).await;
    assert_eq!(world.vault.mailed().len(), 2);
}

// -- other Vaultwardens ---------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_sub_path_and_old_versions_work_alike() {
    let sub_path = |path: &str| Setup {
        sub_path: path.into(),
        ..Setup::default()
    };
    let version = |version| Setup {
        version,
        ..Setup::default()
    };
    for setup in [
        sub_path("/vault"),
        version((1, 19)),
        version((1, 25)),
        version((1, 30)),
    ] {
        let told = format!("{setup:?}");
        let mut world = World::with(Slapd::builder()).await.vault(setup);
        world.vault.preload(["bob@example.org"]);
        world.start().await;
        world.witness("ann").await;
        world.people().add_person("bob").await;
        world
            .vault
            .fail(On::Invite, Some("eve@example.org"), 1, Fault::Drop(Moment::Saved));
        world.people().add_person("eve").await;
        world.tasks("done", 3).await;
        world.invited(["ann", "eve"]).await;
        assert_eq!(world.vault.logins(), 1, "{told}");
    }
}
