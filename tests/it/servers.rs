//! Several servers of one directory, and what each of them is told and believed.

use std::fs;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

use futures::StreamExt;
use ldap_usher::directory::{
    Bind, Directory, DirectoryError, DirectorySettings, HostPattern, LdapDirectory, Server,
};
use ldap_usher::model::{Change, Cursor, Disposition, EntryId};
use ldap_usher::tls::TlsOptions;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::advance;

use crate::support::controller::Controller;
use crate::support::dns::Zone;
use crate::support::ldap::{message, octets, tlv};
use crate::support::listening::settings;
use crate::support::samba::Samba;
use crate::support::scripted::request;
use crate::support::slapd::Slapd;
use crate::support::world::{A_WHILE, PATIENCE, World, table};

const PEOPLE: &str = "(objectClass=inetOrgPerson)";
/// What is said again is seen, too.
const DEBUG: &str = "[log]\nlevel = \"debug\"";

/// A world on two servers with the same content, of which the first one does not run. The second one can be had by
/// `world.server`.
async fn on_the_second(keys: &str) -> (World, Slapd) {
    let mut second = Slapd::builder().people(2).start().await;
    let mut first = Slapd::builder().start().await;
    first.become_copy_of(&mut second).await;
    let both = format!("url = [\"{}\", \"{}\"]", first.url(), second.url());
    let table = table(&second, "main", keys).replace(&format!("url = \"{}\"", second.url()), &both);
    let mut world = World::on(second, table).tables(DEBUG);
    world.start().await;
    world.invited(["person1", "person2"]).await;
    (world, first)
}

#[tokio::test]
async fn a_server_that_comes_back_behind_the_one_that_is_followed_is_asked_for_nothing() {
    for (keys, listed) in [
        ("audit_interval = \"1s\"", "purpose=\"audit\""),
        (
            "stream = \"poll\"\npoll_interval = \"1s\"",
            "purpose=\"catch-up\"",
        ),
    ] {
        let (mut world, mut first) = on_the_second(keys).await;
        world.witness("ann").await;
        first.restart().await;

        // Whoever is listed and looked up is so where the session is.
        let before = world.lines(&["listing ended", listed]).len();
        world.says(&["listing ended", listed], before + 2).await;
        world.people().delete("person2").await;
        world.says(&[" left directory=", "uid=person2,"], 1).await;
        let log = first.log();
        assert!(!log.contains("BIND dn=\"cn=reader"), "{log}");
        world.members(2).await;

        // Between two sessions the first one is looked at, and is not the one to be asked.
        world.server.stop().await;
        let line = world.says(&["a server is behind others"], 1).await;
        assert!(line.contains(&first.url()), "{line}");
        world
            .says(&["is behind the others", "remove them from `url`"], 1)
            .await;
        let status = world.status_json().await;
        assert!(
            status["directories"][0]["error"]
                .to_string()
                .contains("is behind the others"),
            "{status}"
        );
        world.server.restart().await;
        world.connected(2).await;
        world.witness("bea").await;
        assert_eq!(world.lines(&[" left directory="]).len(), 1);

        // Once it has caught up, it is one like any other.
        first.become_copy_of(&mut world.server).await;
        first.restart().await;
        world.server.stop().await;
        world.says(&["has caught up", &first.url()], 1).await;
        world.connected(3).await;
        first.people().add_person("cid").await;
        world.invites("cid").await;
        world
            .invited_once(&["person1", "person2", "ann", "bea", "cid"])
            .await;
    }
}

#[tokio::test]
async fn where_every_server_has_lost_the_latest_changes_the_first_one_is_asked() {
    let (mut world, mut first) = on_the_second("").await;
    world.server.back_up().await;
    world.witness("ann").await;
    world.server.restore().await;
    first.restart().await;
    world
        .says(&["every server is behind what was seen before"], 1)
        .await;
    world.members(2).await;
    first.people().add_person("bea").await;
    world.invites("bea").await;
}

