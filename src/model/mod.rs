//! Domain types shared by all modules: no I/O, no async.

mod account;
mod action;
mod change;
pub mod description;
mod disposition;
mod email;
mod entry;
mod event;
mod event_names;
mod journal_line;
mod member;
mod text;

pub use account::{AccountState, Care, ListedAccount, ManagedAccount};
pub use action::{Action, ActionKind, ActionState, Compared, Outcome, Settlement, WorkerId};
pub use change::{Change, Cursor, Listing};
pub use disposition::{Disposition, Rejection};
pub use email::{AddressProblem, EmailAddress};
pub use entry::{Attribute, Entry, EntryId};
pub use event::{Event, Hold, ObservedChange, Release, Request, Source, What};
pub use journal_line::JournalLine;
pub use member::{Member, Standing};
pub use text::prepared;
