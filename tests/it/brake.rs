//! The brake (`limits.invites_per_listing`), large backlogs, and how fast invitations go out.

use std::collections::BTreeMap;
use std::process::Output;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::support::slapd::Slapd;
use crate::support::stand_in::{Fault, Moment, On, StandIn};
use crate::support::world::{A_WHILE, PATIENCE, World};

fn people(range: std::ops::RangeInclusive<usize>) -> impl Iterator<Item = String> {
    range.map(|n| format!("person{n}"))
}

fn mail(uid: impl std::fmt::Display) -> String {
    format!("{uid}@example.org")
}

/// The exit code and what was printed.
fn told(output: &Output) -> (Option<i32>, String) {
    let text = [&output.stdout[..], &output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// A world with `person1` and so on, whose listings may invite five.
async fn five_at_most(people: usize) -> World {
    World::with(Slapd::builder().people(people))
        .await
        .tables("[limits]\ninvites_per_listing = 5")
}

// -- the brake ------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_listing_with_too_many_newcomers_is_held_loudly_and_single_changes_go_on() {
    let mut world = five_at_most(6).await;
    world.start().await;
    let line = world.says(&["WARN", "invitations are held back"], 1).await;
    assert!(
        line.contains("limits.invites_per_listing")
            && line.contains("`ldap-usher approve --all`")
            && line.contains("count=6 limit=5"),
        "{line}"
    );
    world.tasks("held", 6).await;
    world.witness("ann").await;
    world.witness("bob").await;

    // A restart is no approval.
    world.restart().await;
    world.witness("eve").await;
    world.tasks("held", 6).await;
    world.invited(["ann", "bob", "eve"]).await;
}

#[tokio::test]
async fn as_many_newcomers_as_allowed_are_not_held() {
    let mut world = five_at_most(5).await;
    world.start().await;
    world.tasks("done", 5).await;
    world.invited(people(1..=5)).await;
    assert_eq!(world.vault.lists(), 0);
}

#[tokio::test]
async fn who_has_an_account_does_not_count() {
    let mut world = five_at_most(30).await;
    world.vault.preload(people(6..=30).map(mail));
    world.start().await;
    world.tasks("done", 30).await;
    world.invited(people(1..=5)).await;
    assert_eq!(world.lines(&["are held back"]).len(), 0);
    assert_eq!(world.vault.lists(), 1);
}

#[tokio::test]
async fn approve_lets_one_go_and_then_all_while_the_service_runs() {
    let mut world = five_at_most(8).await;
    world.start().await;
    world.tasks("held", 8).await;

    let (code, text) = told(&world.ask(&["approve", "person3@example.org", "--yes"]).await);
    assert_eq!(code, Some(0), "{text}");
    world.invites("person3").await;
    sleep(A_WHILE).await;
    world.invited(["person3"]).await;
    world.tasks("held", 7).await;

    let (code, text) = told(&world.ask(&["approve", "--all", "--yes"]).await);
    assert_eq!(code, Some(0), "{text}");
    let began = Instant::now();
    world.invited(people(1..=8)).await;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    world.tasks("done", 8).await;
}

#[tokio::test]
async fn approve_counts_for_the_service_that_comes_later() {
    let mut world = five_at_most(8).await;
    world.start().await;
    world.tasks("held", 8).await;
    world.stop().await;
    let (code, text) = told(&world.ask(&["approve", "--all", "--yes"]).await);
    assert_eq!(code, Some(0), "{text}");
    world.start().await;
    world.invited(people(1..=8)).await;
}

#[tokio::test]
async fn sync_says_by_its_exit_code_that_some_are_held_until_they_are_released() {
    let world = five_at_most(8).await;
    let (code, text) = told(&world.ask(&["sync"]).await);
    assert_eq!(code, Some(4), "{text}");
    assert!(
        text.contains("0 invited, 0 had an account\n8 held back by"),
        "{text}"
    );
    assert!(text.contains("invitations are held back"), "{text}");

    world.ask(&["approve", "--all", "--yes"]).await;
    let (code, text) = told(&world.ask(&["sync"]).await);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("8 invited, 0 had an account\n"), "{text}");
    world.invited(people(1..=8)).await;
}

