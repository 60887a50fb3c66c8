//! What became of each person in a store that was only rehearsed on.

use crate::clock::Timestamp;
use crate::model::{ActionState, EmailAddress, Outcome, Standing};

/// One person, or one of their invitations, after a dry_run (see [`super::Sqlite::dry_run`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fate {
    /// The store's number of the person.
    pub row: i64,
    /// The name of their directory.
    pub directory: String,
    /// Their directory is configured.
    pub configured: bool,
    /// Their DN.
    pub dn: String,
    /// The address last found usable.
    pub address: Option<EmailAddress>,
    /// How they stand to the filter.
    pub standing: Standing,
    /// They left in the dry_run.
    pub left: bool,
    /// An invitation that was owed to them was cancelled in the dry_run.
    pub cancelled: bool,
    /// The DN of another person to whom the invitation to their address belongs.
    pub holder_dn: Option<String>,
    /// An address at which they were invited.
    pub invited_as: Option<String>,
    /// An invitation of theirs: the one to their present address, one that is open, or one that the dry_run changed.
    pub task: Option<TaskFate>,
}

/// What became of an invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskFate {
    /// Where to.
    pub address: EmailAddress,
    /// Its state after the dry_run.
    pub state: ActionState,
    /// How it was done, where it was.
    pub outcome: Option<Outcome>,
    /// The last error, or why it is quarantined.
    pub reason: Option<String>,
    /// Not to be tried before this.
    pub due: Timestamp,
    /// What it was before the dry_run.
    pub before: Before,
}

/// What an invitation was before a dry_run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Before {
    /// It did not exist.
    Absent,
    /// It was in this state, which the dry_run changed.
    Was(ActionState),
    /// As it is after it.
    Same,
}
