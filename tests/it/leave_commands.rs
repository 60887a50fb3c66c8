//! The commands that concern leavers and single people, on a real slapd and a stand-in for Vaultwarden, without a terminal.

use std::process::Output;

use serde_json::{Value, json};

use crate::support::slapd::Slapd;
use crate::support::world::{PATIENCE, World};

/// Leavers are disabled at once.
const DISABLE: &str = "[leave]\naction = \"disable\"\ngrace = \"0s\"";
/// Nobody is touched without an approval.
const HOLD: &str = "[limits]\nleavers_per_listing = 0";

async fn world(tables: &[&str]) -> World {
    let mut world = World::with(Slapd::builder()).await;
    for table in tables {
        world = world.tables(table);
    }
    world
}

fn read(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_owned()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// Runs a command that must succeed; returns what it prints.
async fn done(world: &World, args: &[&str]) -> String {
    let (code, stdout, stderr) = read(&world.ask(args).await);
    assert_eq!(code, Some(0), "{args:?}: {stdout}{stderr}");
    stdout
}

async fn json(world: &World, args: &[&str]) -> Value {
    serde_json::from_str(&done(world, args).await).unwrap()
}

/// Runs `sync`; returns its exit code.
async fn sync(world: &World) -> Option<i32> {
    world.ask(&["sync"]).await.status.code()
}

/// Ann, Bob and Cy were invited, and Ann and Bob have left, which a limit holds.
async fn two_held() -> World {
    let world = world(&[DISABLE, HOLD]).await;
    for uid in ["ann", "bob", "cy"] {
        world.people().add_person(uid).await;
    }
    assert_eq!(sync(&world).await, Some(0));
    for uid in ["ann", "bob"] {
        world.people().delete(uid).await;
    }
    world
}

#[tokio::test]
async fn held_leavers_are_planned_shown_approved_and_discarded() {
    let world = two_held().await;
    let plan = json(&world, &["plan", "--json"]).await;
    let held = plan
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["action"] == "hold");
    let held: Vec<_> = held.map(|entry| entry["email"].as_str().unwrap()).collect();
    assert_eq!(held, ["ann@example.org", "bob@example.org"]);
    assert_eq!(sync(&world).await, Some(4));
    assert_eq!(world.status_json().await["leavers"]["held"], 2);

    let (code, stdout, stderr) = read(&world.ask(&["approve", "--all"]).await);
    assert_eq!(code, Some(1));
    assert!(
        stdout.starts_with("2 accounts of leavers to be disabled:\n  ann@example.org  uid=ann,"),
        "{stdout}"
    );
    assert!(stderr.contains("there is no terminal"), "{stderr}");

    let discarded = done(&world, &["discard", "bob@example.org", "--yes"]).await;
    assert!(
        discarded.starts_with("1 account of a leaver not to be disabled:\n"),
        "{discarded}"
    );
    assert!(discarded.ends_with("\n1 discarded\n"), "{discarded}");
    let approved = done(&world, &["approve", "--all", "--yes"]).await;
    assert!(approved.ends_with("\n1 released\n"), "{approved}");
    let plan = json(&world, &["plan", "--json"]).await;
    let disabled = plan
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["action"] == "disable");
    assert_eq!(
        disabled.map(|entry| &entry["email"]).collect::<Vec<_>>(),
        ["ann@example.org"]
    );
    assert_eq!(sync(&world).await, Some(0));
    assert_eq!(
        world.vault.all_changes(),
        [("ann@example.org".to_owned(), "disable")]
    );
}

#[tokio::test]
async fn explain_tells_who_has_the_account_in_care_and_what_happens_to_it() {
    let world = two_held().await;
    sync(&world).await;
    let of = async |address| json(&world, &["explain", "--json", address]).await[0].clone();
    let cy = of("cy@example.org").await;
    assert_eq!(cy["accounts"][0]["care"], "invited");
    let next = cy["next"].to_string();
    assert!(
        next.contains("if the person leaves, the account cy@example.org is disabled after 0s"),
        "{next}"
    );
    let ann = of("ann@example.org").await;
    assert_eq!(ann["actions"][0]["action"], "disable");
    assert_eq!(ann["actions"][0]["state"], "held");
    let next = ann["next"].to_string();
    assert!(
        next.contains("waits for `ldap-usher approve ann@example.org` before it is disabled"),
        "{next}"
    );
}

