//! Domain types shared by all modules: no I/O, no async.

mod change;
pub mod description;
mod disposition;
mod email;
mod entry;
mod member;
mod task;
mod text;

pub use change::{Change, Cursor, Listing, Why};
pub use disposition::{Disposition, Rejection};
pub use email::{AddressProblem, EmailAddress};
pub use entry::{Attribute, Entry, EntryId};
pub use member::{Member, Standing};
pub use task::{Outcome, Settlement, Task, TaskState};
pub use text::prepared;
