//! Accidents of the directory, of Vaultwarden and of our own state: nobody loses an account who did not leave, and nobody is
//! mailed twice.
//!
//! Each person who leaves would be disabled after the shortest grace. What is held goes on if an administrator approves it,
//! and is dropped as soon as the directory is well again.

use std::time::Duration;

use ldap3::Mod;
use tokio::time::sleep;

use crate::support::proxy::{Fault, Proxy};
use crate::support::slapd::{Builder, Slapd};
use crate::support::stand_in::{Setup, StandIn};
use crate::support::world::{World, table};

const PEOPLE: usize = 20;
/// What the service says when it holds leavers.
const HELD: &str = "leavers are held, and their accounts are left alone";
/// Longer than the grace, the look-ups and an audit.
const CALM: Duration = Duration::from_secs(3);

fn mail(uid: &str) -> String {
    format!("{uid}@example.org")
}

fn uids() -> impl Iterator<Item = String> {
    (1..=PEOPLE).map(|n| format!("person{n}"))
}

/// A service that audits all the time and disables those who leave. Everyone is invited.
async fn world(slapd: Builder, keys: &str) -> World {
    let mut world = prepared(slapd).await.keys(keys);
    world.start().await;
    world.tasks("done", PEOPLE).await;
    world
}

async fn prepared(slapd: Builder) -> World {
    World::with(slapd.people(PEOPLE))
        .await
        .keys("audit_interval = \"2s\"")
        .leave("disable", "1s")
        .vaultwarden_keys("accounts_interval = \"1s\"")
}

/// Waits longer than the grace. Nobody was touched and nobody was mailed twice.
async fn nobody_is_lost(world: &World) {
    sleep(CALM).await;
    let output = world.service().output();
    assert!(
        world.vault.all_changes().is_empty(),
        "{:?}\n{output}",
        world.vault.all_changes()
    );
    for uid in uids() {
        assert_eq!(world.vault.mails(&mail(&uid)), 1, "{uid}\n{output}");
        assert_eq!(world.vault.enabled(&mail(&uid)), Some(true), "{uid}\n{output}");
    }
}

/// The directory is well again: everyone is a member, and nothing is left to approve.
async fn all_is_well(world: &World) {
    world
        .status_until("everyone is a member again", |status| {
            status["members"].as_u64() >= Some(PEOPLE as u64)
        })
        .await;
    nobody_is_lost(world).await;
    assert_eq!(world.approve_all().await, "nobody is held back\n");
    nobody_is_lost(world).await;
}

/// Waits until so many leavers are held.
async fn held(world: &World, count: usize) {
    for n in 0..count {
        let uid = format!("person{}", n + 1);
        world.journal_says(&uid, "is held back", 1).await;
    }
    world.says(&["WARN", HELD], 1).await;
}

// -- the directory --------------------------------------------------------------------------------------------------

#[tokio::test]
async fn an_emptied_directory_holds_everyone_until_it_is_restored() {
    let mut world = world(Slapd::builder(), "").await;
    world.server.back_up().await;
    world.server.empty().await;
    held(&world, PEOPLE).await;
    nobody_is_lost(&world).await;
    // Joins go on.
    world.people().add_person("ann").await;
    world.invites("ann").await;
    world.restart().await;
    nobody_is_lost(&world).await;

    world.server.restore().await;
    world.members(PEOPLE as u64).await;
    nobody_is_lost(&world).await;
    // She alone is not in the backup.
    let told = world.approve_all().await;
    assert!(
        told.contains("ann@example.org") && told.contains("1 released"),
        "{told}"
    );
    world.changed("ann", &["disable"]).await;
    assert_eq!(world.vault.all_changes().len(), 1);
}

#[tokio::test]
async fn what_is_held_goes_on_when_an_administrator_approves_it() {
    let mut world = world(Slapd::builder(), "").await;
    world.server.empty().await;
    world.people().add_person("person1").await;
    held(&world, 0).await;
    world.members(1).await;
    nobody_is_lost(&world).await;
    let told = world.approve_all().await;
    assert!(told.contains("19 released"), "{told}");
    for uid in uids().skip(1) {
        world.changed(&uid, &["disable"]).await;
    }
    world.untouched(&["person1"]);
}

#[tokio::test]
async fn a_directory_that_was_imported_again_with_new_identities_loses_nobody() {
    let mut world = world(Slapd::builder(), "").await;
    world.server.reseed().await;
    world.journal_says("person7", "became a member", 2).await;
    all_is_well(&world).await;
}

