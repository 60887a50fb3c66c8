//! Decides what follows from what the store knows and what a directory reports. Pure: no I/O, no clock and no randomness;
//! callers pass in what a rule needs.
//!
//! - [`membership`]: what one sighting of an entry means for the person.
//! - [`Book`]: the stored people and tasks that one decision is about. The rules change it, and the store saves the changes.
//! - `sightings`: [`Book::apply_sightings`], which applies [`membership`] to a batch of sightings.
//! - `invitations`: which invitations people are owed, and what happens to them when people change.
//! - `leavers`: what happens to the accounts of people who leave, and of those who come back.
//! - `accounts`: what follows from Vaultwarden's list of accounts; `protect`: which accounts are never touched.
//! - `settling` and `requeue`: what follows from an attempt, and tasks that are tried again or dropped.
//! - `brake` and `leaver_brake`: how many people are invited, or leave, before an administrator has to approve more.
//! - `attempt`: what happens to an invitation after an attempt, and when all calls to Vaultwarden pause.

mod accounts;
mod attempt;
mod book;
mod brake;
mod context;
mod invitations;
mod leave_policy;
mod leaver_brake;
mod leavers;
pub mod membership;
mod protect;
mod requeue;
mod settling;
mod sightings;
mod task;

pub use accounts::{ReminderPolicy, differs, many_are_missing};
pub use attempt::{Breaker, FaultDetector, longest_wait, settlement_for};
pub use book::{Book, Directory, Noted, Person};
pub use brake::{Brake, Limits, Verdict};
pub use context::DecisionContext;
pub use leave_policy::{LeavePolicies, LeavePolicy, may_touch};
pub use leaver_brake::LeaverBrake;
pub use protect::{Protect, Untouchable};
pub use sightings::Changed;
pub use task::Task;
