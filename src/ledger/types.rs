//! What goes into the ledger and what comes out.

use crate::clock::Timestamp;
use crate::model::{Cursor, Disposition, EmailAddress, EntryId, Standing};

/// Whether changes come one by one or as part of a listing. What a listing finds waits (staged) for its end, so
/// that `limits.invites_per_listing` can judge it as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// A single change, as it happened.
    Live,
    /// Found by a listing.
    Listing,
}

/// What one transaction of the listener writes.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The directory's row.
    pub directory: i64,
    /// Where the changes came from.
    pub origin: Origin,
    /// When the changes arrived.
    pub arrived: Timestamp,
    /// Rows to insert or to bring to the state given; at most one per entry.
    pub members: Vec<MemberWrite>,
    /// Rows (by number) that were confirmed unchanged: only marked as seen.
    pub seen: Vec<i64>,
    /// What to do about invitations, in order, after the members are written. Writes for entries that have no row
    /// do nothing.
    pub tasks: Vec<TaskWrite>,
    /// The new resume point.
    pub cursor: Option<Cursor>,
}

/// The state to which one member's row is brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberWrite {
    /// Who.
    pub id: EntryId,
    /// The DN.
    pub dn: String,
    /// The address, kept when the person leaves.
    pub address: Option<EmailAddress>,
    /// The standing.
    pub standing: Standing,
}

/// What to do about an invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskWrite {
    /// An invitation to this address is owed to this entry. Where there is no task for the address, one is opened; a
    /// cancelled one is opened again; a done or quarantined one only if `again` and it is not for another present
    /// member; any other stays as it is. Where another present member holds the address, the pair is returned as a
    /// [`Duplicate`], once a commit; a member of the same directory and DN is no other, but the entry before it was
    /// deleted and made anew.
    Open {
        /// Who.
        id: EntryId,
        /// The address.
        address: EmailAddress,
        /// The person left and came back: invite them again even if they were invited once.
        again: bool,
    },
    /// No invitation is owed to this entry at this address any more. If there is a task and it is for this entry, it
    /// is handed to another present member who holds the same address; where there is none, it is cancelled, unless
    /// it was or may have been sent (that is: unless it is done, claimed or in doubt).
    Cancel {
        /// Who.
        id: EntryId,
        /// The address.
        address: EmailAddress,
    },
    /// The entry's address changed from `from` to `to`. Where the invitation to `from` was not sent, it is dealt with
    /// as by [`TaskWrite::Cancel`] and one to `to` opened, which is held or staged if the old one was. Where an
    /// invitation to this entry was or may have been sent, be it to `from` or to an earlier address, one to `to` is
    /// opened only if `invite`.
    Readdress {
        /// Who.
        id: EntryId,
        /// The address before.
        from: EmailAddress,
        /// The address now.
        to: EmailAddress,
        /// Whether the new address is to be invited though the old one was.
        invite: bool,
    },
}

/// Two present members with one address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicate {
    /// The address.
    pub address: EmailAddress,
    /// The DN of the entry that just came with it.
    pub dn: String,
    /// The DN of the entry that has it already.
    pub holder_dn: String,
}

/// What a commit found out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Committed {
    /// Addresses that more than one present member has.
    pub duplicates: Vec<Duplicate>,
    /// How many invitations became queued (not staged or held ones).
    pub queued: u64,
}

/// What the end of a listing brought about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListingOutcome {
    /// The DNs of those recorded as having left, at most [`ListingOutcome::NAMED`] of them.
    pub left_dns: Vec<String>,
    /// How many were recorded as having left.
    pub left: u64,
    /// How many staged invitations became due.
    pub queued: u64,
    /// How many staged invitations are now held.
    pub held: u64,
}

impl ListingOutcome {
    /// How many leavers are named; the rest is counted.
    pub const NAMED: usize = 100;
}

/// What is known of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryRow {
    /// The ledger's number for it.
    pub id: i64,
    /// Where to resume, if there is a cursor that belongs to the present settings.
    pub cursor: Option<Cursor>,
    /// A cursor was dropped because the settings differ from those it belongs to.
    pub settings_changed: bool,
    /// When the last complete listing ended.
    pub listed: Option<Timestamp>,
}

/// Tasks that have not been compared with Vaultwarden's list of accounts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unchecked {
    /// Queued ones.
    pub queued: u64,
    /// Held ones: the comparison decides whether they stay held.
    pub held: u64,
}

/// How a directory's stream stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryState {
    /// The kind of stream, as in the configuration: `syncrepl`, `poll`.
    pub stream: String,
    /// Whether a session is open.
    pub connected: bool,
    /// The last error, while there is one.
    pub error: Option<String>,
}

/// Everything that `status` shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Present members with a usable address, over all directories.
    pub members: u64,
    /// Present members without a usable address.
    pub without_address: u64,
    /// Tasks by state, in the order of [`crate::model::TaskState::ALL`].
    pub tasks: Vec<(&'static str, u64)>,
    /// Each directory.
    pub directories: Vec<DirectoryReport>,
    /// The quarantined tasks, at most 100, newest first.
    pub quarantined: Vec<TaskReport>,
    /// Queued tasks whose last attempt failed, be it for an outage, at most 100, the latest arrivals first.
    pub failing: Vec<TaskReport>,
}

/// One directory in a [`Report`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryReport {
    /// Its name.
    pub name: String,
    /// How its stream stood when it was last recorded; meaningless while the service is not running.
    pub state: DirectoryState,
    /// When the state was last recorded.
    pub recorded: Option<Timestamp>,
    /// Present members with a usable address.
    pub members: u64,
    /// Present members without one.
    pub without_address: u64,
    /// When the cursor was last stored.
    pub cursor_stored: Option<Timestamp>,
    /// When the last complete listing ended.
    pub listed: Option<Timestamp>,
}

/// One task, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskReport {
    /// The address.
    pub address: String,
    /// The DN of the entry that it is for.
    pub dn: String,
    /// The directory's name.
    pub directory: String,
    /// The last error or the reason.
    pub reason: String,
    /// Failed attempts.
    pub attempts: u32,
    /// When the change that caused it arrived.
    pub arrived: Timestamp,
}

/// Why the ledger failed.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// Another process has the state open as its service.
    #[error(
        "the state file {path} is in use by another ldap-usher process{pid}; stop that one first, or give this one a `state` path of its own"
    )]
    InUse {
        /// The state file.
        path: String,
        /// " (process 123)" where known.
        pid: String,
    },
    /// The file cannot be opened or created.
    #[error("the state file {path} cannot be opened: {cause}")]
    Open {
        /// The state file.
        path: String,
        /// Cause and remedy.
        cause: String,
    },
    /// An older version wrote the file, and the service has not brought it up to date yet.
    #[error(
        "the state file {path} is of an older version; start the service once, which brings it up to date"
    )]
    Older {
        /// The state file.
        path: String,
    },
    /// A query failed: disk full, file damaged, ...
    #[error("the state file {path} failed while {doing}: {cause}")]
    Failed {
        /// The state file.
        path: String,
        /// What was being done.
        doing: &'static str,
        /// SQLite's words, with the remedy where it is known (disk full, read-only, corrupt).
        cause: String,
    },
}

impl LedgerError {
    /// What to do about it.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::InUse { .. } | Self::Open { .. } | Self::Older { .. } => Disposition::Operator,
            Self::Failed { .. } => Disposition::Outage,
        }
    }
}
