//! One thing under several names: attribute types, filters and DNs in every form that servers and people give them.

use ldap_usher::directory::{DirectorySettings, Filter, LdapDirectory, StreamKind};
use ldap_usher::model::{Change, Listing};
use tokio::time::sleep;

use crate::support::apacheds::ApacheDs;
use crate::support::ds389::Ds389;
use crate::support::ldap::{attribute, entry_of, message};
use crate::support::listening::{Listening, settings};
use crate::support::offering::{Face, Offering};
use crate::support::site::{Folk, Site};
use crate::support::slapd::{Builder, Slapd, person_ldif};
use crate::support::world::{A_WHILE, World, table};

const VAULT: &str = "cn=vault,ou=groups,dc=example,dc=org";

/// A slapd that keeps the groups of a person in `isMemberOf`, as the servers that descend from Sun's do.
fn with_is_member_of() -> Builder {
    Slapd::builder()
        .global_line("attributetype ( 1.3.6.1.4.1.99999.1.1 NAME 'isMemberOf' EQUALITY distinguishedNameMatch SYNTAX 1.3.6.1.4.1.1466.115.121.1.12 )")
        .global_line("ditcontentrule ( 2.16.840.1.113730.3.2.2 NAME 'groups' MAY isMemberOf )")
        .database_line("overlay memberof")
        .database_line("memberof-group-oc groupOfNames")
        .database_line("memberof-member-ad member")
        .database_line("memberof-memberof-ad isMemberOf")
}

fn folk(world: &World) -> Folk {
    (&world.server as &dyn Site).folk()
}

/// A world in which people are followed with these keys.
async fn world(slapd: Builder, keys: &str) -> World {
    let slapd = slapd.start().await;
    let table = table(&slapd, "main", &format!("audit_interval = \"1h\"\n{keys}"));
    World::on(slapd, table)
}

// -- attributes -----------------------------------------------------------------------------------------------------

#[tokio::test]
async fn an_address_is_found_by_each_name_of_its_attribute() {
    for name in ["rfc822Mailbox", "MAIL", "0.9.2342.19200300.100.1.3"] {
        let mut world = world(
            Slapd::builder().people(2),
            &format!("mail_attributes = [\"{name}\"]"),
        )
        .await;
        world.start().await;
        world.invited(["person1", "person2"]).await;
        world.witness("ann").await;
    }
}

#[tokio::test]
async fn values_with_options_are_addresses_and_those_without_come_first() {
    let slapd = Slapd::builder().global_line("attributeoptions lang- x-");
    let mut world = world(slapd, "").await;
    let tagged = person_ldif("ann").replace("mail:", "mail;lang-de:");
    world.server.slapadd(&tagged);
    let both = person_ldif("bob").replace("mail:", "mail;x-work: other@example.org\nmail:");
    world.server.slapadd(&both);
    world.start().await;
    world.invited(["ann", "bob"]).await;
    world.stop().await;
    // Whoever wants a language names it.
    let directory = world.directory.clone();
    world.directory = format!("{directory}mail_attributes = [\"mail;lang-de\"]\n");
    let report = world.ask(&["check"]).await;
    let report = String::from_utf8_lossy(&report.stdout).into_owned();
    assert!(
        report.contains("1 of 2 have a usable address; without: uid=bob,"),
        "{report}"
    );
}

#[tokio::test]
async fn the_server_says_what_its_own_attributes_are_called() {
    let slapd = Slapd::builder()
        .global_line("attributetype ( 1.3.6.1.4.1.99999.1.2 NAME ( 'workMail' 'dienstMail' ) EQUALITY caseIgnoreIA5Match SYNTAX 1.3.6.1.4.1.1466.115.121.1.26 )")
        .global_line("ditcontentrule ( 2.16.840.1.113730.3.2.2 NAME 'mails' MAY workMail )");
    let mut world = world(slapd, "mail_attributes = [\"dienstMail\"]").await;
    let ann = person_ldif("ann").replace("mail:", "workMail:");
    world.server.slapadd(&ann);
    world.start().await;
    world.invited(["ann"]).await;

    // By polls and look-ups as well.
    for stream in [Some(StreamKind::Poll), Some(StreamKind::Syncrepl)] {
        let directory = LdapDirectory::new(DirectorySettings {
            attributes: vec!["1.3.6.1.4.1.99999.1.2".into()],
            ..settings(&world.server, "(objectClass=inetOrgPerson)", stream)
        })
        .unwrap();
        let mut stream = Listening::open(&directory, None).await.unwrap();
        stream.joins("ann").await;
        assert!(
            stream.attributes.contains("1.3.6.1.4.1.99999.1.2"),
            "{:?}",
            stream.attributes
        );
    }
}

