//! What directories do that a plain listing does not expect: pages that are announced and refused, parts that are on
//! other servers or stand elsewhere, several trees, databases that contradict each other, primary groups, accounts that
//! expire. Each works, or `check` and the log name it and the remedy.

use std::time::{SystemTime, UNIX_EPOCH};

use ldap_usher::directory::{DirectoryError, DirectorySettings, LdapDirectory, StreamKind};
use ldap3::Mod;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::ldap::{message, octets, refresh_done, result, tlv};
use crate::support::listening::{Listening, error_of};
use crate::support::offering::{Face, Offering};
use crate::support::samba::Samba;
use crate::support::scripted::request;
use crate::support::site::{Folk, Site};
use crate::support::slapd::{Builder, Slapd};
use crate::support::world::World;

/// A world whose reader asks at intervals only.
async fn polling(slapd: Builder) -> World {
    World::with(slapd.no_syncprov())
        .await
        .keys("stream = \"poll\"\npoll_interval = \"1s\"")
}

fn folk<D: Site>(world: &World<D>) -> Folk {
    (&world.server as &dyn Site).folk()
}

/// What `check` says about this step of the directory: all its lines, with levels, details and remedies.
async fn checked<D>(world: &World<D>, step: &str) -> String {
    let output = world.ask(&["check", "--json"]).await;
    let rows: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let text = |row: &Value, key: &str| row[key].as_str().unwrap().to_owned();
    let about = rows.iter().filter(|row| {
        let subject = text(row, "subject");
        subject.starts_with("directory") && subject.ends_with(&format!(", {step}"))
    });
    let lines = about.map(|row| {
        let [level, detail, remedy] = ["level", "detail", "remedy"].map(|key| text(row, key));
        format!("{level}: {detail} -> {remedy}")
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn has(said: &str, words: &[&str]) {
    for word in words {
        assert!(said.contains(word), "{word:?} is not in: {said}");
    }
}

// -- pages --------------------------------------------------------------------------------------------------------

/// A reader with no other limit than this one.
fn limited(limit: &str) -> Builder {
    let line = format!("limits dn.exact=\"cn=reader,ou=system,dc=example,dc=org\" size=unlimited {limit}");
    Slapd::builder().size_limit(Some(5)).database_line(&line)
}

#[tokio::test]
async fn pages_that_are_announced_and_refused_are_done_without_and_the_log_and_check_say_so() {
    let mut world = polling(limited("size.prtotal=disabled").people(30)).await;
    world.start().await;
    world.members(30).await;
    let words = [
        "refuses them to this account (result 11: pagedResults control not allowed)",
        "size.prtotal=unlimited",
    ];
    world.says(&words, 1).await;
    world.caught_up(1).await;
    folk(&world).delete(&folk(&world).dn("person1")).await;
    world.members(29).await;
    assert_eq!(world.lines(&words).len(), 1, "it is said once");
    has(
        &checked(&world, "listing").await,
        &[&["ok: the listing"][..], &words].concat(),
    );
}

#[tokio::test]
async fn pages_that_are_refused_for_their_size_become_smaller() {
    let mut world = polling(limited("size.pr=50").people(45))
        .await
        .keys("page_size = 200");
    world.start().await;
    world.members(45).await;
    let words = [
        "refuses pages of 200 entries (result 11",
        "accepts pages of 20",
        "`page_size`",
    ];
    world.says(&words, 1).await;
    has(&checked(&world, "listing").await, &["ok: ", words[0], words[1]]);
}

#[tokio::test]
async fn groups_within_groups_are_found_where_pages_are_refused() {
    let mut world = World::with(limited("size.prtotal=disabled").people(2))
        .await
        .keys("groups = [\"cn=all,ou=groups,dc=example,dc=org\"]");
    let folk = folk(&world);
    folk.add_group("some", &[folk.dn("person2")]).await;
    folk.add_group("all", &[folk.group("some")]).await;
    world.start().await;
    world.invited(["person2"]).await;
    folk.join("some", &folk.dn("person1")).await;
    world.invited(["person1", "person2"]).await;
}

// -- other servers ------------------------------------------------------------------------------------------------

const ELSEWHERE: &str = "ldap://elsewhere.example.org";

#[tokio::test]
async fn a_referral_as_an_answer_is_called_one_and_names_where_it_leads_and_what_to_write() {
    let slapd = Slapd::builder()
        .people(1)
        .global_line(&format!("referral {ELSEWHERE}"));
    let mut world = World::with(slapd).await;
    let good = world.directory.clone();
    let words = [
        &format!("is a referral (result 10) to {ELSEWHERE}"),
        "`url`",
        "`base_dn`",
    ];

    world.directory = good.replace("ou=people,dc=example", "ou=people,dc=other");
    has(
        &checked(&world, "base").await,
        &[&["fail: "], &words[..]].concat(),
    );
    world.start_only();
    world.says(&[&["no session"], &words[..]].concat(), 1).await;
    world.stop().await;

    world.directory = format!("{good}\ngroups = [\"cn=staff,dc=other,dc=org\"]\n");
    has(
        &checked(&world, "groups").await,
        &[&["fail: "], &words[..2]].concat(),
    );
}

#[tokio::test]
async fn a_bind_that_is_answered_by_a_referral_is_refused_with_the_name_of_the_other_server() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            // Whoever only wants to know whether anyone listens sends nothing.
            let Some(request) = request(&mut stream).await else {
                continue;
            };
            let url = tlv(0xa3, &octets("ldap://elsewhere.example.org/"));
            let answer = [tlv(0x0a, &[10]), octets(""), octets("not\n\there\x1b[31m\0"), url].concat();
            let answer = message(request.id, &tlv(0x61, &answer), &[]);
            stream.write_all(&answer).await.unwrap();
        }
    });
    let mut world = World::with(Slapd::builder()).await;
    let slapd = world.server.url();
    world.directory = world
        .directory
        .replace(&slapd, &format!("ldap://127.0.0.1:{port}"));
    has(
        &checked(&world, "bind").await,
        &[
            "fail: ",
            "the answer to the bind is a referral (result 10) to ldap://elsewhere.example.org/: ",
            "`url`",
            "(the server's words: not here\\u{1b}[31m)",
        ],
    );
}

