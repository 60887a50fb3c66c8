//! Stores members, actions, the journal and cursors durably: in an SQLite file, or in a PostgreSQL database that several
//! instances share. [`crate::rules`] decide what is stored. Only this folder uses `rusqlite` and `tokio_postgres`.

mod configured;
mod copy;
mod counts;
mod decisions;
pub mod interface;
mod location;
mod people;
mod postgres;
mod reporting;
mod row_set;
mod rows;
mod selection;
mod sqlite;
mod types;

pub use copy::{CopyError, migrate};
pub use decisions::{ChangeBatch, Decisions, Leaving, Step};
pub use interface::{AdminStore, BaseStore, Duty, Lease, ListenerStore, QueueStore, Store};
pub use location::{
    Location, backup, describe, dry_run, in_memory, is_served, open, open_read_only, open_shared,
};
pub use people::{ActionReport, PersonQuery, PersonReport};
pub use postgres::{Database, Postgres, Settings as PostgresSettings};
pub use row_set::RowSet;
pub use sqlite::Sqlite;
pub use types::{
    Claim, Claimed, Configured, Difference, DirectoryReport, DirectoryRow, DirectoryState, Hour,
    InstanceReport, ListingOutcome, ManagedRow, Matched, Report, Scope, StoreError, TaskReport, Unchecked,
    Unregistered, Which,
};

/// The name of the duty ([`Store::duty`]) to compare the accounts in our care with those of Vaultwarden.
pub const ACCOUNTS_DUTY: &str = "accounts";

/// The name of the note that says what is wrong with the present Vaultwarden, for [`Report`]; the note is empty if nothing is.
pub const VAULTWARDEN_TROUBLE: &str = "vaultwarden-trouble";

/// The name of the note that says that many accounts are missing, for [`Report`]; the note is empty if they are not.
pub const ACCOUNTS_TROUBLE: &str = "accounts-trouble";

/// The largest number of people with one address, DN or identity that are reported.
const MAX_PEOPLE: u32 = 100;
