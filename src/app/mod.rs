//! The service as a whole: builds every component, keeps the loops running, and stops them in order.

mod administration;
mod adopt;
mod check;
mod decide;
mod duty;
mod explain;
mod find;
mod forget;
mod housekeeping;
mod link;
mod next;
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
pub use decide::{Verb, decide};
pub use explain::{Explained, InDirectory, InVaultwarden, Policies, explain, parse_person};
pub use find::people_in_group;
pub use forget::{Forgotten, forget_directory, retired_directory};
pub use link::{Link, Links};
pub use next::{accounts, due, in_care, next, standing};
pub use notify::{Answer, notify_test};
pub use person::{Progress, invite_person, sync_person};
pub use plan::{DryRun, Invited, Plan, PlanEntry, PlannedAction, plan, run_dry};
pub use run::{SyncSummary, run, sync};
pub use wiring::{RECONNECT, policy};
