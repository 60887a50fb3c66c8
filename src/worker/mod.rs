//! The worker: claims the actions that the store says are due, carries them out, and settles them.
//!
//! `queue` is the loop and knows no kind of action; `slots` hold what is claimed and under way; `settling` judges
//! what ended and exchanges it with the store for what is due next. Each kind of action is one file in `actions`.

mod actions;
mod comparison;
mod pace;
mod queue;
pub mod server_identity;
mod settling;
mod slots;

pub use queue::{Settings, Tally, Until, Worker};
