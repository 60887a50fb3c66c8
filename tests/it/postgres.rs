//! The state in PostgreSQL while the server fails in every way: the service says what is wrong once, loses nothing, and is back
//! by itself.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use crate::support::postgres::{PgBouncer, Postgres};
use crate::support::proxy::{Fault, Proxy};
use crate::support::service::Config;
use crate::support::slapd::Slapd;
use crate::support::world::{PATIENCE, World};

const FAILS: &str = "the state fails";
const WORKS: &str = "the state works again";

/// A service whose state is in this database.
async fn on(url: &str) -> World {
    let mut world = World::with(Slapd::builder()).await;
    world.state = Some(PathBuf::from(url));
    world.start().await;
    world
}

/// A service that reaches its database through a proxy.
async fn through_proxy(postgres: &Postgres) -> (World, Proxy) {
    let way = Proxy::to(postgres.port()).await;
    let port = way.address().port().to_string();
    let url = postgres.url().replace(&postgres.port().to_string(), &port);
    (on(&url).await, way)
}

/// Ann came while the state failed for this reason, and it works again.
async fn recovers(world: &World, reason: &str) {
    world.says_within(&[WORKS], 1, Duration::from_secs(60)).await;
    world.invites("ann").await;
    world.witness("bob").await;
    world.invited_once(&["ann", "bob"]).await;
    let output = world.service().output();
    let said = world.lines(&[FAILS, reason]).len();
    assert_eq!(said, 1, "{reason:?} is said {said} times:\n{output}");
    assert!(!output.contains("panicked"), "{output}");
    // Neither a library nor a part of the service says it once more.
    for noise in [
        "Connection error",
        "could not be recycled",
        "will be restarted",
        "the resume point cannot",
    ] {
        assert!(!output.contains(noise), "{output}");
    }
    assert!(world.get("/readyz").await.starts_with("HTTP/1.1 200"), "{output}");
}

#[tokio::test]
async fn a_server_that_is_down_and_comes_back_costs_nobody_the_invitation() {
    let mut postgres = Postgres::start().await;
    let world = on(&postgres.url()).await;
    postgres.stop().await;
    world.people().add_person("ann").await;
    world.says(&[FAILS], 1).await;
    assert!(world.get("/readyz").await.contains("the state has been failing"));
    let page = world.get("/").await;
    assert!(
        page.starts_with("HTTP/1.1 200") && page.contains("The stored state cannot be read"),
        "{page}"
    );
    postgres.restart().await;
    recovers(&world, "").await;
}

#[tokio::test]
async fn a_server_that_is_killed_loses_nothing_that_matters() {
    let mut postgres = Postgres::start().await;
    let world = on(&postgres.url()).await;
    world.witness("eve").await;
    postgres.kill().await;
    world.people().add_person("ann").await;
    postgres.restart().await;
    world.invites("ann").await;
    world
        .status_until("an empty queue", |status| status["tasks"]["queued"] == 0)
        .await;
    // The last commits of the server are lost, so it may have been asked again whether there is an account.
    assert_eq!(world.vault.invited(), ["eve@example.org", "ann@example.org"]);
    assert_eq!(world.vault.mailed().len(), 2);
}

/// As it is after a server was killed between the commit of a claim and that of its settlement.
#[tokio::test]
async fn an_action_whose_settlement_the_server_has_lost_is_looked_up_when_it_is_back() {
    let mut postgres = Postgres::start().await;
    let world = on(&postgres.url()).await;
    world.witness("eve").await;
    world
        .status_until("an empty queue", |status| status["tasks"]["queued"] == 0)
        .await;
    let lost = "update ldap_usher.action set state = 'queued', outcome = null, owner = (select worker from ldap_usher.instance)";
    postgres.sql(lost).await;
    postgres.restart().await;
    world
        .status_until("an empty queue", |status| status["tasks"]["queued"] == 0)
        .await;
    assert_eq!(world.vault.mailed().len(), 1);
}

#[tokio::test]
async fn a_network_that_is_cut_or_silent_is_waited_for() {
    for fault in [Fault::Cut, Fault::BlackHole] {
        let postgres = Postgres::start().await;
        let (world, way) = through_proxy(&postgres).await;
        way.set(fault);
        world.people().add_person("ann").await;
        world.says_within(&[FAILS], 1, Duration::from_secs(90)).await;
        way.set(Fault::None);
        world.says_within(&[WORKS], 1, Duration::from_secs(90)).await;
        world.invites("ann").await;
        world.invited_once(&["ann"]).await;
    }
}

