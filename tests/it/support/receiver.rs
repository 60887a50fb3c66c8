//! A web server that gets notifications and pings, on its own port and thread, so that a test can stop it abruptly.

use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Response};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// The part of the URL that must not appear anywhere.
pub const TOKEN: &str = "T0KEN-9c1f44";

/// What the receiver does with requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Conduct {
    /// Answers 204.
    Accept,
    /// Answers with this status, and with the URL of the request as its body.
    Refuse(u16),
    /// Never answers.
    Hang,
}

/// One request.
#[derive(Debug, Clone)]
pub struct Received {
    /// `POST`
    pub method: String,
    /// The path of its URL.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: String,
    /// Its body, if it is no text.
    pub bytes: Bytes,
}

impl Received {
    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// The kind and the subject of the event, as in `joined ann@example.org`.
    pub fn event(&self) -> String {
        let json = self.json();
        let word = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        format!("{} {}", word(&json["data"]["event"]), word(&json["subject"]))
    }
}

#[derive(Clone)]
struct Shared {
    received: Arc<Mutex<Vec<Received>>>,
    conduct: Arc<Mutex<Conduct>>,
}

/// The receiver. Stops when dropped.
pub struct Receiver {
    shared: Shared,
    address: SocketAddr,
    thread: Option<(watch::Sender<()>, JoinHandle<()>)>,
}

impl Receiver {
    /// A receiver that accepts everything.
    pub fn start() -> Self {
        let mut receiver = Self {
            shared: Shared {
                received: Arc::default(),
                conduct: Arc::new(Mutex::new(Conduct::Accept)),
            },
            address: (Ipv4Addr::LOCALHOST, 0).into(),
            thread: None,
        };
        receiver.up();
        receiver
    }

    /// Its host and port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL, with the token.
    pub fn url(&self) -> String {
        format!("http://{}/services/{TOKEN}", self.address)
    }

    /// Listens again, on the same port.
    pub fn up(&mut self) {
        self.down();
        let listener = StdListener::bind(self.address).unwrap();
        self.address = listener.local_addr().unwrap();
        listener.set_nonblocking(true).unwrap();
        let (stop, mut stopped) = watch::channel(());
        let app = Router::new().fallback(answer).with_state(self.shared.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            // Open requests are aborted with the runtime.
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    served = axum::serve(listener, app) => served.unwrap(),
                    _ = stopped.changed() => {}
                }
            });
        });
        self.thread = Some((stop, thread));
    }

    /// Stops like a killed process: connections break, new ones are refused.
    pub fn down(&mut self) {
        if let Some((stop, thread)) = self.thread.take() {
            drop(stop);
            thread.join().unwrap();
        }
    }

    /// What it does from now on. Requests that hang already go on hanging.
    pub fn conduct(&self, conduct: Conduct) {
        *self.shared.conduct.lock().unwrap() = conduct;
    }

    /// Every request so far, answered or not.
    pub fn received(&self) -> MutexGuard<'_, Vec<Received>> {
        self.shared.received.lock().unwrap()
    }

    /// The events of all requests so far.
    pub fn events(&self) -> Vec<String> {
        self.received().iter().map(Received::event).collect()
    }

    /// Waits until the requests meet the condition; returns them.
    pub async fn until(&self, what: &str, is_so: impl Fn(&[Received]) -> bool) -> Vec<Received> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let received = self.received().clone();
            if is_so(&received) {
                return received;
            }
            assert!(
                Instant::now() < deadline,
                "{what} does not come about: {received:#?}"
            );
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until there were this many requests; returns them.
    pub async fn got(&self, count: usize) -> Vec<Received> {
        self.until(&format!("a count of {count}"), |received| received.len() >= count)
            .await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.down();
    }
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap_or_default();
    let path = parts.uri.path().to_owned();
    shared.received.lock().unwrap().push(Received {
        method: parts.method.to_string(),
        path: path.clone(),
        headers: parts.headers,
        body: String::from_utf8_lossy(&body).into_owned(),
        bytes: body,
    });
    let conduct = *shared.conduct.lock().unwrap();
    let (status, text) = match conduct {
        Conduct::Accept => (204, String::new()),
        Conduct::Refuse(status) => (status, format!("nothing here at {path}")),
        Conduct::Hang => std::future::pending().await,
    };
    let response = Response::builder().status(status);
    response.body(Body::from(text)).unwrap()
}
