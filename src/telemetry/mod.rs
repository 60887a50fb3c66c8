//! Log, metrics, health, traces, and the HTTP endpoints.
//!
//! Other modules call methods of [`Observer`]. Only these methods write log lines about people and connections, update
//! metrics, and change the health state. Only this module and the status page use
//! `axum`; only this one uses `prometheus_client` and `tracing_subscriber`.

/// `info!` when new, `debug!` on repeats.
macro_rules! event {
    ($is_new:expr, $($line:tt)+) => {
        if $is_new { info!($($line)+) } else { debug!($($line)+) }
    };
}

/// `warn!` when new, `debug!` on repeats.
macro_rules! failure {
    ($is_new:expr, $($line:tt)+) => {
        if $is_new { warn!($($line)+) } else { debug!($($line)+) }
    };
}

mod event;
mod exposition;
mod health;
pub mod http;
mod liveness;
pub mod log;
mod log_limit;
mod metrics;
mod notifications;
mod page;
mod parts;
mod people;
mod progress;
pub mod traces;

pub use event::{GRACE, Observer, Purpose};
pub use progress::ListingProgress;
