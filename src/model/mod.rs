//! Domain types shared by all modules: no I/O, no async.

mod action;
mod change;
pub mod description;
mod disposition;
mod email;
mod entry;
mod event;
mod member;
mod text;

pub use action::{Action, ActionKind, ActionState, Outcome, Settlement};
pub use change::{Change, Cursor, Listing};
pub use disposition::{Disposition, Rejection};
pub use email::{AddressProblem, EmailAddress};
pub use entry::{Attribute, Entry, EntryId};
pub use event::{Event, Hold, Release, Source, What};
pub use member::{Member, Standing};
pub use text::prepared;
