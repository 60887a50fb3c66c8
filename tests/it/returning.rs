//! People who leave and come back, addresses that pass from one person to another, and directories that are renamed.

use tokio::time::sleep;

use crate::support::slapd::Slapd;
use crate::support::world::{A_WHILE, World, table};

#[tokio::test]
async fn an_address_is_invited_again_for_somebody_new_once_its_person_and_their_account_are_gone() {
    let mut world = World::running(Slapd::builder()).await;
    world.witness("ann").await;
    world.people().delete("ann").await;
    world.says(&["left", "uid=ann"], 1).await;
    world.vault.delete(["ann@example.org"]);
    world
        .people()
        .add_person_with("anna", Some("ann@example.org"))
        .await;
    world.tasks("done", 1).await;
    assert_eq!(world.vault.mailed(), ["ann@example.org"; 2]);

    // The same while nobody listens.
    world.stop().await;
    world.people().delete("anna").await;
    world.vault.delete(["ann@example.org"]);
    world
        .people()
        .add_person_with("annette", Some("ann@example.org"))
        .await;
    world.start().await;
    world.invites("ann").await;
    world.tasks("done", 1).await;
    assert_eq!(world.vault.mailed(), ["ann@example.org"; 3]);
}

#[tokio::test]
async fn somebody_who_comes_back_to_an_account_that_is_there_is_not_mailed_again() {
    let world = World::running(Slapd::builder()).await;
    world.witness("ann").await;
    world.people().delete("ann").await;
    world.says(&["left", "uid=ann"], 1).await;
    world.people().add_person("ann").await;
    world
        .says(&["already has an account", "ann@example.org"], 1)
        .await;
    assert_eq!(world.vault.mailed(), ["ann@example.org"]);
}

#[tokio::test]
async fn whoever_writes_their_own_address_invites_no_strangers() {
    let mut world = World::with(Slapd::builder())
        .await
        .keys("filter = \"(&(objectClass=inetOrgPerson)(mail=*))\"")
        .tables("[limits]\ninvites_per_listing = 5");
    world.start().await;
    world.witness("eve").await;
    for n in 0..25 {
        world.people().remove_mail("eve").await;
        world
            .people()
            .set_mail("eve", &format!("stranger{n}@example.org"))
            .await;
    }
    world.witness("ann").await;
    sleep(A_WHILE).await;
    world.invited(["ann", "eve"]).await;
}

#[tokio::test]
async fn an_address_that_is_still_among_the_values_is_no_other_address() {
    let world = World::running(Slapd::builder()).await;
    world.witness("ann").await;
    world.people().add_mail("ann", "second@example.org").await;
    world.people().put_mail_last("ann", "ann@example.org").await;
    world.witness("bob").await;
    sleep(A_WHILE).await;
    assert_eq!(
        world.lines(&["the address changed"]).len(),
        0,
        "{}",
        world.service().output()
    );
    world.invited(["ann", "bob"]).await;
}

#[tokio::test]
async fn a_directory_that_is_renamed_in_the_configuration_is_recognised_and_one_that_is_removed_is_retired() {
    let mut world = World::with(Slapd::builder().people(3)).await;
    world.start().await;
    world.tasks("done", 3).await;
    world.stop().await;

    world.directory = table(&world.server, "staff", "");
    world.start().await;
    world
        .says(&["directory was renamed", "from=\"main\"", "to=\"staff\""], 1)
        .await;
    let status = world.status_json().await;
    assert_eq!(status["directories"].as_array().unwrap().len(), 1, "{status}");
    assert_eq!(
        (&status["members"], &status["directories"][0]["name"]),
        (&3.into(), &"staff".into())
    );
    world.stop().await;

    // Another base is another directory.
    world.directory = table(&world.server, "other", "").replace(
        &world.server.people_base(),
        &format!("ou=system,{}", world.server.base()),
    );
    world.start().await;
    world
        .says(&["WARN", "removed from the configuration", "staff"], 1)
        .await;
    let status = world.status_json().await;
    assert_eq!(
        (&status["members"], &status["directories"][0]["configured"]),
        (&0.into(), &false.into())
    );
    // No alert counts the time since its last listing.
    let metrics = world.metrics().await;
    assert!(
        metrics.contains("ldap_usher_members{directory=\"other\"}")
            && !metrics.contains("directory=\"staff\""),
        "{metrics}"
    );
    let output = world.ask(&["status"]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("directory    staff, no longer in the configuration (3 people"),
        "{text}"
    );
    world.stop().await;

    world.directory = table(&world.server, "staff", "");
    world.people().add_person("new").await;
    world.start().await;
    world.invites("new").await;
    world.tasks("done", 4).await;
    assert_eq!(world.vault.mailed().len(), 4);
}

#[tokio::test]
async fn everyone_who_left_is_counted_and_logged_however_many_they_are() {
    let mut world = World::with(Slapd::builder().people(150).session_log(None)).await;
    world.start().await;
    world.tasks("done", 150).await;
    world.stop().await;
    for n in 1..=150 {
        world.people().delete(&format!("person{n}")).await;
    }
    world.start().await;
    world.says(&["listing ended", "left=150"], 1).await;
    // Each of the first hundred has a line of their own.
    assert_eq!(world.lines(&["INFO", " left ", "uid=person"]).len(), 100);
    let metrics = world.metrics().await;
    assert!(
        metrics.contains("ldap_usher_people_total{directory=\"main\",kind=\"left\"} 150"),
        "{metrics}"
    );
}
