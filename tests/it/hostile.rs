//! Servers that break the protocol: each time one clear error that names the server, no panic, no memory.

use std::io;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::{StreamExt, TryStreamExt};
use ldap_usher::directory::{
    Bind, Directory, DirectoryError, DirectorySettings, LdapDirectory, Server, StreamKind,
};
use ldap_usher::model::Change;
use ldap_usher::tls::TlsOptions;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep, timeout};

use crate::support::ldap::{added, entry, message, octets, refresh_done, result, sync_info, sync_state, tlv};
use crate::support::scripted::{Scripted, request};

fn directory(url: &str) -> LdapDirectory {
    LdapDirectory::new(DirectorySettings {
        name: "hostile".into(),
        servers: vec![Server::parse(url).unwrap()],
        starttls: false,
        tls: TlsOptions {
            verify: false,
            ..TlsOptions::default()
        },
        bind: Bind::Simple {
            dn: "cn=reader".into(),
            password: "secret".to_owned().into(),
        },
        base: "dc=example".into(),
        filter: "(mail=*)".parse().unwrap(),
        groups: Vec::new(),
        id_attribute: None,
        attributes: vec!["mail".into()],
        stream: Some(StreamKind::Syncrepl),
        poll_interval: Duration::from_secs(60),
        page_size: NonZeroU32::new(100).unwrap(),
        max_message_size: 1 << 20,
    })
    .unwrap()
}

/// The error with which a session with this server ends.
async fn error_at(url: &str) -> DirectoryError {
    match directory(url).open(None).await {
        Err(error) => error,
        Ok(mut opened) => loop {
            if let Err(error) = opened.changes.next().await.unwrap() {
                return error;
            }
        },
    }
}

async fn error_of(payload: impl Fn(u8) -> Vec<u8> + Send + Sync + 'static) -> DirectoryError {
    let server = Scripted::saying(payload).await;
    let error = timeout(Duration::from_secs(10), error_at(server.url()));
    let error = error.await.expect("an error in time");
    assert!(error.to_string().starts_with(server.url()), "{error}");
    error
}

