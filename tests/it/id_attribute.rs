//! Servers without UUIDs: people are known by an attribute that the configuration names.

use ldap_usher::directory::{Directory, DirectorySettings, LdapDirectory, StreamKind};
use ldap_usher::model::{EntryId, Listing};
use tokio::time::sleep;

use crate::support::ldap::{attribute, entry_of, message};
use crate::support::listening::{Listening, settings};
use crate::support::offering::{Face, Offering};
use crate::support::site::{Folk, Site};
use crate::support::slapd::{Builder, Slapd, person_ldif};
use crate::support::world::{A_WHILE, World, table};

const VAULT: &str = "cn=vault,ou=groups,dc=example,dc=org";

/// A slapd whose reader may not read the UUIDs, with people who have numbers, and a service that goes by these.
async fn world(slapd: Builder, uids: &[&str], keys: &str) -> World {
    let slapd = slapd.hide_from_reader("entryUUID").start().await;
    for (uid, number) in uids.iter().zip(5001..) {
        slapd.slapadd(&posix_ldif(uid, number));
    }
    let keys = format!("id_attribute = \"uidNumber\"\npoll_interval = \"1s\"\n{keys}");
    let table = table(&slapd, "main", &keys);
    World::on(slapd, table)
}

fn posix_ldif(uid: &str, number: u32) -> String {
    format!(
        "{}\nobjectClass: posixAccount\nuidNumber: {number}\ngidNumber: 100\nhomeDirectory: /home/{uid}\n\n",
        person_ldif(uid).trim_end()
    )
}

fn folk(world: &World) -> Folk {
    (&world.server as &dyn Site).folk()
}

#[tokio::test]
async fn people_join_are_renamed_and_leave_by_their_numbers() {
    let filter = format!("filter = \"(&(objectClass=posixAccount)(memberOf={VAULT}))\"");
    let mut world = world(Slapd::builder().memberof(), &["ann", "bob", "eve"], &filter).await;
    let folk = folk(&world);
    folk.add_group("vault", &[folk.dn("ann"), folk.dn("bob")]).await;
    world.start().await;
    world.invited(["ann", "bob"]).await;
    // Syncrepl, which this server offers, would tell of other identities.
    world
        .says(&["connected to the directory", "stream=\"poll\""], 1)
        .await;

    folk.join("vault", &folk.dn("eve")).await;
    world.invites("eve").await;
    folk.rename("ann", "anna").await;
    world.people().set_mail("anna", "anna@example.org").await;
    world.says(&["the address changed", "anna@example.org"], 1).await;
    folk.leave("vault", &folk.dn("bob")).await;
    world.says(&[" left directory=", "uid=bob,"], 1).await;
    world.members(2).await;
    world.invited_once(&["ann", "bob", "eve"]).await;
}

#[tokio::test]
async fn a_group_without_identity_is_known_by_its_name() {
    let filter = format!("filter = \"(&(objectClass=posixAccount)(memberOf={VAULT}))\"");
    let mut world = world(Slapd::builder().memberof(), &["ann", "bob"], &filter).await;
    let folk = folk(&world);
    folk.add_group("vault", &[folk.dn("ann")]).await;
    world.start().await;
    world.invited(["ann"]).await;

    folk.rename_group("vault", "safe").await;
    world.says(&["does not exist or may not be read", VAULT], 1).await;
    world.members(1).await;
    world.stop().await;
    world.directory = world.directory.replace("cn=vault", "cn=safe");
    world.start().await;
    folk.join("safe", &folk.dn("bob")).await;
    world.invites("bob").await;
    world.members(2).await;
    assert_eq!(world.lines(&[" left directory="]), [""; 0]);
}

#[tokio::test]
async fn people_are_in_the_groups_of_the_configuration_by_their_uid() {
    let groups = format!("groups = [\"{VAULT}\"]");
    let mut world = world(Slapd::builder().no_syncprov(), &["ann", "bob"], &groups).await;
    let group = "objectClass: posixGroup\ncn: vault\ngidNumber: 5001\nmemberUid: ann";
    world.server.slapadd(&format!("dn: {VAULT}\n{group}\n\n"));
    world.start().await;
    world.invited(["ann"]).await;

    let folk = folk(&world);
    folk.modify(VAULT, ldap3::Mod::Add("memberUid", ["bob"].into()))
        .await;
    world.invites("bob").await;
    folk.modify(VAULT, ldap3::Mod::Delete("memberUid", ["ann"].into()))
        .await;
    world.says(&[" left directory=", "uid=ann,"], 1).await;
    world.members(1).await;
}

