//! `kill -9` of the service, everywhere on an invitation's way: nobody is lost, and nobody is invited twice.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::support::slapd::Slapd;
use crate::support::stand_in::{Fault, Moment, On, Setup};
use crate::support::world::{SOON, World, eventually, mail};

/// A world in which the service was killed while Vaultwarden was at this point of inviting Ann.
async fn killed_at(moment: Moment) -> World {
    let world = World::start().await;
    world.vaultwarden.fail(On::Invite, None, 1, Fault::Hold(moment));
    let mut service = world.run_until_listed().await;
    world.people().add_person("ann").await;
    assert!(world.vaultwarden.wait_until_held(1, SOON).await);
    service.kill9().await;

    let status = world.status().await;
    assert_eq!(
        (&status["running"], &status["tasks"]["queued"]),
        (&false.into(), &1.into())
    );
    world
}

#[tokio::test]
async fn killed_before_vaultwarden_did_anything_the_invitation_is_sent_again() {
    let world = killed_at(Moment::Arrived).await;
    let _service = world.run();
    world.wait_for_tasks("done", 1).await;
    // Vaultwarden comes round to the first request only now.
    world.vaultwarden.release();
    assert!(world.vaultwarden.wait_until_held(0, SOON).await);
    world.wait_for_invited(["ann@example.org"]).await;
    assert_eq!(world.vaultwarden.mailed().len(), 1);
}

#[tokio::test]
async fn killed_between_mail_and_account_the_second_invitation_is_the_only_one_that_succeeds() {
    let world = killed_at(Moment::Mailed).await;
    let _service = world.run();
    world.wait_for_tasks("done", 1).await;
    world.vaultwarden.release();
    assert!(world.vaultwarden.wait_until_held(0, SOON).await);
    world.wait_for_invited(["ann@example.org"]).await;
    // Vaultwarden mails before it saves, and nobody could know: a second mail is better than none.
    assert_eq!(world.vaultwarden.mailed().len(), 2);
}

#[tokio::test]
async fn killed_before_it_heard_of_its_success_the_service_looks_before_it_invites_again() {
    let world = killed_at(Moment::Saved).await;
    let _service = world.run();
    world.wait_for_tasks("done", 1).await;
    world.wait_for_invited(["ann@example.org"]).await;
    assert_eq!(world.vaultwarden.attempts("ann@example.org"), 1);
    assert_eq!(
        world
            .vaultwarden
            .count("GET /admin/users/by-mail/ann@example.org"),
        1
    );
}

#[tokio::test]
async fn killed_with_invitations_that_could_not_be_sent_it_still_owes_them() {
    let mut world = World::start().await;
    let mut service = world.run_until_listed().await;
    world.vaultwarden.down();
    for name in ["ann", "bob"] {
        world.people().add_person(name).await;
    }
    world.wait_for_tasks("queued", 2).await;
    service.kill9().await;

    world.vaultwarden.up();
    let _service = world.run();
    world.wait_for_tasks("done", 2).await;
    world.wait_for_invited(["ann", "bob"].map(mail)).await;
}

#[tokio::test]
async fn killed_in_the_middle_of_a_first_listing_it_begins_again_and_invites_everyone_once() {
    const PEOPLE: usize = 2000;
    const NEW: usize = 60;
    let mut world = World::with(Slapd::builder().people(PEOPLE), Setup::default()).await;
    world.set("limits.invites_per_listing", "\"unlimited\"");
    let person = |n: usize| mail(&format!("person{n}"));
    world.vaultwarden.preload((NEW + 1..=PEOPLE).map(person));

    let mut caught = 0;
    for delay in [0, 10, 20, 40, 80, 160] {
        let mut service = world.run();
        service.wait_for_line("connected to the directory", SOON).await;
        tokio::time::sleep(Duration::from_millis(delay)).await;
        service.kill9().await;
        let staged = world.status().await["tasks"]["staged"].as_u64().unwrap();
        caught += usize::from(0 < staged && staged < PEOPLE as u64);
    }
    let _service = world.run();
    world.wait_for_tasks("done", PEOPLE as u64).await;
    world.wait_for_invited((1..=NEW).map(person)).await;
    assert!(caught > 0, "no kill hit the listing");
}

#[tokio::test]
async fn killed_at_random_under_a_stream_of_newcomers_it_invites_each_of_them_once() {
    const KILLS: usize = 10;
    const PEOPLE: usize = 60;
    let mut dice = StdRng::seed_from_u64(4533);
    let world = World::start().await;
    // Slow enough for kills to hit invitations under way.
    world.vaultwarden.fail(
        On::Invite,
        None,
        usize::MAX,
        Fault::Delay(Duration::from_millis(30)),
    );

    let people = world.people();
    let pauses: Vec<u64> = (0..PEOPLE).map(|_| dice.gen_range(10..100)).collect();
    let newcomers = async {
        for (n, pause) in pauses.into_iter().enumerate() {
            people.add_person(&format!("person{n}")).await;
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    };
    let kills = async {
        for _ in 0..KILLS {
            let mut service = world.run();
            tokio::time::sleep(Duration::from_millis(dice.gen_range(30..500))).await;
            service.kill9().await;
        }
    };
    tokio::join!(newcomers, kills);
    assert_eq!(world.status().await["running"], false);

    let service = world.run();
    world.wait_for_tasks("done", PEOPLE as u64).await;
    world
        .wait_for_invited((0..PEOPLE).map(|n| mail(&format!("person{n}"))))
        .await;
    eventually("it is at rest", async || {
        world.status().await["tasks"]["queued"] == 0
    })
    .await;
    assert_eq!(world.status().await["members"], PEOPLE as u64);
    // One session served all eleven runs.
    assert_eq!(world.vaultwarden.logins(), 1, "{}", service.output());
}