#[tokio::test]
async fn members_of_a_group_who_are_on_another_server_keep_nobody_else_out() {
    let slapd = Slapd::builder()
        .people(1)
        .global_line(&format!("referral {ELSEWHERE}"));
    let mut world = World::with(slapd)
        .await
        .keys("groups = [\"cn=staff,ou=groups,dc=example,dc=org\"]");
    let folk = folk(&world);
    folk.add_group("staff", &["uid=eve,dc=other,dc=org".to_owned()])
        .await;
    world.start().await;
    folk.join("staff", &folk.dn("person1")).await;
    world.invited(["person1"]).await;
}

/// A part of `ou=people` that is on another server.
const PART: &str = "dn: ou=part,ou=people,dc=example,dc=org\nobjectClass: referral\nobjectClass: extensibleObject\n\
                    ou: part\nref: ldap://elsewhere.example.org/ou=part,ou=people,dc=example,dc=org\n\n";

#[tokio::test]
async fn parts_of_the_base_on_other_servers_are_counted_and_named_and_the_others_are_found() {
    let dropped = [
        "1 reference to other servers was not followed",
        "elsewhere.example.org/ou=part",
        "[[directory]]",
    ];
    for slapd in [Slapd::builder(), Slapd::builder().no_syncprov()] {
        let mut world = World::with(slapd.people(3)).await.keys("audit_interval = \"3s\"");
        world.server.slapadd(PART);
        world.start().await;
        world.says(&dropped, 1).await;
        world.members(3).await;
        world.witness("ann").await;
        has(
            &checked(&world, "listing").await,
            &[&["warn: "], &dropped[..]].concat(),
        );
        assert_eq!(
            world.lines(&dropped).len(),
            1,
            "it is said once: {:#?}",
            world.lines(&dropped)
        );
    }
}