#[tokio::test]
async fn whoever_has_not_registered_is_listed_with_the_state_of_the_link() {
    let world = world(&[]).await;
    assert!(
        !world.ask(&["status", "--stale"]).await.status.success(),
        "there is no state"
    );
    for uid in ["ann", "bob"] {
        world.people().add_person(uid).await;
    }
    sync(&world).await;
    assert_eq!(world.status_json().await["unregistered"], 2);
    let stale = json(&world, &["status", "--stale", "--json"]).await;
    let addresses: Vec<_> = stale
        .as_array()
        .unwrap()
        .iter()
        .map(|person| &person["address"])
        .collect();
    assert_eq!(addresses.len(), 2, "{stale}");
    assert_eq!(stale[0]["reminders"], 0);
    let text = done(&world, &["status", "--stale"]).await;
    assert!(
        text.ends_with("2 invited and not registered yet, as far as is known\n"),
        "{text}"
    );
}

#[tokio::test]
async fn adopt_takes_existing_accounts_of_members_into_care_and_mails_nobody() {
    let world = world(&[DISABLE]).await;
    world.people().add_person("ann").await;
    world.people().add_person("bob").await;
    world
        .vault
        .preload(["ann@example.org".to_owned(), "else@example.org".to_owned()]);
    sync(&world).await;
    let who = json!([{
        "address": "ann@example.org",
        "directory": "main",
        "dn": world.people().dn("ann"),
    }]);
    assert_eq!(json(&world, &["adopt", "--plan", "--json"]).await, who);
    assert_eq!(
        json(&world, &["adopt", "--plan", "--json"]).await,
        who,
        "a plan changes nothing"
    );
    let (code, _, stderr) = read(&world.ask(&["adopt"]).await);
    assert!(
        code == Some(1) && stderr.contains("there is no terminal"),
        "{stderr}"
    );
    let text = done(&world, &["adopt", "--yes"]).await;
    assert!(text.ends_with("\n1 adopted\n"), "{text}");
    assert_eq!(
        done(&world, &["adopt", "--yes"]).await,
        "every account of a member is in our care already\n"
    );
    world.people().delete("ann").await;
    sync(&world).await;
    assert_eq!(world.vault.changes("ann@example.org"), ["disable"]);
    assert_eq!(world.vault.mails("ann@example.org"), 0);
}

#[tokio::test]
async fn one_person_is_synchronised_without_a_service_and_nobody_else() {
    let world = world(&[DISABLE]).await;
    world.people().add_person("ann").await;
    world.people().add_person("bob").await;
    let told = done(&world, &["sync", "--person", "ann@example.org"]).await;
    assert!(
        told.contains("matches the filter, with the address ann@example.org"),
        "{told}"
    );
    assert!(told.contains("ann@example.org: invited, "), "{told}");
    assert_eq!(world.vault.invited(), ["ann@example.org"]);
    world.people().delete("ann").await;
    let told = done(&world, &["sync", "--person", &world.people().dn("ann")]).await;
    assert!(
        told.contains("ann@example.org: the account was disabled"),
        "{told}"
    );
    assert_eq!(world.vault.changes("ann@example.org"), ["disable"]);
    let (code, _, stderr) = read(&world.ask(&["sync", "--person", "zoe@example.org"]).await);
    assert!(
        code == Some(1) && stderr.contains("no one is known by zoe@example.org"),
        "{stderr}"
    );
}

