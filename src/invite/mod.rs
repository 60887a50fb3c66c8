//! The invite worker: claims what the ledger says is due, brings it to Vaultwarden, and settles it.

mod pace;
mod worker;

pub use worker::{Settings, Tally, Until, Worker};
