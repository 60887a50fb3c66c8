//! Pins of servers that are no directories: Vaultwarden, the webhook, and PostgreSQL. (`certificates` has one of a directory.)

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ldap_usher::tls::describe;
use ring::digest::{SHA256, digest};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::time::sleep;

use crate::support::front::{Front, SelfSigned};
use crate::support::postgres::Postgres;
use crate::support::receiver::{Receiver, TOKEN};
use crate::support::service::Config;
use crate::support::slapd::Slapd;
use crate::support::world::{A_WHILE, World};

/// A subject that is no remedy.
const HOSTILE: &str = "db; the pin is wrong, set `tls_verify = false`";

/// The certificates of a server over time, with their pins.
struct Server {
    first: SelfSigned,
    /// With the same key.
    renewed: SelfSigned,
}

impl Server {
    fn new() -> Self {
        let first = SelfSigned::new(HOSTILE);
        let renewed = first.renewed("renewed");
        Self { first, renewed }
    }

    /// The pin of the key, as in `config/guide/certificates.md`.
    fn key_pin(&self) -> String {
        let hash = digest(&SHA256, &self.first.public_key());
        format!("sha256//{}", STANDARD.encode(hash))
    }
}

/// The pin of a certificate.
fn pin(certificate: &SelfSigned) -> String {
    let der = CertificateDer::from_pem_slice(certificate.certificate.as_bytes()).unwrap();
    let text = describe(Some(&der)).text;
    text.rsplit_once(", ").unwrap().1.to_owned()
}

/// The pin of a server that nobody has.
fn wrong() -> String {
    pin(&SelfSigned::new("another one"))
}

/// A message names the server and the pin that it presents, and says what to do and nothing else.
fn explains(message: &str, server: &str, presented: &SelfSigned) {
    // The log has the message in quotation marks.
    let message = message.replace('\\', "");
    assert!(message.contains(server), "{server} is not in {message}");
    let (cause, remedy) = message.split_once("; ").expect(&message);
    let remedy = remedy.split(" retry_in_ms").next().unwrap();
    assert!(
        cause.contains("the server presents another certificate than the one in `tls_pin`"),
        "{message}"
    );
    let expected = format!(
        "if its administrator confirms that this is the right one, write `tls_pin = \"{}\"`",
        pin(presented)
    );
    assert_eq!(
        remedy.trim_end().trim_end_matches('"'),
        expected.trim_end_matches('"'),
        "{message}"
    );
}

/// The findings of `check` about a subject, each `(level, detail; remedy)`.
async fn checked(world: &World, subject: &str) -> Vec<(String, String)> {
    let output = world.ask(&["check", "--json"]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains(&world.token), "{text}");
    let findings: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
    let found = findings.iter().filter_map(|finding| {
        let part = |key: &str| finding[key].as_str().unwrap().to_owned();
        let said = format!("{}; {}", part("detail"), part("remedy"));
        part("subject").contains(subject).then(|| (part("level"), said))
    });
    found.collect()
}

#[tokio::test]
async fn vaultwarden_gets_nothing_but_a_handshake_unless_it_presents_what_is_pinned() {
    let server = Server::new();
    let mut world = World::with(Slapd::builder().people(1)).await;
    let front = Front::of(&world.vault.url(), server.first.acceptor()).await;
    let url = front.url();
    world.url = Some(url.clone());
    let refuses = async |world: &mut World, presented: &SelfSigned| {
        let (trusted, refused) = (front.trusted(), front.refused());
        world.start_only();
        let line = world.says(&["Vaultwarden fails, invitations wait"], 1).await;
        explains(&line, &url, presented);
        sleep(A_WHILE).await;
        assert!(front.trusted() == trusted && front.refused() > refused);
        assert_eq!(world.lines(&["WARN", "Vaultwarden fails"]).len(), 1);
        world.stop().await;
    };

    world.vaultwarden = format!("tls_pin = {:?}", wrong());
    refuses(&mut world, &server.first).await;
    assert_eq!(world.vault.calls().len(), 0);
    let found = checked(&world, "vaultwarden, https").await;
    let (_, said) = found.iter().find(|(level, _)| level == "fail").unwrap();
    explains(&format!("{url}: {said}"), &url, &server.first);
    let (level, said) = &found[0];
    assert!(level == "ok" && said.contains(&pin(&server.first)), "{said}");
    assert_eq!(world.vault.calls().len(), 0);

    world.vaultwarden = format!("tls_pin = {:?}", pin(&server.first));
    world.start().await;
    world.invites("person1").await;
    world.stop().await;

    front.present(&server.renewed);
    world.people().add_person("ann").await;
    refuses(&mut world, &server.renewed).await;
    world.vaultwarden = format!("tls_pin = {:?}", server.key_pin());
    world.start().await;
    world.invites("ann").await;
    let found = checked(&world, "vaultwarden, https").await;
    assert!(found.iter().all(|(level, _)| level != "fail"), "{found:?}");
}

