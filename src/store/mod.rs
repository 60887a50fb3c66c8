//! The durable memory: members, actions, the journal, cursors. It stores and finds; [`crate::rules`] decide. The only folder
//! that knows `rusqlite`.

mod decisions;
pub mod interface;
mod location;
mod sqlite;
mod story;
mod types;

pub use decisions::{Decisions, Step, Taken};
pub use interface::{AdminStore, BaseStore, ListenerStore, QueueStore, Store};
pub use location::{Location, dry_run, in_memory, is_served, open, open_read_only, open_shared};
pub use sqlite::Sqlite;
pub use story::{JournalPage, Owed, Story, Whose};
pub use types::{
    Claim, Claimed, Configured, Difference, DirectoryReport, DirectoryRow, DirectoryState, ListingOutcome,
    Report, Scope, StoreError, TaskReport, Unchecked, Which,
};

/// The note of what is wrong with the Vaultwarden that is there, as [`Report`] shows it; empty while nothing is.
pub const VAULTWARDEN_TROUBLE: &str = "vaultwarden-trouble";
