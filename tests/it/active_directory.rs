//! Active Directory, as Samba's domain controller has it.

use std::time::Duration;

use crate::support::samba::{Builder, Samba};
use crate::support::world::World;

/// Nothing but notifications brings changes within the time of a test.
const NOTIFIED: &str = "poll_interval = \"1h\"";

/// A domain controller with a Vaultwarden and a service that has listed everyone.
async fn running(builder: Builder, keys: &str) -> World<Samba> {
    let mut world = with(builder, keys).await;
    world.start().await;
    world
}

async fn with(builder: Builder, keys: &str) -> World<Samba> {
    let samba = builder.start().await;
    let table = samba.table(keys);
    World::on(samba, table)
}

#[tokio::test]
async fn a_new_person_is_invited_at_once_and_the_log_says_by_which_stream() {
    let world = running(Samba::builder().people(1), NOTIFIED).await;
    world.server.folk().add("ann").await;
    world.invites("ann").await;
    world.invited(["person1", "ann"]).await;
    world
        .says(
            &[
                "stream=\"active-directory\"",
                "Active Directory domain controller",
            ],
            1,
        )
        .await;
}

#[tokio::test]
async fn a_controller_with_a_process_for_each_connection_is_followed_too() {
    let world = running(Samba::builder().standard().people(1), NOTIFIED).await;
    world.server.folk().add("ann").await;
    world.invites("ann").await;
    world.server.folk().move_between("ann", "people", "former").await;
    world.members(1).await;
}

#[tokio::test]
async fn an_address_a_move_a_rename_and_a_filter_are_told_at_once() {
    let samba = Samba::builder().people(2).start().await;
    let table = (&samba as &dyn crate::support::site::Site).table(
        "(&(objectCategory=person)(objectClass=user)(!(departmentNumber=9)))",
        NOTIFIED,
    );
    let mut world = World::on(samba, table);
    world.start().await;
    let folk = world.server.folk();
    folk.add_in("people", "ann", None).await;
    folk.set("ann", "mail", Some("ann@example.org")).await;
    world.invites("ann").await;
    folk.add_in("former", "bea", Some("bea@example.org")).await;
    folk.move_between("bea", "former", "people").await;
    world.invites("bea").await;
    world.members(4).await;
    folk.rename("ann", "anna").await;
    world.says(&["CN=anna,"], 1).await;
    folk.move_between("bea", "people", "former").await;
    world.members(3).await;
    folk.set("person1", "departmentNumber", Some("9")).await;
    world.members(2).await;
    folk.set("person1", "departmentNumber", None).await;
    world.members(3).await;
    world.invited(["person1", "person2", "ann", "bea"]).await;
}

#[tokio::test]
async fn whoever_is_deleted_leaves_at_once_where_the_account_may_see_deleted_objects_and_by_an_audit_elsewhere()
 {
    let mut world = running(Samba::builder().people(2), "audit_interval = \"3s\"").await;
    world
        .server
        .folk()
        .delete(&world.server.folk().dn("person1"))
        .await;
    world.members(1).await;
    world.says(&["purpose=\"audit\""], 1).await;
    world.stop().await;
    world.directory = world
        .server
        .table(NOTIFIED)
        .replace("reader@lab.test", "Administrator@lab.test")
        .replace("reader-secret", "Passw0rd!x");
    world.start().await;
    world
        .server
        .folk()
        .delete(&world.server.folk().dn("person2"))
        .await;
    world.members(0).await;
    assert!(world.lines(&["purpose=\"audit\""]).is_empty());
}

#[tokio::test]
async fn what_changed_while_nobody_listened_is_told_by_number_and_the_rest_by_a_listing() {
    let mut world = running(Samba::builder().people(4), NOTIFIED).await;
    world.tasks("done", 4).await;
    world.stop().await;
    let folk = world.server.folk();
    folk.add("ann").await;
    folk.move_between("person1", "people", "former").await;
    folk.delete(&folk.dn("person2")).await;
    world.start().await;
    world
        .says(&["connected to the directory", "resumed=true"], 1)
        .await;
    world.invites("ann").await;
    world.members(3).await;
    world.says(&["listing ended", "purpose=\"audit\""], 1).await;
    assert_eq!(
        world
            .lines(&["listing ended", "purpose=\"catch-up\"", "Complete"])
            .len(),
        0
    );
}