// -- backlogs -------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_large_backlog_is_compared_with_one_list_of_all_accounts() {
    let mut world = World::with(Slapd::builder().people(400)).await;
    world.vault.preload(people(41..=400).map(mail));
    world.start().await;
    world.tasks("done", 400).await;
    world.invited(people(1..=40)).await;
    assert_eq!(world.vault.lists(), 1);
    let calls = world.vault.calls();
    assert_eq!(calls.iter().filter(|call| call.status == Some(409)).count(), 0);
    assert!(calls.iter().all(|call| !call.what.contains("by-mail")));
}

#[tokio::test]
async fn a_list_of_accounts_that_breaks_off_releases_nobody_by_mistake() {
    let mut world = five_at_most(30).await;
    world.vault.preload(people(21..=30).map(mail));
    world.vault.fail(On::List, None, 1, Fault::Truncate);
    world.start().await;
    world.says(&["are held back", "count=20"], 1).await;
    let status = world.tasks("held", 20).await;
    assert_eq!(status["tasks"]["done"], 10);
    assert!(world.vault.invited().is_empty());
    assert_eq!(world.vault.lists(), 2);
}

// -- how fast -------------------------------------------------------------------------------------------------------

/// The most invitations that were under way at one time, overall and for any one address.
fn most_at_once(vault: &StandIn) -> (usize, usize) {
    let calls = vault.calls();
    let invites: Vec<_> = calls
        .iter()
        .filter(|call| call.address.is_some() && call.status != Some(401))
        .collect();
    let mut most = (0, 0);
    for call in &invites {
        let under_way = invites
            .iter()
            .filter(|other| other.at <= call.at && other.ended.is_none_or(|ended| ended > call.at));
        let mut addresses = BTreeMap::new();
        for other in under_way {
            *addresses.entry(&other.address).or_insert(0) += 1;
        }
        most.0 = most.0.max(addresses.values().sum());
        most.1 = most.1.max(addresses.values().copied().max().unwrap_or_default());
    }
    most
}

#[tokio::test]
async fn no_more_invitations_than_configured_are_under_way_and_never_two_of_one_address() {
    let mut world = World::with(Slapd::builder().people(30))
        .await
        .tables("[invite]\nconcurrency = 3");
    world
        .vault
        .fail(On::Invite, None, 3, Fault::Hold(Moment::Arrived));
    let slow = Fault::Delay(Duration::from_millis(20));
    world.vault.fail(On::Invite, None, usize::MAX, slow);
    world.start().await;
    assert!(world.vault.wait_until_held(3, PATIENCE).await);
    // All three places are taken, and whoever else is due waits.
    world.people().add_person("ann").await;
    world.tasks("queued", 31).await;
    sleep(A_WHILE).await;
    assert_eq!(world.vault.invited().len(), 0);

    world.vault.release();
    world.tasks("done", 31).await;
    world.invited(people(1..=30).chain(["ann".into()])).await;
    assert_eq!(most_at_once(&world.vault), (3, 1));
}

#[tokio::test]
async fn per_minute_spreads_invitations() {
    let mut world = World::with(Slapd::builder().people(8))
        .await
        .tables("[invite]\nper_minute = 240");
    world.start().await;
    world.invited(people(1..=8)).await;
    let calls = world.vault.calls();
    let starts: Vec<Instant> = calls
        .iter()
        .filter(|call| call.status == Some(200) && call.address.is_some())
        .map(|call| call.at)
        .collect();
    // One every 250 ms; the first may have been slow on its way.
    let took = starts[7] - starts[0];
    assert!(took >= Duration::from_millis(7 * 250 - 150), "{took:?}");
}
