//! Groups of every kind, and what becomes of people when one is not what it was.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::time::Duration;

use futures::StreamExt;
use ldap_usher::directory::{Bind, Directory, DirectorySettings, LdapDirectory, Server, StreamKind};
use ldap_usher::model::{Change, Listing};
use ldap_usher::tls::TlsOptions;
use ldap3::Mod;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::ldap::{message, octets, result, tlv};
use crate::support::listening::{Listening, settings};
use crate::support::scripted::{Kind, request};
use crate::support::site::Site;
use crate::support::slapd::{Builder, Slapd};
use crate::support::world::{World, table};

/// A world in which the reader follows these people.
async fn world(slapd: Builder, filter: &str, groups: &str) -> World {
    let slapd = slapd.start().await;
    let keys = format!("filter = \"{filter}\"\ngroups = [{groups}]\naudit_interval = \"1h\"");
    let table = table(&slapd, "main", &keys);
    World::on(slapd, table)
}

/// An LDIF record below `ou=groups`.
fn group_ldif(name: &str, lines: &str) -> String {
    format!("dn: cn={name},ou=groups,dc=example,dc=org\ncn: {name}\n{lines}\n\n")
}

async fn change(world: &World, group: &str, change: Mod<&str>) {
    let folk = (&world.server as &dyn crate::support::site::Site).folk();
    folk.modify(&folk.group(group), change).await;
}

#[tokio::test]
async fn posix_groups_hold_people_by_their_uid() {
    let slapd = Slapd::builder().people(3);
    let mut world = world(
        slapd,
        "(objectClass=inetOrgPerson)",
        "\"cn=staff,ou=groups,dc=example,dc=org\"",
    )
    .await;
    world.server.slapadd(&group_ldif(
        "staff",
        "objectClass: posixGroup\ngidNumber: 100\nmemberUid: person1\nmemberUid: nobody-of-that-name",
    ));
    world.start().await;
    world.invited(["person1"]).await;

    change(&world, "staff", Mod::Add("memberUid", ["person2"].into())).await;
    world.invited(["person1", "person2"]).await;
    change(&world, "staff", Mod::Delete("memberUid", ["person1"].into())).await;
    world.says(&[" left directory=", "uid=person1,"], 1).await;
    world.members(1).await;
}

#[tokio::test]
async fn a_group_of_a_hundred_thousand_is_followed() {
    let mut world = world(
        Slapd::builder().people(2),
        "(objectClass=inetOrgPerson)",
        "\"cn=staff,ou=groups,dc=example,dc=org\"",
    )
    .await;
    let others: String = (0..100_000).map(|n| format!("\nmemberUid: other{n}")).collect();
    let lines = format!("objectClass: posixGroup\ngidNumber: 100\nmemberUid: person1{others}");
    world.server.slapadd(&group_ldif("staff", &lines));
    world.start().await;
    world.invited(["person1"]).await;

    change(&world, "staff", Mod::Add("memberUid", ["person2"].into())).await;
    world.invited(["person1", "person2"]).await;
}

#[tokio::test]
async fn unique_members_are_members_and_two_groups_are_one_membership() {
    let slapd = Slapd::builder().people(4);
    let mut world = world(
        slapd,
        "(objectClass=inetOrgPerson)",
        "\"cn=one,ou=groups,dc=example,dc=org\", \"cn=two,ou=groups,dc=example,dc=org\"",
    )
    .await;
    let members = |uids: &[&str]| -> String {
        let lines = uids
            .iter()
            .map(|uid| format!("\nuniqueMember: UID={uid}, ou=People,dc=example,dc=org"));
        format!("objectClass: groupOfUniqueNames{}", lines.collect::<String>())
    };
    world
        .server
        .slapadd(&group_ldif("one", &members(&["person1", "person2"])));
    world
        .server
        .slapadd(&group_ldif("two", &members(&["person2", "person3"])));
    world.start().await;
    world.invited(["person1", "person2", "person3"]).await;

    // Whoever is still in the other one stays.
    let dn = |n: u32| format!("uid=person{n},ou=people,dc=example,dc=org");
    change(
        &world,
        "one",
        Mod::Delete("uniqueMember", [dn(2).as_str()].into()),
    )
    .await;
    change(
        &world,
        "two",
        Mod::Delete("uniqueMember", [dn(3).as_str()].into()),
    )
    .await;
    world.says(&[" left directory=", "uid=person3,"], 1).await;
    change(&world, "two", Mod::Add("uniqueMember", [dn(4).as_str()].into())).await;
    world.invited(["person1", "person2", "person3", "person4"]).await;
    world.members(3).await;
}