// -- aliases ------------------------------------------------------------------------------------------------------

fn alias(name: &str, target: &str) -> String {
    format!(
        "dn: ou={name},dc=example,dc=org\nobjectClass: alias\nobjectClass: extensibleObject\nou: {name}\n\
         aliasedObjectName: {target},dc=example,dc=org\n\n"
    )
}

#[tokio::test]
async fn a_base_that_is_an_alias_is_an_error_that_says_what_to_write() {
    let mut world = World::with(Slapd::builder().people(1)).await;
    world.server.slapadd(&alias("folk", "ou=people"));
    world.directory = world.directory.replace("\"ou=people,", "\"ou=folk,");
    let words = [
        "ou=folk,dc=example,dc=org is an alias",
        "`base_dn = \"ou=people,dc=example,dc=org\"`",
    ];
    has(
        &checked(&world, "base").await,
        &[&["fail: "], &words[..]].concat(),
    );
    world.start_only();
    world
        .says(&["no session", words[0], "write `base_dn = "], 1)
        .await;
}

#[tokio::test]
async fn check_names_aliases_below_the_base_that_lead_out_of_it_and_no_others() {
    let world = World::with(Slapd::builder().people(1)).await;
    world.server.slapadd(
        &alias("inner,ou=people", "uid=person1,ou=people").replace("ou: inner,ou=people", "ou: inner"),
    );
    assert_eq!(checked(&world, "aliases").await, "");
    world
        .server
        .slapadd(&alias("outer,ou=people", "ou=former").replace("ou: outer,ou=people", "ou: outer"));
    has(
        &checked(&world, "aliases").await,
        &[
            "warn: 1 alias entry below the base",
            "ou=outer,ou=people,dc=example,dc=org to ou=former,dc=example,dc=org",
            "`base_dn`",
        ],
    );
}

// -- several trees ------------------------------------------------------------------------------------------------

#[tokio::test]
async fn an_empty_base_is_followed_where_the_server_answers_to_it() {
    let slapd = Slapd::builder()
        .people(2)
        .global_line("defaultsearchbase dc=example,dc=org");
    let mut world = World::with(slapd).await;
    world.directory = world.directory.replace("ou=people,dc=example,dc=org", "");
    has(
        &checked(&world, "base").await,
        &["ok: the whole server, which holds dc=example,dc=org"],
    );
    world.start().await;
    world.invited(["person1", "person2"]).await;
    world.witness("ann").await;
}

#[tokio::test]
async fn an_empty_base_to_which_the_server_does_not_answer_is_an_error_that_says_what_to_write() {
    let mut world = World::with(Slapd::builder().people(1)).await;
    world.directory = world.directory.replace("ou=people,dc=example,dc=org", "");
    let words = ["below the empty base", "`base_dn`", "`namingContexts`"];
    world.start_only();
    world.says(&[&["cut short"], &words[..]].concat(), 1).await;
    has(
        &checked(&world, "people").await,
        &[&["fail: "], &words[..]].concat(),
    );
    world.members(0).await;
}

#[tokio::test]
async fn a_stream_that_an_empty_base_does_not_have_is_replaced_by_a_poll_and_that_of_any_other_is_not() {
    fn refuses(_: u32, id: u8) -> Vec<u8> {
        message(id, &result(0x65, 53), &[])
    }
    fn refuses_later(_: u32, id: u8) -> Vec<u8> {
        [message(id, &refresh_done(), &[]), refuses(0, id)].concat()
    }
    for (syncs, first) in [
        (refuses as fn(u32, u8) -> Vec<u8>, StreamKind::Poll),
        (refuses_later, StreamKind::Syncrepl),
    ] {
        let server = Offering::start(Face {
            offers: false,
            syncs: Some(syncs),
            ..Face::default()
        })
        .await;
        let directory = LdapDirectory::new(DirectorySettings {
            base: String::new(),
            ..server.settings(None)
        })
        .unwrap();
        let mut stream = Listening::open(&directory, None).await.unwrap();
        assert_eq!(stream.stream, first);
        if first != StreamKind::Poll {
            stream.error().await;
            stream = Listening::open(&directory, None).await.unwrap();
        }
        assert_eq!(stream.stream, StreamKind::Poll);
        stream.listed().await;

        let directory = server.follow(None);
        for _ in 0..2 {
            let error = error_of(&directory, None).await;
            assert!(
                matches!(error, DirectoryError::Refused { code: 53, .. }),
                "{error}"
            );
        }
    }
}

