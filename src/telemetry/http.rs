//! `/livez`, `/readyz` and `/metrics`, for whoever watches over the service.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::uri::Authority;
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::event::Observer;
use super::metrics::CONTENT_TYPE;
use crate::store::Store;

/// How many connections may be open at once. One more ends the oldest, so that whoever holds connections keeps nobody
/// out, and file descriptors remain for what the service is for.
const CONNECTIONS: usize = 64;

/// How long one connection may take for its one request, from its head to the end of the answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long requests under way may take when the service stops.
const STOPPING: Duration = Duration::from_secs(5);

/// How long the head of a request may be, in bytes.
const HEAD: usize = 16 << 10;

/// Why the endpoints cannot be offered.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}: {cause}; stop whatever uses this address, or choose another one as `listen` in [http]"
    )]
    Bind {
        /// The address asked for.
        address: SocketAddr,
        /// Why not.
        cause: std::io::Error,
    },
}

/// What is known beyond the service.
#[derive(Debug, Clone, Default)]
pub struct Public {
    /// The names with a dot by which the endpoints may be asked.
    pub hosts: Vec<String>,
    /// The DNs in the configuration: of readers, bases and groups, and of no person.
    pub dns: Vec<String>,
}

#[derive(Clone)]
struct Endpoints {
    observer: Observer,
    store: Arc<dyn Store>,
    public: Arc<Public>,
}

/// Takes the address, so that a conflict is found at start.
///
/// # Errors
/// [`HttpError::Bind`].
pub async fn bind(address: SocketAddr) -> Result<TcpListener, HttpError> {
    TcpListener::bind(address)
        .await
        .map_err(|cause| HttpError::Bind { address, cause })
}

/// Answers requests until `stop`, then finishes those under way.
///
/// - `/livez`: 200 as long as the process turns at all.
/// - `/readyz`: 200, or 503 with one line for each thing that is wrong. It names no person.
/// - `/metrics`: OpenMetrics text.
///
/// # Guarantees
/// Only so many connections are open at once, and each ends after its first answer or after half a minute. A request is
/// answered only where its `Host` is an address, a name without a dot, or one of [`Public::hosts`]: else a web page could have a name
/// of its own lead here (DNS rebinding) and read what a browser may reach.
///
/// # Cancellation
/// Dropping the future closes the listener; requests under way are cut off.
pub async fn serve(
    mut listener: TcpListener,
    observer: Observer,
    store: Arc<dyn Store>,
    public: Public,
    stop: CancellationToken,
) {
    let public = Arc::new(public);
    let router = Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .layer(middleware::from_fn_with_state(Arc::clone(&public), ask_by_name))
        .with_state(Endpoints {
            observer,
            store,
            public,
        });
    let (mut connections, mut by_age) = (JoinSet::new(), VecDeque::new());
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => by_age.retain(|open: &tokio::task::AbortHandle| !open.is_finished()),
            (stream, _) = Listener::accept(&mut listener) => {
                if by_age.len() >= CONNECTIONS
                    && let Some(oldest) = by_age.pop_front()
                {
                    oldest.abort();
                }
                by_age.push_back(connections.spawn(answer(stream, router.clone(), stop.clone())));
            }
        }
    }
    drop(listener);
    // Whoever is cut off here was waited for long enough.
    let _ = timeout(STOPPING, async {
        while connections.join_next().await.is_some() {}
    })
    .await;
}

/// Answers one request.
async fn answer(stream: TcpStream, router: Router, stop: CancellationToken) {
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let served = async {
        tokio::select! {
            _ = connection.as_mut() => return,
            () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    };
    // That a client went away, or sent nonsense, is its own affair.
    let _ = timeout(PATIENCE, served).await;
}

/// Refuses a request for a name under which nobody but a stranger's DNS server knows this service.
async fn ask_by_name(State(public): State<Arc<Public>>, request: Request, next: Next) -> Response {
    const REFUSED: &str = "this name is not known here; ask by an address, or add the name to `hosts` in [http] of the \
                           configuration of ldap-usher\n";
    let named = request.headers().get_all(header::HOST).iter();
    let mut named = named.map(|value| value.to_str().ok()?.parse::<Authority>().ok());
    let target = request.uri().authority();
    if named.all(|host| host.is_some_and(|host| is_ours(&host, &public.hosts)))
        && target.is_none_or(|target| is_ours(target, &public.hosts))
    {
        return next.run(request).await;
    }
    (StatusCode::MISDIRECTED_REQUEST, REFUSED).into_response()
}

fn is_ours(authority: &Authority, hosts: &[String]) -> bool {
    let host = authority.host();
    let host = host.strip_suffix('.').unwrap_or(host);
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    // The DNS servers of strangers answer for no name without a dot: these are of this machine or its network.
    address.is_ok() || !host.contains('.') || hosts.iter().any(|ours| ours.eq_ignore_ascii_case(host))
}

async fn readyz(State(endpoints): State<Endpoints>) -> impl IntoResponse {
    match endpoints.observer.ready() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(reasons) => {
            let lines = reasons
                .iter()
                .map(|reason| endpoints.public.nameless(reason) + "\n");
            (StatusCode::SERVICE_UNAVAILABLE, lines.collect())
        }
    }
}

impl Public {
    /// A reason for which the service is not ready, without its cause where that may name a person: a DN has a `=` in it
    /// and an address a `@`, which may be encoded as in a URL.
    pub fn nameless(&self, reason: &str) -> String {
        let Some((what, cause)) = reason.split_once(": ") else {
            return reason.to_owned();
        };
        // Remedies quote lines of configurations, with a blank on both sides of the = or a placeholder.
        let quoted = |piece: &&str| piece.contains(" = ") || piece.contains('<');
        let pieces = cause.split('`').enumerate();
        let foreign = pieces.filter(|(at, piece)| at % 2 == 0 || !quoted(piece));
        let mut foreign: String = foreign.map(|(_, piece)| piece).collect();
        for dn in &self.dns {
            foreign = without(&foreign, dn);
        }
        if foreign.contains(['=', '@']) || foreign.contains("%40") {
            format!("{what}; the log and `ldap-usher status` say why")
        } else {
            reason.to_owned()
        }
    }
}

/// A text without a word that stands in it, unless that goes on.
fn without(text: &str, word: &str) -> String {
    let (mut rest, mut left) = (text, String::new());
    while let Some((before, after)) = rest.split_once(word).filter(|_| !word.is_empty()) {
        let within = before.ends_with(char::is_alphanumeric) || after.starts_with(char::is_alphanumeric);
        left += before;
        left += if within { word } else { "" };
        rest = after;
    }
    left + rest
}

async fn metrics(State(endpoints): State<Endpoints>) -> impl IntoResponse {
    let report = match endpoints.store.report().await {
        Ok(report) => Some(report),
        Err(error) => {
            tracing::warn!(%error, "the metrics lack members and tasks");
            None
        }
    };
    (
        [(header::CONTENT_TYPE, CONTENT_TYPE)],
        endpoints.observer.scrape(report.as_ref()),
    )
}
