//! Servers that break the protocol: each time one clear error that names the server, no panic, no memory.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use ldap_usher::directory::{Bind, Directory, DirectoryError, LdapDirectory, Server, Settings, StreamChoice};
use ldap_usher::tls::TlsOptions;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// A BER element with a length of up to 64 KiB.
fn tlv(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = u16::try_from(contents.len()).unwrap().to_be_bytes();
    [&[tag, 0x82], &length[..], contents].concat()
}

fn octets(text: &str) -> Vec<u8> {
    tlv(0x04, text.as_bytes())
}

fn message(id: u8, operation: &[u8], controls: &[u8]) -> Vec<u8> {
    let controls = if controls.is_empty() {
        Vec::new()
    } else {
        tlv(0xa0, controls)
    };
    tlv(0x30, &[&tlv(0x02, &[id]), operation, &controls].concat())
}

fn result(tag: u8, code: u8) -> Vec<u8> {
    tlv(tag, &[tlv(0x0a, &[code]), octets(""), octets("")].concat())
}

fn entry(dn: &str, attribute: &str, values: &[&str]) -> Vec<u8> {
    let values: Vec<u8> = values.iter().flat_map(|value| octets(value)).collect();
    let attribute = tlv(0x30, &[octets(attribute), tlv(0x31, &values)].concat());
    tlv(0x64, &[octets(dn), tlv(0x30, &attribute)].concat())
}

fn control(oid: &str, value: &[u8]) -> Vec<u8> {
    tlv(0x30, &[octets(oid), tlv(0x04, value)].concat())
}

fn sync_state(contents: &[u8]) -> Vec<u8> {
    control("1.3.6.1.4.1.4203.1.9.1.2", contents)
}

/// Answers like any server until the sync search, which it answers with `payload`; then it says nothing more.
fn server(listener: TcpListener, payload: impl Fn(u8) -> Vec<u8> + Send + 'static) -> JoinHandle<()> {
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        while let Some((id, operation, scope)) = request(&mut stream).await {
            let answer = match (operation, scope) {
                (0x60, _) => message(id, &result(0x61, 0), &[]),
                (0x63, 0) => {
                    let root = entry("", "supportedControl", &["1.3.6.1.4.1.4203.1.9.1.1"]);
                    [message(id, &root, &[]), message(id, &result(0x65, 0), &[])].concat()
                }
                _ => payload(id),
            };
            if stream.write_all(&answer).await.is_err() {
                return;
            }
        }
    })
}

