//! The service as a whole: builds every component, keeps the loops running, and stops them in order.

mod check;
mod explain;
mod group;
mod housekeeping;
mod link;
mod notify;
mod plan;
mod policies;
mod run;
mod servers;
mod sessions;
pub mod signals;
pub mod supervisor;
mod systemd;
mod wiring;

pub use check::{Finding, Severity, check};
pub use explain::{Explained, InDirectory, InVaultwarden, Policies, explain, parse_person};
pub use group::people_in_group;
pub use link::{Link, Links};
pub use notify::{Answer, notify_test};
pub use plan::{DryRun, Invited, Plan, PlanEntry, PlannedAction, plan, run_dry};
pub use run::{SyncSummary, run, sync};
pub use wiring::{RECONNECT, policy};
