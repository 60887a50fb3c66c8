//! Whom we trust: the system's roots, a CA file, or everyone.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use ldap_usher::tls::{ClientCertificate, TlsError, TlsOptions};
use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tempfile::NamedTempFile;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::support::front;
use crate::support::slapd::Slapd;
use crate::support::world::World;

/// A certificate for localhost and 127.0.0.1 that signs itself, valid until 2120.
pub const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----
MIIBbzCCARagAwIBAgIBATAKBggqhkjOPQQDAjAaMRgwFgYDVQQDDA9sZGFwLXVz
aGVyIHRlc3QwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEwMDAwMDBaMBoxGDAW
BgNVBAMMD2xkYXAtdXNoZXIgdGVzdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IA
BD7XAaWQe4/R93SLZdH4zg9zSxgVd/Bq1hewjbHDjptoeHpNbumdvqOkVAxsmWA2
8i2MK8DviHi71spD1Hd8frKjSzBJMAwGA1UdEwEB/wQCMAAwGgYDVR0RBBMwEYIJ
bG9jYWxob3N0hwR/AAABMB0GA1UdDgQWBBSJeBZ2ei0ph7z66HO+HdVT16+J0zAK
BggqhkjOPQQDAgNHADBEAiBVYbt3Ak4PHWlX1TODa/CqW4c7HToFrR1X/+ULK0dr
IAIgTWhfecjO30kzhhpzwHm4v78vE+9m9MDXI1Fly7KTK+I=
-----END CERTIFICATE-----
";
const KEY: &str = "-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgQqzQYeWPRew2vTiz
gLt4yHLkN/y7eiLgpPbUqmBNlcihRANCAAQ+1wGlkHuP0fd0i2XR+M4Pc0sYFXfw
atYXsI2xw46baHh6TW7pnb6jpFQMbJlgNvItjCvA74h4u9bKQ9R3fH6y
-----END PRIVATE KEY-----
";

/// What a server needs that shows [`CERTIFICATE`].
pub fn acceptor() -> TlsAcceptor {
    let certificate = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
    front::acceptor(
        certificate,
        PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap(),
    )
}

pub fn file(bytes: &[u8]) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), bytes).unwrap();
    file
}

fn trusting(path: &Path) -> TlsOptions {
    TlsOptions {
        ca_file: Some(path.into()),
        verify: true,
        ..TlsOptions::default()
    }
}

/// Shakes hands with a server that shows [`CERTIFICATE`].
async fn connect(options: &TlsOptions, name: &'static str) -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let mut server = JoinSet::new();
    server.spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        acceptor().accept(stream).await.is_ok()
    });
    let connector = TlsConnector::from(Arc::new(options.client_config().unwrap()));
    let stream = TcpStream::connect(address).await?;
    connector
        .connect(ServerName::try_from(name).unwrap(), stream)
        .await
        .map(drop)
}

#[tokio::test]
async fn a_ca_file_in_pem_is_trusted_beside_the_system() {
    let ca = file(CERTIFICATE.as_bytes());
    connect(&trusting(ca.path()), "localhost").await.unwrap();
}

#[tokio::test]
async fn a_ca_file_in_der_is_trusted_as_well() {
    let der = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
    let ca = file(&der);
    connect(&trusting(ca.path()), "localhost").await.unwrap();
}

#[tokio::test]
async fn a_bundle_may_hold_keys_and_comments_beside_certificates() {
    let ca = file(format!("# our CA\n{KEY}{CERTIFICATE}{CERTIFICATE}").as_bytes());
    connect(&trusting(ca.path()), "localhost").await.unwrap();
}

#[tokio::test]
async fn a_trusted_certificate_for_another_name_is_refused() {
    let ca = file(CERTIFICATE.as_bytes());
    let error = connect(&trusting(ca.path()), "vault.example.org")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
}