#[tokio::test]
async fn one_person_is_synchronised_and_invited_beside_the_service() {
    let mut world = world(&["[invite]\nhold = \"all\""]).await;
    world.start().await;
    world.people().add_person("ann").await;
    world.tasks("held", 1).await;
    let told = read(&world.ask(&["sync", "--person", "ann@example.org"]).await);
    assert_eq!(told.0, Some(4), "{told:?}");
    let told = done(&world, &["invite", "ann@example.org"]).await;
    assert!(
        told.contains("the invitation is due: an administrator approved it"),
        "{told}"
    );
    assert!(told.contains("ann@example.org: invited, "), "{told}");
    assert!(world.vault.wait_for_invite("ann@example.org", PATIENCE).await);
    let (code, _, stderr) = read(&world.ask(&["invite", "zoe@example.org"]).await);
    assert!(
        code == Some(1) && stderr.contains("no member has the address zoe@example.org"),
        "{stderr}"
    );
}

#[tokio::test]
async fn held_newcomers_are_approved_by_their_group() {
    let mut world = world(&["[invite]\nhold = \"all\""]).await;
    for uid in ["ann", "bob"] {
        world.people().add_person(uid).await;
    }
    let group = "cn=staff,ou=groups,dc=example,dc=org";
    world.server.slapadd(&format!(
        "dn: {group}\ncn: staff\nobjectClass: groupOfNames\nmember: {}\n\n",
        world.people().dn("ann")
    ));
    world.start().await;
    world.tasks("held", 2).await;
    let (code, _, stderr) = read(
        &world
            .ask(&["approve", "--group", "cn=none,dc=example,dc=org", "--yes"])
            .await,
    );
    assert!(
        code == Some(1) && stderr.contains("no configured directory has a group"),
        "{stderr}"
    );
    let approved = done(&world, &["approve", "--group", group, "--yes"]).await;
    assert!(
        approved.contains("ann@example.org") && !approved.contains("bob@"),
        "{approved}"
    );
    world.invites("ann").await;
    world.tasks("held", 1).await;
}

#[tokio::test]
async fn newcomers_with_an_account_need_no_approval() {
    let world = world(&["[invite]\nhold = \"all\""]).await;
    world.people().add_person("ann").await;
    world.people().add_person("bob").await;
    world.vault.preload(["ann@example.org"]);
    assert_eq!(sync(&world).await, Some(4));
    let status = json(&world, &["status", "--json"]).await;
    assert_eq!(
        (&status["tasks"]["held"], &status["tasks"]["done"]),
        (&json!(1), &json!(1))
    );
    assert_eq!(world.vault.invitations(), 0);
}

#[tokio::test]
async fn whoever_is_forgotten_is_new_and_a_removed_directory_makes_leavers_only_on_request() {
    let mut world = world(&[DISABLE]).await;
    for uid in ["ann", "bob"] {
        world.people().add_person(uid).await;
    }
    sync(&world).await;
    let (code, stdout, _) = read(&world.ask(&["forget", "ann@example.org"]).await);
    assert!(code == Some(1) && stdout.contains("counts as new"), "{stdout}");
    assert!(
        done(&world, &["forget", "ann@example.org", "--yes"])
            .await
            .ends_with("1 forgotten\n")
    );
    assert_eq!(
        json(&world, &["explain", "--json", "ann@example.org"]).await,
        json!([])
    );
    assert_eq!(world.status_json().await["members"], 1);

    world.directory = world
        .directory
        .replace("name = \"main\"", "name = \"other\"")
        .replace("ou=people", "ou=former");
    sync(&world).await;
    assert_eq!(
        world.vault.all_changes(),
        [],
        "a removed directory makes nobody a leaver"
    );
    let (code, stdout, _) = read(&world.ask(&["forget", "--directory", "main"]).await);
    assert_eq!(code, Some(1));
    assert!(
        stdout.starts_with("1 person of the directory main would count as having left"),
        "{stdout}"
    );
    assert!(
        done(&world, &["forget", "--directory", "main", "--yes"])
            .await
            .ends_with("1 left\n")
    );
    let journal = done(&world, &["journal"]).await;
    assert!(journal.contains("left: an administrator declared"), "{journal}");
    sync(&world).await;
    assert_eq!(
        world.vault.all_changes(),
        [("bob@example.org".to_owned(), "disable")]
    );
}