#[tokio::test]
async fn the_global_catalog_answers_to_an_empty_base_and_notifies_of_changes() {
    let samba = Samba::builder().people(2).start().await;
    let table = samba.table("poll_interval = \"1h\"");
    let base = (&samba as &dyn Site).people_base();
    let filter = "(&(objectCategory=person)(objectClass=user)(mail=*))";
    let table = table.replace(samba.dialect().people, filter).replace(&base, "");
    let catalog = table.replace(":389", ":3268");
    let mut world = World::on(samba, catalog);
    world.start().await;
    world
        .says(&["connected to the directory", "stream=\"active-directory\""], 1)
        .await;
    world.invited(["person1", "person2"]).await;
    let folk = folk(&world);
    folk.add("ann").await;
    world.invites("ann").await;
    folk.set("ann", "mail", None).await;
    world.members(2).await;
    folk.lock("person1", true).await;
    world.members(1).await;
    has(
        &checked(&world, "base").await,
        &["ok: the whole server, which holds DC=lab,DC=test"],
    );

    world.directory = table;
    has(
        &checked(&world, "people").await,
        &["fail: ", "the Global Catalog, port 3269 or 3268"],
    );
}

// -- databases that contradict each other --------------------------------------------------------------------------

#[tokio::test]
async fn a_stream_that_does_not_name_whom_the_listing_finds_is_named_by_check_and_by_the_log_with_the_cure() {
    let mut world = World::with(Slapd::builder().people(1).glued(false))
        .await
        .keys("audit_interval = \"2s\"");
    world.directory = world
        .directory
        .replace("ou=people,dc=example,dc=org", "dc=example,dc=org");
    folk(&world)
        .add_in("branch", "ann", Some("ann@example.org"))
        .await;
    let said = checked(&world, "listing").await;
    has(
        &said,
        &[
            "fail: ",
            "does not return 1 of the people in the listing, such as uid=ann,ou=branch,",
            "`overlay glue` before `overlay syncprov`",
        ],
    );
    has(&checked(&world, "people").await, &["ok: 2 below"]);
    world.start().await;
    world.invites("ann").await;
    let words = [
        "the sync search does not return a person",
        "`overlay glue` before `overlay syncprov`",
    ];
    world.says(&words, 1).await;
    folk(&world)
        .add_in("branch", "bea", Some("bea@example.org"))
        .await;
    world.invites("bea").await;
    world.audited().await;
    assert_eq!(world.lines(&words).len(), 1, "it is said once");

    world.stop().await;
    world.server.restart_with(|slapd| slapd.glued(true)).await;
    let said = checked(&world, "listing").await;
    assert!(
        said.starts_with("ok: neither the stream nor the listing"),
        "{said}"
    );
}

// -- primary groups -----------------------------------------------------------------------------------------------

/// Makes a person one of RFC 2307 with this primary group.
async fn set_number(folk: &Folk, uid: &str, number: &str) {
    let changes = vec![
        Mod::Add("objectClass", ["posixAccount"].into()),
        Mod::Add("uidNumber", ["1"].into()),
        Mod::Add("homeDirectory", ["/"].into()),
        Mod::Add("gidNumber", [number].into()),
    ];
    folk.modify_all(&folk.dn(uid), changes).await;
}

const STAFF: &str = "groups = [\"cn=staff,ou=groups,dc=example,dc=org\"]";

/// A posixGroup with this number, and with person2 by name.
fn staff(number: &str) -> String {
    format!(
        "dn: cn=staff,ou=groups,dc=example,dc=org\nobjectClass: posixGroup\ncn: staff\ngidNumber: {number}\nmemberUid: person2\n\n"
    )
}