#[tokio::test]
async fn another_name_may_be_expected_and_then_only_that_one_will_do() {
    let ca = file(CERTIFICATE.as_bytes());
    let expecting = |name: &str| TlsOptions {
        server_name: Some(name.into()),
        ..trusting(ca.path())
    };
    connect(&expecting("localhost"), "vault.example.org")
        .await
        .unwrap();
    let error = connect(&expecting("vault.example.org"), "localhost")
        .await
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData, "{error}");
    let none = expecting("not a name").client_config().unwrap_err();
    assert!(matches!(none, TlsError::Name { .. }), "{none}");
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_a_server_that_asks_for_it() {
    let (certificate, key) = (file(CERTIFICATE.as_bytes()), file(KEY.as_bytes()));
    let trusted = CertificateDer::from_pem_slice(CERTIFICATE.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let asks = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .unwrap();
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(asks)
        .with_single_cert(
            vec![trusted.clone()],
            PrivateKeyDer::from_pem_slice(KEY.as_bytes()).unwrap(),
        )
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let with = |client| TlsOptions {
        client,
        ..trusting(certificate.path())
    };
    let ours = ClientCertificate {
        cert_file: certificate.path().into(),
        key_file: key.path().into(),
    };
    for (client, accepted) in [(Some(ours.clone()), true), (None, false)] {
        let (near, far) = tokio::io::duplex(16 * 1024);
        let connector = TlsConnector::from(Arc::new(with(client).client_config().unwrap()));
        let (_, seen) = tokio::join!(
            connector.connect(ServerName::try_from("localhost").unwrap(), near),
            acceptor.accept(far)
        );
        let shown = seen.map(|stream| stream.get_ref().1.peer_certificates().map(<[_]>::to_vec));
        assert_eq!(shown.ok().flatten(), accepted.then(|| vec![trusted.clone()]));
    }
    let swapped = ClientCertificate {
        key_file: ours.cert_file.clone(),
        ..ours
    };
    let error = with(Some(swapped)).client_config().unwrap_err();
    assert!(matches!(error, TlsError::Client { .. }), "{error}");
}

#[tokio::test]
async fn slapd_knows_the_service_by_its_client_certificate_alone() {
    let slapd = Slapd::builder().tls().global_line("TLSVerifyClient demand");
    let mut world = World::with(slapd.people(1)).await;
    let [certificate, key] = world.server.client_files();
    let shown = format!("client_cert_file = {certificate:?}\nclient_key_file = {key:?}\n");
    let asking = |url: String, keys: &str| {
        format!(
            "[[directory]]\nurl = {url:?}\nbase_dn = {:?}\nca_file = {:?}\n{keys}",
            world.server.people_base(),
            world.server.ca_file(),
        )
    };
    let (dn, password) = (world.server.reader_dn(), world.server.reader_pw());
    let stranger = format!("bind_dn = {dn:?}\nbind_password = {password:?}");
    let stranger = asking(world.server.ldaps_url(), &stranger);
    let known = format!("{shown}sasl = \"external\"\n");
    let ldaps = asking(world.server.ldaps_url(), &known);
    let starttls = asking(world.server.url(), &format!("{known}starttls = true\n"));

    for directory in [ldaps, starttls] {
        world.directory = directory;
        world.start().await;
        world.invites("person1").await;
        let newcomer = format!("ann{}", world.vault.invited().len());
        world.witness(&newcomer).await;
        world.stop().await;
    }

    // Without it not even the password helps.
    world.directory = stranger;
    let refused = world.ask(&["check"]).await;
    let text = String::from_utf8(refused.stdout).unwrap();
    assert_eq!(refused.status.code(), Some(1), "{text}");
    let failure = text.lines().find(|line| line.starts_with("fail")).unwrap();
    assert!(
        failure.contains(", bind: ") && failure.contains("`client_cert_file`"),
        "{text}"
    );
}

#[tokio::test]
async fn without_verification_anyone_is_believed() {
    let options = TlsOptions {
        ca_file: None,
        verify: false,
        ..TlsOptions::default()
    };
    connect(&options, "vault.example.org").await.unwrap();
}

#[test]
fn a_ca_file_that_cannot_be_used_is_named_with_what_to_do() {
    let problem = |bytes: &[u8]| {
        let ca = file(bytes);
        let error = trusting(ca.path()).client_config().unwrap_err();
        assert!(error.to_string().contains(ca.path().to_str().unwrap()), "{error}");
        error
    };
    let missing = trusting(Path::new("/nowhere/ca.pem"))
        .client_config()
        .unwrap_err();
    assert_eq!(
        missing.to_string(),
        "the CA file /nowhere/ca.pem cannot be read: No such file or directory (os error 2); \
         check the path and its permissions"
    );
    assert!(matches!(problem(KEY.as_bytes()), TlsError::NoCertificate { .. }));
    let damaged = problem(CERTIFICATE.replace("BAgIB", "B*gIB").as_bytes()).to_string();
    assert!(damaged.contains("a block in it is not base64"), "{damaged}");
    let not_one = problem(CERTIFICATE.replace("MIIBbz", "MIIBbj").as_bytes()).to_string();
    assert!(
        not_one.contains("one of its certificates is malformed"),
        "{not_one}"
    );
    assert!(matches!(
        problem(b"-----BEGIN CERTIFICATE-----\nMIIB"),
        TlsError::Invalid { .. }
    ));
    assert!(matches!(problem(b"not a certificate"), TlsError::Invalid { .. }));
    assert!(matches!(problem(b""), TlsError::Invalid { .. }));
}

#[tokio::test]
async fn a_ca_file_and_a_client_certificate_are_read_however_an_editor_encodes_them() {
    let utf16: Vec<u8> = std::iter::once(0xfeff)
        .chain(CERTIFICATE.replace('\n', "\r\n").encode_utf16())
        .flat_map(u16::to_le_bytes)
        .collect();
    let marked = |text: &str| [b"\xef\xbb\xbf", text.as_bytes()].concat();
    for bytes in [
        marked(CERTIFICATE),
        marked(&CERTIFICATE.replace('\n', "\r\n")),
        CERTIFICATE.replace('\n', "\r").into_bytes(),
        utf16,
    ] {
        let ca = file(&bytes);
        connect(&trusting(ca.path()), "localhost").await.unwrap();
    }
    let (certificate, key) = (file(&marked(CERTIFICATE)), file(&marked(KEY)));
    let options = |key: &Path| TlsOptions {
        client: Some(ClientCertificate {
            cert_file: certificate.path().into(),
            key_file: key.into(),
        }),
        ..trusting(certificate.path())
    };
    options(key.path()).client_config().unwrap();
    for (bytes, words) in [
        (CERTIFICATE.to_owned(), "it holds no key"),
        (
            KEY.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"),
            "its key has a passphrase",
        ),
        (KEY.replace('M', "*"), "a block in it is not base64"),
        (KEY.replace("-----END", "END"), "a block in it has no END line"),
    ] {
        let key = file(bytes.as_bytes());
        let error = options(key.path()).client_config().unwrap_err().to_string();
        assert!(error.contains(words), "{words}: {error}");
    }
}

/// A certificate for localhost that signs itself as an authority, as `openssl req -x509` makes it.
fn authority(from: i32, until: i32) -> (CertificateDer<'static>, PrivateKeyDer<'static>) {
    let mut params = rcgen::CertificateParams::new(["localhost".into()]).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.not_before = rcgen::date_time_ymd(from, 1, 1);
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap();
    (
        certificate.der().clone(),
        PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
    )
}

/// What a person reads of a handshake with this server.
async fn shaken(acceptor: &TlsAcceptor, options: &TlsOptions, name: &'static str) -> Result<(), String> {
    let (near, far) = tokio::io::duplex(16 * 1024);
    let connector = TlsConnector::from(Arc::new(options.client_config().unwrap()));
    let name = ServerName::try_from(name).unwrap();
    let (shaken, _) = tokio::join!(connector.connect(name, near), acceptor.accept(far));
    shaken.map(drop).map_err(|error| {
        let error = error.get_ref().unwrap().downcast_ref::<rustls::Error>().unwrap();
        ldap_usher::tls::explain(error)
    })
}

#[tokio::test]
async fn an_authority_that_is_its_own_server_is_trusted_where_it_is_named_to_the_byte() {
    let own = authority(2020, 2120);
    let (named, other) = (file(&own.0), file(&authority(2020, 2120).0));
    let server = front::acceptor(own.0, own.1);
    shaken(&server, &trusting(named.path()), "localhost")
        .await
        .unwrap();

    let error = shaken(&server, &trusting(named.path()), "vault.example.org")
        .await
        .unwrap_err();
    assert!(
        error.contains("not valid for name") && error.contains("; use a host name"),
        "{error}"
    );
    let error = shaken(&server, &trusting(other.path()), "localhost")
        .await
        .unwrap_err();
    assert!(
        error.contains("the certificate of an authority (CA:TRUE) as its own; issue one with CA:FALSE")
            && error.contains("`ca_file`"),
        "{error}"
    );

    for (from, until, words) in [
        (
            2020,
            2021,
            "the server's certificate expired at 2021-01-01T00:00:00Z, and it is ",
        ),
        (
            2119,
            2120,
            "the server's certificate is valid from 2119-01-01T00:00:00Z on, and it is ",
        ),
    ] {
        let own = authority(from, until);
        let named = file(&own.0);
        let error = shaken(
            &front::acceptor(own.0, own.1),
            &trusting(named.path()),
            "localhost",
        )
        .await
        .unwrap_err();
        assert!(error.starts_with(words), "{error}");
    }
}

#[tokio::test]
async fn a_certificate_is_shown_and_judged_at_each_connection() {
    use rustls::HandshakeKind;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let acceptor = acceptor();
    let ca = file(CERTIFICATE.as_bytes());
    let connector = TlsConnector::from(Arc::new(trusting(ca.path()).client_config().unwrap()));
    for _ in 0..3 {
        let (near, far) = tokio::io::duplex(16 * 1024);
        let server = async {
            let mut stream = acceptor.accept(far).await.unwrap();
            // The tickets of TLS 1.3 come before this.
            stream.write_all(b"hello").await.unwrap();
            stream.shutdown().await.unwrap();
        };
        let client = async {
            let name = ServerName::try_from("localhost").unwrap();
            let mut stream = connector.connect(name, near).await.unwrap();
            stream.read_exact(&mut [0; 5]).await.unwrap();
            stream.get_ref().1.handshake_kind()
        };
        let (kind, ()) = tokio::join!(client, server);
        assert!(
            matches!(
                kind,
                Some(HandshakeKind::Full | HandshakeKind::FullWithHelloRetryRequest)
            ),
            "{kind:?}"
        );
    }
}

#[test]
fn installing_the_provider_twice_is_harmless() {
    ldap_usher::tls::install();
    ldap_usher::tls::install();
    assert!(rustls::crypto::CryptoProvider::get_default().is_some());
}