#[tokio::test]
async fn the_status_page_says_within_seconds_that_the_database_is_silent() {
    let postgres = Postgres::start().await;
    let (world, way) = through_proxy(&postgres).await;
    let page = async || timeout(Duration::from_secs(12), world.get("/")).await.unwrap();
    assert!(page().await.contains("Ready"));
    way.set(Fault::BlackHole);
    // What was read half a second ago is shown again.
    sleep(Duration::from_secs(1)).await;
    let told = page().await;
    assert!(
        told.contains("State unavailable") && told.contains("it does not answer within 3 s"),
        "{told}"
    );
    way.set(Fault::None);
    let works = async {
        while page().await.contains("State unavailable") {
            sleep(Duration::from_millis(200)).await;
        }
    };
    timeout(PATIENCE * 4, works).await.unwrap();
}

#[tokio::test]
async fn sessions_that_the_server_ends_are_replaced_without_a_word() {
    let postgres = Postgres::start().await;
    let world = on(&postgres.url()).await;
    for n in 0..5 {
        // Not in the middle of a transaction.
        sleep(Duration::from_millis(300)).await;
        postgres.disconnect_all().await;
        sleep(Duration::from_millis(20)).await;
        world.witness(&format!("person{n}")).await;
    }
    assert_eq!(world.lines(&[FAILS]).len(), 0, "{}", world.service().output());
}

#[tokio::test]
async fn rights_that_are_taken_away_are_named_until_they_are_given_back() {
    let postgres = Postgres::start().await;
    let world = on(&postgres.url()).await;
    let rights = "insert, update, delete on all tables in schema ldap_usher";
    postgres.sql(&format!("revoke {rights} from usher")).await;
    world.people().add_person("ann").await;
    let said = world.says(&[FAILS], 1).await;
    assert!(said.contains("permission denied"), "{said}");
    postgres.sql(&format!("grant {rights} to usher")).await;
    recovers(&world, "").await;
}

#[tokio::test]
async fn a_full_disk_is_named_with_its_remedy() {
    let postgres = Postgres::start().await;
    let world = on(&postgres.url()).await;
    // The error that the server returns, without filling a disk of this machine.
    postgres
        .sql(
            "create function full_disk() returns trigger language plpgsql as $$ begin
                 raise exception using errcode = '53100', message = 'could not extend file: No space left on device'; end $$;
             create trigger full_disk before insert on ldap_usher.member execute function full_disk()",
        )
        .await;
    world.people().add_person("ann").await;
    let said = world.says(&[FAILS], 1).await;
    assert!(
        said.contains("No space left on device; free some space for the server"),
        "{said}"
    );
    postgres.sql("drop trigger full_disk on ldap_usher.member").await;
    recovers(&world, "No space left").await;
}

#[tokio::test]
async fn a_table_that_somebody_keeps_locked_is_named_and_waited_for() {
    let postgres = Postgres::start().await;
    let world = on(&postgres.url()).await;
    let admin = postgres.admin().await;
    admin
        .batch_execute("begin; lock table ldap_usher.member in access exclusive mode")
        .await
        .unwrap();
    world.people().add_person("ann").await;
    let said = world.says_within(&[FAILS], 1, Duration::from_secs(40)).await;
    assert!(said.contains("another session holds a lock"), "{said}");
    admin.batch_execute("rollback").await.unwrap();
    world.invites("ann").await;
    world.invited_once(&["ann"]).await;
}

