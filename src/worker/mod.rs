//! The invite worker: claims what the store says is due, brings it to Vaultwarden, and settles it.

mod census;
mod pace;
mod queue;
pub mod recognition;

pub use queue::{Settings, Tally, Until, Worker};