#[tokio::test]
async fn a_resume_point_says_which_controller_has_lost_its_latest_changes() {
    let [behind, other] = [Controller::start(0).await, Controller::start(0).await];
    behind.manners.usn.store(50, Relaxed);
    let resume = Cursor(format!("ad1 {} 100", EntryId::from_slice(&[9; 16]).unwrap()).into_bytes());
    let both = DirectorySettings {
        servers: [&behind, &other]
            .map(|server| Server::parse(server.url()).unwrap())
            .into(),
        ..of_domain(Vec::new())
    };
    let directory = LdapDirectory::new(both).unwrap();
    let opened = directory.open(Some(resume.clone())).await.unwrap();
    assert_eq!(opened.server, other.url());
    drop((opened, other));
    let error = directory.open(Some(resume)).await.map(drop).unwrap_err();
    assert!(matches!(&error, DirectoryError::Behind { .. }), "{error}");
    assert_eq!(error.disposition(), Disposition::Outage);
}

/// How many binds slapd has refused.
fn refused(slapd: &Slapd) -> usize {
    let log = slapd.log();
    log.lines().filter(|line| line.contains("tag=97 err=49")).count()
}

#[tokio::test]
async fn a_refused_password_is_offered_to_no_server_again_before_it_changes() {
    let [one, two] = [Slapd::builder().people(1), Slapd::builder().people(1)];
    let [one, two] = [one.start().await, two.start().await];
    let wrong = |password: &str| DirectorySettings {
        servers: [&one, &two]
            .map(|server| Server::parse(&server.url()).unwrap())
            .into(),
        bind: Bind::Simple {
            dn: one.reader_dn().into(),
            password: password.to_owned().into(),
        },
        ..settings(&one, PEOPLE, None)
    };
    let directory = LdapDirectory::new(wrong("of-yesterday")).unwrap();
    for _ in 0..3 {
        let opened = directory.open(None).await.map(drop);
        let listed = directory.list().await.map(drop);
        let looked_up = directory.lookup(&[]).await.map(drop);
        for error in [opened, listed, looked_up] {
            let error = error.unwrap_err();
            assert_eq!(error.disposition(), Disposition::Operator);
            let error = error.to_string();
            assert!(
                error.contains("wrong bind DN or wrong password")
                    && error.contains("is not tried again until"),
                "{error}"
            );
        }
    }
    assert_eq!(refused(&one) + refused(&two), 1);

    // Whoever reloads the configuration means it; and another password is another one.
    directory.renewal(wrong("of-yesterday")).unwrap().apply();
    for _ in 0..3 {
        directory.open(None).await.map(drop).unwrap_err();
    }
    assert_eq!(refused(&one) + refused(&two), 2);
    directory.renewal(wrong(one.reader_pw())).unwrap().apply();
    directory.open(None).await.unwrap();
    assert_eq!(refused(&one) + refused(&two), 2);

    // Settings that cannot be used change nothing.
    let unusable = DirectorySettings {
        tls: TlsOptions {
            ca_file: Some("/nonexistent/ca.pem".into()),
            ..TlsOptions::default()
        },
        ..wrong("of-yesterday")
    };
    let error = directory.renewal(unusable).map(drop).unwrap_err().to_string();
    assert!(error.contains("/nonexistent/ca.pem"), "{error}");
    directory.open(None).await.unwrap();
}

/// A server that refuses every bind with this text, and counts them.
async fn refusing(text: &'static str) -> (String, Arc<AtomicU32>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ldap://{}", listener.local_addr().unwrap());
    let binds = Arc::new(AtomicU32::new(0));
    let (mut serving, counted) = (JoinSet::new(), binds.clone());
    serving.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let asked = request(&mut stream).await.unwrap();
            counted.fetch_add(1, Relaxed);
            let refusal = tlv(0x61, &[tlv(0x0a, &[49]), octets(""), octets(text)].concat());
            stream.write_all(&message(asked.id, &refusal, &[])).await.unwrap();
        }
    });
    (url, binds, serving)
}

