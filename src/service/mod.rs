//! The service as a whole: everything wired together, kept running, and stopped in order.

mod run;
pub mod signals;
pub mod supervisor;
mod systemd;

pub use run::{SyncSummary, run, sync};