#[tokio::test]
async fn who_joins_a_group_that_the_filter_excludes_leaves() {
    let slapd = Slapd::builder().people(2).memberof();
    let filter = "(&(objectClass=inetOrgPerson)(!(memberOf=cn=former,ou=groups,dc=example,dc=org)))";
    let mut world = world(slapd, filter, "").await;
    let folk = (&world.server as &dyn crate::support::site::Site).folk();
    folk.add_group("former", &[]).await;
    world.start().await;
    world.invited(["person1", "person2"]).await;

    folk.join("former", &folk.dn("person1")).await;
    world.says(&[" left directory=", "uid=person1,"], 1).await;
    world.members(1).await;
    folk.leave("former", &folk.dn("person1")).await;
    world.members(2).await;

    // With groups there is nothing from which to go on: everyone is listed, and the log says so.
    world.restart().await;
    world
        .says(&["connected to the directory", "resumed=false"], 1)
        .await;
}

#[tokio::test]
async fn a_group_that_was_never_there_is_an_error_that_names_it_and_costs_nobody() {
    let slapd = Slapd::builder().people(2).memberof();
    let mut world = world(slapd, "(objectClass=inetOrgPerson)", "").await;
    world.start().await;
    world.invited(["person1", "person2"]).await;
    world.stop().await;

    let missing = "cn=valut,ou=groups,dc=example,dc=org";
    world.directory = world.directory.replace(
        "(objectClass=inetOrgPerson)",
        &format!("(&(objectClass=inetOrgPerson)(memberOf={missing}))"),
    );
    world.start_only();
    let line = world.says(&["does not exist or may not be read"], 1).await;
    assert!(line.contains(missing), "{line}");
    world.members(2).await;
    assert_eq!(world.lines(&[" left directory="]), [""; 0]);
    let outcome = world.ask(&["plan"]).await;
    let words = String::from_utf8_lossy(&outcome.stderr).into_owned();
    assert!(!outcome.status.success() && words.contains(missing), "{words}");
}

#[tokio::test]
async fn a_dynamic_group_is_named_as_one_that_cannot_be_watched() {
    let slapd = Slapd::builder().people(1).dynlist();
    let mut world = world(
        slapd,
        "(objectClass=inetOrgPerson)",
        "\"cn=all,ou=groups,dc=example,dc=org\"",
    )
    .await;
    world.server.slapadd(&group_ldif(
        "all",
        "objectClass: groupOfURLs\nmemberURL: ldap:///ou=people,dc=example,dc=org??sub?(objectClass=inetOrgPerson)",
    ));
    world.start().await;
    let line = world.says(&["dynamic group cannot be watched"], 1).await;
    assert!(line.contains("cn=all,"), "{line}");
    // slapd lists its members, so that each listing finds them.
    world.invited(["person1"]).await;
}