/// The message id, the operation and, for a search, its scope.
async fn request(stream: &mut TcpStream) -> Option<(u8, u8, u8)> {
    let mut header = [0; 2];
    stream.read_exact(&mut header).await.ok()?;
    let mut length = usize::from(header[1]);
    if length >= 0x80 {
        let mut digits = vec![0; length & 0x7f];
        stream.read_exact(&mut digits).await.ok()?;
        length = digits
            .iter()
            .fold(0, |sum, &digit| sum * 256 + usize::from(digit));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    let mut at =
        4 + if body[4] >= 0x80 {
            usize::from(body[4] & 0x7f)
        } else {
            0
        } + 1;
    // A search request begins with its base, then comes the scope.
    at += 2 + usize::from(*body.get(at + 1)?) + 2;
    Some((body[2], body[3], body.get(at).copied().unwrap_or(0)))
}

fn directory(url: &str) -> LdapDirectory {
    LdapDirectory::new(Settings {
        name: "hostile".into(),
        servers: vec![Server::parse(url).unwrap()],
        starttls: false,
        tls: Arc::new(
            TlsOptions {
                ca_file: None,
                verify: false,
            }
            .client_config()
            .unwrap(),
        ),
        bind: Bind::Simple {
            dn: "cn=reader".into(),
            password: "secret".to_owned().into(),
        },
        base: "dc=example".into(),
        filter: "(mail=*)".into(),
        mail_attributes: vec!["mail".into()],
        stream: StreamChoice::Syncrepl,
        poll_interval: Duration::from_secs(60),
        page_size: 100,
        max_message_size: 1 << 20,
    })
}

async fn error_of(payload: impl Fn(u8) -> Vec<u8> + Send + 'static) -> DirectoryError {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ldap://{}", listener.local_addr().unwrap());
    let _server = server(listener, payload);
    let directory = directory(&url);
    let error = timeout(Duration::from_secs(10), async {
        match directory.open(None).await {
            Err(error) => error,
            Ok(mut opened) => loop {
                if let Err(error) = opened.changes.next().await.unwrap() {
                    return error;
                }
            },
        }
    });
    let error = error.await.expect("an error in time");
    assert!(error.to_string().starts_with(&url), "{error}");
    error
}

#[tokio::test]
async fn whatever_a_server_sends_in_place_of_a_sync_result_is_one_clear_error() {
    type Payload = Box<dyn Fn(u8) -> Vec<u8> + Send>;
    let uuid = tlv(0x04, &[7; 16]);
    let good_state = tlv(0x30, &[tlv(0x0a, &[1]), uuid].concat());
    let with_state = |state: Vec<u8>| -> Payload {
        let person = entry("uid=ann", "mail", &["ann@example.org"]);
        Box::new(move |id| message(id, &person, &sync_state(&state)))
    };
    let mut nested = Vec::new();
    while nested.len() < 40_000 {
        nested = tlv(0x30, &nested);
    }
    let sync_info = |value: Vec<u8>| -> Payload {
        let oid = tlv(0x80, b"1.3.6.1.4.1.4203.1.9.1.4");
        let operation = tlv(0x79, &[oid, tlv(0x81, &value)].concat());
        Box::new(move |id| message(id, &operation, &[]))
    };
    let cases: Vec<(&str, Payload)> = vec![
        (
            "not an LDAP message",
            Box::new(|_| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()),
        ),
        (
            "2147483653 bytes; the limit is 1048576",
            Box::new(|_| vec![0x30, 0x84, 0x7f, 0xff, 0xff, 0xff]),
        ),
        (
            "with an extended response, result 12",
            Box::new(|id| message(id, &result(0x78, 12), &[])),
        ),
        (
            "an operation of type 0x61",
            Box::new(|id| message(id, &result(0x61, 0), &[])),
        ),
        (
            "negative message id",
            Box::new(|_| message(0x80, &result(0x65, 0), &[])),
        ),
        (
            "Notice of Disconnection, result 52",
            Box::new(|_| message(0, &result(0x78, 52), &[])),
        ),
        (
            "nested more deeply",
            Box::new(move |id| message(id, &tlv(0x64, &nested), &[])),
        ),
        ("no operation", Box::new(|id| tlv(0x30, &tlv(0x02, &[id])))),
        ("no message id", Box::new(|_| vec![0x30, 0x00])),
        ("indefinite length", Box::new(|_| vec![0x30, 0x80, 0x00, 0x00])),
        ("is no search result entry", {
            let state = good_state.clone();
            Box::new(move |id| message(id, &tlv(0x64, &octets("x")), &sync_state(&state)))
        }),
        ("a Sync State Control that is no sequence", with_state(Vec::new())),
        (
            "entryUUID that is not 16 bytes",
            with_state(tlv(0x30, &[tlv(0x0a, &[1]), octets("short")].concat())),
        ),
        (
            "a state that RFC 4533 does not know",
            with_state(tlv(0x30, &tlv(0x0a, &[9]))),
        ),
        (
            "plain entries",
            Box::new(|id| message(id, &entry("uid=ann", "mail", &["a@x.org"]), &[])),
        ),
        ("a Sync Info Message that is empty", sync_info(Vec::new())),
        ("of a kind that RFC 4533 does not know", sync_info(tlv(0xa7, &[]))),
        ("a malformed control", {
            let person = entry("uid=ann", "mail", &["ann@example.org"]);
            Box::new(move |id| message(id, &person, &octets("no control")))
        }),
        (
            "ended the sync search",
            Box::new(|id| message(id, &result(0x65, 0), &[])),
        ),
        (
            "e-syncRefreshRequired",
            Box::new(|id| {
                let code = tlv(0x65, &[tlv(0x0a, &[0x10, 0x00]), octets(""), octets("")].concat());
                message(id, &code, &[])
            }),
        ),
        ("the size limit was reached", {
            let state = good_state.clone();
            let person = entry("uid=ann", "mail", &["ann@example.org"]);
            Box::new(move |id| {
                [
                    message(id, &person, &sync_state(&state)),
                    message(id, &result(0x65, 4), &[]),
                ]
                .concat()
            })
        }),
    ];
    for (words, payload) in cases {
        let error = error_of(payload).await.to_string();
        assert!(error.contains(words), "expected {words:?} in: {error}");
        assert!(!error.contains("panicked"), "{error}");
    }
}

#[tokio::test]
async fn a_connection_that_ends_within_a_message_is_told_as_such() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("ldap://{}", listener.local_addr().unwrap());
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        request(&mut stream).await.unwrap();
        stream
            .write_all(&message(1, &result(0x61, 0), &[])[..7])
            .await
            .unwrap();
    });
    let directory = directory(&url);
    let error = directory.open(None).await.err().unwrap().to_string();
    assert_eq!(
        error,
        format!("{url}: the server closed the connection in the middle of a message")
    );
    server.await.unwrap();
}
