//! The commands beside the service, on a real state file, and how they end.

use std::sync::Arc;

use std::path::Path;
use std::process::Output;

use ldap_usher::clock::{Clock, Timestamp};
use ldap_usher::model::Release;
use ldap_usher::model::Source;
use ldap_usher::model::{ActionState, Attribute, Entry, EntryId, Settlement};
use ldap_usher::rules::membership::{Accept, Policy, Sighting};
use ldap_usher::rules::{Limits, Verdict};
use ldap_usher::store::interface::*;
use ldap_usher::store::{ChangeBatch, Decisions, Sqlite, Which};
use serde_json::json;

use crate::support::queue::Queue as _;
use crate::support::service::Config;

/// A configuration with its state file in `dir`; nobody listens where it points.
fn config(dir: &Path) -> Config {
    Config::new(&format!(
        r#"
state = "{}"
[vaultwarden]
url = "http://127.0.0.1:1"
admin_token = "token"
[[directory]]
url = "ldap://127.0.0.1:1"
base_dn = "dc=example,dc=org"
"#,
        dir.join("state.db").display()
    ))
}

/// A state in which a listing found Ann, Bob and Eve, and all three are held.
async fn three_held(dir: &Path) {
    let store = Sqlite::open(&dir.join("state.db")).await.unwrap();
    let now = Clock::system().now();
    let directory = store.register("main", "scope", "settings").await.unwrap().id;
    let policy = Policy {
        mail_attributes: vec!["mail".into()],
        accept: Accept::default(),
        disabled_are_members: false,
        now: Timestamp(0),
        invite_changed_address: false,
    };
    let sightings = ["ann", "bob", "eve"].map(|name| {
        let mail = Attribute {
            name: "mail".into(),
            values: vec![format!("{name}@example.org").into()],
        };
        Sighting::Entry(policy.facts(&Entry {
            id: EntryId::from_slice(&[name.as_bytes()[0]; 16]).unwrap(),
            dn: format!("uid={name},dc=example,dc=org"),
            attributes: vec![mail],
        }))
    });
    let batch = ChangeBatch {
        leave: Arc::default(),
        leaving: None,
        directory,
        source: Source::Listing,
        summarised: false,
        sightings: sightings.into(),
        together: Default::default(),
        cursor: None,
        policy: policy.clone(),
        limits: Limits::default(),
        listing: Verdict::Hold,
        arrived: now,
    };
    store.apply(batch).await.unwrap();
    store.end_listing(directory, true, None, now).await.unwrap();
    assert_eq!(store.report().await.unwrap().count(ActionState::Held), 3);
}

async fn tasks(config: &Config) -> (u64, u64) {
    let status = config.status_json().await;
    let count = |state: &str| status["tasks"][state].as_u64().unwrap();
    (count("held"), count("queued"))
}

