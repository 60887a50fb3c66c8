//! Log, metrics, health, and the HTTP endpoints.
//!
//! Other modules call methods of [`Observer`]. Only these write log lines about people and connections, update metrics,
//! and change the health state. The only folder that knows `axum`, `prometheus_client` and `tracing_subscriber`.

/// `info!` when new, `debug!` on repeats.
macro_rules! event {
    ($news:expr, $($line:tt)+) => {
        if $news { info!($($line)+) } else { debug!($($line)+) }
    };
}

/// `warn!` when new, `debug!` on repeats.
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
