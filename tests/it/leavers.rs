//! What happens to the accounts of people who leave the directory: the built program, a real slapd, a stand-in for
//! Vaultwarden.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use crate::support::ds389::Ds389;
use crate::support::samba::Samba;
use crate::support::site::Site;
use crate::support::slapd::Slapd;
use crate::support::stand_in::{Fault, Moment, On};
use crate::support::world::{A_WHILE, PATIENCE, World, table};

fn mail(uid: &str) -> String {
    format!("{uid}@example.org")
}

/// A service that follows so many people and does this to those who leave.
async fn with(people: usize, action: &str, grace: &str) -> World {
    let world = World::with(Slapd::builder().people(people)).await;
    let mut world = world.leave(action, grace);
    world.start().await;
    world.tasks("done", people).await;
    world
}

// -- ways to leave --------------------------------------------------------------------------------------------------

/// Each way to leave leads to the call, after the grace and not before.
async fn every_way_to_leave_leads_to(action: &str, call: &'static str, words: &str) {
    const GRACE: Duration = Duration::from_secs(2);
    let world = World::with(Slapd::builder().people(7).ppolicy()).await;
    let folk = world.folk();
    let everyone: Vec<String> = (1..=7).map(|n| folk.dn(&format!("person{n}"))).collect();
    folk.add_group("vault", &everyone).await;
    let keys = format!(
        "filter = \"(&(objectClass=inetOrgPerson)(!(departmentNumber=9)))\"\ngroups = [\"{}\"]",
        folk.group("vault")
    );
    let mut world = world.keys(&keys).leave(action, "2s");
    world.start().await;
    world.tasks("done", 7).await;

    let began = Instant::now();
    folk.delete(&folk.dn("person1")).await;
    folk.move_between("person2", "people", "former").await;
    folk.set("person3", "departmentNumber", Some("9")).await;
    folk.lock("person4", true).await;
    folk.leave("vault", &folk.dn("person5")).await;
    for n in 1..=5 {
        let uid = format!("person{n}");
        world.changed(&uid, &[call]).await;
        let after = world.call(&uid, call).at - began;
        assert!(after >= GRACE, "{uid}: {after:?}");
    }
    world.journal_says("person1", words, 1).await;
    sleep(A_WHILE).await;
    world.untouched(&["person6", "person7"]);
    assert_eq!(world.vault.all_changes().len(), 5);
    world.members(2).await;
}

#[tokio::test]
async fn every_way_to_leave_disables_the_account_after_the_grace_and_not_before() {
    every_way_to_leave_leads_to("disable", "disable", "the account was disabled").await;
}

#[tokio::test]
async fn every_way_to_leave_ends_the_sessions_after_the_grace_and_not_before() {
    every_way_to_leave_leads_to("deauthorize", "deauth", "the account was logged out everywhere").await;
}

#[tokio::test]
async fn every_way_to_leave_deletes_the_account_after_the_grace_and_not_before() {
    every_way_to_leave_leads_to("delete", "delete", "the account was deleted").await;
}

#[tokio::test]
async fn whoever_leaves_while_nobody_listens_loses_the_account_as_well() {
    let mut world = with(3, "disable", "1s").await;
    world.stop().await;
    world.people().delete("person1").await;
    world.start().await;
    world.changed("person1", &["disable"]).await;
    sleep(A_WHILE).await;
    world.untouched(&["person2", "person3"]);
}

#[tokio::test]
async fn nobody_loses_anything_where_the_administrator_did_not_ask_for_it() {
    let world = World::running(Slapd::builder().people(3)).await;
    world.tasks("done", 3).await;
    world.people().delete("person1").await;
    world.people().move_to("person2", "former").await;
    world.members(1).await;
    sleep(A_WHILE).await;
    assert!(world.vault.all_changes().is_empty());
}

