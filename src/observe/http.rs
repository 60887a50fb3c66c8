//! `/livez`, `/readyz` and `/metrics`, for whoever watches over the service.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::event::Observer;
use super::metrics::CONTENT_TYPE;
use crate::ledger::Ledger;

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
    /// The listener failed while serving.
    #[error("the HTTP endpoints failed: {0}")]
    Serve(std::io::Error),
}

#[derive(Clone)]
struct Endpoints {
    observer: Observer,
    ledger: Arc<dyn Ledger>,
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
/// - `/readyz`: 200, or 503 with one line for each thing that is wrong.
/// - `/metrics`: OpenMetrics text.
///
/// # Errors
/// [`HttpError::Serve`].
///
/// # Cancellation
/// Dropping the future closes the listener; requests under way are cut off.
pub async fn serve(
    listener: TcpListener,
    observer: Observer,
    ledger: Arc<dyn Ledger>,
    stop: CancellationToken,
) -> Result<(), HttpError> {
    let router = Router::new()
        .route("/livez", get(|| async { "alive\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(Endpoints { observer, ledger });
    axum::serve(listener, router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
        .map_err(HttpError::Serve)
}

async fn readyz(State(endpoints): State<Endpoints>) -> impl IntoResponse {
    match endpoints.observer.ready() {
        Ok(()) => (StatusCode::OK, "ready\n".to_owned()),
        Err(reasons) => (StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n"),
    }
}

async fn metrics(State(endpoints): State<Endpoints>) -> impl IntoResponse {
    let report = match endpoints.ledger.report().await {
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