#[tokio::test]
async fn another_attribute_invites_nobody_again() {
    let mut world = World::with(Slapd::builder()).await;
    world.server.slapadd(&posix_ldif("ann", 5001));
    world.server.slapadd(&posix_ldif("bob", 5002));
    world.start().await;
    world.invited(["ann", "bob"]).await;
    world.stop().await;

    let by_uuid = world.directory.clone();
    world.directory += "id_attribute = \"uidNumber\"\n";
    world.start().await;
    world.says(&[" left directory=", "uid=bob,"], 1).await;
    world.members(2).await;
    world.stop().await;
    world.directory = by_uuid;
    world.start().await;
    // Nothing that was known before the other attribute is resumed.
    world.says(&[" left directory=", "uid=bob,"], 1).await;
    world.witness("eve").await;
    world.members(3).await;
    world.invited_once(&["ann", "bob", "eve"]).await;
}

#[tokio::test]
async fn who_has_the_number_of_another_makes_the_listing_incomplete() {
    let mut world = world(Slapd::builder(), &["ann", "bob"], "").await;
    world.start().await;
    world.invited(["ann", "bob"]).await;
    world.server.slapadd(&posix_ldif("double", 5001));
    let words = ["without a readable uidNumber of their own", "uid=double,"];
    world.says(&words, 1).await;
    world.people().delete("bob").await;
    sleep(A_WHILE).await;
    world.members(2).await;
    world.people().delete("double").await;
    world.says(&[" left directory=", "uid=bob,"], 1).await;
}

#[tokio::test]
async fn who_has_no_value_that_can_be_kept_makes_the_listing_incomplete() {
    let mut world = world(Slapd::builder(), &["ann"], "").await;
    world.directory = world.directory.replace("uidNumber", "homeDirectory");
    world.server.slapadd(&posix_ldif("somebody-of-a-long-name", 5002));
    world.start_only();
    let line = world
        .says(&["without a readable homeDirectory of their own"], 1)
        .await;
    assert!(
        line.contains("uid=somebody-of-a-long-name,") && line.contains("at most 15 characters"),
        "{line}"
    );
}

#[tokio::test]
async fn who_was_listed_is_found_again_whatever_the_value_looks_like() {
    let slapd = Slapd::builder().start().await;
    for (uid, value) in [
        ("ann", "9D8E1F2E91F14C5A8D2E00112233FF55"),
        ("bob", "0b3a1f2e-91f1-4c5a-8d2e-00112233ff55"),
        ("eve", r"*)(b\28 c"),
    ] {
        slapd.slapadd(&format!(
            "{}\nemployeeNumber: {value}\n\n",
            person_ldif(uid).trim_end()
        ));
    }
    let directory = LdapDirectory::new(DirectorySettings {
        id_attribute: Some("employeeNumber".into()),
        ..settings(&slapd, "(mail=*)", None)
    })
    .unwrap();
    for uid in ["ann", "bob", "eve"] {
        let mut stream = Listening::open(&directory, None).await.unwrap();
        let id = stream.joins(uid).await;
        let found = directory.lookup(&[id]).await.unwrap();
        let found: Vec<_> = found.iter().map(|entry| entry.dn.as_str()).collect();
        assert_eq!(found, [slapd.people().dn(uid)]);
    }
}

/// One person, as authentik's outpost tells of them.
fn outpost_finds(id: u8) -> Vec<u8> {
    let attributes = [
        attribute("uidNumber", &["2005"]),
        attribute("mail", &["ann@example.org"]),
    ];
    message(
        id,
        &entry_of("cn=ann,ou=people,dc=example", &attributes.concat()),
        &[],
    )
}

#[tokio::test]
async fn a_server_that_merely_announces_active_directory_is_polled() {
    let server = Offering::start(Face {
        root: [
            attribute(
                "supportedCapabilities",
                &["1.2.840.113556.1.4.800", "1.2.840.113556.1.4.1791"],
            ),
            attribute("vendorName", &["goauthentik.io"]),
        ]
        .concat(),
        offers: false,
        finds: outpost_finds,
        ..Face::default()
    })
    .await;
    let follow = |id_attribute: Option<&str>| {
        LdapDirectory::new(DirectorySettings {
            id_attribute: id_attribute.map(str::to_owned),
            ..server.settings(None)
        })
        .unwrap()
    };

    let mut stream = Listening::open(&follow(None), None).await.unwrap();
    assert_eq!(stream.stream, StreamKind::Poll);
    let (listing, named) = stream.listed().await;
    assert!(
        matches!(&listing, Listing::Partial(why) if why.contains("without a readable entryUUID")),
        "{listing:?}"
    );
    assert_eq!(named, [""; 0]);

    let mut stream = Listening::open(&follow(Some("uidNumber")), None).await.unwrap();
    assert_eq!(Some(stream.joins("ann").await), EntryId::from_text(b"2005"));
    assert_eq!(stream.listed().await.0, Listing::Complete);
}