#[tokio::test]
async fn one_directory_may_differ_from_the_others() {
    let branch = Slapd::builder().people(0).start().await;
    branch.people().add_person("bob").await;
    branch.people().add_person("eve").await;
    let world = World::with(Slapd::builder().people(2)).await;
    let mut world = world.leave("none", "1s");
    world.directory += &table(
        &branch,
        "branch",
        "leave_action = \"delete\"\nleave_grace = \"0s\"",
    );
    world.start_only();
    world.caught_up(2).await;
    world.tasks("done", 4).await;
    world.people().delete("person1").await;
    branch.people().delete("bob").await;
    world.changed("bob", &["delete"]).await;
    sleep(A_WHILE).await;
    world.untouched(&["person1", "person2", "eve"]);
}

// -- other servers --------------------------------------------------------------------------------------------------

/// Whoever is deleted, disabled or moved out is disabled, and is enabled again when they are back.
async fn are_disabled_and_enabled_again<D: Site>(mut world: World<D>) {
    let folk = world.folk();
    world.start().await;
    world.tasks("done", 4).await;
    folk.delete(&folk.dn("person1")).await;
    folk.lock("person2", true).await;
    folk.move_between("person3", "people", "former").await;
    let leavers = ["person1", "person2", "person3"];
    for uid in leavers {
        world.changed(uid, &["disable"]).await;
        assert_eq!(world.vault.enabled(&mail(uid)), Some(false));
    }
    folk.add("person1").await;
    folk.lock("person2", false).await;
    folk.move_between("person3", "former", "people").await;
    for uid in leavers {
        world.changed(uid, &["disable", "enable"]).await;
        assert_eq!(world.vault.enabled(&mail(uid)), Some(true));
        assert_eq!(world.vault.mails(&mail(uid)), 1);
    }
    world.untouched(&["person4"]);
}

#[tokio::test]
async fn leavers_of_a_389_directory_server_are_disabled_and_enabled_again() {
    for keys in ["stream = \"persistent-search\"", "stream = \"syncrepl\""] {
        let site = Ds389::builder().people(4).start().await;
        let table = (&site as &dyn Site).table("(&(objectClass=inetOrgPerson)(mail=*))", keys);
        let world = World::on(site, table).leave("disable", "1s");
        are_disabled_and_enabled_again(world).await;
    }
}

#[tokio::test]
async fn leavers_of_active_directory_are_disabled_and_enabled_again() {
    let samba = Samba::builder().people(4).start().await;
    // Its reader may not see what was deleted: an audit finds it.
    let table = samba.table("audit_interval = \"2s\"");
    are_disabled_and_enabled_again(World::on(samba, table).leave("disable", "1s")).await;
}

// -- coming back ----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn whoever_is_back_within_the_grace_is_untouched() {
    let world = with(2, "delete", "3s").await;
    world.people().move_to("person1", "former").await;
    world.journal_says("person1", "is to be deleted", 1).await;
    world.people().move_between("person1", "former", "people").await;
    world.says(&["joined again", "person1"], 1).await;
    world.journal_says("person1", "account was cancelled", 1).await;
    sleep(Duration::from_secs(4)).await;
    world.untouched(&["person1"]);
    assert_eq!(world.vault.mails(&mail("person1")), 1);
}

#[tokio::test]
async fn whoever_comes_back_later_is_enabled_again_and_not_mailed() {
    let world = with(2, "disable", "0s").await;
    for times in 1..=2 {
        let changes = ["disable", "enable"].repeat(times);
        world.people().move_to("person1", "former").await;
        world.changed("person1", &changes[..changes.len() - 1]).await;
        assert_eq!(world.vault.enabled(&mail("person1")), Some(false));
        world.people().move_between("person1", "former", "people").await;
        world.changed("person1", &changes).await;
    }
    assert_eq!(world.vault.enabled(&mail("person1")), Some(true));
    assert_eq!(world.vault.mails(&mail("person1")), 1);
}

