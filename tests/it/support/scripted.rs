//! An LDAP server that behaves normally until the sync search, and then answers as the test defines.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::ldap::{entry, message, result};

/// A sync search, and the connection on which it came.
pub struct SyncSearch {
    /// The number of earlier ones.
    pub number: u32,
    /// Its message id.
    pub id: u8,
    /// Closed when it is dropped.
    pub stream: TcpStream,
}

/// A running server; it ends when it is dropped.
pub struct Scripted {
    url: String,
    _serving: JoinSet<()>,
}

impl Scripted {
    /// Starts a server that passes each sync search to `script`.
    pub async fn start<Script, Work>(script: Script) -> Self
    where
        Script: Fn(SyncSearch) -> Work + Send + Sync + 'static,
        Work: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ldap://{}", listener.local_addr().unwrap());
        let script: Arc<Run> = Arc::new(move |search| script(search).boxed());
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let (searches, mut connections) = (Arc::new(AtomicU32::new(0)), JoinSet::new());
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                // Small messages are sent at once, because paused time would not wait for them.
                stream.set_nodelay(true).unwrap();
                connections.spawn(answer(stream, searches.clone(), script.clone()));
            }
        });
        Self {
            url,
            _serving: serving,
        }
    }

    /// Starts a server that answers each sync search with these bytes and sends nothing more.
    pub async fn saying(payload: impl Fn(u8) -> Vec<u8> + Send + Sync + 'static) -> Self {
        Self::start(move |mut search| {
            let answer = payload(search.id);
            async move {
                // Waits until the client closes the connection.
                let _ = search.stream.write_all(&answer).await;
                search.stay().await;
            }
        })
        .await
    }

    /// Its address.
    pub fn url(&self) -> &str {
        &self.url
    }
}

impl SyncSearch {
    /// Sends nothing more and waits until the client closes the connection.
    pub async fn stay(mut self) {
        while let Ok(1..) = self.stream.read(&mut [0; 1024]).await {}
    }
}

/// The Sync Request Control (RFC 4533, 2.1).
const SYNC: &str = "1.3.6.1.4.1.4203.1.9.1.1";

type Run = dyn Fn(SyncSearch) -> BoxFuture<'static, ()> + Send + Sync;

async fn answer(mut stream: TcpStream, searches: Arc<AtomicU32>, script: Arc<Run>) {
    while let Some(Request { id, kind, .. }) = request(&mut stream).await {
        let done = message(id, &result(0x65, 0), &[]);
        let answer = match kind {
            Kind::Bind => message(id, &result(0x61, 0), &[]),
            Kind::BaseSearch => [message(id, &entry("", "supportedControl", &[SYNC]), &[]), done].concat(),
            Kind::OtherSearch => done,
            Kind::SyncSearch => {
                let number = searches.fetch_add(1, Ordering::Relaxed);
                return script(SyncSearch { number, id, stream }).await;
            }
            Kind::Other => return,
        };
        if stream.write_all(&answer).await.is_err() {
            return;
        }
    }
}

/// One request.
pub struct Request {
    /// Its message id if it is at most 127; 0 for larger ones.
    pub id: u8,
    /// Its message id.
    pub number: u32,
    /// Its kind.
    pub kind: Kind,
    /// The message without its tag and length.
    pub body: Vec<u8>,
}

/// The kind of a request.
pub enum Kind {
    /// A bind.
    Bind,
    /// The root DSE, or the base.
    BaseSearch,
    /// A content synchronisation.
    SyncSearch,
    /// A listing or a look-up.
    OtherSearch,
    /// Anything else, such as an unbind.
    Other,
}

/// Reads a request; `None` if the client has closed the connection.
pub async fn request(stream: &mut TcpStream) -> Option<Request> {
    let mut header = [0; 2];
    stream.read_exact(&mut header).await.ok()?;
    let mut body = vec![0; usize::from(header[1])];
    if header[1] >= 0x80 {
        let mut digits = vec![0; usize::from(header[1] & 0x7f)];
        stream.read_exact(&mut digits).await.ok()?;
        let length = digits
            .iter()
            .fold(0, |sum, &digit| sum * 256 + usize::from(digit));
        body.resize(length, 0);
    }
    stream.read_exact(&mut body).await.ok()?;
    let operation = 2 + usize::from(body[1]);
    let digits = body[2..operation].iter();
    let number = digits.fold(0, |sum, &digit| sum * 256 + u32::from(digit));
    let contents = operation + 2 + usize::from(body[operation + 1].saturating_sub(0x80));
    let syncs = body.windows(SYNC.len()).any(|bytes| bytes == SYNC.as_bytes());
    let kind = match body[operation] {
        0x60 => Kind::Bind,
        0x63 if syncs => Kind::SyncSearch,
        // A search request begins with base and scope.
        0x63 if body.get(contents + 2 + usize::from(body[contents + 1]) + 2) == Some(&0) => Kind::BaseSearch,
        0x63 => Kind::OtherSearch,
        _ => Kind::Other,
    };
    Some(Request {
        id: u8::try_from(number)
            .ok()
            .filter(|id| *id < 0x80)
            .unwrap_or_default(),
        number,
        kind,
        body,
    })
}