#[tokio::test]
async fn whatever_a_server_sends_in_place_of_a_sync_result_is_one_clear_error() {
    type Payload = Box<dyn Fn(u8) -> Vec<u8> + Send + Sync>;
    let uuid = tlv(0x04, &[7; 16]);
    let good_state = tlv(0x30, &[tlv(0x0a, &[1]), uuid].concat());
    let with_state = |state: Vec<u8>| -> Payload {
        let person = entry("uid=ann,dc=example", "mail", &["ann@example.org"]);
        Box::new(move |id| message(id, &person, &sync_state(&state)))
    };
    let mut nested = Vec::new();
    while nested.len() < 40_000 {
        nested = tlv(0x30, &nested);
    }
    let with_info = |value: Vec<u8>| -> Payload { Box::new(move |id| message(id, &sync_info(&value), &[])) };
    let with_entry = |entry: Vec<u8>| -> Payload { Box::new(move |id| message(id, &entry, &added(1))) };
    let attribute = |parts: &[u8]| {
        tlv(
            0x64,
            &[octets("uid=ann,dc=example"), tlv(0x30, &tlv(0x30, parts))].concat(),
        )
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
            Box::new(|id| message(id, &entry("uid=ann,dc=example", "mail", &["a@x.org"]), &[])),
        ),
        ("a Sync Info Message that is empty", with_info(Vec::new())),
        ("of a kind that RFC 4533 does not know", with_info(tlv(0xa7, &[]))),
        (
            "has no set of entryUUIDs",
            with_info(tlv(0xa3, &[0x01, 0x01, 0xff])),
        ),
        (
            "has an entryUUID that is not 16 bytes",
            with_info(tlv(0xa3, &tlv(0x31, &octets("short")))),
        ),
        ("has no DN", with_entry(tlv(0x64, &[]))),
        (
            "has no DN, or one that is not UTF-8",
            with_entry(entry(b"uid=\xff", "mail", &["ann@example.org"])),
        ),
        (
            "has an attribute without a name",
            with_entry(entry("uid=ann,dc=example", b"\xff", &["ann@example.org"])),
        ),
        (
            "has an attribute without values",
            with_entry(attribute(&octets("mail"))),
        ),
        (
            "has a malformed attribute",
            with_entry(attribute(&[octets("mail"), octets("ann@example.org")].concat())),
        ),
        (
            "has a malformed value",
            with_entry(attribute(&[octets("mail"), tlv(0x31, &tlv(0x30, &[]))].concat())),
        ),
        ("a malformed control", {
            let person = entry("uid=ann,dc=example", "mail", &["ann@example.org"]);
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
            let person = entry("uid=ann,dc=example", "mail", &["ann@example.org"]);
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

#[tokio::test]
async fn an_address_that_is_no_text_harms_nobody_else() {
    let server = Scripted::saying(|id| {
        [
            message(
                id,
                &entry("uid=eve,dc=example", "mail", &[b"\xff\xfe"]),
                &added(1),
            ),
            message(
                id,
                &entry("uid=ann,dc=example", "mail", &["ann@example.org"]),
                &added(2),
            ),
            message(id, &refresh_done(), &[]),
        ]
        .concat()
    })
    .await;
    let opened = directory(server.url()).open(None).await;
    let told: Vec<Change> = opened.unwrap().changes.take(4).try_collect().await.unwrap();
    let values: Vec<&[u8]> = told
        .iter()
        .filter_map(|change| match change {
            Change::Upsert(entry) | Change::Together { entry, .. } => entry.values("mail").next(),
            _ => None,
        })
        .collect();
    assert_eq!(values, [&b"\xff\xfe"[..], b"ann@example.org"]);
}

/// The error, and after how many seconds it came.
async fn silence_of(server: &Scripted) -> (String, u64) {
    let began = Instant::now();
    let error = error_at(server.url()).await.to_string();
    (error, began.elapsed().as_secs())
}

#[tokio::test(start_paused = true)]
async fn silence_in_the_refresh_is_waited_for_two_minutes() {
    let server = Scripted::saying(|_| Vec::new()).await;
    let (error, seconds) = silence_of(&server).await;
    let words = "no answer for 120 s while waiting for the refresh of the sync search";
    assert_eq!((error, seconds), (format!("{}: {words}", server.url()), 120));
    // An entry that came before changes nothing.
    let ann = entry("uid=ann,dc=example", "mail", &["ann@example.org"]);
    let server = Scripted::saying(move |id| message(id, &ann, &added(1))).await;
    let (error, seconds) = silence_of(&server).await;
    assert!(
        error.contains(words) && seconds == 120,
        "{error} after {seconds} s"
    );
}

#[tokio::test(start_paused = true)]
async fn silence_after_the_refresh_is_asked_after_and_then_no_server_any_more() {
    let server = Scripted::saying(|id| message(id, &refresh_done(), &[])).await;
    let (error, seconds) = silence_of(&server).await;
    assert!(
        error.contains("no answer for 15 s") && seconds == 25,
        "{error} after {seconds} s"
    );
}

#[tokio::test(start_paused = true)]
async fn silence_at_the_bind_and_after_it_is_no_server() {
    for answers in [0, 1] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ldap://{}", listener.local_addr().unwrap());
        let silent = async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            for _ in 0..answers {
                let id = request(&mut stream).await.unwrap().id;
                stream
                    .write_all(&message(id, &result(0x61, 0), &[]))
                    .await
                    .unwrap();
            }
            std::future::pending::<DirectoryError>().await
        };
        let began = Instant::now();
        let error = tokio::select! {
            error = error_at(&url) => error,
            error = silent => error,
        };
        assert!(matches!(error, DirectoryError::Silent { .. }), "{error}");
        assert_eq!(began.elapsed().as_secs(), 15, "{error}");
    }
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn lines(&self, words: &str) -> Vec<String> {
        let text = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let lines = text.lines().filter(|line| line.contains(words));
        lines.map(str::to_owned).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_drips_for_ever_is_told_within_a_minute_and_then_ever_more_rarely() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone());
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let server = Scripted::start(|mut search| async move {
        for n in 0.. {
            let person = entry(format!("uid=n{n},dc=example"), "mail", &["ann@example.org"]);
            let bytes = message(search.id, &person, &added(n));
            if search.stream.write_all(&bytes).await.is_err() {
                return;
            }
            sleep(Duration::from_secs(5)).await;
        }
    })
    .await;
    let mut opened = directory(server.url()).open(None).await.unwrap();
    let began = Instant::now();
    let mut told_by = Vec::new();
    while began.elapsed() < Duration::from_secs(20 * 60) {
        opened.changes.next().await.unwrap().unwrap();
        let told = log.lines("the server has not come to an end yet");
        if told.len() > told_by.len() {
            told_by.push(began.elapsed().as_secs());
        }
    }
    assert_eq!(told_by.len(), 3, "{told_by:?}");
    assert!(
        (40..60).contains(&told_by[0]) && told_by[1] > 200 && told_by[2] > 900,
        "{told_by:?}"
    );
    let lines = log.lines("the server has not come to an end yet");
    let words = [
        "INFO",
        "directory=\"hostile\"",
        server.url(),
        "waiting for the refresh",
        "seconds=45",
        "messages=9",
    ];
    for words in words {
        assert!(lines[0].contains(words), "{words} in: {}", lines[0]);
    }
}