#[tokio::test]
async fn a_controller_that_is_killed_is_found_again_and_told_from_where_to_go_on() {
    let mut world = running(Samba::builder().people(1), NOTIFIED).await;
    world.server.kill9().await;
    world.server.restart().await;
    world.server.folk().add("ann").await;
    world.connected(2).await;
    world.invites("ann").await;
    world
        .says(&["connected to the directory", "resumed=true"], 1)
        .await;
    world.server.folk().add("bea").await;
    world.invites("bea").await;
}

#[tokio::test]
async fn an_account_that_is_made_in_steps_is_invited_once_when_it_is_enabled_and_has_an_address() {
    let world = running(Samba::builder().people(1), NOTIFIED).await;
    let folk = world.server.folk();
    for (uid, enabled_last) in [("ann", false), ("bea", true)] {
        let mail = format!("{uid}@example.org");
        folk.add_in("people", uid, None).await;
        folk.lock(uid, true).await;
        world.server.set_password(&folk.dn(uid), "secret-of-hers").await;
        if enabled_last {
            folk.set(uid, "mail", Some(&mail)).await;
            world.says(&["cannot be invited", "disabled", uid], 1).await;
            folk.lock(uid, false).await;
        } else {
            folk.lock(uid, false).await;
            folk.set(uid, "mail", Some(&mail)).await;
        }
        world.invites(uid).await;
    }
    world.invited_once(&["person1", "ann", "bea"]).await;
}

#[tokio::test]
async fn a_disabled_account_is_no_member_until_the_configuration_says_so() {
    let mut world = running(Samba::builder().people(2), NOTIFIED).await;
    world.tasks("done", 2).await;
    world.server.folk().lock("person1", true).await;
    world
        .says(&["left", "the account is disabled (userAccountControl)"], 1)
        .await;
    world.members(1).await;
    world.stop().await;
    world
        .server
        .folk()
        .add_in("people", "ann", Some("ann@example.org"))
        .await;
    world.server.folk().lock("ann", true).await;
    let watched = world.ask(&["plan"]).await;
    let planned = String::from_utf8_lossy(&watched.stdout).into_owned();
    assert!(planned.contains("the account is disabled"), "{planned}");
    world.directory += "disabled_accounts = \"ignore\"\n";
    world.start().await;
    world.says(&["the settings changed"], 1).await;
    world.invites("ann").await;
    world.members(3).await;
}

#[tokio::test]
async fn of_proxy_addresses_the_primary_one_is_invited() {
    let keys = "mail_attributes = [\"mail\", \"proxyAddresses\"]";
    let world = running(Samba::builder().people(1), keys).await;
    let folk = world.server.folk();
    folk.add_in("people", "ann", None).await;
    let values = [
        "smtp:alias@example.org",
        "SIP:ann@example.org",
        "SMTP:ann@example.org",
    ];
    folk.modify(&folk.dn("ann"), ldap3::Mod::Add("proxyAddresses", values.into()))
        .await;
    world.invites("ann").await;
    world.invited(["person1", "ann"]).await;
}

#[tokio::test]
async fn a_restored_backup_and_another_database_lead_to_a_listing_of_everyone() {
    let mut world = running(Samba::builder().people(2), NOTIFIED).await;
    world.tasks("done", 2).await;
    world.server.back_up().await;
    world.server.folk().add("ann").await;
    world.invites("ann").await;
    world.members(3).await;
    world.stop().await;
    world.server.restore().await;
    world.start().await;
    world
        .says(
            &["listing ended", "purpose=\"catch-up\"", "result=\"complete\""],
            1,
        )
        .await;
    world.members(2).await;
    world.stop().await;
    world.server.be_another().await;
    world.start().await;
    world
        .says(
            &["listing ended", "purpose=\"catch-up\"", "result=\"complete\""],
            1,
        )
        .await;
}