/// A server that tells the members of a large group in ranges, as Active Directory does.
async fn server_with_ranges() -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ldap://{}", listener.local_addr().unwrap());
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            connections.spawn(async move {
                while let Some(request) = request(&mut stream).await {
                    let answer = with_ranges(request.id, &request.kind, &request.body);
                    if stream.write_all(&answer).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    (url, serving)
}

fn with_ranges(id: u8, kind: &Kind, body: &[u8]) -> Vec<u8> {
    let asks = |text: &str| body.windows(text.len()).any(|window| window == text.as_bytes());
    let entry = |dn: &str, attributes: &[(&str, &[&[u8]])]| -> Vec<u8> {
        let list: Vec<u8> = attributes
            .iter()
            .flat_map(|(name, values)| {
                let values: Vec<u8> = values.iter().flat_map(octets).collect();
                tlv(0x30, &[octets(name), tlv(0x31, &values)].concat())
            })
            .collect();
        message(id, &tlv(0x64, &[octets(dn), tlv(0x30, &list)].concat()), &[])
    };
    let person = |n: u8| format!("CN=p{n},OU=People,DC=x");
    let group = "CN=vault,DC=x";
    let uuid = |n: u8| format!("00000000-0000-0000-0000-0000000000{n:02}").into_bytes();
    let entries = match kind {
        Kind::Bind => return message(id, &result(0x61, 0), &[]),
        Kind::BaseSearch if asks("member;range=2-*") => {
            entry(group, &[("member;range=2-*", &[person(3).as_bytes()])])
        }
        Kind::BaseSearch if asks("memberURL") => entry(
            group,
            &[
                ("entryUUID", &[&uuid(9)]),
                ("member", &[]),
                ("member;range=0-1", &[person(1).as_bytes(), person(2).as_bytes()]),
            ],
        ),
        Kind::BaseSearch if asks("cn=vault") => {
            entry(group, &[("entryUUID", &[&uuid(9)]), ("objectClass", &[b"group"])])
        }
        Kind::BaseSearch => entry("", &[("namingContexts", &[b"DC=x"])]),
        Kind::OtherSearch if asks("groupOfNames") => Vec::new(),
        _ => (1..=4)
            .flat_map(|n| {
                let mail = format!("p{n}@example.org");
                entry(
                    &person(n),
                    &[("entryUUID", &[&uuid(n)]), ("mail", &[mail.as_bytes()])],
                )
            })
            .collect(),
    };
    [entries, message(id, &result(0x65, 0), &[])].concat()
}

#[tokio::test]
async fn a_group_that_is_told_in_ranges_is_read_to_its_end() {
    let (url, _serving) = server_with_ranges().await;
    let directory = LdapDirectory::new(DirectorySettings {
        name: "main".into(),
        servers: vec![Server::parse(&url).unwrap()],
        starttls: false,
        tls: TlsOptions::default(),
        bind: Bind::Anonymous,
        base: "OU=People,DC=x".into(),
        filter: "(objectClass=user)".parse().unwrap(),
        groups: vec!["cn=vault,DC=x".into()],
        id_attribute: None,
        attributes: vec!["mail".into()],
        stream: Some(StreamKind::Poll),
        poll_interval: Duration::from_secs(60),
        page_size: NonZeroU32::new(100).unwrap(),
        max_message_size: 1 << 20,
    })
    .unwrap();
    let listing: Vec<Change> = directory
        .list()
        .await
        .unwrap()
        .map(Result::unwrap)
        .collect()
        .await;
    let listed: Vec<&str> = listing
        .iter()
        .filter_map(|change| match change {
            Change::Upsert(entry) | Change::Together { entry, .. } => Some(entry.dn.as_str()),
            _ => None,
        })
        .collect();
    assert_eq!(
        listed,
        [
            "CN=p1,OU=People,DC=x",
            "CN=p2,OU=People,DC=x",
            "CN=p3,OU=People,DC=x"
        ]
    );
    assert_eq!(listing.last(), Some(&Change::ListingEnd(Listing::Complete)));
}

#[tokio::test]
async fn check_counts_the_groups_and_warns_of_members_that_cannot_be_read() {
    let slapd = Slapd::builder().people(3);
    let vault = "\"cn=vault,ou=groups,dc=example,dc=org\"";
    let mut world = world(slapd, "(objectClass=inetOrgPerson)", vault).await;
    let folk = (&world.server as &dyn crate::support::site::Site).folk();
    folk.add_group("inner", &[folk.dn("person2"), folk.dn("person3")])
        .await;
    folk.add_group("vault", &[folk.dn("person1"), folk.group("inner")])
        .await;
    let says = |output: std::process::Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let report = says(world.ask(&["check"]).await);
    assert!(
        report.contains("2 groups, with those within them, 4 members"),
        "{report}"
    );

    world
        .server
        .restart_with(|slapd| slapd.hide_from_reader("member"))
        .await;
    let report = says(world.ask(&["check"]).await);
    assert!(
        report.contains("1 group, 0 members") && report.contains("let the bind account read `member`"),
        "{report}"
    );
}

#[tokio::test]
async fn check_says_that_nobody_has_the_member_of_that_the_groups_would_make() {
    let filter = "(&(objectClass=inetOrgPerson)(memberOf=cn=vault,ou=groups,dc=example,dc=org))";
    let mut world = world(Slapd::builder().people(2).ppolicy().memberof(), filter, "").await;
    let folk = (&world.server as &dyn crate::support::site::Site).folk();
    folk.add_group("vault", &[folk.dn("person1"), folk.dn("person2")])
        .await;
    folk.lock("person2", true).await;
    let says = |output: std::process::Output| String::from_utf8_lossy(&output.stdout).into_owned();
    let report = says(world.ask(&["check"]).await);
    for words in [
        "people: 2 below ou=people,dc=example,dc=org match",
        "accounts: 1 of 2 are disabled and not members (disabled_accounts): uid=person2,",
        "addresses: all 1 have a usable address",
    ] {
        assert!(report.contains(words), "{report}");
    }
    world
        .server
        .restart_with(|slapd| slapd.hide_from_reader("memberOf"))
        .await;
    let report = says(world.ask(&["check"]).await);
    assert!(
        report.contains("although the groups have members -> does the server maintain `memberOf`"),
        "{report}"
    );
}

#[tokio::test]
async fn the_rights_in_the_documentation_suffice_for_groups_within_groups() {
    let slapd = Slapd::builder().people(3).memberof().least_rights();
    let filter = "(&(objectClass=inetOrgPerson)(|(memberOf=cn=vault,ou=groups,dc=example,dc=org)(memberOf=cn=inner,ou=groups,dc=example,dc=org)))";
    let mut world = world(slapd, filter, "").await;
    let folk = (&world.server as &dyn crate::support::site::Site).folk();
    folk.add_group("inner", &[folk.dn("person2")]).await;
    folk.add_group("vault", &[folk.dn("person1"), folk.group("inner")])
        .await;
    world.start().await;
    world.invited(["person1", "person2"]).await;
    folk.join("inner", &folk.dn("person3")).await;
    world.invited(["person1", "person2", "person3"]).await;
    folk.rename_group("inner", "core").await;
    world.says(&["was renamed"], 1).await;
    folk.leave("core", &folk.dn("person2")).await;
    world.says(&[" left directory=", "uid=person2,"], 1).await;
    world.members(2).await;
}

#[tokio::test]
async fn the_rights_in_the_documentation_suffice_for_whatever_makes_a_person_leave() {
    for (slapd, groups) in [
        (Slapd::builder().memberof(), ""),
        (Slapd::builder(), "\"cn=staff,ou=groups,dc=example,dc=org\""),
        (
            Slapd::builder().dynlist(),
            "\"cn=staff,ou=groups,dc=example,dc=org\"",
        ),
    ] {
        let filter = match groups {
            "" => "(&(objectClass=inetOrgPerson)(memberOf=cn=staff,ou=groups,dc=example,dc=org))",
            _ => "(objectClass=inetOrgPerson)",
        };
        let mut world = world(slapd.people(5).ppolicy().least_rights(), filter, groups).await;
        let folk = (&world.server as &dyn crate::support::site::Site).folk();
        let everyone = ["person1", "person2", "person3", "person4", "person5"];
        folk.add_group("staff", &everyone.map(|uid| folk.dn(uid))).await;
        world.start().await;
        world.invited(everyone).await;
        folk.move_between("person1", "people", "former").await;
        world.says(&[" left directory=", "uid=person1,"], 1).await;
        folk.lock("person2", true).await;
        world.says(&[" left directory=", "uid=person2,"], 1).await;
        folk.delete(&folk.dn("person3")).await;
        world.says(&[" left directory=", "uid=person3,"], 1).await;
        folk.leave("staff", &folk.dn("person4")).await;
        world.says(&[" left directory=", "uid=person4,"], 1).await;
        world.members(1).await;
    }
}

/// Whoever is in one of these groups below `ou=groups`.
fn in_groups(slapd: &Slapd, groups: &[&str]) -> LdapDirectory {
    let folk = (slapd as &dyn Site).folk();
    LdapDirectory::new(DirectorySettings {
        groups: groups.iter().map(|group| folk.group(group)).collect(),
        ..settings(slapd, "(objectClass=inetOrgPerson)", None)
    })
    .unwrap()
}

/// An LDIF record of a group with these members, by DN.
fn group_of(name: &str, members: impl IntoIterator<Item = String>) -> String {
    let members = members.into_iter().map(|dn| format!("\nmember: {dn}"));
    let lines = format!("objectClass: groupOfNames{}", members.collect::<String>());
    group_ldif(name, &lines)
}

/// How many searches slapd was asked for.
fn searches(slapd: &Slapd) -> usize {
    slapd.log().matches(" SRCH base=").count()
}

#[tokio::test]
async fn groups_that_are_all_in_each_other_are_each_read_once() {
    const NESTED: usize = 250;
    let slapd = Slapd::builder().people(2).start().await;
    let folk = (&slapd as &dyn Site).folk();
    let all: Vec<String> = (0..NESTED).map(|n| folk.group(&format!("nest{n}"))).collect();
    let nests: String = (0..NESTED)
        .map(|n| {
            group_of(
                &format!("nest{n}"),
                all.iter().cloned().chain([folk.dn("person1")]),
            )
        })
        .collect();
    slapd.slapadd(&nests);
    slapd.slapadd(&group_of("vault", [folk.dn("person2")]));
    let directory = in_groups(&slapd, &["vault"]);
    let mut listening = Listening::open(&directory, None).await.unwrap();
    assert_eq!(listening.listed().await.1, ["person2"]);

    // One of them brings all others with it.
    let before = searches(&slapd);
    folk.join("vault", &all[0]).await;
    listening.joins("person1").await;
    let asked = searches(&slapd) - before;
    assert!(asked < 10 * NESTED, "{asked} searches");
    drop(listening);

    // They are read before the listing, when they are watched, and after the listing.
    let before = searches(&slapd);
    let mut listening = Listening::open(&directory, None).await.unwrap();
    assert_eq!(listening.listed().await.1, ["person1", "person2"]);
    let asked = searches(&slapd) - before;
    assert!(asked < 5 * NESTED, "{asked} searches");
}

#[tokio::test]
async fn groups_without_end_are_an_error_that_says_what_to_do() {
    let slapd = Slapd::builder().people(1).start().await;
    let folk = (&slapd as &dyn Site).folk();
    let chain: String = (0..1001)
        .map(|n| group_of(&format!("link{n}"), [folk.group(&format!("link{}", n + 1))]))
        .collect();
    slapd.slapadd(&chain);
    let error = in_groups(&slapd, &["link0"]).list().await.map(drop).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("more than can be followed") && error.contains("name smaller groups"),
        "{error}"
    );
    assert!(in_groups(&slapd, &["link2"]).list().await.is_ok());
}

#[tokio::test]
async fn whoever_joins_alone_does_not_wait_for_twenty_thousand_who_join_together() {
    const CROWD: usize = 20_000;
    let slapd = Slapd::builder().people(CROWD + 1).start().await;
    let folk = (&slapd as &dyn Site).folk();
    folk.add_group("staff", &[]).await;
    folk.add_group("few", &[]).await;
    let directory = in_groups(&slapd, &["staff", "few"]);
    let mut listening = Listening::open(&directory, None).await.unwrap();
    assert_eq!(listening.listed().await.1, [""; 0]);

    let alone = format!("person{}", CROWD + 1);
    let crowd: Vec<String> = (1..=CROWD).map(|n| folk.dn(&format!("person{n}"))).collect();
    let members: HashSet<&str> = crowd.iter().map(String::as_str).collect();
    let before = searches(&slapd);
    folk.modify(&folk.group("staff"), Mod::Add("member", members))
        .await;
    let mut joined = HashSet::new();
    let mut before_alone = None;
    while joined.len() <= CROWD {
        if joined.len() == 1 && before_alone.is_none() {
            folk.join("few", &folk.dn(&alone)).await;
            before_alone = Some(0);
        }
        if let Change::Upsert(entry) | Change::Together { entry, .. } = listening.next().await.unwrap() {
            if entry.dn.starts_with(&format!("uid={alone},")) {
                before_alone = Some(joined.len());
            }
            joined.insert(entry.dn);
        }
    }
    // What was under way when the one joined, and not the crowd.
    let before_alone = before_alone.unwrap();
    assert!(before_alone < CROWD / 20, "{before_alone} were read before");
    // Members are asked for some at a time: who they are, which of them match, and whether the group holds them.
    let asked = searches(&slapd) - before;
    assert!(asked < CROWD / 5, "{asked} searches");
}

#[tokio::test]
async fn a_crowd_is_read_again_until_the_server_has_carried_over_who_is_in_the_group() {
    const CROWD: usize = 2_000;
    let slapd = Slapd::builder().people(CROWD).memberof().start().await;
    let folk = (&slapd as &dyn Site).folk();
    folk.add_group("staff", &[]).await;
    let directory = LdapDirectory::new(settings(
        &slapd,
        "(&(objectClass=inetOrgPerson)(memberOf=cn=staff,ou=groups,dc=example,dc=org))",
        None,
    ))
    .unwrap();
    let mut listening = Listening::open(&directory, None).await.unwrap();
    assert_eq!(listening.listed().await.1, [""; 0]);
    let crowd: Vec<String> = (1..=CROWD).map(|n| folk.dn(&format!("person{n}"))).collect();
    let members: HashSet<&str> = crowd.iter().map(String::as_str).collect();
    folk.modify(&folk.group("staff"), Mod::Add("member", members))
        .await;
    let mut joined = HashSet::new();
    while joined.len() < CROWD {
        if let Change::Upsert(entry) | Change::Together { entry, .. } = listening.next().await.unwrap() {
            joined.insert(entry.id);
        }
    }
}

#[tokio::test]
async fn whoever_takes_over_the_name_of_a_member_is_no_member() {
    let slapd = Slapd::builder().people(3).refint().start().await;
    let folk = (&slapd as &dyn Site).folk();
    let everyone = ["person1", "person2", "person3"].map(|uid| folk.dn(uid));
    folk.add_group("staff", &everyone).await;
    let directory = in_groups(&slapd, &["staff"]);
    let mut listening = Listening::open(&directory, None).await.unwrap();
    listening.listed().await;
    folk.delete(&folk.dn("person1")).await;
    listening.leaves("person1").await;
    folk.rename("person2", "person2-married").await;
    while folk
        .find(&format!("(member={})", folk.dn("person2-married")))
        .await
        .is_empty()
    {}
    folk.add_in("people", "person1", Some("other1@example.org")).await;
    folk.add_in("people", "person2", Some("other2@example.org")).await;
    folk.add("witness").await;
    folk.join("staff", &folk.dn("witness")).await;
    let mut seen = HashSet::new();
    loop {
        if let Change::Upsert(entry) | Change::Together { entry, .. } = listening.next().await.unwrap() {
            let mail: Vec<&[u8]> = entry.values("mail").collect();
            seen.insert(String::from_utf8_lossy(mail[0]).into_owned());
            if seen.contains("witness@example.org") {
                break;
            }
        }
    }
    assert!(
        !seen.contains("other1@example.org") && !seen.contains("other2@example.org"),
        "{seen:?}"
    );
    // When they are put into the group, they are.
    folk.join("staff", &folk.dn("person1")).await;
    while !seen.contains("other1@example.org") {
        if let Change::Upsert(entry) | Change::Together { entry, .. } = listening.next().await.unwrap() {
            let mail: Vec<&[u8]> = entry.values("mail").collect();
            seen.insert(String::from_utf8_lossy(mail[0]).into_owned());
        }
    }
}

#[tokio::test]
async fn people_who_come_with_a_group_that_is_put_into_another_are_held_like_those_of_a_listing() {
    let slapd = Slapd::builder().people(13);
    let mut world = world(
        slapd,
        "(objectClass=inetOrgPerson)",
        "\"cn=vault,ou=groups,dc=example,dc=org\"",
    )
    .await
    .tables("[limits]\ninvites_per_listing = 5");
    let dn = |n: u32| format!("\nmember: uid=person{n},ou=people,dc=example,dc=org");
    let many: String = (2..=12).map(dn).collect();
    world.server.slapadd(&group_ldif(
        "vault",
        &format!("objectClass: groupOfNames{}", dn(1)),
    ));
    world
        .server
        .slapadd(&group_ldif("many", &format!("objectClass: groupOfNames{many}")));
    world.start().await;
    world.invited(["person1"]).await;

    let group = "cn=many,ou=groups,dc=example,dc=org";
    change(&world, "vault", Mod::Add("member", [group].into())).await;
    world.tasks("held", 11).await;
    // Somebody who comes alone is invited all the same.
    let alone = "uid=person13,ou=people,dc=example,dc=org";
    change(&world, "vault", Mod::Add("member", [alone].into())).await;
    world.invited(["person1", "person13"]).await;
    world.tasks("held", 11).await;
}