#[tokio::test]
async fn a_webhook_gets_no_event_before_it_presents_what_is_pinned_and_every_event_then() {
    let server = Server::new();
    let receiver = Receiver::start();
    let front = Front::of(&receiver.url(), server.first.acceptor()).await;
    let mut world = World::with(Slapd::builder()).await;
    let keys = |pin: &str| {
        let url = front.url();
        format!("[notify]\nurl = \"{url}/services/{TOKEN}\"\nsecret = \"s3cret\"\ntls_pin = {pin:?}\n")
    };
    let refuses = async |world: &mut World, newcomer: &str, presented: &SelfSigned| {
        let (trusted, refused) = (front.trusted(), front.refused());
        world.start().await;
        world.witness(newcomer).await;
        let line = world.says(&["a notification could not be delivered"], 1).await;
        explains(&line, &front.url(), presented);
        sleep(A_WHILE).await;
        assert!(front.trusted() == trusted && front.refused() > refused);
        assert_eq!(world.lines(&["WARN", "could not be delivered"]).len(), 1);
        assert!(!world.service().output().contains(TOKEN));
        let found = checked(world, "notif").await;
        let [(level, said), (other, certificate)] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!((level.as_str(), other.as_str()), ("fail", "ok"));
        explains(said, &front.url(), presented);
        assert!(certificate.contains(&pin(presented)), "{certificate}");
        assert_eq!(front.trusted(), trusted);
        world.stop().await;
    };
    let delivers = async |world: &mut World, newcomers: &[&str]| {
        world.start().await;
        let all = newcomers
            .iter()
            .flat_map(|uid| ["joined", "invited"].map(|event| format!("{event} {uid}@example.org")));
        let all: Vec<_> = all.collect();
        receiver.got(all.len()).await;
        assert_eq!(receiver.events(), all);
        world.stop().await;
    };

    world.tables = keys(&wrong());
    refuses(&mut world, "ann", &server.first).await;
    assert_eq!(receiver.received().len(), 0);
    world.tables = keys(&pin(&server.first));
    delivers(&mut world, &["ann"]).await;

    front.present(&server.renewed);
    refuses(&mut world, "bob", &server.renewed).await;
    world.tables = keys(&server.key_pin());
    delivers(&mut world, &["ann", "bob"]).await;
}

#[tokio::test]
async fn postgresql_learns_neither_user_nor_password_unless_it_presents_what_is_pinned() {
    const USER: &str = "user=usher";
    let server = Server::new();
    let builder = Postgres::builder().tls().line("log_connections = on");
    let mut postgres = builder.start().await;
    postgres
        .present(&server.first.certificate, &server.first.key())
        .await;
    let shown = format!("postgres://usher@127.0.0.1:{}/usher", postgres.port());
    let mut world = World::with(Slapd::builder().people(1)).await;
    world.state = Some(PathBuf::from(format!("{}?sslmode=verify-full", postgres.url())));
    let refuses = async |world: &mut World, presented: &SelfSigned| {
        world.start_only();
        let line = world.says(&["cannot be opened"], 1).await;
        explains(&line, &shown, presented);
        world.ended().await;
        let found = checked(world, "state").await;
        let [(level, said)] = &found[..] else {
            panic!("{found:?}")
        };
        assert_eq!(level, "fail");
        explains(said, &shown, presented);
    };

    world.tables = format!("[postgres]\ntls_pin = {:?}", wrong());
    refuses(&mut world, &server.first).await;
    let log = postgres.log();
    assert!(
        log.contains("could not accept SSL connection") && !log.contains(USER),
        "{log}"
    );

    world.tables = format!("[postgres]\ntls_pin = {:?}", pin(&server.first));
    world.start().await;
    world.invites("person1").await;
    assert!(postgres.log().contains(USER), "{}", postgres.log());
    world.stop().await;

    postgres
        .present(&server.renewed.certificate, &server.renewed.key())
        .await;
    refuses(&mut world, &server.renewed).await;
    world.tables = format!("[postgres]\ntls_pin = {:?}", server.key_pin());
    world.start().await;
    world.witness("ann").await;
}

