//! Notifications: a webhook, a command, and the ping, told by the real service what happens to people in a real slapd.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ldap_usher::clock::Clock;
use ldap_usher::config;
use ldap_usher::model::Listing;
use ldap_usher::notify::{Context, Notifier};
use ldap_usher::retry::RetryNow;
use ldap_usher::store::{self, ListingOutcome};
use ldap_usher::telemetry::{Observer, Purpose};
use ldap_usher::tls::TlsOptions;
use ring::hmac;
use serde_json::Value;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::support::receiver::{Conduct, Received, Receiver, TOKEN};
use crate::support::service::{Config, Service};
use crate::support::slapd::Slapd;
use crate::support::world::{A_WHILE, PATIENCE, World};

const SECRET: &str = "a-key-that-nobody-sees";

/// A world in which the service has this `[notify]` table, and has listed everyone.
async fn telling(notify: &str) -> World {
    let world = World::with(Slapd::builder()).await;
    let mut world = world.tables(&format!("[notify]\n{notify}"));
    world.start().await;
    world
}

/// The keys of a webhook.
fn webhook(receiver: &Receiver) -> String {
    format!("url = \"{}\"\nsecret = \"{SECRET}\"\n", receiver.url())
}

/// What receivers are told of these people, who join one after the other.
fn story(uids: &[&str]) -> Vec<String> {
    let told = uids
        .iter()
        .flat_map(|uid| ["joined", "invited"].map(|event| format!("{event} {uid}@example.org")));
    told.collect()
}

/// The events without those that came again.
fn once(received: &[Received]) -> Vec<String> {
    let mut seen = HashSet::new();
    let new = received
        .iter()
        .filter(|request| seen.insert(request.json()["id"].to_string()));
    new.map(Received::event).collect()
}

