//! A simulated domain controller with behaviour that Samba does not have: it refuses to notify, misses notifications,
//! enforces limits, and loses its latest changes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};

use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::ldap::{control, entry_with, message, octets, result, tlv};
use super::scripted::{Kind, Request, request};

const NOTIFICATION: &str = "1.2.840.113556.1.4.528";
const PAGING: &str = "1.2.840.113556.1.4.319";
const BASE: &str = "OU=people,DC=lab,DC=test";

/// The behaviour of the controller. A test may change it while the controller runs.
#[derive(Debug, Default)]
pub struct Manners {
    /// The result of a change notification request; 0 accepts it, and never notifies.
    pub watch: AtomicU8,
    /// The result of a search for changes.
    pub question: AtomicU8,
    /// The number of the latest change.
    pub usn: AtomicU64,
    /// Whether it also returns entries that were not requested.
    pub strangers: AtomicBool,
}

/// A running server with the people 1 to 3; it ends when it is dropped. Each search for changes returns all three, each on
/// its own page.
pub struct Controller {
    /// Its behaviour.
    pub manners: Arc<Manners>,
    url: String,
    _serving: JoinSet<()>,
}

impl Controller {
    /// Starts it; the number of the latest change is 100.
    pub async fn start(watch: u8) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ldap://{}", listener.local_addr().unwrap());
        let manners = Arc::new(Manners {
            watch: watch.into(),
            usn: 100.into(),
            ..Manners::default()
        });
        let mut serving = JoinSet::new();
        let shared = manners.clone();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(answer(stream, shared.clone()));
            }
        });
        Self {
            manners,
            url,
            _serving: serving,
        }
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }
}

async fn answer(mut stream: TcpStream, manners: Arc<Manners>) {
    while let Some(asked) = request(&mut stream).await {
        let Some(answer) = manners.answer(&asked) else {
            return;
        };
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

impl Manners {
    fn answer(
        &self,
        Request {
            id,
            kind,
            body: bytes,
            ..
        }: &Request,
    ) -> Option<Vec<u8>> {
        let asks = |text: &str| bytes.windows(text.len()).any(|found| found == text.as_bytes());
        let done = |code| message(*id, &result(0x65, code), &[]);
        Some(match kind {
            Kind::Bind => message(*id, &result(0x61, 0), &[]),
            Kind::BaseSearch => {
                let entry = if asks("invocationId") {
                    entry_with("CN=NTDS", &[("invocationId", vec![vec![9; 16]])])
                } else if asks(BASE) {
                    entry_with(BASE, &[])
                } else {
                    self.root()
                };
                [message(*id, &entry, &[]), done(0)].concat()
            }
            Kind::OtherSearch if asks(NOTIFICATION) => match self.watch.load(Relaxed) {
                0 => Vec::new(),
                code => done(code),
            },
            Kind::OtherSearch if asks("uSNChanged") => self.changes(*id, &asks),
            Kind::OtherSearch => {
                let sought: Vec<u8> = (1..=3)
                    .filter(|&n| bytes.windows(16).any(|id| id == [n; 16]))
                    .collect();
                // A listing requests no single person.
                let is_listing = sought.is_empty();
                let found = if is_listing { vec![1] } else { sought };
                let found = found.into_iter().flat_map(|n| message(*id, &person(n), &[]));
                let strangers = if self.strangers.load(Relaxed) {
                    strangers(*id, is_listing)
                } else {
                    Vec::new()
                };
                strangers.into_iter().chain(found).chain(done(0)).collect()
            }
            _ => return None,
        })
    }

    fn root(&self) -> Vec<u8> {
        let text = |text: &str| vec![text.as_bytes().to_vec()];
        let usn = self.usn.load(Relaxed).to_string();
        entry_with(
            "",
            &[
                ("supportedCapabilities", text("1.2.840.113556.1.4.800")),
                ("supportedControl", [text(NOTIFICATION), text(PAGING)].concat()),
                ("namingContexts", text("DC=lab,DC=test")),
                ("dsServiceName", text("CN=NTDS")),
                ("highestCommittedUSN", text(&usn)),
            ],
        )
    }

    /// One person per page.
    fn changes(&self, id: u8, asks: &impl Fn(&str) -> bool) -> Vec<u8> {
        let code = self.question.load(Relaxed);
        if code != 0 {
            return message(id, &result(0x65, code), &[]);
        }
        let page = (1..3).find(|page| asks(&format!("page-{page}"))).unwrap_or(0) + 1;
        let cookie = if page < 3 {
            format!("page-{page}")
        } else {
            String::new()
        };
        let paging = tlv(0x30, &[tlv(0x02, &[0]), octets(cookie)].concat());
        let done = message(id, &result(0x65, 0), &control(PAGING, &paging));
        [message(id, &person(page), &[]), done].concat()
    }
}

/// Other entries with the identities of our people, and, for a look-up, people who were not requested.
fn strangers(id: u8, is_listing: bool) -> Vec<u8> {
    let elsewhere = (1..=3).map(|n| person_at(n, &format!("CN=stranger{n},OU=former,DC=lab,DC=test")));
    let others = (if is_listing { 0..0 } else { 100..250 }).map(person);
    let strangers = elsewhere.chain(others);
    strangers.flat_map(|entry| message(id, &entry, &[])).collect()
}

fn person(n: u8) -> Vec<u8> {
    person_at(n, &format!("CN=person{n},{BASE}"))
}

fn person_at(n: u8, dn: &str) -> Vec<u8> {
    let mail = format!("person{n}@example.org").into_bytes();
    entry_with(
        dn,
        &[
            ("objectGUID", vec![vec![n; 16]]),
            ("mail", vec![mail]),
            ("uSNChanged", vec![b"101".to_vec()]),
        ],
    )
}
