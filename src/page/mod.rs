//! The status page: what the service does now and what needs a person, and the orders of those who are signed in.
//!
//! Everyone who reaches the page sees numbers and states. Who signs in with `[http] admin_token` sees people, too, and may
//! give orders, which the journal notes with the address from which they came. The page is rendered here (`view`); its script
//! only fetches it again when `events` says that something has changed, and without a script it reloads.
//!
//! # Guarantees
//! Text is escaped by the templates. Answers forbid scripts, styles and connections of others, frames, and caches. An order
//! needs a session, the token of its forms, and a browser that says that the page itself sent it. Each is limited in number.

mod assets;
mod browser;
mod events;
mod history;
mod orders;
mod session;
mod snapshot;
mod view;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::header;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures::future::BoxFuture;
use secrecy::SecretString;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::model::Request;
use crate::store::{PersonReport, Store};
use crate::telemetry::Observer;
use crate::telemetry::http::Public;
use assets::Assets;
use browser::Browser;
use session::Sessions;
use snapshot::Snapshots;
use view::Look;

/// The largest body of a request, in bytes: a form with a hundred actions.
const MAX_BODY: usize = 16 << 10;

/// The largest number of events and of actions of one person that the page shows: the last ones.
pub const MAX_EVENTS: u32 = 500;

/// Carries out what somebody asks for on the page. The answer is a sentence for them, whether it was done or not.
pub trait Administration: Send + Sync {
    /// Does it. `rows` are the numbers of the actions or of the invitation that it concerns, `who` names a person, `from` is
    /// where the request came from.
    fn order<'a>(
        &'a self,
        request: Request,
        rows: Vec<i64>,
        who: &'a str,
        from: &'a str,
    ) -> BoxFuture<'a, Result<String, String>>;

    /// The people whom this text names: an address, a DN or a UUID.
    fn find<'a>(&'a self, who: &'a str) -> BoxFuture<'a, Result<Vec<Story>, String>>;
}

/// What is known of a person.
#[derive(Debug)]
pub struct Story {
    /// Their membership, actions and events. One event more than [`MAX_EVENTS`] says that there are more.
    pub person: PersonReport,
    /// How they stand, in one line.
    pub standing: String,
    /// Their accounts in our care, one sentence each.
    pub accounts: Vec<String>,
    /// What happens next, one sentence each.
    pub next: Vec<String>,
}

/// The status page. Cheap to clone.
#[derive(Clone)]
pub struct Page(Arc<Inner>);

struct Inner {
    snapshots: Snapshots,
    sessions: Sessions,
    observer: Observer,
    administration: Arc<dyn Administration>,
    /// The orders that are being carried out.
    orders: TaskTracker,
    public: Public,
    assets: Assets,
    /// One permit for each stream of events that may be open.
    streams: Arc<Semaphore>,
    stop: CancellationToken,
}

impl Page {
    /// The page of a service. Its streams end with `stop`. Nobody can sign in without a `token`.
    pub fn new(
        store: Arc<dyn Store>,
        observer: Observer,
        administration: Arc<dyn Administration>,
        public: Public,
        token: Option<SecretString>,
        stop: CancellationToken,
    ) -> Self {
        Self(Arc::new(Inner {
            snapshots: Snapshots::new(store, observer.clone()),
            observer,
            sessions: Sessions::new(token),
            administration,
            orders: TaskTracker::new(),
            public,
            assets: Assets::new(),
            streams: Arc::new(Semaphore::new(events::MAX_STREAMS)),
            stop,
        }))
    }

    /// Uses another token from now on. If it differs, everyone has to sign in again.
    pub fn renew(&self, token: Option<SecretString>) {
        self.0.sessions.renew(token);
    }

    /// What it answers.
    pub fn router(&self) -> Router {
        Router::new()
            .route("/", get(front))
            .route("/live", get(live))
            .route("/events", get(events::events))
            .route("/person", get(orders::person))
            .route("/search", get(home).post(orders::search))
            .route("/sign-in", get(home).post(orders::sign_in))
            .route("/sign-out", get(home).post(orders::sign_out))
            .route("/order", get(home).post(orders::order))
            .route("/assets/{name}", get(assets::asset))
            .layer(DefaultBodyLimit::max(MAX_BODY))
            .layer(middleware::map_response(protect))
            .with_state(self.clone())
    }

    /// Carries an order out, to its end even if the connection on which it came ends before.
    async fn carry_out(
        &self,
        request: Request,
        rows: Vec<i64>,
        who: &str,
        from: &str,
    ) -> Result<String, String> {
        let (page, who, from) = (self.clone(), who.to_owned(), from.to_owned());
        let order = self.0.orders.spawn(async move {
            let done = page.0.administration.order(request, rows, &who, &from).await;
            page.0.snapshots.expire().await;
            done
        });
        order
            .await
            .unwrap_or_else(|_| Err("The order failed; the log of the service says why.".into()))
    }

    /// Waits for the orders that are being carried out, for `patience` at most.
    pub async fn finish(&self, patience: Duration) {
        self.0.orders.close();
        let _ = timeout(patience, self.0.orders.wait()).await;
    }

    fn look<'a>(&'a self, browser: &'a Browser) -> Look<'a> {
        Look {
            session: browser.session.as_ref(),
            can_sign_in: self.0.sessions.possible(),
            public: &self.0.public,
            assets: &self.0.assets,
        }
    }
}

/// The whole page.
async fn front(State(page): State<Page>, browser: Browser) -> Response {
    let notice = browser.id.as_ref().and_then(|id| page.0.sessions.told(id));
    let snapshot = page.0.snapshots.get().await;
    view::front(&page.look(&browser), &snapshot, notice.as_ref())
}

/// The part of the page that changes.
async fn live(State(page): State<Page>, browser: Browser) -> Response {
    let snapshot = page.0.snapshots.get().await;
    view::live(&page.look(&browser), &snapshot)
}

/// What takes forms has no page of its own. A browser asks for one if it reloads what a form answered, as it does without the
/// script.
async fn home() -> Response {
    see("./")
}

/// Adds what every answer says to the browser.
async fn protect(mut response: Response) -> Response {
    // `same-origin`, because with `no-referrer` a browser hides from the page itself where a form came from. Both tell other
    // sites nothing.
    const HEADERS: [(header::HeaderName, &str); 7] = [
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
             form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
        ),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            header::HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
        (
            header::HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            header::HeaderName::from_static("permissions-policy"),
            "camera=(), geolocation=(), microphone=()",
        ),
    ];
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, header::HeaderValue::from_static(value));
    }
    let no_store = header::HeaderValue::from_static("no-store");
    headers.entry(header::CACHE_CONTROL).or_insert(no_store);
    response
}

/// Sends the browser to another page by GET.
fn see(place: &str) -> Response {
    let to = [(header::LOCATION, place.to_owned())];
    (axum::http::StatusCode::SEE_OTHER, to).into_response()
}