/// Executable, with a folder for what it writes.
fn script(text: &str) -> (TempDir, String) {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("script");
    std::fs::write(&path, format!("#!/bin/sh\nset -e\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
    let command = format!("command = [{path:?}, {:?}]\n", dir.path());
    (dir, command)
}

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(Into::into).collect()
}

/// Waits until the file has this many lines.
async fn written(path: &Path, count: usize) -> Vec<Value> {
    for _ in 0..500 {
        if lines(path).len() >= count {
            break;
        }
        sleep(Duration::from_millis(20)).await;
    }
    let lines = lines(path);
    assert!(lines.len() >= count, "{lines:?}");
    lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// Waits until the metrics contain this.
async fn measured(world: &World, line: &str) {
    for _ in 0..100 {
        if world.metrics().await.contains(line) {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("{line} is not in:\n{}", world.metrics().await);
}

#[tokio::test]
async fn a_webhook_gets_what_matters_in_order_and_can_verify_who_sent_it_and_when() {
    let receiver = Receiver::start();
    let world = telling(&webhook(&receiver)).await;
    world.people().add_person("ann").await;
    let received = receiver.got(2).await;
    world.people().delete("ann").await;
    receiver.got(3).await;
    let expected = [story(&["ann"]), vec!["left ann@example.org".into()]].concat();
    assert_eq!(receiver.events(), expected);

    let request = &received[0];
    let header = |name: &str| request.headers[name].to_str().unwrap();
    assert_eq!(request.method, "POST");
    assert!(header("content-type").starts_with("application/cloudevents+json"));
    let sent: i64 = header("ldap-usher-timestamp").parse().unwrap();
    assert!((Clock::system().now().0 / 1000 - sent).abs() < 60);
    let digits = header("ldap-usher-signature").strip_prefix("v1=").unwrap();
    let tag: Vec<u8> = (0..digits.len() / 2)
        .map(|at| u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).unwrap())
        .collect();
    let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
    let signed = format!("{sent}.{}", request.body);
    hmac::verify(&key, signed.as_bytes(), &tag).unwrap();
    hmac::verify(&key, format!("{}.{}", sent + 1, request.body).as_bytes(), &tag).unwrap_err();

    let json = request.json();
    assert_eq!(json["specversion"], "1.0");
    assert_eq!(json["type"], "org.ldap-usher.joined");
    assert_eq!(json["source"], "/ldap-usher/main");
    // The journal has the same.
    let journal = world.ask(&["journal", "--json"]).await.stdout;
    let journal = String::from_utf8(journal).unwrap();
    let line = journal.lines().find(|line| line.contains("\"joined\"")).unwrap();
    assert_eq!(json["data"], serde_json::from_str::<Value>(line).unwrap());

    measured(
        &world,
        "notifications_total{receiver=\"webhook\",result=\"delivered\"} 3",
    )
    .await;
    measured(&world, "notification_lag_seconds{receiver=\"webhook\"} 0.0").await;
}

#[tokio::test]
async fn a_receiver_that_was_down_while_the_service_was_killed_gets_everything_in_order() {
    let mut receiver = Receiver::start();
    let mut world = telling(&webhook(&receiver)).await;
    receiver.down();
    world.witness("ann").await;
    let line = world
        .says(&["WARN", "a notification could not be delivered"], 1)
        .await;
    assert!(
        line.contains("receiver=\"webhook\"") && line.contains("is out of reach"),
        "{line}"
    );
    world.witness("bob").await;
    world.tasks("done", 2).await;
    world.kill9().await;
    receiver.up();
    world.start().await;
    receiver.got(4).await;
    assert_eq!(receiver.events(), story(&["ann", "bob"]));

    // It is killed while the receiver works on an event, of which it gets to know the same again.
    receiver.conduct(Conduct::Hang);
    world.witness("eve").await;
    receiver.got(5).await;
    world.tasks("done", 3).await;
    world.kill9().await;
    receiver.conduct(Conduct::Accept);
    world.start().await;
    let received = receiver.got(7).await;
    assert_eq!(once(&received), story(&["ann", "bob", "eve"]));
    assert_eq!(received[4].body, received[5].body);
}

#[tokio::test]
async fn a_failure_is_told_once_and_its_end_as_well_and_the_service_stays_ready() {
    let receiver = Receiver::start();
    receiver.conduct(Conduct::Refuse(503));
    let world = telling(&webhook(&receiver)).await;
    world.witness("ann").await;
    receiver.got(3).await;
    let failures = ["WARN", "a notification could not be delivered"];
    assert_eq!(world.lines(&failures).len(), 1);
    assert!(world.get("/readyz").await.contains("200 OK"));
    let metrics = world.metrics().await;
    let failed = "ldap_usher_notifications_total{receiver=\"webhook\",result=\"failed\"}";
    assert!(metrics.contains(failed), "{metrics}");
    let lag = "ldap_usher_notification_lag_seconds{receiver=\"webhook\"} ";
    let lag = metrics.lines().find_map(|line| line.strip_prefix(lag)).unwrap();
    assert!(lag.parse::<f64>().unwrap() > 0.0, "{lag}");
    receiver.conduct(Conduct::Accept);
    world.says(&["notifications are delivered again"], 1).await;
    let told = |received: &[Received]| once(received) == story(&["ann"]);
    let received = receiver.until("the whole story", told).await;
    let ids: HashSet<String> = received
        .iter()
        .map(|request| request.json()["id"].to_string())
        .collect();
    assert_eq!(ids.len(), 2, "an event has the same id at each attempt");
}

#[tokio::test]
async fn a_receiver_that_hangs_delays_neither_invitations_nor_the_other_receiver() {
    let receiver = Receiver::start();
    receiver.conduct(Conduct::Hang);
    let (dir, command) = script("cat >> $1/events; echo >> $1/events");
    let mut world = telling(&(webhook(&receiver) + &command)).await;
    for (count, uid) in (1..).zip(["ann", "bob"]) {
        world.witness(uid).await;
        world.tasks("done", count).await;
    }
    let events = written(&dir.path().join("events"), 4).await;
    let kinds: Vec<_> = events
        .iter()
        .map(|event| event["data"]["event"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["joined", "invited", "joined", "invited"]);
    assert_eq!(receiver.received().len(), 1);
    // Neither does it delay the end of the service for long.
    let began = tokio::time::Instant::now();
    world.stop().await;
    assert!(began.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn a_command_that_fails_gets_the_same_event_again() {
    let (dir, command) = script(
        "cat > $1/event; test -e $1/open || { echo 'the door is closed' >&2; exit 3; }
         cat $1/event >> $1/events; echo >> $1/events",
    );
    let world = telling(&command).await;
    world.witness("ann").await;
    let line = world
        .says(&["WARN", "a notification could not be delivered"], 1)
        .await;
    assert!(
        line.contains("receiver=\"command\"") && line.contains("exit status: 3: the door is closed"),
        "{line}"
    );
    std::fs::write(dir.path().join("open"), "").unwrap();
    let events = written(&dir.path().join("events"), 2).await;
    let subjects: Vec<_> = events.iter().map(|event| &event["subject"]).collect();
    assert_eq!(subjects, ["ann@example.org", "ann@example.org"]);
}

#[tokio::test]
async fn only_the_chosen_kinds_are_sent() {
    let receiver = Receiver::start();
    let world = telling(&(webhook(&receiver) + "events = [\"moved\", \"left\"]")).await;
    world.people().add_person("ann").await;
    world.tasks("done", 1).await;
    world.people().rename("ann", "anne").await;
    world.says(&["renamed or moved"], 1).await;
    world.people().delete("anne").await;
    receiver.got(2).await;
    assert_eq!(
        receiver.events(),
        ["moved ann@example.org", "left ann@example.org"]
    );

    let all = Receiver::start();
    let world = telling(&(webhook(&all) + "events = [\"all\"]")).await;
    world.witness("bob").await;
    all.got(3).await;
    let expected = ["joined", "owed", "invited"].map(|event| format!("{event} bob@example.org"));
    assert_eq!(all.events(), expected);
}

#[tokio::test]
async fn a_new_receiver_begins_with_the_next_event_also_after_it_was_away_from_the_configuration() {
    let receiver = Receiver::start();
    let mut world = World::running(Slapd::builder()).await;
    world.witness("ann").await;
    world.tasks("done", 1).await;
    let tables = format!("[notify]\n{}", webhook(&receiver));
    for (newcomer, missed) in [("bob", "eve"), ("kim", "max")] {
        world.tables.clone_from(&tables);
        world.restart().await;
        world
            .says(&["notifications begin with the next event", "webhook"], 1)
            .await;
        world.witness(newcomer).await;
        let told = |received: &[Received]| {
            received
                .iter()
                .map(Received::event)
                .collect::<Vec<_>>()
                .ends_with(&story(&[newcomer]))
        };
        receiver.until(newcomer, told).await;
        world.tables.clear();
        world.restart().await;
        world.witness(missed).await;
        world
            .status_until("an empty queue", |status| status["tasks"]["queued"] == 0)
            .await;
    }
    assert_eq!(receiver.events(), story(&["bob", "kim"]));
}

#[tokio::test]
async fn a_sync_delivers_what_is_new_and_leaves_the_rest_to_the_next_one() {
    let receiver = Receiver::start();
    let world = World::with(Slapd::builder().people(1)).await;
    let world = world.tables(&format!(
        "[notify]\n{}ping_url = \"{}/ping\"\n",
        webhook(&receiver),
        receiver.url()
    ));
    let posts = || -> Vec<Received> {
        let received = receiver.received();
        received
            .iter()
            .filter(|request| request.method == "POST")
            .cloned()
            .collect()
    };
    let sync = async || {
        let output = world.ask(&["sync"]).await;
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    sync().await;
    assert_eq!(once(&posts()), story(&["person1"]));
    let pings = receiver
        .received()
        .iter()
        .filter(|request| request.method == "GET")
        .count();
    assert_eq!(pings, 1);
    sync().await;
    assert_eq!(posts().len(), 2);

    receiver.conduct(Conduct::Refuse(500));
    world.people().add_person("ann").await;
    let log = sync().await;
    assert!(log.contains("a notification could not be delivered"), "{log}");
    receiver.conduct(Conduct::Accept);
    sync().await;
    assert_eq!(once(&posts()), story(&["person1", "ann"]));
}

#[tokio::test]
async fn neither_the_token_in_a_url_nor_the_key_is_seen_anywhere() {
    let receiver = Receiver::start();
    receiver.conduct(Conduct::Refuse(404));
    let (_dir, command) = script("env; cat > /dev/null");
    let keys = format!(
        "{}{command}ping_url = \"{}/ping\"\nping_interval = \"100ms\"\n[log]\nlevel = \"trace\"\n",
        webhook(&receiver),
        receiver.url()
    );
    let world = telling(&keys).await;
    world.witness("ann").await;
    let line = world
        .says(&["WARN", "could not be delivered", "webhook"], 1)
        .await;
    assert!(line.contains("(status 404): nothing here at ***"), "{line}");
    world.says(&["WARN", "could not be delivered", "ping"], 1).await;
    let mut seen = world.service().output() + &world.metrics().await;
    for args in [
        &["check"][..],
        &["notify", "--test"],
        &["status"],
        &["config", "show"],
        &["journal", "--json"],
    ] {
        let output = world.ask(args).await;
        seen += &String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    }
    assert!(
        seen.contains("webhook") && !seen.contains(TOKEN) && !seen.contains(SECRET),
        "{seen}"
    );
}

#[tokio::test]
async fn secrets_of_receivers_are_read_again_on_hangup() {
    let (old, new) = (Receiver::start(), Receiver::start());
    let world = World::with(Slapd::builder()).await;
    let config = Config::new("");
    let url = config.dir().join("url");
    config.write("url", &old.url());
    config.write(
        "config.toml",
        &format!("{}\n[notify]\nurl_file = {url:?}", world.config()),
    );
    let service = Service::start_with(config);
    service.wait_for_line("listing ended", PATIENCE).await;
    service.config().write("url", "no URL");
    service.signal("HUP").await;
    service
        .wait_for_line("the old configuration stays in use", PATIENCE)
        .await;
    service.config().write("url", &new.url());
    service.signal("HUP").await;
    service.wait_for_line("were reloaded", PATIENCE).await;
    world.people().add_person("ann").await;
    let received = new.got(2).await;
    assert_eq!(once(&received), story(&["ann"]));
    assert!(!received[0].headers.contains_key("ldap-usher-signature"));
    assert_eq!(old.received().len(), 0);
}

#[tokio::test]
async fn a_test_event_shows_what_each_receiver_answers() {
    let receiver = Receiver::start();
    let (_dir, command) = script("grep -q '\"event\":\"test\"'; echo 'heard it' >&2");
    let world = World::with(Slapd::builder()).await;
    let ask = async |notify: &str| {
        let config = Config::new(&format!("{}\n[notify]\n{notify}", world.config()));
        let output = config.ask(&["notify", "--test"]).await;
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let (code, text) = ask(&(webhook(&receiver) + &command)).await;
    assert_eq!(code, Some(0), "{text}");
    assert!(
        text.contains("ok    webhook, http://127.0.0.1:") && text.contains(": status 204\n"),
        "{text}"
    );
    assert!(
        text.contains("ok    command, /") && text.contains(": exit status: 0: heard it\n"),
        "{text}"
    );
    assert_eq!(receiver.got(1).await[0].json()["type"], "org.ldap-usher.test");

    receiver.conduct(Conduct::Refuse(410));
    let (code, text) = ask(&(webhook(&receiver) + &command)).await;
    assert_eq!(code, Some(1), "{text}");
    assert!(
        text.contains("fail  webhook, ") && text.contains("refuses it (status 410)"),
        "{text}"
    );
    let (code, text) = ask("").await;
    assert_eq!(code, Some(1));
    assert!(text.contains("set `url` or `command` in [notify]"), "{text}");
}

#[tokio::test]
async fn check_finds_receivers_that_cannot_work_and_sends_them_nothing() {
    let mut receiver = Receiver::start();
    let (_dir, command) = script("");
    let world = World::with(Slapd::builder()).await;
    let keys = |command: &str| {
        format!(
            "{}ping_url = \"{}\"\n{command}",
            webhook(&receiver),
            receiver.url()
        )
    };
    let check = async |keys: String| {
        let config = Config::new(&format!("{}\n[notify]\n{keys}", world.config()));
        let output = config.ask(&["check"]).await;
        let text = String::from_utf8(output.stdout).unwrap();
        let lines = text.lines().filter(|line| line.contains("  notify, "));
        (output.status.code(), lines.map(str::to_owned).collect::<Vec<_>>())
    };
    let (code, lines) = check(keys(&command)).await;
    assert_eq!((code, lines.len()), (Some(0), 3), "{lines:#?}");
    assert!(lines.iter().all(|line| line.starts_with("ok")), "{lines:#?}");
    for request in receiver.received().iter() {
        assert_eq!((request.method.as_str(), request.path.as_str()), ("HEAD", "/"));
    }
    let keys = keys("command = [\"/nowhere/on-usher-event\"]\n");
    receiver.down();
    let (code, lines) = check(keys).await;
    assert_eq!((code, lines.len()), (Some(1), 3), "{lines:#?}");
    assert!(
        lines
            .iter()
            .all(|line| line.starts_with("fail") && line.contains(" -> check ")),
        "{lines:#?}"
    );
    assert!(
        lines
            .iter()
            .any(|line| line.contains("/nowhere/on-usher-event cannot be run")),
        "{lines:#?}"
    );
}

#[tokio::test]
async fn secrets_of_receivers_are_taken_from_credentials_of_systemd() {
    let receiver = Receiver::start();
    let world = World::with(Slapd::builder()).await;
    let config = Config::new(&world.config());
    config.write("notify_url", &receiver.url());
    config.write("notify_secret", SECRET);
    let mut test = config.command();
    test.args(["notify", "--test"])
        .env("CREDENTIALS_DIRECTORY", config.dir());
    let output = test.output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(
        receiver.got(1).await[0]
            .headers
            .contains_key("ldap-usher-signature")
    );
}

#[tokio::test]
async fn a_configuration_that_cannot_work_is_refused_with_the_remedy() {
    let world = World::with(Slapd::builder()).await;
    for (keys, problem) in [
        (
            "events = [\"jioned\"]",
            "unknown event \"jioned\"; did you mean \"joined\"?",
        ),
        ("events = [\"everything\"]", "use one of \"joined\","),
        ("events = []", "write \"all\""),
        (
            "url = \"hooks.example.org/T0KEN-9c1f44\"",
            "is not the URL of a web server",
        ),
        (
            "ping_url = \"ftp://hooks.example.org\"",
            "is not the URL of a web server",
        ),
        ("command = \"on-event\"", "does not begin with a full path"),
        ("ping_interval = \"0s\"", "a time above zero"),
        (
            "proxy = \"https://proxy.example.org\"",
            "is not the URL of an HTTP proxy",
        ),
    ] {
        let config = Config::new(&format!("{}\n[notify]\n{keys}", world.config()));
        let output = config.ask(&["config", "show"]).await;
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{error}");
        assert!(
            error.contains(problem) && !error.contains(TOKEN),
            "{keys}: {error}"
        );
    }
}

#[tokio::test]
async fn the_ping_is_sent_while_all_is_well_and_stops_while_vaultwarden_is_down() {
    const GRACE: Duration = Duration::from_millis(300);
    let receiver = Receiver::start();
    let observer = Observer::new(["main".to_owned()], GRACE);
    let context = Context {
        store: store::in_memory().await.unwrap(),
        observer: observer.clone(),
        clock: Clock::system(),
        retry_now: RetryNow::default(),
        jitter: || 0.5,
    };
    let notify = config::Notify {
        events: vec!["joined"],
        url: None,
        secret: None,
        command: Vec::new(),
        ping_url: Some(receiver.url().into()),
        ping_interval: Duration::from_millis(50),
        tls: TlsOptions::default(),
        proxy: None,
    };
    let notifier = Notifier::open(&notify, context).await.unwrap();
    let (stop, mut running) = (CancellationToken::new(), JoinSet::new());
    for part in notifier.parts() {
        let (part, stop) = (Arc::new(part), stop.clone());
        running.spawn(async move { part.run(&stop).await });
    }
    // Nothing has been listed yet.
    sleep(GRACE).await;
    assert_eq!(receiver.received().len(), 0);
    let outcome = ListingOutcome::default();
    let took = Duration::ZERO;
    observer.listing_ended("main", Purpose::CatchUp, &Listing::Complete, &outcome, 0, took);
    assert_eq!(receiver.got(3).await[0].method, "GET");

    observer.vaultwarden_down(&"no route", Duration::ZERO);
    sleep(2 * GRACE).await;
    let before = receiver.received().len();
    sleep(A_WHILE).await;
    assert_eq!(receiver.received().len(), before);
    observer.vaultwarden_back();
    receiver.got(before + 3).await;
    stop.cancel();
    while running.join_next().await.is_some() {}
}

#[tokio::test]
async fn the_service_pings_as_soon_as_it_is_ready() {
    let receiver = Receiver::start();
    let world = telling(&format!(
        "ping_url = \"{}\"\nping_interval = \"100ms\"\n",
        receiver.url()
    ))
    .await;
    let received = receiver.got(3).await;
    assert!(received.iter().all(|request| request.method == "GET"));
    drop(world);
}
