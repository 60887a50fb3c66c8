//! Servers that cannot tell of changes.

use std::time::{Duration, Instant};

use crate::support::slapd::Slapd;
use crate::support::world::World;

#[tokio::test]
async fn where_the_server_keeps_time_stamps_newcomers_need_not_wait_for_the_next_listing() {
    // The next listing is a minute away.
    let world = World::running(Slapd::builder().people(3).no_syncprov()).await;
    let began = Instant::now();
    world.people().add_person("ann").await;
    world.people().set_mail("person1", "other@example.org").await;
    world.invites("ann").await;
    world.says(&["the address changed", "other@example.org"], 1).await;
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    // Nobody is invited again for having been told twice.
    world.witness("bob").await;
    world
        .invited_once(&["person1", "person2", "person3", "ann", "bob"])
        .await;
}

#[tokio::test]
async fn where_time_stamps_may_not_be_read_the_listings_go_on() {
    let slapd = Slapd::builder()
        .people(1)
        .no_syncprov()
        .hide_from_reader("modifyTimestamp");
    let mut world = World::with(slapd).await.keys("poll_interval = \"6s\"");
    world.start().await;
    world.people().add_person("ann").await;
    world.invites("ann").await;
    world.people().delete("ann").await;
    world.says(&[" left directory=", "uid=ann"], 1).await;
}
