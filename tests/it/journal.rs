//! The journal of what happens to people, and the story of one of them, on a real directory.

use serde_json::Value;

use crate::support::slapd::Slapd;
use crate::support::stand_in::{Fault, On};
use crate::support::world::{A_WHILE, World};

/// What a command prints to standard output; it must succeed.
async fn said(world: &World, args: &[&str]) -> String {
    let output = world.ask(args).await;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{error}");
    String::from_utf8(output.stdout).unwrap()
}

/// The events of the journal, each with its kind and address.
async fn events(world: &World, args: &[&str]) -> Vec<(String, String)> {
    let text = said(world, &[&["journal", "--json"], args].concat()).await;
    let word = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
    text.lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|event| (word(&event, "event"), word(&event, "address")))
        .collect()
}

fn of(kind: &str, uid: &str) -> (String, String) {
    (kind.to_owned(), format!("{uid}@example.org"))
}

#[tokio::test]
async fn somebody_who_joins_is_renamed_and_leaves_has_each_of_it_in_the_journal_once_and_in_order() {
    let world = World::running(Slapd::builder()).await;
    world.people().add_person("ann").await;
    world.tasks("done", 1).await;
    world.people().rename("ann", "anne").await;
    world.says(&["renamed or moved"], 1).await;
    world.people().delete("anne").await;
    world.says(&[" left "], 1).await;
    world.witness("bob").await;

    let expected = ["joined", "owed", "invited", "moved", "left"].map(|kind| of(kind, "ann"));
    assert_eq!(events(&world, &["--person", "ann@example.org"]).await, expected);
    let all = events(&world, &["--since", "1h"]).await;
    let anns = all.iter().filter(|(_, address)| address.starts_with("ann"));
    assert_eq!(anns.cloned().collect::<Vec<_>>(), expected);
    assert!(all.contains(&of("invited", "bob")), "{all:?}");
    assert_eq!(events(&world, &["--since", "0s"]).await, []);
}

#[tokio::test]
async fn explain_tells_what_happened_how_it_stands_and_what_comes_next() {
    let world = World::running(Slapd::builder()).await;
    world.people().add_person("ann").await;
    world.invites("ann").await;
    world
        .status_until("done", |status| status["tasks"]["done"] == 1)
        .await;
    let story = said(&world, &["explain", "ann@example.org"]).await;
    for part in [
        "uid=ann,",
        "became a member",
        "invited after ",
        "standing     a member",
        "directory    matches the filter, with the address ann@example.org",
        "vaultwarden  ann@example.org: invited, has not registered yet",
        "nothing is due",
    ] {
        assert!(story.contains(part), "{part:?} is missing in:\n{story}");
    }
    // The same by DN, written in another way, and by UUID; for machines.
    let by_dn = format!("UID = Ann , {}", world.server.people_base().replace(',', ", "));
    let json: Value = serde_json::from_str(&said(&world, &["explain", "--json", &by_dn]).await).unwrap();
    let uuid = json[0]["entry"].as_str().unwrap();
    let again: Value = serde_json::from_str(&said(&world, &["explain", "--json", uuid]).await).unwrap();
    assert_eq!(json, again);
    assert_eq!(json[0]["in_directory"]["state"], "member");
    assert_eq!(json[0]["in_vaultwarden"][0]["state"], "invited");
    assert_eq!(json[0]["invitations"][0]["state"], "done");

    // Somebody whom nobody knows is an error that says what to do.
    let output = world.ask(&["explain", "zoe@example.org"]).await;
    assert_eq!(output.status.code(), Some(1));
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        error.contains("no one is known by zoe@example.org") && error.contains("check"),
        "{error}"
    );
    let output = world.ask(&["explain", "zoe"]).await;
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("neither an address"), "{error}");
}

#[tokio::test]
async fn explain_says_why_an_invitation_waits_and_that_a_server_cannot_be_asked() {
    let mut world = World::running(Slapd::builder()).await;
    let refusal = Fault::Error(500, "SMTP 5xx error: permanent error (550): no such user");
    world.vault.fail(On::Invite, Some("ann@example.org"), 9, refusal);
    world.people().add_person("ann").await;
    world.tasks("quarantined", 1).await;
    let story = said(&world, &["explain", "ann@example.org"]).await;
    assert!(story.contains("the invitation is in quarantine"), "{story}");
    assert!(
        story.contains("waits for `ldap-usher retry ann@example.org`"),
        "{story}"
    );

    world.stop().await;
    world.server.stop().await;
    let story = said(&world, &["explain", "ann@example.org"]).await;
    assert!(story.contains("directory    cannot be queried: "), "{story}");
    world.server.restart().await;
}

#[tokio::test]
async fn a_listing_of_very_many_is_one_line_and_one_for_each_who_is_held() {
    let world = World::with(Slapd::builder()).await;
    let mut world = world.tables("[limits]\ninvites_per_listing = 10");
    world.people().add_many("p", 2100).await;
    world.start().await;
    world.tasks("held", 2100).await;
    let events = events(&world, &[]).await;
    let count = |kind: &str| events.iter().filter(|(event, _)| event == kind).count();
    assert_eq!((count("listed"), count("held")), (1, 2100), "of {}", events.len());
    assert!(
        (1000..2000).contains(&count("joined")),
        "{} joined",
        count("joined")
    );
    let listed = said(&world, &["journal"]).await;
    assert!(
        listed.contains("listing ended: 2100 joined, 0 left"),
        "{}",
        listed.len()
    );
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(world.vault.invited(), Vec::<String>::new());
}
