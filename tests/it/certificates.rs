//! Certificates: pinned, replaced while the service runs, and about to expire.

use std::fs;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use ldap_usher::clock::Clock;
use ldap_usher::tls::{Pin, describe};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::time::{sleep, timeout};

use crate::support::front::{Front, SelfSigned};
use crate::support::postgres::Postgres;
use crate::support::receiver::Receiver;
use crate::support::slapd::Slapd;
use crate::support::world::{PATIENCE, PAUSE, World};
use crate::tls::CERTIFICATE;

const DAY: i64 = 24 * 3600;

/// A table for the directory of this world.
fn table(world: &World, keys: &str) -> String {
    let server = &world.server;
    format!(
        "[[directory]]\nurl = {:?}\nbind_dn = {:?}\nbind_password = {:?}\nbase_dn = {:?}\n{keys}\n",
        server.ldaps_url(),
        server.reader_dn(),
        server.reader_pw(),
        server.people_base(),
    )
}

/// The pin of the certificate in a file.
fn pin(file: &Path) -> String {
    let certificate = CertificateDer::from_pem_file(file).unwrap();
    let text = describe(Some(&certificate)).text;
    text.rsplit_once(", ").unwrap().1.to_owned()
}

#[tokio::test]
async fn a_pinned_certificate_is_trusted_whoever_has_issued_it_and_another_one_is_refused_and_named() {
    let mut world = World::with(Slapd::builder().tls().people(1)).await;
    let folder = world.server.ca_file().parent().unwrap().to_owned();
    let (right, wrong) = (pin(&folder.join("server.pem")), pin(&folder.join("ca.pem")));
    world.directory = table(&world, &format!("tls_pin = {wrong:?}"));
    let refused = world.ask(&["check"]).await;
    let text = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{text}");
    // What the message proposes is what helps.
    let proposed = text.split("write `tls_pin = \"").nth(1).expect(&text);
    let proposed = proposed.split('"').next().unwrap();
    assert_eq!(proposed, right);

    // Without a CA file, and with one pin of several.
    world.directory = table(&world, &format!("tls_pin = [{wrong:?}, {proposed:?}]"));
    world.start().await;
    world.invites("person1").await;
    world.stop().await;
    assert!(right.parse::<Pin>().is_ok());
}

#[tokio::test]
async fn a_pin_stands_alone_and_what_is_no_pin_is_an_error_with_what_to_do() {
    let config = |keys: &str| {
        crate::support::service::Config::new(&format!(
            "[vaultwarden]\nurl = \"https://vault.example.org\"\nadmin_token = \"t\"\n{keys}\n\
             [[directory]]\nurl = \"ldaps://ldap.example.org\"\nbase_dn = \"dc=example,dc=org\"\n"
        ))
    };
    let pin = "sha256:".to_owned() + &"ab".repeat(32);
    for (keys, expected) in [
        (
            "tls_pin = \"abc\"".to_owned(),
            "openssl x509 -fingerprint -sha256",
        ),
        (
            format!("tls_pin = \"{pin}\"\ntls_verify = false"),
            "has no meaning with `tls_pin`",
        ),
        (
            format!("tls_pin = \"{pin}\"\ntls_server_name = \"a.example.org\""),
            "has no meaning with `tls_pin`",
        ),
    ] {
        let output = config(&keys).ask(&["config", "show"]).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(expected), "{said}");
    }
    let output = config(&format!("tls_pin = [\"{pin}\"]"))
        .ask(&["config", "show"])
        .await;
    assert!(output.status.success());
}

