//! Decides what follows from what the store knows and what a directory reports. Pure: no I/O, no clock and no randomness;
//! callers pass in what a rule needs.
//!
//! - [`membership`]: what one sighting of an entry means for the person.
//! - [`Book`]: the stored people and invitations that one decision is about. The rules change it, and the store saves the
//!   changes.
//! - `sightings`: [`Book::apply_sightings`], which applies [`membership`] to a batch of sightings.
//! - `invitations`: which invitations people are owed, and what happens to them when people change.
//! - `brake`: how many new people are invited before an administrator has to approve more.
//! - [`Protect`]: the accounts that are never deauthorized, disabled or deleted.
//! - `attempt`: what happens to an invitation after an attempt, and when all calls to Vaultwarden pause.

mod attempt;
mod book;
mod brake;
mod context;
mod invitations;
pub mod membership;
mod protect;
mod requeue;
mod sightings;

pub use attempt::{Breaker, FaultDetector, longest_wait, settlement_for};
pub use book::{Book, Directory, Invitation, Noted, Person};
pub use brake::{Brake, Limits, Verdict};
pub use context::DecisionContext;
pub use protect::{Protect, Untouchable};
pub use sightings::Changed;