#[tokio::test]
async fn a_listing_that_breaks_off_anywhere_makes_nobody_a_leaver() {
    let mut world = world(Slapd::builder().session_log(None), "").await;
    let proxy = Proxy::to(world.server.port()).await;
    world.stop().await;
    let url = format!("ldap://{}", proxy.address());
    world.directory = world.directory.replace(&world.server.url(), &url);
    for pause in [5, 20, 40, 80] {
        // Something has changed, so that the server reports who is there.
        world
            .people()
            .set_description("person1", &format!("{pause}"))
            .await;
        proxy.set(Fault::Split(100));
        world.start_only();
        sleep(Duration::from_millis(100 + pause)).await;
        proxy.set(Fault::Cut);
        sleep(Duration::from_secs(2)).await;
        world.kill9().await;
    }
    proxy.set(Fault::None);
    world.start().await;
    all_is_well(&world).await;
}

#[tokio::test]
async fn a_size_limit_makes_nobody_a_leaver() {
    let mut world = world(Slapd::builder(), "").await;
    world.server.restart_with(|slapd| slapd.size_limit(Some(5))).await;
    nobody_is_lost(&world).await;
    world.restart_only().await;
    nobody_is_lost(&world).await;
    world.server.restart_with(|slapd| slapd.size_limit(None)).await;
    all_is_well(&world).await;
}

#[tokio::test]
async fn a_search_that_is_cut_off_by_a_time_limit_makes_nobody_a_leaver() {
    let mut world = world(Slapd::builder(), "").await;
    world.server.restart_with(|slapd| slapd.time_limit(Some(1))).await;
    // The server stands still for longer than the limit, now and then in the middle of a search.
    for _ in 0..4 {
        sleep(Duration::from_millis(700)).await;
        world.server.pause();
        sleep(Duration::from_millis(2100)).await;
        world.server.resume();
    }
    all_is_well(&world).await;
}

#[tokio::test]
async fn a_password_that_is_refused_makes_nobody_a_leaver() {
    let mut world = world(Slapd::builder(), "").await;
    world.stop().await;
    let right = world.directory.clone();
    world.directory = right.replace(world.server.reader_pw(), "another password");
    world.start_only();
    world.says(&["WARN", "main"], 1).await;
    nobody_is_lost(&world).await;
    world.stop().await;
    world.directory = right;
    world.start().await;
    all_is_well(&world).await;
}

#[tokio::test]
async fn rights_that_hide_everyone_hold_everyone_until_they_are_mended() {
    let mut world = world(Slapd::builder(), "").await;
    let people = "dn.children=\"ou=people,dc=example,dc=org\"";
    world.server.restart_with(|slapd| slapd.deny(people)).await;
    held(&world, PEOPLE).await;
    nobody_is_lost(&world).await;
    // An approval does not help, as nobody can be looked up as a witness.
    world.server.restart_with(Builder::deny_nothing).await;
    all_is_well(&world).await;
}

#[tokio::test]
async fn rights_that_hide_the_base_make_nobody_a_leaver() {
    let mut world = world(Slapd::builder(), "").await;
    let base = "dn.subtree=\"ou=people,dc=example,dc=org\"";
    world.server.restart_with(|slapd| slapd.deny(base)).await;
    nobody_is_lost(&world).await;
    world.server.restart_with(Builder::deny_nothing).await;
    all_is_well(&world).await;
}

#[tokio::test]
async fn rights_that_hide_the_addresses_make_nobody_a_leaver() {
    let mut world = world(Slapd::builder(), "").await;
    world
        .server
        .restart_with(|slapd| slapd.hide_from_reader("mail"))
        .await;
    world.says(&["can no longer be used"], 1).await;
    nobody_is_lost(&world).await;
    world.server.restart_with(Builder::deny_nothing).await;
    all_is_well(&world).await;
}

#[tokio::test]
async fn a_replica_that_is_behind_loses_nobody() {
    let mut replica = Slapd::builder().start().await;
    let mut world = prepared(Slapd::builder()).await;
    replica.become_copy_of(&mut world.server).await;
    replica.restart().await;
    for n in 1..=3 {
        replica.people().delete(&format!("person{n}")).await;
    }
    world.start().await;
    world.tasks("done", PEOPLE).await;
    world.stop().await;

    let first = world.directory.clone();
    world.directory = table(&replica, "main", "audit_interval = \"2s\"");
    world.start().await;
    held(&world, 3).await;
    nobody_is_lost(&world).await;
    world.stop().await;
    world.directory = first;
    world.start().await;
    all_is_well(&world).await;
}

