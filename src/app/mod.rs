//! The service as a whole: builds every component, keeps the loops running, and stops them in order.

mod check;
mod plan;
mod run;
mod servers;
mod sessions;
pub mod signals;
pub mod supervisor;
mod systemd;

pub use check::{Finding, Level, check};
pub use plan::{Action, DryRun, Invited, Plan, Planned, plan, run_dry};
pub use run::{RECONNECT, SyncSummary, directory_settings, policy, run, sync};
