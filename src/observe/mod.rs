//! What the operator sees: log lines, metrics, health, and the endpoints that show them.
//!
//! Whoever has something to say calls a method of [`Observer`]; nothing else writes the log about people and
//! connections, counts, or judges health. The only folder that knows `axum`, `prometheus_client` and
//! `tracing_subscriber`.

mod event;
mod health;
pub mod http;
pub mod log;
mod metrics;
mod progress;
mod storm;

pub use event::{GRACE, Observer, Purpose};
pub use progress::Progress;