#[tokio::test(start_paused = true)]
async fn a_refused_password_is_tried_again_after_a_quarter_of_an_hour_and_an_account_that_is_unusable_at_once()
 {
    let minutes = |count: u64| Duration::from_secs(60 * count);
    let of_active_directory = |code: &str| {
        let text = format!(
            "80090308: LdapErr: DSID-0C0903A9, comment: AcceptSecurityContext error, data {code}, v1db1"
        );
        &*text.leak()
    };
    for (text, then) in [
        ("", 1),
        (of_active_directory("52e"), 1),
        // Disabled, expired, to be changed, locked: that is mended on the server, and nothing is guessed.
        (of_active_directory("533"), 3),
        (of_active_directory("775"), 3),
    ] {
        let (url, binds, _serving) = refusing(text).await;
        let directory = LdapDirectory::new(DirectorySettings {
            servers: vec![Server::parse(&url).unwrap()],
            ..of_domain(Vec::new())
        })
        .unwrap();
        for pause in [minutes(0), minutes(7), minutes(7)] {
            advance(pause).await;
            directory.open(None).await.map(drop).unwrap_err();
        }
        assert_eq!(binds.load(Relaxed), then, "{text}");
        advance(minutes(2)).await;
        directory.open(None).await.map(drop).unwrap_err();
        assert_eq!(binds.load(Relaxed), then + 1, "{text}");
    }
}

#[tokio::test]
async fn a_password_that_is_rotated_costs_one_refusal_and_its_file_is_read_again() {
    let slapd = Slapd::builder().people(1).start().await;
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    fs::write(&file, "of-tomorrow").unwrap();
    let inline = format!("bind_password = \"{}\"", slapd.reader_pw());
    let from_file = format!("bind_password_file = \"{}\"", file.display());
    let twice = format!("url = [\"{0}\", \"{0}\"]", slapd.url());
    let table = table(&slapd, "main", "")
        .replace(&inline, &from_file)
        .replace(&format!("url = \"{}\"", slapd.url()), &twice);
    let mut world = World::on(slapd, table).tables(DEBUG);
    world.start_only();
    let line = world
        .says_within(&["the bind as cn=reader", "was refused"], 2, 3 * PATIENCE)
        .await;
    assert!(line.contains("is not tried again until"), "{line}");
    tokio::time::sleep(A_WHILE).await;
    assert_eq!(refused(&world.server), 1);
    let ready = world.get("/readyz").await;
    assert!(ready.contains("is not tried again until"), "{ready}");

    fs::write(&file, world.server.reader_pw()).unwrap();
    world.says(&["its file has changed"], 1).await;
    world.invited(["person1"]).await;
    assert_eq!(refused(&world.server), 1);

    // A check offers it once as well.
    fs::write(&file, "of-tomorrow").unwrap();
    let report = world.ask(&["check"]).await;
    let report = String::from_utf8_lossy(&report.stdout).into_owned();
    assert!(report.contains("is not tried again until"), "{report}");
    assert_eq!(refused(&world.server), 2);
}

