//! Servers whose TLS or whose certificates are too old, and servers that have none: what is said of them is true.
//!
//! The certificates were made with `openssl`, because neither rcgen nor ring makes such any more; they are valid until
//! 2126.

use std::path::PathBuf;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::service::Config;
use crate::support::slapd::{Builder, Slapd};
use crate::support::world::World;

/// The least that a server needs.
const LEAST: &str = "the minimum is TLS 1.2 with ECDHE and a certificate of version 3 with 2048 bits";

fn old(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests/it/old", name]
        .iter()
        .collect()
}

/// A slapd with a certificate and its key in one file of `old`.
fn slapd_with(certificate: &str) -> Builder {
    let path = old(certificate);
    let path = path.display();
    Slapd::builder().tls().global_line(&format!(
        "TLSCertificateFile {path}\nTLSCertificateKeyFile {path}"
    ))
}

/// What `check` says of TLS with the server at this address; `keys` are those of the directory.
async fn said(world: &mut World, url: &str, keys: &str) -> String {
    world.directory = format!("[[directory]]\nurl = {url:?}\nbase_dn = \"dc=example,dc=org\"\n{keys}\n");
    let output = world.ask(&["check"]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.contains(", TLS: "));
    line.unwrap_or_else(|| panic!("{text}")).to_owned()
}

#[tokio::test]
async fn a_slapd_that_is_too_old_is_called_so_and_not_a_port_without_tls() {
    let unverified = "tls_verify = false";
    let trusting = format!("ca_file = {:?}", old("ca.pem"));
    let rsa = format!("ca_file = {:?}", old("rsa.pem"));
    let version_1 = format!("ca_file = {:?}", old("version-1.pem"));
    for (slapd, keys, words) in [
        (
            slapd_with("version-1.pem"),
            unverified,
            "the certificate of CN=old and plain is of version 1, too old: ",
        ),
        (
            slapd_with("version-1.pem"),
            &version_1,
            "the certificate of CN=old and plain is of version 1, too old: ",
        ),
        (
            slapd_with("1024-bits.pem").global_line("TLSCipherSuite NORMAL:-VERS-ALL:+VERS-TLS1.2"),
            unverified,
            "the certificate of CN=short has a key of 1024 bits, too old: ",
        ),
        // With so short a key it fails to sign for TLS 1.3, and closes.
        (slapd_with("1024-bits.pem"), unverified, LEAST),
        (
            slapd_with("sha-1.pem"),
            &trusting,
            "the certificate of CN=signed of old is signed with SHA-1, which is too old -> issue another one",
        ),
        (
            slapd_with("rsa.pem").global_line("TLSCipherSuite NORMAL:-VERS-ALL:+VERS-TLS1.1"),
            &rsa,
            LEAST,
        ),
        (
            slapd_with("rsa.pem").global_line("TLSCipherSuite NORMAL:-VERS-ALL:+VERS-TLS1.2:-KX-ALL:+RSA"),
            &rsa,
            LEAST,
        ),
    ] {
        let mut world = World::with(slapd).await;
        let (ldaps, ldap) = (world.server.ldaps_url(), world.server.url());
        for (url, keys) in [
            (ldaps, keys.to_owned()),
            (ldap, format!("{keys}\nstarttls = true")),
        ] {
            let said = said(&mut world, &url, &keys).await;
            assert!(
                said.starts_with("fail") && said.contains(words),
                "{words}: {said}"
            );
            assert!(
                !said.contains("starttls") || !said.contains("port without TLS"),
                "{said}"
            );
            assert!(!said.contains("Error") && !said.contains("eof"), "{said}");
        }
    }
    // Nothing of it is said of a server that is young enough.
    let mut world = World::with(slapd_with("rsa.pem")).await;
    let url = world.server.ldaps_url();
    let said = said(&mut world, &url, &rsa).await;
    assert!(said.starts_with("ok"), "{said}");
}

#[tokio::test]
async fn what_a_server_says_in_tls_is_not_taken_for_a_port_without_it() {
    let alert = |code: u8| vec![0x15, 3, 1, 0, 2, 2, code];
    // A ServerHello of TLS 1.1, with TLS_RSA_WITH_AES_128_CBC_SHA.
    let mut hello = vec![0x16, 3, 2, 0, 42, 2, 0, 0, 38, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 0x2f, 0]);
    // The same of TLS 1.2, although that suite was not offered.
    let mut unasked = hello.clone();
    (unasked[2], unasked[10]) = (3, 3);
    let nothing = "is this a port without TLS?";
    for (answer, words) in [
        (alert(70), LEAST),
        (alert(40), LEAST),
        (alert(71), LEAST),
        (
            alert(116),
            "the server requires a client certificate (alert CertificateRequired)",
        ),
        (alert(48), "does not accept the client certificate"),
        (alert(112), "does not know the host name"),
        (
            alert(80),
            "speaks TLS and aborted the handshake (alert InternalError)",
        ),
        (hello, LEAST),
        (unasked, LEAST),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), nothing),
        (
            b"\x30\x0c\x02\x01\x00\x78\x07\x0a\x01\x34\x04\x00\x04\x00".to_vec(),
            nothing,
        ),
    ] {
        let mut world = World::with(Slapd::builder()).await;
        let (url, _serving) = answering(answer.clone()).await;
        let said = said(&mut world, &url, "tls_verify = false").await;
        assert!(
            said.starts_with("fail") && said.contains(words),
            "{answer:?}: {said}"
        );
        assert_eq!(said.contains(nothing), words == nothing, "{said}");
    }
    // Of one that closes without a word both may be true, and both are said.
    let mut world = World::with(Slapd::builder()).await;
    let (url, _serving) = answering(Vec::new()).await;
    let said = said(&mut world, &url, "tls_verify = false").await;
    assert!(said.contains(nothing) && said.contains(LEAST), "{said}");
}

/// A server that reads a ClientHello, answers this, and closes.
async fn answering(answer: Vec<u8>) -> (String, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ldaps://{}", listener.local_addr().unwrap());
    let mut serving = JoinSet::new();
    serving.spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            // All of it: closing before what came was read resets the connection.
            let mut head = [0; 5];
            if stream.read_exact(&mut head).await.is_err() {
                continue;
            }
            let mut rest = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
            if stream.read_exact(&mut rest).await.is_ok() {
                let _ = stream.write_all(&answer).await;
                let _ = stream.shutdown().await;
                let _ = stream.read_to_end(&mut Vec::new()).await;
            }
        }
    });
    (url, serving)
}

#[tokio::test]
async fn of_a_vaultwarden_that_closes_without_a_word_both_are_said_as_well() {
    let world = World::with(Slapd::builder()).await;
    let (url, _serving) = answering(Vec::new()).await;
    let secured = url.replace("ldaps:", "https:");
    let config = Config::new(&world.config().replace(&world.vault.url(), &secured));
    let text = String::from_utf8(config.ask(&["check"]).await.stdout).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("fail  vaultwarden"))
        .unwrap();
    assert!(
        line.contains("is this a port without TLS?") && line.contains(LEAST),
        "{line}"
    );
    assert!(!line.contains("eof"), "{line}");
}
