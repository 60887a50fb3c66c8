//! The service as a whole: everything wired together, kept running, and stopped in order.

mod check;
mod explain;
mod journal;
mod plan;
mod run;
mod servers;
mod sessions;
pub mod signals;
pub mod supervisor;
mod systemd;

pub use check::{Finding, Level, check};
pub use explain::{Explained, InDirectory, InVaultwarden, explain, whose};
pub use plan::{Action, DryRun, Invited, Plan, Planned, plan, run_dry};
pub use run::{RECONNECT, SyncSummary, directory_settings, policy, run, sync};
