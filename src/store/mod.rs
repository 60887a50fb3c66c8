//! Stores members, actions, the journal and cursors durably. [`crate::rules`] decide what is stored. Only this folder uses
//! `rusqlite`.

mod decisions;
pub mod interface;
mod location;
mod people;
mod row_set;
mod sqlite;
mod types;

pub use decisions::{ChangeBatch, Decisions, Leaving, Step};
pub use interface::{AdminStore, BaseStore, ListenerStore, QueueStore, Store};
pub use location::{Location, dry_run, in_memory, is_served, open, open_read_only, open_shared};
pub use people::{ActionReport, PersonQuery, PersonReport};
pub use row_set::RowSet;
pub use sqlite::Sqlite;
pub use types::{
    Claim, Claimed, Configured, Difference, DirectoryReport, DirectoryRow, DirectoryState, ListingOutcome,
    ManagedRow, Matched, Report, Scope, StoreError, TaskReport, Unchecked, Unregistered, Which,
};

/// The name of the note that says what is wrong with the present Vaultwarden, for [`Report`]; the note is empty if nothing is.
pub const VAULTWARDEN_TROUBLE: &str = "vaultwarden-trouble";

/// The name of the note that says that many accounts are missing, for [`Report`]; the note is empty if they are not.
pub const ACCOUNTS_TROUBLE: &str = "accounts-trouble";
