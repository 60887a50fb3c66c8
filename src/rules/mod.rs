//! What follows from what is known and what was seen. Pure: no I/O, no clock, no chance; whatever a rule needs is passed in.
//!
//! - [`membership`]: what one sighting of an entry means for the person.
//! - [`Book`]: what the store knows of the people and invitations that one decision is about. The rules change it, and the
//!   store saves what they changed.
//! - `sightings`: the same for all whom a batch of sightings is about; methods of [`Book`], as the next.
//! - `invitations`: what is owed to whom.
//! - `brake`: how many new people may be invited before an administrator has to look.
//! - `attempt`: what becomes of an invitation after an attempt, and when Vaultwarden is left alone.

mod attempt;
mod book;
mod brake;
mod context;
mod invitations;
pub mod membership;
mod sightings;

pub use attempt::{Breaker, FaultDetector, longest_wait, settlement_for};
pub use book::{Book, Directory, Invitation, Noted, Person};
pub use brake::{Brake, Limits, Verdict};
pub use context::DecisionContext;
pub use sightings::Changed;
