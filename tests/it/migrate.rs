//! The state moves between SQLite and PostgreSQL, is backed up and restored: nobody is mailed twice, nobody is disabled.

use std::path::{Path, PathBuf};
use std::process::Output;

use ldap_usher::store::{Location, open};
use serde_json::Value;
use tokio::process::Command;

use crate::support::postgres::Postgres;
use crate::support::service::Config;
use crate::support::slapd::Slapd;
use crate::support::stand_in::{Fault, On};
use crate::support::world::World;

/// A state file of version 0.1.0.
const OLDER: &str = include_str!("../../src/store/migrations/sqlite/0001_store.sql");

const LEAVE: &str = "[leave]\naction = \"disable\"\ngrace = \"1s\"\n[limits]\ninvites_per_hour = 3";

/// A world with a bit of everything: people who were invited, one in quarantine, one held, one who left and was disabled.
async fn lived_in() -> World {
    let mut world = World::with(Slapd::builder()).await.tables(LEAVE);
    world.start().await;
    for name in ["ann", "bob"] {
        world.witness(name).await;
    }
    let refusal = Fault::Error(500, "SMTP 5xx error: permanent error (550): no such user");
    world.vault.fail(On::Invite, Some("cat@example.org"), 1, refusal);
    world.people().add_person("cat").await;
    world.tasks("quarantined", 1).await;
    world.people().add_person("dan").await;
    world.tasks("held", 1).await;
    world.people().delete("bob").await;
    world
        .status_until("a disabled account", |status| status["leavers"]["done"] == 1)
        .await;
    world.stop().await;
    world
}