/// Who asks the domain of these servers.
fn of_domain(servers: Vec<Server>) -> DirectorySettings {
    DirectorySettings {
        name: "main".into(),
        servers,
        starttls: false,
        tls: TlsOptions::default(),
        bind: Bind::Simple {
            dn: "reader@lab.test".into(),
            password: "reader-secret".to_owned().into(),
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

#[tokio::test]
async fn a_controller_outside_of_its_domain_is_sent_no_password_unless_the_configuration_names_it() {
    let foreign = "dc1.lab.test.attacker.example";
    let samba = Samba::builder()
        .people(1)
        .strong_auth()
        .named(foreign)
        .start()
        .await;
    let zone = Zone::default()
        .controller("lab.test", 0, foreign)
        .host(foreign, samba.address());
    let forged = zone.clone().serve().await;
    let domain = |dns: SocketAddr, others: &[&str]| Server::Domain {
        name: "lab.test".into(),
        dns: Some(dns),
        others: others
            .iter()
            .map(|other| HostPattern::parse(other).unwrap())
            .collect(),
    };
    let asking = |server: Server, starttls: bool| {
        let tls = TlsOptions {
            ca_file: Some(samba.ca_file()),
            ..TlsOptions::default()
        };
        LdapDirectory::new(DirectorySettings {
            starttls,
            tls,
            ..of_domain(vec![server])
        })
        .unwrap()
    };
    // Its certificate is good, and nobody asks to see it.
    for starttls in [false, true] {
        for others in [&[][..], &["lab.test"], &[".lab.test"], &["attacker.example"]] {
            let error = asking(domain(forged.address(), others), starttls)
                .open(None)
                .await;
            let error = error.map(drop).unwrap_err();
            assert_eq!(error.disposition(), Disposition::Operator, "{error}");
            let error = error.to_string();
            assert!(
                error.contains(foreign) && error.contains("name them in `controllers`"),
                "{error}"
            );
        }
    }
    for others in [&[foreign][..], &[".attacker.example"]] {
        let opened = asking(domain(forged.address(), others), false).open(None).await;
        assert_eq!(opened.unwrap().server, format!("ldaps://{foreign}:636"));
    }
    // Beside one that is in the domain it is passed over.
    let both = zone
        .controller("lab.test", 10, "dc1.lab.test")
        .host("dc1.lab.test", samba.address())
        .serve()
        .await;
    let opened = asking(domain(both.address(), &[]), false).open(None).await;
    assert_eq!(opened.unwrap().server, "ldaps://dc1.lab.test:636");
    // A name in the domain is not enough: the certificate must carry it.
    let nameless = Zone::default()
        .controller("lab.test", 0, "dc2.lab.test")
        .host("dc2.lab.test", samba.address())
        .serve()
        .await;
    let error = asking(domain(nameless.address(), &[]), false).open(None).await;
    let error = error.map(drop).unwrap_err();
    assert!(matches!(error, DirectoryError::Tls { .. }), "{error}");
}

#[tokio::test]
async fn an_answer_counts_only_for_those_who_were_asked_for_and_below_the_base() {
    let controller = Controller::start(0).await;
    controller.manners.strangers.store(true, Relaxed);
    let settings = DirectorySettings {
        servers: vec![Server::parse(controller.url()).unwrap()],
        poll_interval: Duration::from_millis(100),
        ..of_domain(Vec::new())
    };
    let directory = LdapDirectory::new(settings).unwrap();
    let asked = EntryId::from_slice(&[2; 16]).unwrap();
    let found = directory.lookup(&[asked]).await.unwrap();
    let names: Vec<&str> = found.iter().map(|entry| entry.dn.as_str()).collect();
    assert_eq!(names, ["CN=person2,OU=people,DC=lab,DC=test"]);

    let mut changes = directory.open(None).await.unwrap().changes;
    let mut told = Vec::new();
    while let Some(change) = changes.next().await {
        match change.unwrap() {
            Change::Upsert(entry) | Change::Together { entry, .. } => told.push(entry.dn),
            // Of the listing nobody is sure, since it held people from elsewhere.
            Change::ListingEnd(end) => {
                assert!(format!("{end:?}").contains("are not below OU=people"), "{end:?}");
                controller.manners.usn.store(101, Relaxed);
            }
            Change::Checkpoint(_) if told.len() > 1 => break,
            _ => {}
        }
    }
    told.sort();
    told.dedup();
    let expected: Vec<String> = (1..=3)
        .map(|n| format!("CN=person{n},OU=people,DC=lab,DC=test"))
        .collect();
    assert_eq!(told, expected);
}