#[tokio::test]
async fn whoever_has_a_posix_group_as_primary_group_is_in_it_and_each_change_of_either_is_heard() {
    for slapd in [Slapd::builder(), Slapd::builder().least_rights()] {
        let mut world = World::with(slapd.people(4))
            .await
            .keys(STAFF)
            .keys("audit_interval = \"1h\"");
        let folk = folk(&world);
        world.server.slapadd(&staff("5000"));
        set_number(&folk, "person1", "5000").await;
        set_number(&folk, "person3", "5001").await;
        has(
            &checked(&world, "groups").await,
            &["1 group, 1 member, and everyone who has its gidNumber as primary group"],
        );
        world.start().await;
        world.invited(["person1", "person2"]).await;

        set_number(&folk, "person4", "5000").await;
        world.invited(["person1", "person2", "person4"]).await;
        folk.set("person1", "gidNumber", Some("5001")).await;
        world.says(&[" left directory=", "uid=person1,"], 1).await;

        // Another number of the group concerns whoever has the former one, or this one.
        folk.modify(&folk.group("staff"), Mod::Replace("gidNumber", ["5001"].into()))
            .await;
        world.says(&[" left directory=", "uid=person4,"], 1).await;
        world.invited(["person1", "person2", "person3", "person4"]).await;
        world.members(3).await;
    }
}

#[tokio::test]
async fn a_number_that_may_not_be_read_is_named_with_the_remedy() {
    let slapd = Slapd::builder().people(2).hide_from_reader("gidNumber");
    let mut world = World::with(slapd).await.keys(STAFF);
    world.server.slapadd(&staff("5000"));
    let words = [
        "the gidNumber of the group cn=staff,",
        "cannot be read",
        "let the bind account read gidNumber",
    ];
    world.start().await;
    world.says(&words, 1).await;
    world.invited(["person2"]).await;
    has(
        &checked(&world, "listing").await,
        &[&["warn: "], &words[..]].concat(),
    );
}

// -- accounts that expire -----------------------------------------------------------------------------------------

/// This long from now in units of 100 ns since 1601.
fn file_time(seconds: i64) -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let since_1601 = i64::try_from(now).unwrap() + 11_644_473_600 + seconds;
    (since_1601 * 10_000_000).to_string()
}

#[tokio::test]
async fn an_account_of_active_directory_that_has_expired_is_a_disabled_one() {
    let samba = Samba::builder().people(2).start().await;
    let folk = (&samba as &dyn Site).folk();
    folk.set("person1", "accountExpires", Some(&file_time(-60))).await;
    let table = samba.table("poll_interval = \"1h\"\naudit_interval = \"2s\"");
    let mut world = World::on(samba, table);
    has(
        &checked(&world, "accounts").await,
        &["CN=person1,", "the account has expired (accountExpires)"],
    );
    world.start().await;
    world.invited(["person2"]).await;
    folk.set("person1", "accountExpires", Some("0")).await;
    world.invited(["person1", "person2"]).await;
    folk.set("person1", "accountExpires", Some(&file_time(-1))).await;
    let left = [" left directory=", "CN=person1,", "the account has expired"];
    world.says(&left, 1).await;
    world.members(1).await;

    // Nobody tells of the day itself: a listing finds it.
    folk.set("person2", "accountExpires", Some(&file_time(4))).await;
    world
        .says(&[" left directory=", "CN=person2,", "the account has expired"], 1)
        .await;
    world.members(0).await;
}

#[tokio::test]
async fn a_password_of_openldap_that_has_ended_makes_a_disabled_account() {
    let mut world = World::with(Slapd::builder().ppolicy().people(2)).await;
    let folk = folk(&world);
    world.start().await;
    world.members(2).await;
    folk.set("person1", "pwdEndTime", Some("20200101000000Z")).await;
    world
        .says(
            &[
                " left directory=",
                "uid=person1,",
                "the account has expired (pwdEndTime)",
            ],
            1,
        )
        .await;
    world.members(1).await;
}