#[tokio::test]
async fn apacheds_answers_with_the_names_that_entries_were_written_with() {
    let site = ApacheDs::start().await;
    let table = (&site as &dyn Site).table("(objectClass=inetOrgPerson)", "");
    let mut world = World::on(site, table);
    let folk = (&world.server as &dyn Site).folk();
    folk.add_written(
        "ann",
        &[
            ("commonName", "ann"),
            ("surname", "ann"),
            ("rfc822mailbox", "ann@example.org"),
        ],
    )
    .await;
    world.start().await;
    world.invited(["ann"]).await;
    folk.add_written(
        "bob",
        &[
            ("cn", "bob"),
            ("2.5.4.4", "bob"),
            ("0.9.2342.19200300.100.1.3", "bob@example.org"),
        ],
    )
    .await;
    world.invited(["ann", "bob"]).await;
}

#[tokio::test]
async fn a_lock_an_identity_and_a_member_are_known_by_their_oids_and_with_options() {
    let server = Offering::start(Face {
        root: attribute("subschemaSubentry", &["cn=nowhere"]),
        offers: false,
        finds: |id| {
            let person = |uid: &str, uuid: &str, more: &[u8]| {
                let mail = format!("{uid}@example.org");
                let attributes = [
                    attribute("1.3.6.1.1.16.4", &[uuid]),
                    attribute("0.9.2342.19200300.100.1.3;x-y", &[mail.as_str()]),
                    more.to_vec(),
                ];
                message(
                    id,
                    &entry_of(format!("uid={uid},ou=people,dc=example"), &attributes.concat()),
                    &[],
                )
            };
            let lock = attribute("2.16.840.1.113730.3.1.610;x-y", &["TRUE"]);
            [
                person("ann", "9d8e1f2e-91f1-4c5a-8d2e-00112233ff55", &[]),
                person("bob", "9d8e1f2e-91f1-4c5a-8d2e-00112233ff56", &lock),
            ]
            .concat()
        },
        ..Face::default()
    })
    .await;
    let directory = LdapDirectory::new(DirectorySettings {
        attributes: vec!["mail".into(), "nsAccountLock".into()],
        ..server.settings(Some(StreamKind::Poll))
    })
    .unwrap();
    let mut stream = Listening::open(&directory, None).await.unwrap();
    let mut seen = Vec::new();
    loop {
        match stream.next().await.unwrap() {
            Change::Upsert(entry) => {
                let value = |name| entry.values(name).next().map(<[u8]>::to_vec);
                seen.push((value("mail").unwrap(), value("nsAccountLock")));
            }
            Change::ListingEnd(listing) => {
                assert_eq!(listing, Listing::Complete);
                break;
            }
            _ => {}
        }
    }
    let [ann, bob] = ["ann", "bob"].map(|uid| format!("{uid}@example.org").into_bytes());
    assert_eq!(seen, [(ann, None), (bob, Some(b"TRUE".to_vec()))]);
}

// -- groups ---------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_group_is_followed_whatever_the_server_calls_member_of() {
    for attribute in ["isMemberOf", "1.3.6.1.4.1.99999.1.1"] {
        let filter = format!("filter = \"(&(objectClass=inetOrgPerson)({attribute}={VAULT}))\"");
        let mut world = world(with_is_member_of().people(2), &filter).await;
        let folk = folk(&world);
        folk.add_group("vault", &[folk.dn("person1")]).await;
        world.start().await;
        world.invited(["person1"]).await;
        folk.join("vault", &folk.dn("person2")).await;
        world.invited(["person1", "person2"]).await;
        folk.rename_group("vault", "safe").await;
        world.says(&["was renamed"], 1).await;
        folk.leave("safe", &folk.dn("person1")).await;
        world.says(&[" left directory=", "uid=person1,"], 1).await;
        world.members(1).await;
    }
}