fn read(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_owned()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[tokio::test]
async fn status_shows_what_is_held_while_no_service_runs() {
    let dir = tempfile::tempdir().unwrap();
    three_held(dir.path()).await;
    let status = config(dir.path()).status_json().await;
    assert_eq!(status["running"], false);
    assert_eq!(status["members"], 3);
    assert_eq!(
        status["tasks"],
        json!({"staged": 0, "queued": 0, "held": 3, "done": 0, "quarantined": 0, "cancelled": 0})
    );
    assert_eq!(status["directories"][0]["name"], "main");
    assert_eq!(status["directories"][0]["connected"], false);
    assert_eq!(status["directories"][0]["members"], 3);
}

#[tokio::test]
async fn status_says_so_while_a_service_has_the_state() {
    let dir = tempfile::tempdir().unwrap();
    let _service = Sqlite::open(&dir.path().join("state.db")).await.unwrap();
    assert_eq!(config(dir.path()).status_json().await["running"], true);
}

#[tokio::test]
async fn status_and_approve_do_without_the_secrets_that_the_service_needs() {
    let dir = tempfile::tempdir().unwrap();
    three_held(dir.path()).await;
    let config = Config::new(&format!(
        "state = {:?}\n[vaultwarden]\nurl = \"http://127.0.0.1:1\"\nadmin_token_file = \"/run/credentials/none\"\n\
         [[directory]]\nurl = \"ldap://127.0.0.1:1\"\nbase_dn = \"dc=example,dc=org\"\n",
        dir.path().join("state.db")
    ));
    assert_eq!(tasks(&config).await, (3, 0));
    let (code, stdout, _) = read(&config.ask(&["approve", "--yes", "ann@example.org"]).await);
    assert_eq!(code, Some(0), "{stdout}");
    let (code, _, stderr) = read(&config.ask(&["sync"]).await);
    assert_eq!(code, Some(2));
    assert!(
        stderr.contains("/run/credentials/none cannot be read"),
        "{stderr}"
    );
}

#[tokio::test]
async fn status_without_a_state_names_the_file_and_fails() {
    let dir = tempfile::tempdir().unwrap();
    let (code, stdout, stderr) = read(&config(dir.path()).ask(&["status"]).await);
    assert_eq!((code, stdout.as_str()), (Some(1), ""));
    assert!(
        stderr.starts_with("error: ") && stderr.contains("state.db"),
        "{stderr}"
    );
    assert!(!dir.path().join("state.db").exists());
}

#[tokio::test]
async fn approve_asks_first_and_refuses_where_nobody_can_answer() {
    let dir = tempfile::tempdir().unwrap();
    three_held(dir.path()).await;
    let config = config(dir.path());
    let (code, stdout, stderr) = read(&config.ask(&["approve", "--all"]).await);
    assert_eq!(code, Some(1));
    assert!(
        stdout.starts_with("3 to be invited:\n  ann@example.org  uid=ann,"),
        "{stdout}"
    );
    assert_eq!(
        stderr,
        "error: there is no terminal to ask for confirmation; use --yes to go on without asking\n"
    );
    assert_eq!(tasks(&config).await, (3, 0));
}

#[tokio::test]
async fn approve_releases_those_who_are_named_and_then_the_others() {
    let dir = tempfile::tempdir().unwrap();
    three_held(dir.path()).await;
    let config = config(dir.path());

    let (code, _, stderr) = read(
        &config
            .ask(&["approve", "--yes", "mia@example.org", "bob@example.org"])
            .await,
    );
    assert_eq!(code, Some(1));
    assert_eq!(
        stderr,
        "error: not held back: mia@example.org; nobody was released\n"
    );
    assert_eq!(tasks(&config).await, (3, 0));

    let (code, stdout, _) = read(&config.ask(&["approve", "--yes", "BOB@example.org"]).await);
    assert_eq!((code, stdout.lines().last()), (Some(0), Some("1 released")));
    assert_eq!(tasks(&config).await, (2, 1));

    let (code, stdout, _) = read(&config.ask(&["approve", "--yes", "--all"]).await);
    assert_eq!((code, stdout.lines().last()), (Some(0), Some("2 released")));
    assert_eq!(tasks(&config).await, (0, 3));

    let (code, stdout, _) = read(&config.ask(&["approve", "--yes", "--all"]).await);
    assert_eq!((code, stdout.as_str()), (Some(0), "nobody is held back\n"));
}

#[tokio::test]
async fn approve_works_beside_a_running_service() {
    let dir = tempfile::tempdir().unwrap();
    three_held(dir.path()).await;
    let _service = Sqlite::open(&dir.path().join("state.db")).await.unwrap();
    let config = config(dir.path());
    let (code, _, _) = read(&config.ask(&["approve", "--yes", "--all"]).await);
    assert_eq!((code, tasks(&config).await), (Some(0), (0, 3)));
}

#[tokio::test]
async fn retry_shows_why_someone_is_in_quarantine_and_lets_them_try_again() {
    let dir = tempfile::tempdir().unwrap();
    three_held(dir.path()).await;
    {
        let store = Sqlite::open(&dir.path().join("state.db")).await.unwrap();
        let now = Clock::system().now();
        store
            .release(&[ActionState::Held], Which::All, Release::Approved, now)
            .await
            .unwrap();
        let claimed = store.claim(1, 3, now).await.unwrap();
        let refused = Settlement::Quarantine {
            reason: "no such mailbox".into(),
            fault: None,
        };
        let refused: Vec<_> = claimed.iter().map(|task| (task.id, refused.clone())).collect();
        store.settle(1, refused, Limits::default(), now).await.unwrap();
    }
    let config = config(dir.path());
    let (code, stdout, _) = read(&config.ask(&["retry", "--yes", "bob@example.org"]).await);
    let expected =
        "1 to be invited:\n  bob@example.org  uid=bob,dc=example,dc=org  (no such mailbox)\n1 released\n";
    assert_eq!((code, stdout.as_str()), (Some(0), expected));
    let (code, _, stderr) = read(&config.ask(&["retry", "--yes", "bob@example.org"]).await);
    let expected = "error: neither in quarantine nor invited before: bob@example.org; nobody was released\n";
    assert_eq!((code, stderr.as_str()), (Some(1), expected));
    let (code, stdout, _) = read(&config.ask(&["retry", "--yes", "--all"]).await);
    assert_eq!((code, stdout.lines().last()), (Some(0), Some("2 released")));
    let (_, stdout, _) = read(&config.ask(&["retry", "--all"]).await);
    assert_eq!(stdout, "nobody is in quarantine\n");
    assert_eq!(tasks(&config).await, (0, 3));
}

#[tokio::test]
async fn a_state_that_is_in_use_ends_run_and_sync_with_3() {
    let dir = tempfile::tempdir().unwrap();
    let _service = Sqlite::open(&dir.path().join("state.db")).await.unwrap();
    for command in ["run", "sync"] {
        let (code, _, stderr) = read(&config(dir.path()).ask(&[command]).await);
        assert_eq!(code, Some(3), "{command}: {stderr}");
        assert!(
            stderr.contains("in use by another ldap-usher process"),
            "{stderr}"
        );
    }
}
