//! An LDAP server that behaves normally except where a script replaces the answer to a request, with any bytes, even an
//! endless stream.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::ldap::{added, entry_with, message_to as message, refresh_done, result};
use super::scripted::{Kind, Request, request};

/// The answer to a request.
pub enum Reply {
    /// These bytes.
    Says(Vec<u8>),
    /// Pieces, starting with this number, until this many bytes were sent or the client closes the connection.
    Floods(u64, Box<dyn FnMut(u32) -> Vec<u8> + Send>),
}

type Script = dyn Fn(&Request) -> Reply + Send + Sync;

/// A running server; it ends when it is dropped.
pub struct Unruly {
    url: String,
    /// The number of bytes that it sent in floods.
    pub flooded: Arc<AtomicU64>,
    _serving: JoinSet<()>,
}

impl Unruly {
    /// Starts a server with this script.
    pub async fn start(script: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ldap://{}", listener.local_addr().unwrap());
        let script: Arc<Script> = Arc::new(script);
        let flooded = Arc::<AtomicU64>::default();
        let (mut serving, sent) = (JoinSet::new(), flooded.clone());
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                connections.spawn(serve(stream, script.clone(), sent.clone()));
            }
        });
        Self {
            url,
            flooded,
            _serving: serving,
        }
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }
}

async fn serve(mut stream: TcpStream, script: Arc<Script>, flooded: Arc<AtomicU64>) {
    while let Some(request) = request(&mut stream).await {
        let sent = match script(&request) {
            Reply::Says(bytes) => stream.write_all(&bytes).await,
            Reply::Floods(most, mut piece) => {
                let (mut sent, mut number, mut written) = (0, 0, Ok(()));
                while sent < most && written.is_ok() {
                    let bytes = piece(number);
                    written = stream.write_all(&bytes).await;
                    number += 1;
                    sent += bytes.len() as u64;
                    flooded.fetch_add(bytes.len() as u64, Relaxed);
                }
                written
            }
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Whether the request contains these words, in a base, a filter or an attribute.
pub fn asks(request: &Request, words: &str) -> bool {
    request
        .body
        .windows(words.len())
        .any(|bytes| bytes == words.as_bytes())
}

/// Whether it reads the capabilities in the root DSE.
pub fn asks_for_root(request: &Request) -> bool {
    asks(request, "supportedControl")
}

/// The answer of a normal server that has Ann below `dc=example` and supports these controls.
pub fn usual(request: &Request, offers: &[&str]) -> Reply {
    let id = request.number;
    let done = message(id, &result(0x65, 0), &[]);
    let text = |text: &str| vec![text.as_bytes().to_vec()];
    Reply::Says(match request.kind {
        Kind::Bind => message(id, &result(0x61, 0), &[]),
        Kind::BaseSearch if asks_for_root(request) => {
            let offers = offers.iter().map(|oid| oid.as_bytes().to_vec()).collect();
            let root = entry_with(
                "",
                &[
                    ("supportedControl", offers),
                    ("namingContexts", text("dc=example")),
                ],
            );
            [message(id, &root, &[]), done].concat()
        }
        Kind::BaseSearch => [message(id, &entry_with("dc=example", &[]), &[]), done].concat(),
        Kind::SyncSearch => {
            let ann = entry_with("uid=ann,dc=example", &[("mail", text("ann@example.org"))]);
            let told = message(id, &ann, &added(0));
            [told, message(id, &refresh_done(), &[])].concat()
        }
        Kind::OtherSearch => [message(id, &person("ann", 0), &[]), done].concat(),
        Kind::Other => Vec::new(),
    })
}

/// A SearchResultEntry for the person of this number, as a listing has it.
pub fn person(uid: &str, number: u32) -> Vec<u8> {
    let uuid = format!("{number:08x}-0707-0707-0707-070707070707");
    entry_with(
        &format!("uid={uid},dc=example"),
        &[
            ("entryUUID", vec![uuid.into_bytes()]),
            ("mail", vec![format!("{uid}@example.org").into_bytes()]),
        ],
    )
}
