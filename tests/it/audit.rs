//! What a stream cannot tell or tells wrongly, and the listing beside it that puts it right.

use std::time::Duration;

use serde_json::Value;

use crate::support::slapd::{Builder, Slapd, person_ldif};
use crate::support::world::World;

/// What the log says of each repair.
const REPAIRED: &str = "the audit found a change that the stream did not report";

/// A world in which an audit is due all the time.
async fn audited_often(slapd: Builder) -> World {
    World::with(slapd).await.keys("audit_interval = \"1s\"")
}

/// How many repairs of a kind `/metrics` counts.
async fn repairs(world: &World, kind: &str) -> u64 {
    let name = format!("ldap_usher_audit_repairs_total{{directory=\"main\",kind=\"{kind}\"}} ");
    let metrics = world.metrics().await;
    let value = metrics.lines().find_map(|line| line.strip_prefix(&name));
    value.map_or(0, |value| value.parse().unwrap())
}

fn done(status: &Value) -> u64 {
    status["tasks"]["done"].as_u64().unwrap()
}

#[tokio::test]
async fn an_audit_that_finds_nothing_changes_nothing() {
    let mut world = audited_often(Slapd::builder().people(3)).await;
    world.start().await;
    world.audited().await;
    world.witness("ann").await;
    world.audited().await;
    assert_eq!(world.lines(&[REPAIRED]), Vec::<String>::new());
    assert_eq!(repairs(&world, "joined").await, 0);
    world
        .invited_once(&["person1", "person2", "person3", "ann"])
        .await;
}

#[tokio::test]
async fn someone_imported_behind_the_back_of_slapd_is_found_and_invited() {
    let mut world = audited_often(Slapd::builder().people(1)).await;
    world.start().await;
    world.server.slapadd(&person_ldif("ann"));
    world.invites("ann").await;
    let line = world.says(&["WARN", REPAIRED, "kind=\"joined\""], 1).await;
    assert!(line.contains("uid=ann,"), "{line}");
    assert_eq!(repairs(&world, "joined").await, 1);
    world.invited_once(&["person1", "ann"]).await;
    world.members(2).await;
}

#[tokio::test]
async fn deletions_that_a_crash_of_slapd_swallowed_are_found() {
    // Without checkpoints slapd forgets in a crash that it went on since its last clean start.
    let mut world = audited_often(Slapd::builder().people(3).checkpoint(false)).await;
    world.start().await;
    world.stop().await;
    world.people().delete("person1").await;
    world.people().add_person("ann").await;
    world.server.kill9().await;
    world.server.restart().await;

    world.start().await;
    let line = world.says(&["listing ended", "catch-up"], 1).await;
    assert!(
        line.contains("result=\"changes\"") && line.contains("left=0"),
        "slapd told more than it used to: {line}"
    );
    let line = world.says(&["WARN", REPAIRED, "kind=\"left\""], 1).await;
    assert!(line.contains("uid=person1,"), "{line}");
    assert_eq!(repairs(&world, "left").await, 1);
    world.members(3).await;
    world
        .invited_once(&["person1", "person2", "person3", "ann"])
        .await;
}

/// Three people were invited, and behind the back of the service one was changed, one deleted and one added.
async fn behind(slapd: Builder) -> World {
    let mut world = audited_often(slapd.people(3)).await;
    world.start().await;
    world.invited_once(&["person1", "person2", "person3"]).await;
    world.stop().await;
    world.people().set_description("person1", "a new desk").await;
    world.people().delete("person2").await;
    world.people().add_person("ann").await;
    world
}

/// The members are right, and everyone has had just one invitation.
async fn is_right_again(world: &World) {
    world.invites("ann").await;
    world.members(3).await;
    world.audited().await;
    world.members(3).await;
    let mut invited = world.vault.invited();
    invited.sort();
    assert_eq!(
        invited,
        ["ann", "person1", "person2", "person3"].map(|uid| format!("{uid}@example.org"))
    );
    assert_eq!(world.vault.mailed().len(), 4);
}

