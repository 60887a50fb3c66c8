//! What happened while the service, slapd or the connection between them was down: nobody is lost, nobody is invited
//! twice.

use std::time::Duration;

use crate::support::slapd::{Builder, Slapd};
use crate::support::world::World;

/// What the log says of a session that goes on from a cursor.
const RESUMED: [&str; 2] = ["connected to the directory", "resumed=true"];

/// Three people were invited, then the service was stopped.
async fn stopped(slapd: Builder) -> World {
    let mut world = World::running(slapd.people(3)).await;
    world.invited_once(&["person1", "person2", "person3"]).await;
    world.stop().await;
    world
}

/// One comes, one goes, one gets another address.
async fn change(world: &World) {
    let people = world.people();
    people.add_person("ann").await;
    people.delete("person1").await;
    people.set_mail("person2", "married@example.org").await;
}

/// The changes of [`change`] are known, and nothing else.
async fn is_caught_up(world: &World) {
    world.invites("ann").await;
    world.says(&["INFO left", "uid=person1,"], 1).await;
    world.members(3).await;
    let line = world.says(&["listing ended"], 1).await;
    assert!(line.contains("left=1") && line.contains("queued=1"), "{line}");
    world
        .invited_once(&["person1", "person2", "person3", "ann"])
        .await;
    // Their invitations were sent, so that those tasks stay as they are.
    let tasks = &world.status_json().await["tasks"];
    assert_eq!(
        (&tasks["done"], &tasks["cancelled"]),
        (&4.into(), &0.into()),
        "{tasks:#}"
    );
}

#[tokio::test]
async fn changes_made_while_the_service_was_down_are_resumed_from_a_session_log() {
    let mut world = stopped(Slapd::builder().session_log(Some(100))).await;
    change(&world).await;
    world.start().await;
    world.says(&RESUMED, 1).await;
    world.says(&["listing ended", "result=\"changes\""], 1).await;
    is_caught_up(&world).await;
}

#[tokio::test]
async fn without_a_session_log_a_present_phase_tells_who_is_left() {
    let mut world = stopped(Slapd::builder().session_log(None)).await;
    change(&world).await;
    world.start().await;
    world.says(&RESUMED, 1).await;
    world.says(&["listing ended", "result=\"complete\""], 1).await;
    is_caught_up(&world).await;
}

#[tokio::test]
async fn a_slapd_that_was_restarted_and_lost_its_session_log_is_resumed_all_the_same() {
    let mut world = stopped(Slapd::builder().session_log(Some(100))).await;
    change(&world).await;
    world.server.restart().await;
    world.start().await;
    world.says(&RESUMED, 1).await;
    is_caught_up(&world).await;
}

#[tokio::test]
async fn a_slapd_restored_from_a_backup_refuses_the_cookie_and_is_listed_anew() {
    let mut world = World::running(Slapd::builder().people(2)).await;
    world.server.back_up().await;
    world.witness("ann").await;
    world.people().delete("person1").await;
    world.members(2).await;
    world.stop().await;

    world.server.restore().await;
    world.start_only();
    world.says(&["the resume point was refused"], 1).await;
    world.caught_up(1).await;
    world.members(2).await;
    // It was not undone that she was invited; that the other one is back means that he is asked for again.
    world
        .says(&["already has an account", "person1@example.org"], 1)
        .await;
    world.witness("bob").await;
    let mut invited = world.vault.invited();
    invited.sort();
    assert_eq!(
        invited,
        ["ann", "bob", "person1", "person2"].map(|uid| format!("{uid}@example.org"))
    );
}

#[tokio::test]
async fn the_same_people_as_other_entries_after_a_new_import_are_not_invited_again() {
    let mut world = stopped(Slapd::builder()).await;
    world.server.reseed().await;
    world.start_only();
    world.caught_up(1).await;
    world.members(3).await;
    world.witness("ann").await;
    world
        .invited_once(&["person1", "person2", "person3", "ann"])
        .await;
    // An entry that took the place of another one is no second entry with its address.
    assert_eq!(world.lines(&["the same address"]), Vec::<String>::new());
}

#[tokio::test]
async fn another_filter_means_a_new_listing_and_no_second_invitation() {
    let mut world = stopped(Slapd::builder()).await;
    world.people().add_person("ann").await;
    let wide = world.directory.clone();
    world.directory += "filter = \"(&(objectClass=inetOrgPerson)(!(uid=person1)))\"";
    world.start().await;
    world.says(&["the settings changed"], 1).await;
    world
        .says(&["connected to the directory", "resumed=false"], 1)
        .await;
    world.members(3).await;
    world
        .invited_once(&["person1", "person2", "person3", "ann"])
        .await;

    world.stop().await;
    world.directory = wide;
    world.start().await;
    world.members(4).await;
    world
        .says(&["already has an account", "person1@example.org"], 1)
        .await;
    assert_eq!(world.vault.invited().len(), 4);
}

/// Fifty changes that slapd may tell in the resume or live, as it comes.
async fn many_changes(world: &World) {
    world.people().delete("person1").await;
    world.people().add_many("late", 24).await;
    for n in 1..=24 {
        if n % 2 == 0 {
            world.people().delete(&format!("late{n}")).await;
        }
    }
    world.witness("ann").await;
}

/// After [`many_changes`]: those who stayed are members and invited, those who came and went may be.
async fn all_is_right(world: &World) {
    // Of the three there were two are left; of the twenty-four, twelve.
    world.members(2 + 12 + 1).await;
    world
        .status_until("an empty queue", |status| status["tasks"]["queued"] == 0)
        .await;
    let invited = world.vault.invited();
    for uid in (1..=23).step_by(2).map(|n| format!("late{n}")) {
        let address = format!("{uid}@example.org");
        assert!(invited.contains(&address), "{address} is missing in {invited:?}");
    }
    let mut once = invited.clone();
    once.sort();
    once.dedup();
    assert_eq!(once.len(), invited.len(), "{invited:?}");
    assert_eq!(world.vault.mailed().len(), invited.len());
}

#[tokio::test]
async fn the_service_reconnects_to_a_slapd_that_was_killed_and_catches_up() {
    let mut world = World::running(Slapd::builder().people(3)).await;
    world.server.kill9().await;
    world.says(&["no session with the directory"], 1).await;
    world.server.restart().await;
    many_changes(&world).await;
    all_is_right(&world).await;
}

#[tokio::test]
async fn the_service_reconnects_to_a_slapd_that_was_stopped_and_catches_up() {
    let mut world = World::running(Slapd::builder().people(3)).await;
    world.server.stop().await;
    world.says(&["no session with the directory"], 1).await;
    let status = world
        .status_until("disconnected", |status| {
            status["directories"][0]["connected"] == false
        })
        .await;
    assert!(
        status["directories"][0]["error"]
            .as_str()
            .unwrap()
            .contains(&world.server.url()),
        "{status:#}"
    );
    world.server.restart().await;
    many_changes(&world).await;
    all_is_right(&world).await;
}

#[tokio::test]
async fn a_slapd_that_hangs_is_noticed_within_thirty_seconds_and_recovered_from() {
    let world = World::running(Slapd::builder().people(3)).await;
    world.server.pause();
    let line = world
        .says_within(&["no session with the directory"], 1, Duration::from_secs(30))
        .await;
    world.server.resume();
    assert!(line.contains("no answer for"), "{line}");
    many_changes(&world).await;
    all_is_right(&world).await;
}
