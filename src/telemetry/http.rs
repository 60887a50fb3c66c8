//! Serves HTTP: the endpoints `/livez`, `/readyz`, `/healthz` and `/metrics`, and what others add to them.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Extension, Request, State};
use axum::http::uri::Authority;
use axum::http::{HeaderMap, StatusCode, header};
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
use super::exposition::Exposition;
use crate::store::BaseStore;

/// The largest number of open connections. One more closes the oldest, so that idle clients cannot block others, and
/// file descriptors remain for the service.
const MAX_CONNECTIONS: usize = 64;

/// How long a connection, which serves one request, may be open.
const CONNECTION_DEADLINE: Duration = Duration::from_secs(30);

/// How long open requests may take after the service was asked to stop.
const STOP_DEADLINE: Duration = Duration::from_secs(5);

/// How long a scrape waits for the state. Prometheus waits for ten seconds, and shall get the other metrics.
const REPORT_DEADLINE: Duration = Duration::from_secs(3);

/// The largest head of a request, in bytes.
const MAX_HEAD: usize = 16 << 10;

/// Why the endpoints cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address cannot be listened on.
    #[error(
        "cannot listen on {address}: {cause}; stop whatever uses this address, or choose another one as `listen` in [http]"
    )]
    Bind {
        /// The configured address.
        address: SocketAddr,
        /// The error of the system.
        cause: std::io::Error,
    },
}

/// The part of the configuration that answers may contain.
#[derive(Debug, Clone, Default)]
pub struct Public {
    /// The full host names that a request may use.
    pub hosts: Vec<String>,
    /// The DNs in the configuration: bind DNs, bases and groups, but no people.
    pub dns: Vec<String>,
}

#[derive(Clone)]
struct Endpoints {
    observer: Observer,
    store: Arc<dyn BaseStore>,
    public: Arc<Public>,
}

/// Binds the address, so that a conflict is an error at start.
///
/// # Errors
/// [`HttpError::Bind`].
pub async fn bind(address: SocketAddr) -> Result<TcpListener, HttpError> {
    TcpListener::bind(address)
        .await
        .map_err(|cause| HttpError::Bind { address, cause })
}

/// The address from which a request came: that of the client, or of a proxy in front.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// What every instance answers. It names no person.
///
/// - `/livez`: 200 while the process responds.
/// - `/healthz`: 200, or 503 with one line for each part of the service that does not proceed, or fails again and again. A
///   directory, Vaultwarden or a state that is away is none. A restart may help.
/// - `/readyz`: 200, or 503 with one line for each thing that is wrong, servers included.
/// - `/metrics`: OpenMetrics text for those who ask for it, as Prometheus does, otherwise the older text format.
pub fn endpoints(observer: Observer, store: Arc<dyn BaseStore>, public: Public) -> Router {
    Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Endpoints {
            observer,
            store,
            public: Arc::new(public),
        })
}

/// Answers requests until `stop`, then finishes the open ones. Requests have the extension [`Peer`].
///
/// # Guarantees
/// At most 64 connections are open at once, and each is closed after its first answer or after 30 seconds. A request is
/// answered only if its `Host` is an IP address, a name without a dot, or one of [`Public::hosts`]. Otherwise a web page
/// could point a name of its own to this address (DNS rebinding) and read the answers through a browser.
///
/// # Cancellation
/// Dropping the future closes the listener and aborts open requests.
pub async fn serve(mut listener: TcpListener, router: Router, public: Public, stop: CancellationToken) {
    let router = router.layer(middleware::from_fn_with_state(Arc::new(public), check_host));
    let (mut connections, mut by_age) = (JoinSet::new(), VecDeque::new());
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = connections.join_next() => by_age.retain(|open: &tokio::task::AbortHandle| !open.is_finished()),
            (stream, peer) = Listener::accept(&mut listener) => {
                if by_age.len() >= MAX_CONNECTIONS
                    && let Some(oldest) = by_age.pop_front()
                {
                    oldest.abort();
                }
                by_age.push_back(connections.spawn(answer(stream, router.clone().layer(Extension(Peer(peer.ip()))), stop.clone())));
            }
        }
    }
    drop(listener);
    // Requests that are still open after the deadline are aborted.
    let _ = timeout(STOP_DEADLINE, async {
        while connections.join_next().await.is_some() {}
    })
    .await;
}

/// Answers one request.
async fn answer(stream: TcpStream, router: Router, stop: CancellationToken) {
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = pin!(connection);
    let served = async {
        tokio::select! {
            _ = connection.as_mut() => return,
            () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
        }
        let _ = connection.await;
    };
    // Errors of a client are not logged.
    let _ = timeout(CONNECTION_DEADLINE, served).await;
}

/// Refuses a request for an unknown host name.
async fn check_host(State(public): State<Arc<Public>>, request: Request, next: Next) -> Response {
    const REFUSED: &str = "unknown host name; use an IP address, or add the name to `hosts` in [http] of the \
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
    // Public DNS has no names without a dot: they belong to this machine or its network.
    address.is_ok() || !host.contains('.') || hosts.iter().any(|ours| ours.eq_ignore_ascii_case(host))
}

async fn healthz(State(endpoints): State<Endpoints>) -> impl IntoResponse {
    let stuck = endpoints.observer.alive().err().into_iter();
    let failing = endpoints.observer.failing_parts().into_iter();
    let failing =
        failing.map(|name| format!("a part of the service fails again and again: {name}; the log says why"));
    let lines: String = stuck.chain(failing).map(|line| line + "\n").collect();
    if lines.is_empty() {
        return (StatusCode::OK, "healthy\n".to_owned());
    }
    (StatusCode::SERVICE_UNAVAILABLE, lines)
}

async fn readyz(State(endpoints): State<Endpoints>) -> impl IntoResponse {
    match endpoints.observer.ready() {
        Ok(()) => {
            let standing_by = endpoints.observer.standing_by().into_iter();
            let lines = standing_by
                .map(|directory| format!("standby: another instance listens to directory {directory}\n"));
            (StatusCode::OK, "ready\n".to_owned() + &lines.collect::<String>())
        }
        Err(reasons) => {
            let lines = reasons
                .iter()
                .map(|reason| endpoints.public.redacted(reason) + "\n");
            (StatusCode::SERVICE_UNAVAILABLE, lines.collect())
        }
    }
}

impl Public {
    /// Removes the cause from a reason if it may name a person: a DN contains `=`, and an address contains `@`, possibly
    /// encoded as in a URL.
    pub fn redacted(&self, reason: &str) -> String {
        let Some((what, cause)) = reason.split_once(": ") else {
            return reason.to_owned();
        };
        // Remedies quote configuration lines, with spaces around the `=` or a placeholder.
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

/// Removes each occurrence of `word` that is not part of a longer word.
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

async fn metrics(State(endpoints): State<Endpoints>, headers: HeaderMap) -> impl IntoResponse {
    let report = timeout(REPORT_DEADLINE, endpoints.store.report()).await;
    let silent = |_| format!("no answer within {}", humantime::format_duration(REPORT_DEADLINE));
    let report = report
        .map_err(silent)
        .and_then(|report| report.map_err(|error| error.to_string()))
        .inspect_err(|error| {
            tracing::warn!(
                error,
                "the state cannot be read: the metrics of members and tasks are left out"
            );
        })
        .ok();
    let accept = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok());
    let exposition = Exposition::asked_for(accept.unwrap_or_default());
    (
        [(header::CONTENT_TYPE, exposition.content_type())],
        exposition.of(endpoints.observer.scrape(report.as_ref())),
    )
}