#[tokio::test]
async fn a_reader_that_may_not_see_entry_csn_is_not_told_of_newcomers_whom_the_audit_finds() {
    let mut world = behind(Slapd::builder().hide_from_reader("entryCSN")).await;
    world.start().await;
    world.says(&[REPAIRED, "kind=\"joined\"", "uid=ann,"], 1).await;
    is_right_again(&world).await;
}

#[tokio::test]
async fn a_reader_that_sees_neither_entry_csn_nor_entry_uuid_learns_which_right_is_missing() {
    let blind = Slapd::builder()
        .hide_from_reader("entryCSN")
        .hide_from_reader("entryUUID");
    let mut world = behind(blind).await;
    world.start().await;
    // slapd says that whoever was changed is gone, and the audit cannot tell who is there.
    world.says(&["INFO left", "uid=person1,"], 1).await;
    let line = world.says(&["WARN", "a listing was cut short"], 1).await;
    assert!(
        line.contains("without a readable entryUUID") && line.contains("let the bind account read"),
        "{line}"
    );
    world.server.restart_with(|_| Slapd::builder()).await;
    world
        .says(&[REPAIRED, "kind=\"rejoined\"", "uid=person1,"], 1)
        .await;
    is_right_again(&world).await;
}

#[tokio::test]
async fn a_size_limit_is_named_with_its_remedy_and_lifting_it_needs_no_restart() {
    let slapd = Slapd::builder().people(30).size_limit(Some(10));
    let mut world = World::with(slapd).await;
    world.start_only();
    let remedy = "size=unlimited";
    let line = world
        .says(&["WARN", "the size limit was reached", remedy], 1)
        .await;
    assert!(line.contains(&world.server.url()), "{line}");
    let status = world
        .status_until("ten invitations", |status| done(status) == 10)
        .await;
    assert_eq!(status["members"], 10);
    let error = status["directories"][0]["error"].as_str().unwrap();
    assert!(error.contains("size limit") && error.contains(remedy), "{error}");

    world
        .server
        .restart_with(|options| options.size_limit(None))
        .await;
    world
        .says_within(
            &["listing ended", "result=\"complete\""],
            1,
            Duration::from_secs(60),
        )
        .await;
    world.members(30).await;
    world
        .status_until("thirty invitations", |status| done(status) == 30)
        .await;
    assert_eq!(world.vault.invited().len(), 30);
    let status = world.status_json().await;
    assert_eq!(status["directories"][0]["error"], Value::Null, "{status:#}");
}

#[tokio::test]
async fn an_audit_cut_short_by_a_size_limit_makes_nobody_a_leaver() {
    let mut world = audited_often(Slapd::builder().people(30)).await;
    world.start().await;
    world
        .server
        .restart_with(|options| options.size_limit(Some(10)))
        .await;
    let words = [
        "WARN",
        "a listing was cut short",
        "purpose=\"audit\"",
        "the size limit was reached",
    ];
    world.says(&words, 2).await;
    assert_eq!(world.lines(&[REPAIRED]), Vec::<String>::new());
    // The stream is not counted by the limit and goes on.
    world.people().delete("person1").await;
    world.witness("ann").await;
    world.members(30).await;
    assert_eq!(world.vault.invited().len(), 31);
}

#[tokio::test]
async fn a_server_without_syncprov_is_polled() {
    let slapd = Slapd::builder().people(2).no_syncprov();
    let world = World::with(slapd).await;
    let mut world = world.keys("poll_interval = \"1s\"");
    world.start().await;
    assert_eq!(world.status_json().await["directories"][0]["stream"], "poll");
    world.witness("ann").await;
    world.people().delete("person1").await;
    world.says(&["INFO left", "uid=person1,"], 1).await;
    world.members(2).await;
    world.invited_once(&["person1", "person2", "ann"]).await;
}
