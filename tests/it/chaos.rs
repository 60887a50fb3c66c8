//! A network that fails in every way between the service and slapd: one clear error, and nothing lost.

use std::time::Duration;

use crate::support::proxy::{Fault, Proxy};
use crate::support::slapd::Slapd;
use crate::support::world::World;

/// Longer than silence takes to be noticed: 10 s until the connection is asked, 15 s for its answer.
const LATER: Duration = Duration::from_secs(45);
/// The most memory that the service may use, in KiB: 64 MiB, of which the code of a release takes twelve.
pub const MEMORY: u64 = (64 - 12) * 1024;

/// A directory, a proxy before it, and a service that finds three people behind this fault.
async fn behind(fault: Fault) -> (World, Proxy) {
    let mut world = World::with(Slapd::builder().people(3)).await;
    let proxy = Proxy::to(world.server.port()).await;
    proxy.set(fault);
    let url = format!("ldap://{}", proxy.address());
    world.directory = world.directory.replace(&world.server.url(), &url);
    world.start().await;
    world.invites("person3").await;
    (world, proxy)
}

/// These and the first three were invited once, and the service neither panicked nor used much memory.
async fn verdict(world: &World, guests: &[&str]) {
    world
        .invited(["person1", "person2", "person3"].iter().chain(guests))
        .await;
    let output = world.service().output();
    assert!(!output.contains("panicked"), "{output}");
    let peak = world.service().peak_memory();
    assert!(peak <= MEMORY, "{peak} KiB");
}

/// The service is at work when the fault comes; the log tells of it in one of these `words`.
async fn suffers(fault: Fault, words: &[&str]) {
    let (world, proxy) = behind(Fault::None).await;
    proxy.set(fault);
    world.people().add_person("meanwhile").await;
    let line = world
        .says_within(&["no session with the directory"], 1, LATER)
        .await;
    let server = format!("ldap://{}: ", proxy.address());
    assert!(line.contains(&server), "{line}");
    assert!(words.iter().any(|words| line.contains(words)), "{line}");

    proxy.set(Fault::None);
    world.invites("meanwhile").await;
    world.witness("afterwards").await;
    verdict(&world, &["meanwhile", "afterwards"]).await;
}

/// The service starts under the fault, which slows it down and nothing more.
async fn bears(fault: Fault) {
    let (world, _proxy) = behind(fault).await;
    world.witness("ann").await;
    assert_eq!(world.lines(&["no session with the directory"]), [""; 0]);
    verdict(&world, &["ann"]).await;
}

#[tokio::test]
async fn a_connection_that_is_cut_is_made_again() {
    suffers(Fault::Cut, &["closed the connection", "lost the connection"]).await;
}

#[tokio::test]
async fn a_connection_that_the_server_half_closes_is_made_again() {
    suffers(Fault::HalfClose, &["closed the connection"]).await;
}

#[tokio::test]
async fn a_connection_that_ends_within_a_message_is_made_again() {
    let words = "closed the connection in the middle of a message";
    suffers(Fault::Truncate, &[words]).await;
}

#[tokio::test]
async fn a_server_that_refuses_connections_is_tried_until_it_takes_one() {
    // What the open session says first is that it broke.
    let words = ["closed the connection", "lost the connection", "refused"];
    suffers(Fault::Refuse, &words).await;
}

#[tokio::test]
async fn a_connection_that_nothing_passes_any_more_is_given_up() {
    suffers(Fault::BlackHole, &["no answer for 15 s while"]).await;
}

#[tokio::test]
async fn a_slow_network_only_makes_it_slow() {
    bears(Fault::Delay(Duration::from_millis(200))).await;
}

#[tokio::test]
async fn messages_may_come_in_any_number_of_pieces() {
    bears(Fault::Split(7)).await;
}