#[tokio::test]
async fn members_are_found_however_their_names_are_encoded_and_their_attribute_is_tagged() {
    let slapd = Slapd::builder().global_line("attributeoptions lang- x-");
    let mut world = world(slapd, &format!("groups = [\"{VAULT}\"]")).await;
    let (composed, decomposed) = ("j\u{fc}rgen", "ju\u{308}rgen");
    let person = |name: &str, mail: &str| {
        person_ldif(mail)
            .replace(&format!("uid={mail}"), &format!("uid={name}"))
            .replace(&format!("uid: {mail}"), &format!("uid: {name}"))
    };
    world.server.slapadd(&person(composed, "juergen"));
    world.server.slapadd(&person("rene\u{301}", "rene"));
    world.server.slapadd(&person_ldif("ann"));
    world.server.slapadd(&person_ldif("outsider"));
    let lines = [
        format!("dn: {VAULT}\nobjectClass: groupOfNames\ncn: vault"),
        format!("member: uid={decomposed},ou=people,dc=example,dc=org"),
        "member: uid=ren\u{e9},ou=people,dc=example,dc=org".into(),
        "member;x-hidden: uid=ann,ou=people,dc=example,dc=org\n\n".into(),
    ];
    world.server.slapadd(&lines.join("\n"));
    world.start().await;
    world.invited(["juergen", "rene", "ann"]).await;
    sleep(A_WHILE).await;
    world.members(3).await;
}

// -- filters --------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_filter_of_one_term_needs_no_parentheses() {
    for slapd in [Slapd::builder(), Slapd::builder().no_syncprov()] {
        let slapd = slapd.people(2).start().await;
        let table = table(
            &slapd,
            "main",
            "filter = \"objectClass=inetOrgPerson\"\naudit_interval = \"2s\"\npoll_interval = \"60s\"",
        );
        let mut world = World::on(slapd, table);
        world.start().await;
        world.invited(["person1", "person2"]).await;
        // By a look between two listings, where the server cannot tell.
        world.witness("ann").await;
        world.people().delete("person1").await;
        if world.lines(&["stream=\"syncrepl\""]).is_empty() {
            // Only a listing finds that, a minute later.
            world.stop().await;
            world.start().await;
        }
        world.says(&[" left directory=", "uid=person1,"], 1).await;
        world.members(2).await;
        assert_eq!(world.lines(&["well-formed"]), [""; 0]);
    }
}

#[tokio::test]
async fn a_bare_filter_on_member_of_follows_its_group() {
    let filter = format!("filter = \"memberOf={VAULT}\"");
    let mut world = world(Slapd::builder().people(2).memberof(), &filter).await;
    let folk = folk(&world);
    folk.add_group("vault", &[folk.dn("person1")]).await;
    world.start().await;
    world.invited(["person1"]).await;
    folk.join("vault", &folk.dn("person2")).await;
    world.invited(["person1", "person2"]).await;
    folk.leave("vault", &folk.dn("person1")).await;
    world.says(&[" left directory=", "uid=person1,"], 1).await;
}

#[tokio::test]
async fn a_filter_over_several_lines_works_on_389_ds_as_does_one_without_parentheses() {
    for filter in [
        "objectClass=inetOrgPerson",
        "(&\n  (objectClass=inetOrgPerson)\n\t(mail=*)\n)\n",
    ] {
        let site = Ds389::builder().people(1).start().await;
        let directory = LdapDirectory::new(settings(&site, filter, None)).unwrap();
        let mut stream = Listening::open(&directory, None).await.unwrap();
        assert_eq!(stream.stream, StreamKind::PersistentSearch);
        let (listing, named) = stream.listed().await;
        assert_eq!((listing, named.len()), (Listing::Complete, 1));
        // Each change is answered by a look-up, in which the filter is combined with others.
        let folk = (&site as &dyn Site).folk();
        folk.add("ann").await;
        stream.joins("ann").await;
        folk.delete(&folk.dn("ann")).await;
        stream.leaves("ann").await;
    }
}