#[tokio::test]
async fn a_renamed_base_makes_nobody_a_leaver() {
    let mut world = world(Slapd::builder(), "").await;
    let folk = world.folk();
    let base = world.server.people_base();
    folk.rename_unit(&base, "ou=staff").await;
    nobody_is_lost(&world).await;
    world.restart_only().await;
    nobody_is_lost(&world).await;
    folk.rename_unit("ou=staff,dc=example,dc=org", "ou=people").await;
    all_is_well(&world).await;
}

// -- groups ---------------------------------------------------------------------------------------------------------

/// Everyone is in the group that the service follows.
async fn grouped(slapd: Builder) -> World {
    let mut world = prepared(slapd).await;
    let folk = world.folk();
    let everyone: Vec<String> = uids().map(|uid| folk.dn(&uid)).collect();
    folk.add_group("vault", &everyone).await;
    world = world.keys(&format!("groups = [\"{}\"]", folk.group("vault")));
    world.start().await;
    world.tasks("done", PEOPLE).await;
    world
}

#[tokio::test]
async fn a_deleted_group_makes_nobody_a_leaver() {
    let mut world = grouped(Slapd::builder()).await;
    let folk = world.folk();
    folk.delete(&folk.group("vault")).await;
    nobody_is_lost(&world).await;
    world.restart_only().await;
    nobody_is_lost(&world).await;
    let everyone: Vec<String> = uids().map(|uid| folk.dn(&uid)).collect();
    folk.add_group("vault", &everyone).await;
    all_is_well(&world).await;
}

#[tokio::test]
async fn rights_that_hide_the_groups_make_nobody_a_leaver() {
    let mut world = grouped(Slapd::builder()).await;
    let groups = "dn.subtree=\"ou=groups,dc=example,dc=org\"";
    world.server.restart_with(|slapd| slapd.deny(groups)).await;
    nobody_is_lost(&world).await;
    world.server.restart_with(Builder::deny_nothing).await;
    all_is_well(&world).await;
}

#[tokio::test]
async fn an_emptied_group_holds_everyone_until_they_are_back() {
    let world = grouped(Slapd::builder()).await;
    let folk = world.folk();
    let (admin, group) = (world.server.admin_dn(), folk.group("vault"));
    folk.modify(&group, Mod::Replace("member", [admin].into())).await;
    held(&world, PEOPLE).await;
    nobody_is_lost(&world).await;
    let everyone: Vec<String> = uids().map(|uid| folk.dn(&uid)).collect();
    let members = everyone.iter().map(String::as_str).collect();
    folk.modify(&group, Mod::Replace("member", members)).await;
    all_is_well(&world).await;
}

// -- a script -------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_script_that_disables_everyone_holds_everyone_until_they_are_enabled() {
    let mut world = prepared(Slapd::builder().ppolicy()).await;
    // The script takes longer than a moment.
    world.tables = world.tables.replace("1s", "4s");
    world.start().await;
    world.tasks("done", PEOPLE).await;
    let folk = world.folk();
    for uid in uids() {
        folk.lock(&uid, true).await;
    }
    held(&world, PEOPLE).await;
    sleep(Duration::from_secs(4)).await;
    nobody_is_lost(&world).await;
    for uid in uids() {
        folk.lock(&uid, false).await;
    }
    all_is_well(&world).await;
}

#[tokio::test]
async fn a_script_that_writes_an_attribute_of_the_filter_holds_everyone_until_it_is_undone() {
    let filter = "filter = \"(&(objectClass=inetOrgPerson)(!(departmentNumber=9)))\"";
    let mut world = prepared(Slapd::builder()).await.keys(filter);
    world.tables = world.tables.replace("1s", "4s");
    world.start().await;
    world.tasks("done", PEOPLE).await;
    let folk = world.folk();
    for uid in uids() {
        folk.set(&uid, "departmentNumber", Some("9")).await;
    }
    held(&world, PEOPLE).await;
    sleep(Duration::from_secs(4)).await;
    nobody_is_lost(&world).await;
    for uid in uids() {
        folk.set(&uid, "departmentNumber", None).await;
    }
    all_is_well(&world).await;
}

