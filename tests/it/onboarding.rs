//! From a change in the directory to an invitation: the built program, a real slapd, a stand-in for Vaultwarden.

use std::time::{Duration, Instant};

use crate::support::slapd::{Slapd, person_ldif};
use crate::support::world::{World, table};

#[tokio::test]
async fn the_first_run_invites_everyone_once_and_a_second_one_nobody() {
    let mut world = World::running(Slapd::builder().people(3)).await;
    let everyone = ["person1", "person2", "person3"];
    world.invited_once(&everyone).await;
    let status = world.status_json().await;
    assert_eq!(status["members"], 3);
    assert_eq!(status["tasks"]["done"], 3);
    let directory = &status["directories"][0];
    assert_eq!(directory["name"], "main");
    assert_eq!(directory["stream"], "syncrepl");
    assert_eq!(directory["connected"], true);
    assert!(directory["cursor_age_seconds"].is_u64(), "{status:#}");

    world.restart().await;
    world.invited_once(&everyone).await;
}

#[tokio::test]
async fn whoever_is_added_is_invited_within_a_second() {
    let world = World::running(Slapd::builder()).await;
    let mut delays = Vec::new();
    for uid in ["ann", "bob", "eve"] {
        let begun = Instant::now();
        world.witness(uid).await;
        delays.push(begun.elapsed());
    }
    // The one in the middle: the machine may be busy with other tests once.
    delays.sort();
    assert!(delays[1] < Duration::from_secs(1), "{delays:?}");
    world.invited_once(&["ann", "bob", "eve"]).await;
    let metrics = world.metrics().await;
    assert!(
        metrics.contains("ldap_usher_invite_delay_seconds_count 3"),
        "{metrics}"
    );
}

#[tokio::test]
async fn a_change_that_means_nothing_is_no_reason_to_ask_vaultwarden() {
    let world = World::running(Slapd::builder().people(1)).await;
    world.people().set_description("person1", "a new desk").await;
    world.people().set_mail("person1", "Person1@Example.ORG").await;
    world.witness("ann").await;
    world.invited_once(&["person1", "ann"]).await;
    assert_eq!(world.status_json().await["members"], 2);
}

#[tokio::test]
async fn who_is_renamed_or_moved_within_the_base_stays_the_same_person() {
    let mut world = World::with(Slapd::builder().people(1)).await;
    world.directory = world.directory.replace("ou=people,", "");
    world.start().await;
    let people = world.people();
    people.rename("person1", "chief").await;
    let line = world.says(&["renamed or moved"], 1).await;
    let (from, to) = (people.dn("person1"), people.dn("chief"));
    assert!(
        line.contains(&format!("from=\"{from}\"")) && line.contains(&format!("to=\"{to}\"")),
        "{line}"
    );

    // The new name was recorded, so that the next change starts from it.
    world.restart().await;
    people.move_to("chief", "former").await;
    let line = world.says(&["renamed or moved"], 1).await;
    let moved = people.dn_in("former", "chief");
    assert!(
        line.contains(&format!("from=\"{to}\"")) && line.contains(&format!("to=\"{moved}\"")),
        "{line}"
    );
    world.witness("ann").await;
    world.invited_once(&["person1", "ann"]).await;
    assert_eq!(world.status_json().await["members"], 2);
}

#[tokio::test]
async fn who_moves_into_the_base_is_invited_and_who_moves_out_or_is_deleted_has_left() {
    let world = World::running(Slapd::builder().people(3)).await;
    let people = world.people();
    people.move_to("person1", "former").await;
    people.delete("person2").await;
    world.says(&["INFO left", "uid=person1,"], 1).await;
    world.says(&["INFO left", "uid=person2,"], 1).await;
    world.members(1).await;

    // Nobody has heard of her yet.
    let ann = person_ldif("ann").replace("ou=people", "ou=former");
    world.server.slapadd(&ann);
    people.move_between("ann", "former", "people").await;
    world.invites("ann").await;
    world.members(2).await;
    world
        .invited_once(&["person1", "person2", "person3", "ann"])
        .await;
}

#[tokio::test]
async fn who_leaves_before_they_were_invited_is_not_invited() {
    let world = World::with(Slapd::builder().people(2)).await;
    let mut world = world.tables("[limits]\ninvites_per_listing = 1");
    world.start().await;
    world
        .status_until("two held", |status| status["tasks"]["held"] == 2)
        .await;
    world.people().delete("person1").await;
    world
        .status_until("one cancelled", |status| {
            status["tasks"]["cancelled"] == 1 && status["members"] == 1
        })
        .await;
    let approved = world.service().ask(&["approve", "--all", "--yes"]).await;
    assert!(approved.status.success(), "{approved:?}");
    world.invites("person2").await;
    world.invited_once(&["person2"]).await;
}

#[tokio::test]
async fn who_has_no_address_is_invited_as_soon_as_one_appears() {
    let world = World::running(Slapd::builder()).await;
    world.people().add_person_with("ann", None).await;
    let line = world.says(&["cannot be invited", "uid=ann,"], 1).await;
    assert!(line.contains("has no mail"), "{line}");
    let status = world
        .status_until("one without address", |status| status["without_address"] == 1)
        .await;
    assert_eq!(status["members"], 0);

    world.people().set_mail("ann", "ann@example.org").await;
    world.invites("ann").await;
    world.invited_once(&["ann"]).await;
    let status = world.status_json().await;
    assert_eq!(
        (&status["members"], &status["without_address"]),
        (&1.into(), &0.into())
    );
}

