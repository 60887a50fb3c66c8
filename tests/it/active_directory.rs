//! Active Directory, as Samba's domain controller has it.

use std::net::Ipv4Addr;
use std::num::NonZeroU32;
use std::time::Duration;

use futures::StreamExt;
use ldap_usher::directory::{
    Bind, Changes, Directory, DirectoryError, DirectorySettings, LdapDirectory, Server, StreamKind,
};
use ldap_usher::model::{Change, Disposition};
use ldap_usher::tls::TlsOptions;
use std::sync::atomic::Ordering::Relaxed;
use tokio::time::timeout;

use crate::support::controller::Controller;
use crate::support::dns::Zone;
use crate::support::samba::{Builder, Samba};
use crate::support::site::Site;
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
    let table = (&samba as &dyn Site).table(
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

/// As whom and how to ask; the rest is as it should be.
fn settings(samba: &Samba, name: &str, password: &str) -> DirectorySettings {
    settings_for(&samba.url(), name, password)
}

fn settings_for(url: &str, name: &str, password: &str) -> DirectorySettings {
    DirectorySettings {
        name: "main".into(),
        servers: vec![Server::parse(url).unwrap()],
        starttls: false,
        tls: TlsOptions::default(),
        bind: Bind::Simple {
            dn: name.into(),
            password: password.to_owned().into(),
        },
        base: "OU=people,DC=lab,DC=test".into(),
        filter: "(&(objectCategory=person)(objectClass=user))".parse().unwrap(),
        groups: Vec::new(),
        id_attribute: None,
        attributes: vec!["mail".into()],
        stream: None,
        poll_interval: Duration::from_secs(60),
        page_size: NonZeroU32::new(500).unwrap(),
        max_message_size: 1 << 20,
    }
}

/// Opens the stream; the error as a person reads it, and what is done about it.
async fn opened(settings: DirectorySettings) -> Result<(), (String, Disposition)> {
    let opened = LdapDirectory::new(settings).unwrap().open(None).await;
    opened
        .map(drop)
        .map_err(|error| (error.to_string(), error.disposition()))
}

#[tokio::test]
async fn every_form_of_a_name_is_let_in_and_every_refusal_says_what_to_do() {
    let samba = Samba::builder().people(2).start().await;
    for name in [
        "reader@lab.test",
        "LAB\\reader",
        "CN=reader,CN=Users,DC=lab,DC=test",
    ] {
        assert_eq!(
            opened(settings(&samba, name, "reader-secret")).await,
            Ok(()),
            "{name}"
        );
    }
    let folk = samba.folk();
    let (reader, ann) = ("CN=reader,CN=Users,DC=lab,DC=test", folk.dn("person1"));
    samba.set_password(&ann, "ann-secret").await;
    let now = "userAccountControl";
    let refused = async |words: &str, password: &str| {
        let (error, disposition) = opened(settings(&samba, "reader@lab.test", password))
            .await
            .unwrap_err();
        assert!(
            error.contains("reader@lab.test") && error.contains(words),
            "{error}"
        );
        assert_eq!(disposition, Disposition::Operator, "{error}");
        assert!(!error.contains("secret"), "{error}");
    };
    refused("wrong password, or no such user", "another-secret").await;
    samba.replace(reader, now, b"66050").await;
    refused("the account is disabled", "reader-secret").await;
    samba.replace(reader, now, b"512").await;
    samba.replace(reader, "pwdLastSet", b"0").await;
    refused("the account must change its password first", "reader-secret").await;
    samba.replace(reader, "pwdLastSet", b"-1").await;
    samba
        .replace(reader, "accountExpires", b"116444736000000000")
        .await;
    refused("the account has expired", "reader-secret").await;
    samba.replace(reader, "accountExpires", b"0").await;
    assert_eq!(
        opened(settings(&samba, "reader@lab.test", "reader-secret")).await,
        Ok(())
    );
    samba.replace("DC=lab,DC=test", "lockoutThreshold", b"1").await;
    refused("wrong password", "another-secret").await;
    refused("the account is locked", "reader-secret").await;
}

#[tokio::test]
async fn who_asks_without_a_bind_or_without_tls_is_told_so() {
    let samba = Samba::builder().strong_auth().start().await;
    let (error, _) = opened(settings(&samba, "reader@lab.test", "reader-secret"))
        .await
        .unwrap_err();
    assert!(error.contains("use ldaps:// or `starttls = true`"), "{error}");
    let nobody = DirectorySettings {
        bind: Bind::Anonymous,
        ..settings(&samba, "", "")
    };
    let (error, disposition) = opened(nobody).await.unwrap_err();
    assert!(
        error.contains("Active Directory answers only after a bind"),
        "{error}"
    );
    assert_eq!(disposition, Disposition::Operator);
}

#[tokio::test]
async fn a_stream_that_the_controller_does_not_offer_is_not_asked_for() {
    let samba = Samba::builder().start().await;
    let foreign = DirectorySettings {
        stream: Some(StreamKind::Syncrepl),
        ..settings(&samba, "reader@lab.test", "reader-secret")
    };
    let (error, _) = opened(foreign).await.unwrap_err();
    assert!(
        error.contains("does not offer content synchronisation"),
        "{error}"
    );
}

#[tokio::test]
async fn a_domain_is_found_by_dns_and_its_controllers_are_tried_in_order() {
    let samba = Samba::builder().people(1).strong_auth().start().await;
    let nobody_there = Ipv4Addr::new(127, 1, 1, 1);
    let dns = Zone::default()
        .controller("lab.test", 20, "unreachable.lab.test")
        .controller("lab.test", 10, "dc1.lab.test")
        .controller("lab.test", 5, "impostor.lab.test")
        .controller("lab.test", 0, "unreachable.lab.test")
        .host("unreachable.lab.test", nobody_there)
        .host("impostor.lab.test", samba.address())
        .host("dc1.lab.test", samba.address())
        .serve()
        .await;
    let keys = format!("ca_file = \"{}\"\n{NOTIFIED}", samba.ca_file().display());
    let (plain, found) = (samba.url(), format!("ad://{}/lab.test", dns.address()));
    let table = samba.table(&keys).replace(&plain, &found);
    let mut world = World::on(samba, table);
    world.start().await;
    world
        .says(&["connected to the directory", "ldaps://dc1.lab.test:636"], 1)
        .await;
    world.invites("person1").await;
    let checked = world.ask(&["check"]).await;
    let checked = String::from_utf8_lossy(&checked.stdout).into_owned();
    for words in [
        "dc1.lab.test is 127.",
        "the domain controller dc1.lab.test of an Active Directory, change notification offered",
        "primary group",
        "ldaps://impostor.lab.test:636",
    ] {
        assert!(checked.contains(words), "{words}:\n{checked}");
    }
    world.stop().await;
    world.directory += "starttls = true\n";
    world.start().await;
    world.says(&["ldap://dc1.lab.test:389"], 1).await;
    world.stop().await;
    world.directory = world.directory.replace("/lab.test", "/other.test");
    world.start_only();
    world
        .says(
            &[
                "no domain controller was found",
                "check that `url` has the DNS name",
            ],
            1,
        )
        .await;
}

/// Follows a scripted controller, which is asked for changes every 100 ms.
async fn followed(controller: &Controller) -> Changes {
    let settings = DirectorySettings {
        poll_interval: Duration::from_millis(100),
        ..settings_for(controller.url(), "reader@lab.test", "secret")
    };
    let opened = LdapDirectory::new(settings).unwrap().open(None).await.unwrap();
    assert_eq!(opened.stream, StreamKind::ActiveDirectory);
    let mut changes = opened.changes;
    until(&mut changes, |change| matches!(change, Change::Checkpoint(_)))
        .await
        .unwrap();
    changes
}

/// What is told up to the change for which the predicate holds; or the error before it.
async fn until(changes: &mut Changes, last: impl Fn(&Change) -> bool) -> Result<Vec<Change>, DirectoryError> {
    let mut told = Vec::new();
    loop {
        let change = timeout(Duration::from_secs(20), changes.next())
            .await
            .expect("a change in time")
            .expect("no end without a reason")?;
        told.push(change);
        if last(&told[told.len() - 1]) {
            return Ok(told);
        }
    }
}

#[tokio::test]
async fn changes_are_found_by_their_number_where_a_controller_refuses_or_forgets_to_notify() {
    for refusal in [0, 11, 53] {
        let controller = Controller::start(refusal).await;
        let mut changes = followed(&controller).await;
        controller.manners.usn.store(101, Relaxed);
        let told = until(&mut changes, |change| matches!(change, Change::Checkpoint(_))).await;
        // Page by page, and the resume point after them all.
        let told: Vec<&str> = told.as_ref().unwrap().iter().map(Change::kind).collect();
        let told: Vec<&str> = told.into_iter().filter(|kind| *kind != "alive").collect();
        assert_eq!(told, ["upsert", "upsert", "upsert", "checkpoint"], "{refusal}");
    }
}

#[tokio::test]
async fn a_limit_a_lost_change_and_a_lie_each_end_the_session_with_its_reason() {
    let controller = Controller::start(0).await;
    let mut changes = followed(&controller).await;
    controller.manners.question.store(4, Relaxed);
    controller.manners.usn.store(101, Relaxed);
    let error = until(&mut changes, |_| false).await.unwrap_err();
    assert!(error.to_string().contains("sizeLimitExceeded"), "{error}");

    controller.manners.question.store(0, Relaxed);
    let mut changes = followed(&controller).await;
    controller.manners.usn.store(50, Relaxed);
    let error = until(&mut changes, |_| false).await.unwrap_err();
    assert_eq!(error.disposition(), Disposition::Relist, "{error}");

    let liar = Controller::start(12).await;
    let settings = settings_for(liar.url(), "reader@lab.test", "secret");
    let mut opened = LdapDirectory::new(settings).unwrap().open(None).await.unwrap();
    let error = until(&mut opened.changes, |_| false).await.unwrap_err();
    assert!(matches!(error, DirectoryError::Unsupported { .. }), "{error}");
}

#[tokio::test]
async fn whoever_joins_or_leaves_a_group_or_one_within_it_does_so_at_once() {
    let samba = Samba::builder().people(3).start().await;
    let folk = samba.folk();
    folk.add_group("inner", &[]).await;
    folk.add_group("vault", &[folk.group("inner"), folk.dn("person1")])
        .await;
    let filter = format!(
        "(&{}(memberOf:1.2.840.113556.1.4.1941:={}))",
        samba.dialect().people,
        folk.group("vault")
    );
    let table = (&samba as &dyn Site).table(&filter, NOTIFIED);
    let mut world = World::on(samba, table);
    world.start().await;
    world.invites("person1").await;
    folk.join("inner", &folk.dn("person2")).await;
    world.invites("person2").await;
    folk.join("vault", &folk.dn("person3")).await;
    world.invites("person3").await;
    folk.leave("inner", &folk.dn("person2")).await;
    world.members(2).await;
    world.stop().await;
    folk.leave("vault", &folk.dn("person1")).await;
    world.start().await;
    world.members(1).await;
    world.invited(["person1", "person2", "person3"]).await;
}

#[tokio::test]
async fn whoever_takes_over_the_name_of_a_member_is_no_member_before_they_are_put_into_the_group() {
    let samba = Samba::builder().people(5).start().await;
    let folk = samba.folk();
    folk.add_group("inner", &[folk.dn("person3")]).await;
    folk.add_group(
        "vault",
        &[folk.dn("person1"), folk.dn("person2"), folk.group("inner")],
    )
    .await;
    let keys = format!(
        "groups = [\"{}\"]\naudit_interval = \"2s\"\n{NOTIFIED}",
        folk.group("vault")
    );
    let table = samba.table(&keys);
    let mut world = World::on(samba, table);
    world.start().await;
    world.invited(["person1", "person2", "person3"]).await;

    // One leaves the company, two marry, and new people get their names: the controller says nothing of the groups.
    folk.delete(&folk.dn("person1")).await;
    for uid in ["person2", "person3"] {
        let married = format!("{uid}-married");
        folk.rename(uid, &married).await;
        folk.set(&married, "sAMAccountName", Some(&married)).await;
    }
    for n in 1..=3 {
        let mail = format!("namesake{n}@example.org");
        folk.add_in("people", &format!("person{n}"), Some(&mail)).await;
    }
    // Changes of the groups themselves, an audit and a new session find nothing else.
    folk.join("vault", &folk.dn("person4")).await;
    folk.join("inner", &folk.dn("person5")).await;
    let insiders = ["person1", "person2", "person3", "person4", "person5"];
    world.invited(insiders).await;
    world.audited().await;
    world.members(4).await;
    world.restart().await;
    world.audited().await;
    world.members(4).await;
    world.invited(insiders).await;

    // The group has had a member of that name, and has another one now.
    folk.join("vault", &folk.dn("person1")).await;
    world.invites("namesake1").await;
    folk.join("inner", &folk.dn("person3")).await;
    world.invites("namesake3").await;
    folk.leave("inner", &folk.dn("person3-married")).await;
    world.members(5).await;
    assert!(
        !world
            .vault
            .invited()
            .contains(&"namesake2@example.org".to_owned())
    );
}

#[tokio::test]
async fn people_who_came_while_nobody_listened_are_held_like_those_of_a_listing() {
    let mut world = World::on(Samba::builder().people(1).start().await, String::new())
        .tables("[limits]\ninvites_per_listing = 5");
    world.directory = world.server.table(NOTIFIED);
    world.start().await;
    world.tasks("done", 1).await;
    world.stop().await;
    world.server.folk().add_many("new", 12).await;
    world.start().await;
    world.tasks("held", 12).await;
    world.server.folk().add("ann").await;
    world.invites("ann").await;
    assert_eq!(world.vault.mailed().len(), 2, "{}", world.service().output());
}