#[tokio::test]
async fn whoever_comes_back_after_the_account_was_deleted_is_invited_anew() {
    let world = with(2, "delete", "0s").await;
    world.people().move_to("person1", "former").await;
    world.changed("person1", &["delete"]).await;
    world.people().move_between("person1", "former", "people").await;
    world
        .until("a second mail", |world| world.vault.mails(&mail("person1")) == 2)
        .await;
    sleep(A_WHILE).await;
    assert_eq!(world.vault.enabled(&mail("person1")), Some(true));
    assert_eq!(world.vault.mails(&mail("person1")), 2);
}

#[tokio::test]
async fn an_account_that_an_administrator_disabled_stays_so_when_the_person_comes_back() {
    let world = with(2, "disable", "0s").await;
    world.vault.disable(&mail("person1"));
    world.people().move_to("person1", "former").await;
    world
        .journal_says("person1", "the account was already disabled", 1)
        .await;
    world.people().move_between("person1", "former", "people").await;
    world.says(&["joined again", "person1"], 1).await;
    world.witness("ann").await;
    sleep(A_WHILE).await;
    world.untouched(&["person1"]);
    assert_eq!(world.vault.enabled(&mail("person1")), Some(false));
}

#[tokio::test]
async fn what_an_administrator_did_by_hand_after_the_service_did_is_respected() {
    let world = World::with(Slapd::builder().people(3)).await;
    let mut world = world
        .leave("disable", "0s")
        .vaultwarden_keys("accounts_interval = \"1s\"");
    world.start().await;
    world.tasks("done", 3).await;
    for uid in ["person1", "person2"] {
        world.people().move_to(uid, "former").await;
        world.changed(uid, &["disable"]).await;
    }
    // One leaver is let in by hand, and stays in.
    world.vault.enable(&mail("person1"));
    world
        .journal_says("person1", "somebody enabled the account", 1)
        .await;
    // The other one is let in and shut out again by hand, and stays out.
    world.vault.enable(&mail("person2"));
    world
        .journal_says("person2", "somebody enabled the account", 1)
        .await;
    world.vault.disable(&mail("person2"));
    world
        .journal_says("person2", "somebody disabled the account", 1)
        .await;
    world.people().move_between("person2", "former", "people").await;
    world.says(&["joined again", "person2"], 1).await;
    world.witness("ann").await;
    sleep(A_WHILE).await;
    for uid in ["person1", "person2"] {
        assert_eq!(world.vault.changes(&mail(uid)), ["disable"]);
    }
    assert_eq!(world.vault.enabled(&mail("person1")), Some(true));
    assert_eq!(world.vault.enabled(&mail("person2")), Some(false));
}

// -- not leaving ----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_renamed_entry_another_address_and_no_address_are_not_leaving() {
    let world = with(4, "delete", "0s").await;
    world.people().rename("person1", "chief").await;
    world.people().set_mail("person2", "married@example.org").await;
    world.people().remove_mail("person3").await;
    world.says(&["renamed or moved"], 1).await;
    world.says(&["the address changed"], 1).await;
    world.says(&["can no longer be used", "person3"], 1).await;
    world.witness("ann").await;
    sleep(A_WHILE).await;
    assert!(world.vault.all_changes().is_empty());
}

#[tokio::test]
async fn a_member_of_two_directories_leaves_only_when_gone_from_both() {
    let branch = Slapd::builder().people(2).start().await;
    let world = World::with(Slapd::builder().people(2)).await;
    let mut world = world.leave("disable", "0s");
    world.directory += &table(&branch, "branch", "");
    world.start_only();
    world.caught_up(2).await;
    world.tasks("done", 2).await;
    world.people().delete("person1").await;
    world.says(&["INFO left", "uid=person1,"], 1).await;
    world.witness("ann").await;
    sleep(A_WHILE).await;
    world.untouched(&["person1", "person2"]);
    branch.people().delete("person1").await;
    world.changed("person1", &["disable"]).await;
    // They are back with the first entry, which need not be the one that they had.
    branch.people().add_person("person1").await;
    world.changed("person1", &["disable", "enable"]).await;
    world.untouched(&["person2"]);
}