#[tokio::test]
async fn an_address_that_cannot_be_used_is_named_with_its_reason_and_nobody_else_waits_for_it() {
    let world = World::running(Slapd::builder()).await;
    world
        .people()
        .add_person_with("ann", Some("ann at example.org"))
        .await;
    world.witness("bob").await;
    let line = world.says(&["cannot be invited", "uid=ann,"], 1).await;
    assert!(
        line.contains("ann at example.org") && line.contains("is not an e-mail address"),
        "{line}"
    );
    world.invited_once(&["bob"]).await;
    let status = world.status_json().await;
    assert_eq!(
        (&status["members"], &status["without_address"]),
        (&1.into(), &1.into())
    );
}

#[tokio::test]
async fn two_entries_with_one_address_are_one_invitation_and_one_warning_with_both() {
    let world = World::running(Slapd::builder().people(1)).await;
    world
        .people()
        .add_person_with("double", Some("person1@example.org"))
        .await;
    let line = world.says(&["WARN", "the same address"], 1).await;
    assert!(
        line.contains("uid=person1,") && line.contains("uid=double,"),
        "{line}"
    );
    world.witness("ann").await;
    world.invited_once(&["person1", "ann"]).await;
    // The one who was invited goes; the other one is still there, and invited.
    world.people().delete("person1").await;
    world.members(2).await;
    world.witness("bob").await;
    world.invited_once(&["person1", "ann", "bob"]).await;
}

#[tokio::test]
async fn a_changed_address_is_reported_and_not_invited() {
    let world = World::running(Slapd::builder().people(1)).await;
    world.people().set_mail("person1", "married@example.org").await;
    let line = world.says(&["the address changed"], 1).await;
    assert!(
        line.contains("from=person1@example.org") && line.contains("to=married@example.org"),
        "{line}"
    );
    world.witness("ann").await;
    world.invited_once(&["person1", "ann"]).await;
    assert_eq!(world.status_json().await["members"], 2);
}

#[tokio::test]
async fn a_changed_address_is_invited_where_the_administrator_wants_that() {
    let world = World::with(Slapd::builder().people(1)).await;
    let mut world = world.tables("[invite]\non_address_change = \"invite\"");
    world.start().await;
    world.invites("person1").await;
    world.people().set_mail("person1", "married@example.org").await;
    world.invites("married").await;
    world.invited_once(&["person1", "married"]).await;
    assert_eq!(world.status_json().await["members"], 1);
}

#[tokio::test]
async fn two_directories_feed_one_vaultwarden() {
    let branch = Slapd::builder().start().await;
    branch.people().add_person("bob").await;
    // She is in both.
    branch.people().add_person("person1").await;
    let mut world = World::with(Slapd::builder().people(1)).await;
    world.directory += &table(&branch, "branch", "");
    world.start_only();
    world.caught_up(2).await;
    world.invites("bob").await;
    world
        .says(&["WARN", "the same address", "person1@example.org"], 1)
        .await;
    branch.people().add_person("eve").await;
    world.invites("eve").await;
    world.witness("ann").await;
    world.invited_once(&["person1", "bob", "eve", "ann"]).await;
    let status = world.status_json().await;
    let members = |n: usize| status["directories"][n]["members"].as_u64();
    assert_eq!((members(0), members(1)), (Some(2), Some(3)), "{status:#}");
}

#[tokio::test]
async fn who_comes_back_is_asked_for_again_and_keeps_the_account_that_is_there() {
    let world = World::running(Slapd::builder().people(1)).await;
    world.invites("person1").await;
    world.people().move_to("person1", "former").await;
    world.members(0).await;
    world.people().move_between("person1", "former", "people").await;
    world.says(&["joined again", "uid=person1,"], 1).await;
    world
        .says(&["already has an account", "person1@example.org"], 1)
        .await;
    world.members(1).await;
    assert_eq!(world.vault.invited(), ["person1@example.org"]);
    assert_eq!(world.vault.mailed(), ["person1@example.org"]);
}

#[tokio::test]
async fn ldaps_with_a_ca_of_ones_own_leads_in() {
    let mut world = World::with(Slapd::builder().tls().people(1)).await;
    let keys = format!("ca_file = {:?}", world.server.ca_file());
    world.directory =
        table(&world.server, "main", &keys).replace(&world.server.url(), &world.server.ldaps_url());
    world.start().await;
    world.says(&["connected to the directory", "ldaps://"], 1).await;
    world.witness("ann").await;
    world.invited_once(&["person1", "ann"]).await;
}

#[tokio::test]
async fn starttls_with_a_ca_in_der_leads_in() {
    // Nothing but the root DSE is answered without encryption.
    let slapd = Slapd::builder().tls().global_line("security ssf=1").people(1);
    let world = World::with(slapd).await;
    let keys = format!("starttls = true\nca_file = {:?}", world.server.ca_der_file());
    let mut world = world.keys(&keys);
    world.start().await;
    world.invited_once(&["person1"]).await;
}

#[tokio::test]
async fn ldapi_asks_as_the_unix_user_of_the_service() {
    let mut world = World::with(Slapd::builder().people(1)).await;
    world.directory = format!(
        "[[directory]]\nurl = \"{}\"\nsasl = \"external\"\nbase_dn = \"{}\"",
        world.server.ldapi_url(),
        world.server.people_base()
    );
    world.start().await;
    world.witness("ann").await;
    world.invited_once(&["person1", "ann"]).await;
}
