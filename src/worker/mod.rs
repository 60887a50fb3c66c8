//! The worker: claims due actions from the store, carries them out, and settles them.
//!
//! `queue` is the main loop and is independent of the kinds of actions. `state` is what its steps share. `slots` holds the
//! claimed actions and runs the attempts, `settlements` holds the settlements that wait to be stored. `settling` decides how
//! each finished attempt is settled, and settles and claims in one transaction. `comparison` finds people who already have
//! an account. `server_identity` detects a replaced Vaultwarden. `accounts` compares the accounts in our care with those that
//! Vaultwarden has. `recheck` looks leavers up again. Each kind of action is one file in `actions`.

mod accounts;
mod actions;
mod comparison;
mod pace;
mod queue;
mod recheck;
pub mod server_identity;
mod settlements;
mod settling;
mod slots;
mod state;

pub use accounts::{Accounts, AccountsSettings, describe_missing};
pub use queue::Until;
pub use recheck::{LookUpError, Recheck, look_up};
pub use state::{Tally, Worker, WorkerSettings};