// -- our state ------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn an_old_backup_of_our_state_neither_disables_nor_mails_anyone_twice() {
    let mut world = world(Slapd::builder(), "").await;
    world.people().move_to("person1", "former").await;
    world.changed("person1", &["disable"]).await;
    // Within the grace of one of them.
    world.stop().await;
    world.tables = world.tables.replace("1s", "3s");
    world.start().await;
    world.people().move_to("person2", "former").await;
    world.journal_says("person2", "is to be disabled", 1).await;
    world.stop().await;
    let backup = world.state_file().with_file_name("backup.db");
    std::fs::copy(world.state_file(), &backup).unwrap();

    world.people().move_between("person2", "former", "people").await;
    world.people().move_between("person1", "former", "people").await;
    world.start().await;
    world.changed("person1", &["disable", "enable"]).await;
    world.witness("ann").await;
    world.people().move_to("person3", "former").await;
    world.changed("person3", &["disable"]).await;
    world.stop().await;

    sleep(CALM).await;
    world.state = Some(backup);
    world.start().await;
    world
        .says(&["already has an account", "ann@example.org"], 1)
        .await;
    sleep(Duration::from_secs(3)).await;
    sleep(CALM).await;
    assert_eq!(world.vault.changes(&mail("person1")), ["disable", "enable"]);
    world.untouched(&["person2"]);
    assert_eq!(world.vault.changes(&mail("person3")), ["disable"]);
    for uid in uids().chain(["ann".into()]) {
        assert_eq!(world.vault.mails(&mail(&uid)), 1, "{uid}");
    }
    assert_eq!(world.vault.all_changes().len(), 3);
}

// -- Vaultwarden ----------------------------------------------------------------------------------------------------

const MISSING: &str = "accounts in our care are missing";

#[tokio::test]
async fn an_emptied_vaultwarden_is_named_and_nobody_is_mailed_before_an_administrator_approves_it() {
    let world = world(Slapd::builder(), "").await;
    world.vault.delete_all();
    world.says(&["WARN", "20 of 20", MISSING], 1).await;
    world.tasks("held", PEOPLE).await;
    sleep(CALM).await;
    // Nobody is disabled there either, nor is anything wrong with those who leave.
    world.people().delete("person20").await;
    world.members(PEOPLE as u64 - 1).await;
    sleep(CALM).await;
    assert_eq!(world.vault.mailed().len(), PEOPLE);
    assert!(world.vault.all_changes().is_empty());

    world.approve_all().await;
    for uid in uids().take(PEOPLE - 1) {
        world
            .until("a second mail", |world| world.vault.mails(&mail(&uid)) == 2)
            .await;
    }
    sleep(CALM).await;
    assert_eq!(world.vault.mailed().len(), 2 * PEOPLE - 1);
}

#[tokio::test]
async fn an_old_backup_of_vaultwarden_mails_nobody_and_the_right_one_ends_the_trouble() {
    let mut world = prepared(Slapd::builder()).await;
    world.tables += "[limits]\ninvites_per_listing = 12\n";
    world.start().await;
    world.tasks("held", PEOPLE).await;
    for n in 1..=8 {
        world
            .ask(&["approve", "--yes", &mail(&format!("person{n}"))])
            .await;
    }
    world.tasks("done", 8).await;
    let early = world.vault.back_up();
    world.approve_all().await;
    world.tasks("done", PEOPLE).await;
    let late = world.vault.back_up();
    world.stop().await;
    sleep(Duration::from_secs(1)).await;
    world.vault.restore(&early);
    world.start().await;
    world.says(&["WARN", "12 of 20", MISSING], 1).await;
    world.tasks("held", 12).await;
    sleep(CALM).await;
    assert_eq!(world.vault.mailed().len(), PEOPLE);

    world.vault.restore(&late);
    world.tasks("done", PEOPLE).await;
    nobody_is_lost(&world).await;
    assert_eq!(world.approve_all().await, "nobody is held back\n");
}

#[tokio::test]
async fn another_vaultwarden_under_the_same_configuration_is_named_and_nobody_there_is_touched() {
    let mut world = world(Slapd::builder(), "").await;
    world.stop().await;
    let other = StandIn::with(Setup {
        accounts: 0x77,
        ..Setup::default()
    });
    // Some are known there, and their accounts are not ours.
    other.preload(uids().take(4).map(|uid| mail(&uid)));
    let first = std::mem::replace(&mut world.vault, other);
    world.start().await;
    world.says(&["WARN", MISSING], 1).await;
    world.people().move_to("person1", "former").await;
    world.people().move_to("person20", "former").await;
    world.members(PEOPLE as u64 - 2).await;
    sleep(CALM).await;
    assert!(world.vault.all_changes().is_empty());
    assert!(world.vault.mailed().is_empty(), "{:?}", world.vault.mailed());
    world.stop().await;

    // The mistake is found.
    for uid in ["person1", "person20"] {
        world.people().move_between(uid, "former", "people").await;
    }
    world.vault = first;
    world.start().await;
    all_is_well(&world).await;
}
