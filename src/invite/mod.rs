//! The invite worker: claims what the ledger says is due, brings it to Vaultwarden, and settles it.

mod census;
mod pace;
pub mod recognition;
mod worker;

pub use worker::{Settings, Tally, Until, Worker};
