//! `kill -9` of the service, everywhere on an invitation's way: nobody is lost, and nobody is invited twice.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::sleep;

use crate::support::proxy::{self as network, Proxy};
use crate::support::slapd::Slapd;
use crate::support::stand_in::{Fault, Moment, On};
use crate::support::world::{PATIENCE, World};

/// A world in which the service was killed while Vaultwarden was at this point of inviting Ann.
async fn killed_at(moment: Moment) -> World {
    let mut world = World::running(Slapd::builder()).await;
    world.vault.fail(On::Invite, None, 1, Fault::Hold(moment));
    world.people().add_person("ann").await;
    assert!(world.vault.wait_until_held(1, PATIENCE).await);
    world.kill9().await;

    let status = world.status_json().await;
    assert_eq!(
        (&status["running"], &status["tasks"]["queued"]),
        (&false.into(), &1.into())
    );
    world
}

/// The service runs again and is done with Ann before Vaultwarden goes on with the request that it has.
async fn revived(world: &mut World) {
    world.start_only();
    world.tasks("done", 1).await;
    world.vault.release();
    assert!(world.vault.wait_until_held(0, PATIENCE).await);
    world.invited(["ann"]).await;
}

#[tokio::test]
async fn killed_before_vaultwarden_did_anything_the_invitation_is_sent_again() {
    let mut world = killed_at(Moment::Arrived).await;
    revived(&mut world).await;
    assert_eq!(world.vault.mailed().len(), 1);
}

#[tokio::test]
async fn killed_between_mail_and_account_the_second_invitation_is_the_only_one_that_succeeds() {
    let mut world = killed_at(Moment::Mailed).await;
    revived(&mut world).await;
    // Vaultwarden mails before it saves, and nobody can know: a second mail is better than none.
    assert_eq!(world.vault.mailed().len(), 2);
}

#[tokio::test]
async fn killed_before_it_heard_of_its_success_the_service_looks_before_it_invites_again() {
    let mut world = killed_at(Moment::Saved).await;
    revived(&mut world).await;
    assert_eq!(world.vault.attempts("ann@example.org"), 1);
    assert_eq!(world.vault.count("GET /admin/users/by-mail/ann@example.org"), 1);
}

#[tokio::test]
async fn killed_with_invitations_that_could_not_be_sent_the_service_still_owes_them() {
    let mut world = World::running(Slapd::builder()).await;
    world.vault.down();
    for name in ["ann", "bob"] {
        world.people().add_person(name).await;
    }
    world.tasks("queued", 2).await;
    world.kill9().await;

    world.vault.up();
    world.start_only();
    world.tasks("done", 2).await;
    world.invited_once(&["ann", "bob"]).await;
}

#[tokio::test]
async fn killed_before_their_turn_came_invitations_are_in_no_doubt() {
    let mut world = World::with(Slapd::builder().people(9))
        .await
        .tables("[invite]\nper_minute = 1");
    world.start().await;
    world.tasks("done", 1).await;
    world.kill9().await;

    world.tables.clear();
    world.start().await;
    world.tasks("done", 9).await;
    world.invited((1..=9).map(|n| format!("person{n}"))).await;
    let calls = world.vault.calls();
    assert!(calls.iter().all(|call| !call.what.contains("by-mail")));
}

#[tokio::test]
async fn killed_in_the_middle_of_a_first_listing_the_service_begins_again_and_invites_everyone_once() {
    const PEOPLE: usize = 2000;
    const NEW: usize = 60;
    let mut world = World::with(Slapd::builder().people(PEOPLE))
        .await
        .tables("[limits]\ninvites_per_listing = \"unlimited\"");
    // So slow that a kill finds it in the middle.
    let proxy = Proxy::to(world.server.port()).await;
    proxy.set(network::Fault::Delay(Duration::from_millis(50)));
    let url = format!("ldap://{}", proxy.address());
    world.directory = world.directory.replace(&world.server.url(), &url);
    let person = |n: usize| format!("person{n}");
    world
        .vault
        .preload((NEW + 1..=PEOPLE).map(|n| person(n) + "@example.org"));

    let mut hits = 0;
    for delay in [0, 10, 20, 40, 80, 160] {
        world.start_only();
        world.connected(1).await;
        sleep(Duration::from_millis(delay)).await;
        world.kill9().await;
        // Invitations are due, or sent, only after the listing's end.
        let tasks = &world.status_json().await["tasks"];
        hits += usize::from(tasks["queued"] == 0 && tasks["done"] == 0);
    }
    assert!(hits > 0, "no kill came in the middle of the listing");
    proxy.set(network::Fault::None);
    world.start_only();
    world.tasks("done", PEOPLE).await;
    world.invited((1..=NEW).map(person)).await;
}

#[tokio::test]
async fn killed_at_random_under_a_stream_of_newcomers_the_service_invites_each_of_them_once() {
    const KILLS: usize = 10;
    const PEOPLE: usize = 60;
    let mut jitter = StdRng::seed_from_u64(4533);
    let mut world = World::with(Slapd::builder()).await;
    // Slow enough for kills to come while invitations are under way.
    let slow = Fault::Delay(Duration::from_millis(30));
    world.vault.fail(On::Invite, None, usize::MAX, slow);

    let people = world.people();
    let pauses: Vec<u64> = (0..PEOPLE).map(|_| jitter.gen_range(10..100)).collect();
    let newcomers = async {
        for (n, pause) in pauses.into_iter().enumerate() {
            people.add_person(&format!("person{n}")).await;
            sleep(Duration::from_millis(pause)).await;
        }
    };
    let kills = async {
        for _ in 0..KILLS {
            world.start_only();
            sleep(Duration::from_millis(jitter.gen_range(30..500))).await;
            world.kill9().await;
        }
    };
    tokio::join!(newcomers, kills);
    assert_eq!(world.status_json().await["running"], false);

    world.start_only();
    let status = world.tasks("done", PEOPLE).await;
    assert_eq!(
        (&status["members"], &status["tasks"]["queued"]),
        (&PEOPLE.into(), &0.into())
    );
    world.invited((0..PEOPLE).map(|n| format!("person{n}"))).await;
    // One session serves all the runs.
    assert_eq!(world.vault.logins(), 1);
}