#[tokio::test]
async fn a_filter_finds_the_same_people_in_each_form_in_which_ldapsearch_takes_it() {
    let slapd = Slapd::builder().people(3).start().await;
    for (filter, expected) in [
        ("uid=person1", 1),
        (
            "(& (objectClass=inetOrgPerson) (|(uid=person1)\n(uid=person2)))",
            2,
        ),
        ("( uid=person1)", 1),
        ("(&(!(uid=person1))(mail=*))", 2),
        ("(uid:caseIgnoreMatch:=PERSON1)", 1),
        ("(uid=\\70erson1)", 1),
        ("(cn=\\(x\\))", 0),
        ("(uid=p*son*)", 3),
    ] {
        let directory = LdapDirectory::new(settings(&slapd, filter, Some(StreamKind::Poll))).unwrap();
        let mut stream = Listening::open(&directory, None).await.unwrap();
        let (listing, named) = stream.listed().await;
        assert_eq!((listing, named.len()), (Listing::Complete, expected), "{filter}");
        let arguments = [
            "-LLL",
            "-x",
            "-H",
            &slapd.url(),
            "-D",
            slapd.reader_dn(),
            "-w",
            slapd.reader_pw(),
        ];
        let found = std::process::Command::new("ldapsearch")
            .args(arguments)
            .args(["-b", &slapd.people_base(), filter, "1.1"])
            .output()
            .unwrap();
        let lines = String::from_utf8_lossy(&found.stdout).into_owned();
        assert_eq!(lines.matches("dn: ").count(), expected, "{filter}: {found:?}");
        assert!(filter.parse::<Filter>().unwrap().to_string().starts_with('('));
    }
}

// -- the subschema --------------------------------------------------------------------------------------------------

#[tokio::test]
async fn the_subschema_is_read_once_for_a_stream_and_what_belongs_to_it() {
    let mut world = world(Slapd::builder().people(2), "audit_interval = \"2s\"").await;
    world.directory = world.directory.replace("audit_interval = \"1h\"\n", "");
    world.start().await;
    world.invited(["person1", "person2"]).await;
    world.audited().await;
    let reads = world.server.log().matches("SRCH base=\"cn=Subschema\"").count();
    assert_eq!(reads, 1);
}

#[tokio::test]
async fn a_subschema_that_cannot_be_had_costs_nothing_but_names() {
    // Larger than a message may be: the server's answer ends the connection, and another one goes on without.
    let description = "x".repeat(1_000);
    let slapd = (0..80).fold(Slapd::builder().people(2), |slapd, n| {
        slapd.global_line(&format!(
            "attributetype ( 1.3.6.1.4.1.99999.2.{n} NAME 'long{n}' DESC '{description}' SYNTAX 1.3.6.1.4.1.1466.115.121.1.15 )"
        ))
    });
    let keys = "mail_attributes = [\"rfc822Mailbox\"]\nmax_message_size = \"64KiB\"";
    let mut world = world(slapd, keys).await;
    world.start().await;
    world.says(&["the subschema cannot be read"], 1).await;
    world.invited(["person1", "person2"]).await;
    world.witness("ann").await;
}

#[tokio::test]
async fn a_root_dse_without_a_subschema_leaves_the_standard_names() {
    let server = Offering::start(Face {
        offers: false,
        finds: |id| {
            let attributes = [
                attribute("ENTRYUUID", &["9d8e1f2e-91f1-4c5a-8d2e-00112233ff55"]),
                attribute("rfc822Mailbox", &["ann@example.org"]),
            ];
            message(
                id,
                &entry_of("uid=ann,ou=people,dc=example", &attributes.concat()),
                &[],
            )
        },
        ..Face::default()
    })
    .await;
    let directory = LdapDirectory::new(server.settings(Some(StreamKind::Poll))).unwrap();
    let mut stream = Listening::open(&directory, None).await.unwrap();
    stream.joins("ann").await;
    assert!(stream.attributes.contains("mail"), "{:?}", stream.attributes);
}