#[tokio::test]
async fn a_certificate_file_that_changes_is_used_without_a_restart() {
    let mut world = World::with(Slapd::builder().tls().people(1)).await;
    let right = fs::read(world.server.ca_file()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    fs::write(&file, CERTIFICATE).unwrap();
    world.directory = table(&world, &format!("ca_file = {file:?}"));
    world.start_only();
    world.says(&["no session with the directory"], 1).await;
    // A file that is being written does no harm.
    fs::write(&file, &right[..right.len() / 2]).unwrap();
    world
        .says(&["the certificates stay in use as they were"], 1)
        .await;
    // As Kubernetes does it: the file is a link to another one.
    fs::write(folder.path().join("new.pem"), &right).unwrap();
    fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("new.pem", &file).unwrap();
    world.says(&["the certificates were read again"], 1).await;
    world.invites("person1").await;
}

#[tokio::test]
async fn a_ca_file_that_changes_is_used_for_vaultwarden_and_the_webhook_without_a_restart() {
    let ours = SelfSigned::new("ours");
    let receiver = Receiver::start();
    let mut world = World::with(Slapd::builder().people(1)).await;
    let vault = Front::of(&world.vault.url(), ours.acceptor()).await;
    world.url = Some(vault.url());
    let hook = Front::of(&receiver.url(), ours.acceptor()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    fs::write(&file, CERTIFICATE).unwrap();
    world.vaultwarden = format!("ca_file = {file:?}");
    world.tables = format!("[notify]\nurl = {:?}\nca_file = {file:?}", hook.url());
    world.start_only();
    world.says(&["Vaultwarden fails", "UnknownIssuer"], 1).await;
    world.says(&["could not be delivered", "UnknownIssuer"], 1).await;
    assert_eq!((world.vault.calls().len(), receiver.received().len()), (0, 0));

    fs::write(&file, &ours.certificate).unwrap();
    world.says(&["the certificates were read again"], 1).await;
    world.invites("person1").await;
    receiver.got(2).await;

    // From now on another authority alone is trusted, also at servers that were trusted before.
    fs::write(&file, CERTIFICATE).unwrap();
    world.says(&["the certificates were read again"], 2).await;
    world.people().add_person("ann").await;
    world.says(&["Vaultwarden fails", "UnknownIssuer"], 2).await;
    world.says(&["could not be delivered", "UnknownIssuer"], 2).await;
}

#[tokio::test]
async fn files_of_certificates_for_postgresql_that_change_are_used_for_the_next_connection() {
    let ours = SelfSigned::new("ours");
    let mut postgres = Postgres::builder().tls().start().await;
    postgres.present(&ours.certificate, &ours.key()).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    fs::write(&file, &ours.certificate).unwrap();
    let mut world = World::with(Slapd::builder()).await;
    world.state = Some(format!("{}?sslmode=verify-full", postgres.url()).into());
    world.tables = format!("[postgres]\nca_file = {file:?}");
    world.start().await;

    // The server gets another certificate, and the service its authority a little later.
    let renewed = SelfSigned::new("renewed");
    postgres.present(&renewed.certificate, &renewed.key()).await;
    world.says(&["the state fails"], 1).await;
    let refused = async {
        while !postgres.log().contains("could not accept SSL connection") {
            sleep(PAUSE).await;
        }
    };
    timeout(PATIENCE, refused).await.unwrap();
    world.people().add_person("ann").await;
    fs::write(&file, &renewed.certificate).unwrap();
    world.says(&["the state works again"], 1).await;
    world.invites("ann").await;
    // A file that is being written does no harm.
    fs::write(&file, &renewed.certificate[..100]).unwrap();
    world
        .says(&["the certificates stay in use as they were"], 1)
        .await;
    postgres.disconnect_all().await;
    world.witness("bob").await;
}

#[tokio::test]
async fn whoever_presents_a_certificate_that_expires_soon_is_named_in_log_check_and_metrics() {
    let mut world = World::with(Slapd::builder().tls().people(1)).await;
    let folder = world.server.ca_file().parent().unwrap().to_owned();
    let key = KeyPair::generate().unwrap();
    let mut soon = CertificateParams::new(["127.0.0.1".into()]).unwrap();
    soon.not_before = date_time_ymd(2020, 1, 1);
    // The midnight after the fifth day.
    let expires = (Clock::system().now().0 / 1000).div_euclid(DAY) * DAY + 6 * DAY;
    let day = UNIX_EPOCH + Duration::from_secs(expires.unsigned_abs());
    let day = humantime::format_rfc3339_seconds(day).to_string();
    let part = |at: std::ops::Range<usize>| day[at].parse::<u8>().unwrap();
    soon.not_after = date_time_ymd(day[..4].parse().unwrap(), part(5..7), part(8..10));
    let certificate = soon.self_signed(&key).unwrap();
    fs::write(folder.join("server.pem"), certificate.pem()).unwrap();
    fs::write(folder.join("server.key"), key.serialize_pem()).unwrap();
    world.server.restart().await;
    let file = folder.join("server.pem");
    world.directory = table(&world, &format!("name = \"main\"\nca_file = {file:?}"));
    world.directory += &table(&world, &format!("name = \"pinned\"\ntls_pin = {:?}", pin(&file)));
    world.directory += &table(&world, "name = \"refused\"");
    world.start_only();
    world.caught_up(2).await;
    world.says(&["no session with the directory", "refused"], 1).await;
    world.invites("person1").await;
    let line = world.says(&["the certificate expires soon"], 1).await;
    assert!(
        line.contains("peer=\"directory main\"") && line.contains("days=5"),
        "{line}"
    );
    let metric =
        format!("ldap_usher_certificate_expiry_timestamp_seconds{{peer=\"directory main\"}} {expires}\n");
    // What is accepted after its end, or not at all, is none that anybody has to renew.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let metrics = world.metrics().await;
    assert!(metrics.contains(&metric), "{metrics}");
    assert_eq!(
        metrics.matches("certificate_expiry_timestamp_seconds{").count(),
        1,
        "{metrics}"
    );
    assert_eq!(world.lines(&["the certificate expires soon"]).len(), 1);
    let check = world.ask(&["check"]).await;
    let text = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(text.contains("it expires in 5 days"), "{text}");
}