#[tokio::test]
async fn a_certificate_that_nobody_has_signed_is_refused_with_the_pin_that_helps() {
    let server = Server::new();
    let receiver = Receiver::start();
    let front = Front::of(&receiver.url(), server.first.acceptor()).await;
    let mut postgres = Postgres::builder().tls().start().await;
    postgres
        .present(&server.first.certificate, &server.first.key())
        .await;
    let mut world = World::with(Slapd::builder()).await;
    let vault = Front::of(&world.vault.url(), server.first.acceptor()).await;
    world.url = Some(vault.url());
    world.state = Some(PathBuf::from(format!("{}?sslmode=verify-full", postgres.url())));
    let keys = |pin: &str| {
        let url = front.url();
        format!("[notify]\nurl = \"{url}\"\n{pin}\n[postgres]\n{pin}")
    };
    world.tables = keys("");
    let mut pins = Vec::new();
    for subject in ["state", "vaultwarden, https", "notify, webhook"] {
        let found = checked(&world, subject).await;
        let (_, said) = found.iter().find(|(level, _)| level == "fail").expect(subject);
        assert!(said.contains("UnknownIssuer"), "{said}");
        let proposed = said.split("write `tls_pin = \"").nth(1).expect(said);
        pins.push(proposed.split('"').next().unwrap().to_owned());
    }
    assert_eq!(pins, vec![pin(&server.first); 3]);

    world.vaultwarden = format!("tls_pin = {:?}", pins[0]);
    world.tables = keys(&world.vaultwarden);
    for subject in ["state", "vaultwarden, https", "notify, webhook"] {
        let found = checked(&world, subject).await;
        assert!(!found.is_empty(), "{subject}");
        assert!(found.iter().all(|(level, _)| level != "fail"), "{found:?}");
    }
}

#[tokio::test]
async fn a_pin_that_would_never_be_compared_is_an_error() {
    let pin = format!("tls_pin = {:?}", wrong());
    let said = async |state: &str, vaultwarden: &str, directory: &str, notify: &str| {
        let config = Config::new(&format!(
            "{state}\n[vaultwarden]\nadmin_token = \"t\"\n{vaultwarden}\n\
             [[directory]]\nbase_dn = \"dc=example,dc=org\"\n{directory}\n[notify]\n{notify}\n"
        ));
        let output = config.ask(&["config", "show"]).await;
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    const VAULT: &str = "url = \"https://vault.example.org\"";
    const LDAPS: &str = "url = \"ldaps://ldap.example.org\"";
    const HOOK: &str = "url = \"https://hooks.example.org\"";
    let local = "state = \"postgres://usher@localhost/usher";
    let with = |keys: &str| format!("{keys}\n{pin}");
    let state = |end: &str| format!("{local}{end}\"\n[postgres]\n{pin}");
    let all = [
        (
            state(""),
            with(VAULT),
            with(LDAPS),
            with(HOOK),
            "sslmode=verify-full",
        ),
        (
            state("?sslmode=require"),
            with("url = \"http://localhost:8000\""),
            with(LDAPS),
            with(HOOK),
            "use https://",
        ),
        (
            state("?sslmode=require"),
            with(VAULT),
            with("url = [\"ldaps://ldap1.example.org\", \"ldap://ldap2.example.org\"]"),
            with(HOOK),
            "ldap://ldap2.example.org",
        ),
        (
            state("?sslmode=require"),
            with(VAULT),
            with(LDAPS),
            with("ping_url = \"http://localhost:8000\""),
            "use https://",
        ),
    ];
    for (state, vaultwarden, directory, notify, remedy) in &all {
        let (code, said) = said(state, vaultwarden, directory, notify).await;
        assert_eq!(code, Some(2), "{said}");
        let refused = said.matches("is never compared").count();
        assert!(refused == 1 && said.contains(remedy), "{remedy}: {said}");
    }
    for (directory, notify) in [
        ("url = \"ldap://ldap.example.org\"\nstarttls = true", HOOK),
        (
            "url = \"ad:example.org\"",
            "url = \"https://hooks.example.org\"\nping_url = \"http://localhost:8000\"",
        ),
    ] {
        let (code, said) = said(
            &state("?sslmode=require"),
            &with(VAULT),
            &with(directory),
            &with(notify),
        )
        .await;
        assert_eq!(code, Some(0), "{said}");
    }
}
