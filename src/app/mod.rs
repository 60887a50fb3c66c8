//! The service as a whole: builds every component, keeps the loops running, and stops them in order.

mod adopt;
mod certificates;
mod check;
mod duty;
mod explain;
mod find;
mod forget;
mod healthcheck;
mod housekeeping;
mod link;
mod listening;
mod notify;
mod person;
mod plan;
mod policies;
mod run;
mod servers;
mod sessions;
pub mod signals;
pub mod supervisor;
mod systemd;
mod wiring;

pub use adopt::adopt;
pub use check::{Finding, Severity, check};
pub use explain::{Explained, InDirectory, InVaultwarden, Policies, explain, parse_person};
pub use find::people_in_group;
pub use forget::{Forgotten, forget_directory, retired_directory};
pub use healthcheck::{Health, healthcheck};
pub use link::{Link, Links};
pub use notify::{Answer, notify_test};
pub use person::{Progress, invite_person, sync_person};
pub use plan::{DryRun, Invited, Plan, PlanEntry, PlannedAction, plan, run_dry};
pub use run::{SyncSummary, run, sync};
pub use wiring::{RECONNECT, policy};