#[tokio::test]
async fn a_directory_that_is_removed_from_the_configuration_makes_nobody_a_leaver() {
    let branch = Slapd::builder().people(0).start().await;
    branch.people().add_person("bob").await;
    branch.people().add_person("eve").await;
    let world = World::with(Slapd::builder().people(2)).await;
    let mut world = world.leave("disable", "2s");
    let main = world.directory.clone();
    world.directory += &table(&branch, "branch", "");
    world.start_only();
    world.caught_up(2).await;
    world.tasks("done", 4).await;
    // One is on the way out already.
    branch.people().delete("eve").await;
    world.journal_says("eve", "is to be disabled", 1).await;
    world.stop().await;

    world.directory = main;
    world.start().await;
    world.says(&["removed from the configuration", "branch"], 1).await;
    sleep(Duration::from_secs(4)).await;
    world.untouched(&["bob", "eve", "person1", "person2"]);
}

// -- accounts that are not touched ----------------------------------------------------------------------------------

#[tokio::test]
async fn an_account_that_was_there_before_is_left_alone_and_explain_says_why() {
    let mut world = World::with(Slapd::builder().people(2))
        .await
        .leave("delete", "0s");
    world.vault.preload([mail("person1")]);
    world.start().await;
    world.tasks("done", 2).await;
    world.people().delete("person1").await;
    world.journal_says("person1", "is not in our care", 1).await;
    let told = world.ask(&["explain", &mail("person1")]).await;
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(
        told.contains("the account is left alone: it existed before"),
        "{told}"
    );
    sleep(A_WHILE).await;
    world.untouched(&["person1"]);
}

#[tokio::test]
async fn protected_accounts_administrators_and_last_owners_are_left_alone_and_explain_says_why() {
    let mut world = World::with(Slapd::builder().people(5))
        .await
        .leave("delete", "0s")
        .tables("[protect]\naddresses = [\"Person1@Example.ORG\"]\ndomains = [\"machines.example.org\"]")
        .vaultwarden_keys("administrators = [\"person2@example.org\"]");
    world
        .people()
        .set_mail("person3", "person3@machines.example.org")
        .await;
    world.start().await;
    world.tasks("done", 5).await;
    world.vault.make_last_owner(&mail("person4"));
    for (uid, address, why) in [
        ("person1", mail("person1"), "[protect] addresses"),
        ("person2", mail("person2"), "[vaultwarden] administrators"),
        (
            "person3",
            "person3@machines.example.org".into(),
            "machines.example.org of [protect] domains",
        ),
        ("person4", mail("person4"), "last owner"),
    ] {
        world.people().delete(uid).await;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let told = world.ask(&["explain", &address]).await;
            let told = String::from_utf8(told.stdout).unwrap();
            if told.contains(why) {
                break;
            }
            assert!(Instant::now() < deadline, "{told}");
            sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(world.vault.enabled(&address), Some(true), "{address}");
    }
    sleep(A_WHILE).await;
    assert!(world.vault.all_changes().is_empty());
    let asked = world.vault.calls();
    let deletes = asked.iter().filter(|call| call.what.ends_with("/delete"));
    assert_eq!(deletes.count(), 1, "only Vaultwarden knows its last owners");
}

// -- in the middle of a call ----------------------------------------------------------------------------------------

#[tokio::test]
async fn whoever_returns_while_the_call_is_under_way_is_enabled_again() {
    for moment in [Moment::Arrived, Moment::Saved] {
        let world = with(2, "disable", "0s").await;
        world
            .vault
            .fail(On::Change("disable"), None, 1, Fault::Hold(moment));
        world.people().move_to("person1", "former").await;
        assert!(world.vault.wait_until_held(1, PATIENCE).await);
        world.people().move_between("person1", "former", "people").await;
        world.says(&["joined again", "person1"], 1).await;
        world.vault.release();
        world.changed("person1", &["disable", "enable"]).await;
        assert_eq!(world.vault.enabled(&mail("person1")), Some(true));
    }
}

