//! Simulates kinds of LDAP servers that the tests cannot run.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ldap_usher::directory::{Bind, DirectorySettings, LdapDirectory, Server, StreamKind};
use ldap_usher::tls::TlsOptions;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::ldap::{attribute, entry_of, message, result};
use super::scripted::{Kind, request};

const PERSISTENT_SEARCH: &str = "2.16.840.1.113730.3.4.3";
const SYNC: &str = "1.3.6.1.4.1.4203.1.9.1.1";

/// An answer to the request with this message id.
pub type Says = fn(u8) -> Vec<u8>;

/// The behaviour of one kind of server.
#[derive(Clone)]
pub struct Face {
    /// The attributes of the root DSE besides the announcement of persistent search.
    pub root: Vec<u8>,
    /// Whether it offers persistent search.
    pub offers: bool,
    /// Its answer to a persistent search.
    pub says: Says,
    /// Whether it answers the following request first.
    pub late: bool,
    /// The entries of other searches.
    pub finds: Says,
    /// Its answer to a content synchronisation, by the number of earlier ones; `None` if it does not offer it.
    pub syncs: Option<fn(u32, u8) -> Vec<u8>>,
    /// The number of the last change.
    pub last_change: Arc<AtomicU32>,
}

impl Default for Face {
    fn default() -> Self {
        Self {
            root: Vec::new(),
            offers: true,
            says: |_| Vec::new(),
            late: false,
            finds: |_| Vec::new(),
            syncs: None,
            last_change: Arc::default(),
        }
    }
}

/// A running server; it ends when it is dropped.
pub struct Offering {
    url: String,
    /// The number of persistent searches and content synchronisations that it received.
    pub searches: Arc<AtomicU32>,
    _serving: JoinSet<()>,
}

impl Offering {
    /// Starts a server with this behaviour.
    pub async fn start(face: Face) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ldap://{}", listener.local_addr().unwrap());
        let searches = Arc::<AtomicU32>::default();
        let mut serving = JoinSet::new();
        let counted = searches.clone();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, face.clone(), counted.clone()));
            }
        });
        Self {
            url,
            searches,
            _serving: serving,
        }
    }

    /// A client of it.
    pub fn follow(&self, stream: Option<StreamKind>) -> LdapDirectory {
        LdapDirectory::new(self.settings(stream)).unwrap()
    }

    /// The settings of a client.
    pub fn settings(&self, stream: Option<StreamKind>) -> DirectorySettings {
        DirectorySettings {
            name: "main".into(),
            servers: vec![Server::parse(&self.url).unwrap()],
            starttls: false,
            tls: TlsOptions::default(),
            bind: Bind::Anonymous,
            base: "ou=people,dc=example".into(),
            filter: "(mail=*)".parse().unwrap(),
            groups: Vec::new(),
            id_attribute: None,
            attributes: vec!["mail".into()],
            stream,
            poll_interval: Duration::from_millis(200),
            page_size: NonZeroU32::new(100).unwrap(),
            max_message_size: 1 << 20,
        }
    }
}

async fn serve(mut stream: TcpStream, face: Face, searches: Arc<AtomicU32>) {
    let mut owed = Vec::new();
    while let Some(request) = request(&mut stream).await {
        let id = request.id;
        let done = message(id, &result(0x65, 0), &[]);
        let searches_for_ever = request.body.windows(PERSISTENT_SEARCH.len());
        let searches_for_ever = searches_for_ever
            .into_iter()
            .any(|bytes| bytes == PERSISTENT_SEARCH.as_bytes());
        let answer = match request.kind {
            Kind::OtherSearch if searches_for_ever => {
                searches.fetch_add(1, Ordering::Relaxed);
                if face.late {
                    owed = (face.says)(id);
                    Vec::new()
                } else {
                    (face.says)(id)
                }
            }
            Kind::BaseSearch => {
                let offers: Vec<&str> = [(face.offers, PERSISTENT_SEARCH), (face.syncs.is_some(), SYNC)]
                    .into_iter()
                    .filter_map(|(offered, oid)| offered.then_some(oid))
                    .collect();
                let last = face.last_change.load(Ordering::Relaxed).to_string();
                let attributes = [
                    attribute("supportedControl", &offers),
                    attribute("firstChangeNumber", &["1"]),
                    attribute("lastChangeNumber", &[last]),
                    face.root.clone(),
                ];
                let root = entry_of("", &attributes.concat());
                [message(id, &root, &[]), done, std::mem::take(&mut owed)].concat()
            }
            Kind::OtherSearch => [(face.finds)(id), done].concat(),
            Kind::Bind => message(id, &result(0x61, 0), &[]),
            Kind::SyncSearch => match face.syncs {
                Some(syncs) => syncs(searches.fetch_add(1, Ordering::Relaxed), id),
                None => return,
            },
            Kind::Other => return,
        };
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}
