//! The stream that says when the page has changed (server-sent events).

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use tokio::time::{Instant, sleep};

use super::Page;

/// The largest number of open streams. Whoever gets none reloads at intervals instead.
pub(super) const MAX_STREAMS: usize = 16;
/// How often to look whether something has changed.
const LOOK: Duration = Duration::from_secs(1);
/// How long a stream lasts: less than a connection may. The browser opens the next one.
const LASTS: Duration = Duration::from_secs(25);
/// How soon it does.
const AGAIN: Duration = Duration::from_millis(500);

/// Sends the version of what the page shows, at once and whenever it changes. The page takes the beginning of a stream as a
/// reason to read everything again, the times that merely pass included.
///
/// # Guarantees
/// A stream ends before the deadline of its connection and when the service stops, and at most [`MAX_STREAMS`] are open. The
/// versions tell those who are not signed in nothing but that something has changed.
pub(super) async fn events(State(page): State<Page>) -> Response {
    let Ok(permit) = page.0.streams.clone().try_acquire_owned() else {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    };
    let ends = Instant::now() + LASTS;
    let first = String::new();
    let versions = stream::unfold((page, permit, first), move |(page, permit, last)| async move {
        loop {
            let version = page.0.snapshots.get().await.version.clone();
            if version != last {
                let event = Event::default().retry(AGAIN).event("version").data(&version);
                return Some((Ok::<_, Infallible>(event), (page, permit, version)));
            }
            tokio::select! {
                () = page.0.stop.cancelled() => return None,
                () = sleep(LOOK) => {}
            }
            if Instant::now() >= ends {
                return None;
            }
        }
    });
    // nginx would keep it back otherwise.
    ([("x-accel-buffering", "no")], Sse::new(versions)).into_response()
}
