//! What the operator sees: log lines, metrics, health, and the endpoints that show them.
//!
//! Whoever has something to say calls a method of [`Observer`]; nothing else writes the log about people and
//! connections, counts, or judges health. The only folder that knows `axum`, `prometheus_client` and
//! `tracing_subscriber`.

/// Worth a line when it is news, a detail otherwise.
macro_rules! event {
    ($news:expr, $($line:tt)+) => {
        if $news { info!($($line)+) } else { debug!($($line)+) }
    };
}

/// A failure: worth a warning when it is news, a detail when it repeats.
macro_rules! failure {
    ($news:expr, $($line:tt)+) => {
        if $news { warn!($($line)+) } else { debug!($($line)+) }
    };
}

mod event;
mod health;
pub mod http;
pub mod log;
mod metrics;
mod people;
mod progress;
mod storm;

pub use event::{GRACE, Observer, Purpose};
pub use progress::Progress;