/// What the commands say of the state, without what depends on the time.
async fn told(world: &World) -> (Value, String) {
    let mut status = world.status_json().await;
    for directory in status["directories"].as_array_mut().unwrap() {
        for age in ["cursor_age_seconds", "listed_age_seconds"] {
            directory[age] = Value::Null;
        }
    }
    let journal = world.ask(&["journal", "--json"]).await;
    (status, String::from_utf8(journal.stdout).unwrap())
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

async fn migrates(from: &str, to: &str) -> Output {
    let config = Config::new("");
    config
        .ask(&["state", "migrate", "--from", from, "--to", to])
        .await
}

#[tokio::test]
async fn the_state_moves_to_postgresql_and_back_and_the_service_goes_on_with_it() {
    let postgres = Postgres::start().await;
    let mut world = lived_in().await;
    let before = told(&world).await;
    let file = world.state_file().display().to_string();

    let moved = migrates(&format!("sqlite:{file}"), &postgres.url()).await;
    assert!(moved.status.success(), "{moved:?}");
    let said = text(&moved);
    assert!(
        said.contains("member     4\n") && said.contains("both are identical"),
        "{said}"
    );
    world.state = Some(PathBuf::from(postgres.url()));
    assert_eq!(told(&world).await, before);
    let plan = world.ask(&["plan"]).await;
    assert!(plan.status.success(), "{plan:?}");
    assert_eq!(told(&world).await, before);

    world.tables = LEAVE.replace("= 3", "= 30");
    world.start().await;
    world.witness("eve").await;
    assert_eq!(world.vault.mails("ann@example.org"), 1);
    assert_eq!(world.vault.enabled("bob@example.org"), Some(false));
    world.stop().await;
    let before = told(&world).await;

    let folder = tempfile::tempdir().unwrap();
    let back = folder.path().join("state.db").display().to_string();
    let moved = migrates(&postgres.url(), &back).await;
    assert!(moved.status.success(), "{moved:?}");
    world.state = Some(PathBuf::from(&back));
    assert_eq!(told(&world).await, before);
    world.start().await;
    world.witness("fay").await;
    world.stop().await;
}

#[tokio::test]
async fn a_state_that_is_in_use_or_a_target_that_is_not_empty_is_refused() {
    let postgres = Postgres::start().await;
    let mut world = lived_in().await;
    let file = world.state_file().display().to_string();
    let missing = migrates(&format!("{file}.missing"), &postgres.url()).await;
    assert!(
        !missing.status.success() && text(&missing).contains("there is no state"),
        "{missing:?}"
    );
    let same = migrates(&file, &file).await;
    assert!(text(&same).contains("cannot be copied into itself"), "{same:?}");

    world.start().await;
    let served = migrates(&file, &postgres.url()).await;
    assert!(
        !served.status.success() && text(&served).contains("a service uses"),
        "{served:?}"
    );
    world.stop().await;
    assert!(migrates(&file, &postgres.url()).await.status.success());
    let full = migrates(&file, &postgres.url()).await;
    assert!(
        !full.status.success() && text(&full).contains("is not empty"),
        "{full:?}"
    );
    let full = migrates(&postgres.url(), &file).await;
    assert!(
        !full.status.success() && text(&full).contains("is not empty"),
        "{full:?}"
    );

    world.state = Some(PathBuf::from(postgres.url()));
    world.start().await;
    let target = format!("{file}.new");
    let served = migrates(&postgres.url(), &target).await;
    assert!(
        !served.status.success() && text(&served).contains("a service uses"),
        "{served:?}"
    );
    assert!(!std::path::Path::new(&target).exists());
}

/// Executes SQL on a state file.
fn sql(file: &Path, statements: &str) {
    let db = rusqlite::Connection::open(file).unwrap();
    db.execute_batch(statements).unwrap();
}

#[tokio::test]
async fn a_name_that_postgresql_cannot_store_does_not_keep_the_state_from_moving() {
    let postgres = Postgres::start().await;
    let world = lived_in().await;
    let file = world.state_file();
    sql(
        &file,
        "update member set dn = 'uid=a' || char(0) || 'b' where address = 'ann@example.org'",
    );
    let moved = migrates(&file.display().to_string(), &postgres.url()).await;
    assert!(moved.status.success(), "{moved:?}");
    let dn = "select dn from ldap_usher.member where address = 'ann@example.org'";
    assert_eq!(postgres.sql(dn).await, ["uid=a\u{fffd}b"]);
}

#[tokio::test]
async fn a_source_that_is_missing_or_older_is_refused_and_both_stay_as_they_were() {
    let postgres = Postgres::start().await;
    let folder = tempfile::tempdir().unwrap();
    let [missing, target, older] =
        ["missing.db", "target.db", "older.db"].map(|name| folder.path().join(name));
    let (from, to) = (missing.display().to_string(), target.display().to_string());

    let refused = migrates(&from, &to).await;
    assert!(text(&refused).contains("there is no state"), "{refused:?}");
    assert!(!target.exists());
    let refused = migrates(&from, &postgres.url()).await;
    assert!(text(&refused).contains("there is no state"), "{refused:?}");
    let refused = migrates(&postgres.url(), &to).await;
    assert!(text(&refused).contains("there is no state"), "{refused:?}");
    assert!(!target.exists());
    let schemas = "select count(*) from pg_namespace where nspname = 'ldap_usher'";
    assert_eq!(postgres.sql(schemas).await, ["0"]);

    sql(&older, OLDER);
    let before = std::fs::read(&older).unwrap();
    let refused = migrates(&older.display().to_string(), &postgres.url()).await;
    assert!(
        text(&refused).contains("start the service once, which brings it up to date"),
        "{refused:?}"
    );
    assert_eq!(std::fs::read(&older).unwrap(), before);
    assert_eq!(postgres.sql(schemas).await, ["0"]);
}

#[tokio::test]
async fn a_place_that_is_named_is_used_even_if_there_is_a_credential() {
    let postgres = Postgres::start().await;
    let world = lived_in().await;
    let credentials = tempfile::tempdir().unwrap();
    std::fs::write(
        credentials.path().join("state"),
        world.state_file().display().to_string(),
    )
    .unwrap();
    let config = Config::new("");
    let default = "/var/lib/ldap-usher/state.db";
    let refused = config
        .command()
        .env("CREDENTIALS_DIRECTORY", credentials.path())
        .args(["state", "migrate", "--from", default, "--to", &postgres.url()])
        .output()
        .await
        .unwrap();
    assert!(
        text(&refused).contains(&format!("there is no state {default}")),
        "{refused:?}"
    );
}

#[tokio::test]
async fn a_user_who_may_not_write_is_found_by_check_with_the_remedy() {
    let postgres = Postgres::start().await;
    let mut world = lived_in().await;
    let file = world.state_file().display().to_string();
    assert!(migrates(&file, &postgres.url()).await.status.success());
    world.state = Some(PathBuf::from(postgres.url()));
    let found = text(&world.ask(&["check"]).await);
    assert!(found.contains("schema version 1"), "{found}");

    postgres
        .sql("revoke insert on ldap_usher.journal from usher")
        .await;
    let found = text(&world.ask(&["check"]).await);
    assert!(
        found.contains("may not write") && found.contains("grant "),
        "{found}"
    );
}

#[tokio::test]
async fn a_user_who_may_not_create_the_state_is_told_the_statement_that_helps() {
    let postgres = Postgres::start().await;
    let mut world = World::with(Slapd::builder()).await;
    postgres.sql("create database other").await;
    world.state = Some(PathBuf::from(postgres.url_of("other")));
    let found = text(&world.ask(&["check"]).await);
    let remedy = "create schema ldap_usher authorization usher";
    assert!(found.contains(remedy), "{found}");
    postgres
        .admin_of("other")
        .await
        .batch_execute(remedy)
        .await
        .unwrap();
    world.start().await;
    world.witness("ann").await;
}

#[tokio::test]
async fn a_backup_that_is_made_while_the_service_runs_can_be_restored_later() {
    let mut world = World::with(Slapd::builder()).await.tables(LEAVE);
    world.start().await;
    world.witness("ann").await;
    let folder = tempfile::tempdir().unwrap();
    let backup = folder.path().join("backup.db");
    let path = backup.display().to_string();
    let made = world.ask(&["state", "backup", &path]).await;
    assert!(
        made.status.success() && text(&made).contains("is backed up in"),
        "{made:?}"
    );
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&backup).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    let again = world.ask(&["state", "backup", &path]).await;
    assert!(
        !again.status.success() && text(&again).contains("name a new file"),
        "{again:?}"
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let second = folder.path().join("second.db");
    let made = world
        .ask(&["state", "backup", "--json", &second.display().to_string()])
        .await;
    let said: Value = serde_json::from_slice(&made.stdout).unwrap();
    assert_eq!(said["bytes"], std::fs::metadata(&second).unwrap().len());

    world.witness("bob").await;
    world.stop().await;
    world.state = Some(backup);
    world.start().await;
    world.witness("cat").await;
    for name in ["ann", "bob", "cat"] {
        let address = format!("{name}@example.org");
        assert_eq!(world.vault.mails(&address), 1, "{name}");
        assert_ne!(world.vault.enabled(&address), Some(false), "{name}");
    }
}

#[tokio::test]
async fn a_dump_of_the_database_that_is_restored_later_is_recognised_and_mails_nobody_twice() {
    let postgres = Postgres::start().await;
    let mut world = World::with(Slapd::builder()).await;
    world.state = Some(PathBuf::from(postgres.url()));
    world.start().await;
    world.witness("ann").await;
    let at: Location = postgres.url().parse().unwrap();
    let store = open(&at).await.unwrap();
    assert!(store.renew_mark().await.unwrap());
    assert!(store.renew_mark().await.unwrap());
    store.depart().await.unwrap();
    drop(store);

    let dump = Command::new("pg_dump")
        .args(["--schema=ldap_usher", &postgres.url()])
        .output()
        .await
        .unwrap();
    assert!(dump.status.success(), "{dump:?}");
    world.witness("bob").await;
    world.stop().await;
    postgres.sql("drop schema ldap_usher cascade").await;
    let script = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(script.path(), &dump.stdout).unwrap();
    let restored = Command::new("psql")
        .args(["--quiet", "--set=ON_ERROR_STOP=1", "--file"])
        .arg(script.path())
        .arg(postgres.url())
        .output()
        .await
        .unwrap();
    assert!(restored.status.success(), "{restored:?}");

    let store = open(&at).await.unwrap();
    assert!(
        !store.renew_mark().await.unwrap(),
        "a copy is told from the original"
    );
    store.depart().await.unwrap();
    drop(store);
    world.start().await;
    world.witness("cat").await;
    for name in ["ann", "bob", "cat"] {
        assert_eq!(world.vault.mails(&format!("{name}@example.org")), 1, "{name}");
    }
}