#[tokio::test]
async fn whoever_returns_while_the_account_is_being_deleted_is_invited_again() {
    let world = with(2, "delete", "0s").await;
    let hold = Fault::Hold(Moment::Arrived);
    world.vault.fail(On::Change("delete"), None, 1, hold);
    world.people().move_to("person1", "former").await;
    assert!(world.vault.wait_until_held(1, PATIENCE).await);
    world.people().move_between("person1", "former", "people").await;
    world.says(&["joined again", "person1"], 1).await;
    world.vault.release();
    world
        .until("a second mail", |world| world.vault.mails(&mail("person1")) == 2)
        .await;
    assert_eq!(world.vault.enabled(&mail("person1")), Some(true));
}

#[tokio::test]
async fn killed_before_vaultwarden_did_anything_the_service_disables_once() {
    let mut world = with(2, "disable", "0s").await;
    let hold = Fault::Hold(Moment::Arrived);
    world.vault.fail(On::Change("disable"), None, 1, hold);
    world.people().move_to("person1", "former").await;
    assert!(world.vault.wait_until_held(1, PATIENCE).await);
    world.kill9().await;
    // The request that Vaultwarden has goes on.
    world.vault.release();
    world.changed("person1", &["disable"]).await;
    world.start().await;
    world.journal_says("person1", "the account was disabled", 1).await;
    sleep(A_WHILE).await;
    assert_eq!(world.vault.changes(&mail("person1")), ["disable"]);

    // It is known that it was this service.
    world.people().move_between("person1", "former", "people").await;
    world.changed("person1", &["disable", "enable"]).await;
}

#[tokio::test]
async fn killed_during_the_call_nobody_stays_disabled_who_is_back() {
    for moment in [Moment::Arrived, Moment::Saved] {
        let mut world = with(2, "disable", "0s").await;
        world.tables += "[invite]\nresend_unknown_after = \"5s\"\n";
        world
            .vault
            .fail(On::Change("disable"), None, 1, Fault::Hold(moment));
        world.people().move_to("person1", "former").await;
        assert!(world.vault.wait_until_held(1, PATIENCE).await);
        world.kill9().await;
        world.people().move_between("person1", "former", "people").await;
        world.start().await;
        world.says(&["found when they are looked up", "person1"], 1).await;
        // Vaultwarden is slow: what it was told takes effect only now.
        world.vault.release();
        world.changed("person1", &["disable", "enable"]).await;
        sleep(A_WHILE).await;
        assert_eq!(world.vault.enabled(&mail("person1")), Some(true), "{moment:?}");
    }
}

#[tokio::test]
async fn killed_within_the_grace_the_service_goes_on_with_it() {
    let mut world = with(3, "disable", "2s").await;
    let began = Instant::now();
    for uid in ["person1", "person2"] {
        world.people().move_to(uid, "former").await;
        world.journal_says(uid, "is to be disabled", 1).await;
    }
    world.kill9().await;
    world.people().move_between("person2", "former", "people").await;
    world.start().await;
    world.changed("person1", &["disable"]).await;
    assert!(world.call("person1", "disable").at - began >= Duration::from_secs(2));
    sleep(A_WHILE).await;
    world.untouched(&["person2", "person3"]);
}

#[tokio::test]
async fn a_vaultwarden_that_is_down_or_breaks_off_is_asked_again_and_disables_once() {
    let mut world = with(4, "disable", "0s").await;
    for (uid, moment) in [("person1", Moment::Arrived), ("person2", Moment::Saved)] {
        let call = On::Change("disable");
        world.vault.fail(call, Some(&mail(uid)), 1, Fault::Drop(moment));
        world.people().move_to(uid, "former").await;
        world.changed(uid, &["disable"]).await;
    }
    world.vault.down();
    world.people().move_to("person3", "former").await;
    world.says(&["INFO left", "uid=person3,"], 1).await;
    sleep(A_WHILE).await;
    world.vault.up();
    world.changed("person3", &["disable"]).await;
    sleep(A_WHILE).await;
    assert_eq!(world.vault.all_changes().len(), 3);
    world.untouched(&["person4"]);
}