#[tokio::test]
async fn a_password_that_is_refused_is_named_without_being_shown() {
    let postgres = Postgres::start().await;
    let url = postgres.url();
    let (_, place) = url.split_once('@').unwrap();
    let wrong = format!("postgres://usher:wr0ng@{place}");
    let mut world = World::with(Slapd::builder()).await;
    world.state = Some(PathBuf::from(&wrong));
    world.start_only();
    let said = world.says(&["cannot be opened"], 1).await;
    assert!(
        said.contains("password authentication failed") && said.contains("`state_file`"),
        "{said}"
    );
    assert!(!world.service().output().contains("wr0ng"));
    let check = world.ask(&["check"]).await;
    let text = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(
        text.contains("fail  state: ") && !text.contains("wr0ng"),
        "{text}"
    );
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused_and_one_of_the_named_authority_is_not() {
    let postgres = Postgres::builder().tls().start().await;
    let url = format!("{}?sslmode=verify-full", postgres.url());
    let mut world = World::with(Slapd::builder()).await;
    world.state = Some(PathBuf::from(&url));
    world.start_only();
    let said = world.says(&["cannot be opened"], 1).await;
    assert!(
        said.contains("TLS as set in [postgres] failed") && said.contains("`ca_file`"),
        "{said}"
    );

    let mut world = world.tables(&format!(
        "[postgres]\nca_file = \"{}\"",
        postgres.ca_file().display()
    ));
    world.ended().await;
    world.start().await;
    world.witness("ann").await;
    let encrypted = "select count(*) > 0 from pg_stat_ssl where ssl and pid <> pg_backend_pid()";
    assert_eq!(postgres.sql(encrypted).await, ["t"]);
    let check = world.ask(&["check"]).await;
    let text = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(
        text.contains("can be used (PostgreSQL ") && text.contains(", encrypted)"),
        "{text}"
    );
}

#[tokio::test]
async fn a_schema_of_a_newer_version_or_of_another_program_is_refused() {
    let postgres = Postgres::start().await;
    let mut world = on(&postgres.url()).await;
    world.stop().await;
    postgres
        .sql("update ldap_usher.schema_version set version = 99")
        .await;
    world.start_only();
    let said = world.says(&["cannot be opened"], 1).await;
    assert!(
        said.contains("written by a newer ldap-usher (schema 99)"),
        "{said}"
    );
    world.ended().await;
    postgres
        .sql("drop schema ldap_usher cascade; create schema ldap_usher authorization usher; create table ldap_usher.t (n int)")
        .await;
    world.start_only();
    let said = world.says(&["cannot be opened"], 1).await;
    assert!(said.contains("belongs to another program"), "{said}");
}

#[tokio::test]
async fn a_pooler_in_transaction_mode_may_be_in_between() {
    let postgres = Postgres::start().await;
    let bouncer = PgBouncer::start(&postgres).await;
    let mut world = on(&bouncer.url()).await;
    world.people().add_many("person", 40).await;
    world.invites("person40").await;
    // Waits for what is not notified.
    world.witness("ann").await;
    world.restart_only().await;
    world.witness("bob").await;
    assert_eq!(world.vault.invitations(), 42);
    assert_eq!(world.lines(&[FAILS]).len(), 0, "{}", world.service().output());
}

#[tokio::test]
async fn only_the_own_schema_is_touched_and_the_password_is_nowhere() {
    let postgres = Postgres::start().await;
    let world = on(&postgres.url()).await;
    world.witness("ann").await;
    let others = "select count(*) from pg_tables where schemaname not in ('ldap_usher', 'pg_catalog', 'information_schema')";
    assert_eq!(postgres.sql(others).await, ["0"]);
    let show = world.ask(&["config", "show"]).await;
    let status = world.ask(&["status"]).await;
    for text in [world.service().output(), format!("{show:?}{status:?}")] {
        assert!(!text.contains(postgres.password()), "{text}");
    }
}

#[tokio::test]
async fn a_url_in_a_file_and_in_a_variable_is_used_and_not_shown() {
    let postgres = Postgres::start().await;
    let world = World::with(Slapd::builder()).await;
    let text = world.config();
    let (_, rest) = text.split_once('\n').unwrap();
    let config = Config::new(&format!("state_file = \"url\"\n{rest}"));
    config.write("url", &format!("{}\n", postgres.url()));
    let output = config.command().arg("sync").output();
    let output = tokio::time::timeout(PATIENCE, output).await.unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(!format!("{output:?}").contains(postgres.password()));
    let variable = Config::new(rest);
    let status = variable
        .command()
        .env("LDAP_USHER__STATE", postgres.url())
        .args(["status", "--json"])
        .output();
    let status = status.await.unwrap();
    assert!(status.status.success(), "{status:?}");
    assert!(
        String::from_utf8_lossy(&status.stdout).contains("\"running\": false"),
        "{status:?}"
    );
}
