//! `[accept]`: whom we may invite at all, on a real directory.

use tokio::time::sleep;

use crate::support::slapd::Slapd;
use crate::support::world::{A_WHILE, PATIENCE, World};

/// Ann at example.org, Bob at example.net, and Eve at example.org, who is denied.
async fn three() -> World {
    let world = World::with(Slapd::builder())
        .await
        .tables("[accept]\ndomains = [\"example.org\", \".example.org\"]\ndeny = \"eve@example.org\"");
    let people = world.people();
    people.add_person("ann").await;
    people.add_person_with("bob", Some("bob@example.net")).await;
    people.add_person("eve").await;
    world
}

/// What a command prints.
async fn said(world: &World, args: &[&str]) -> String {
    let output = world.ask(args).await;
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn only_accepted_addresses_are_invited_and_the_story_of_the_others_says_why() {
    let mut world = three().await;
    world.start().await;
    world.witness("carl").await;
    world.invited(["ann", "carl"]).await;
    let status = world.status_json().await;
    assert_eq!(
        (&status["members"], &status["without_address"]),
        (&2.into(), &2.into())
    );
    for (uid, why) in [
        ("bob", "the domain example.net is not in [accept] domains"),
        ("eve", "eve@example.org is in [accept] deny"),
    ] {
        let dn = world.people().dn(uid);
        world.says(&["cannot be invited", &dn, why], 1).await;
        let story = said(&world, &["explain", &dn]).await;
        assert_eq!(story.matches(why).count(), 3, "{story}");
        let check = world.ask(&["check"]).await;
        let check = String::from_utf8(check.stdout).unwrap();
        assert!(check.contains(&format!("{dn} ({why})")), "{check}");
        assert!(
            check.contains("check `mail_attributes` (mail) and [accept]"),
            "{check}"
        );
        let journal = said(&world, &["journal", "--person", &world.people().dn(uid)]).await;
        assert!(journal.contains(why), "{journal}");
    }

    // Another value of the same entry is accepted.
    world.people().add_mail("bob", "bob@it.example.org").await;
    assert!(world.vault.wait_for_invite("bob@it.example.org", PATIENCE).await);
    sleep(A_WHILE).await;
    assert_eq!(world.vault.invitations(), 3);
}

#[tokio::test]
async fn after_a_change_everyone_is_decided_on_again_and_nobody_has_left_by_it() {
    let mut world = three().await;
    world.start().await;
    world.invites("ann").await;
    world.tasks("done", 1).await;

    world.stop().await;
    world.tables = "[accept]\ndomains = \"example.net\"".into();
    world.start().await;
    assert!(world.vault.wait_for_invite("bob@example.net", PATIENCE).await);
    let status = world.tasks("done", 2).await;
    assert_eq!(
        (&status["members"], &status["without_address"]),
        (&1.into(), &2.into())
    );

    world.stop().await;
    world.tables = String::new();
    world.start().await;
    world.invites("eve").await;
    world.members(3).await;
    world.tasks("done", 3).await;
    let journal = said(&world, &["journal", "--json"]).await;
    assert!(!journal.contains("\"event\":\"left\""), "{journal}");
    let story = said(&world, &["explain", &world.people().dn("ann")]).await;
    let lost = "can no longer be invited at this address: the domain example.org is not in [accept] domains";
    assert!(story.contains(lost), "{story}");
    let mut mailed = world.vault.mailed();
    mailed.sort();
    assert_eq!(mailed, ["ann@example.org", "bob@example.net", "eve@example.org"]);
}
