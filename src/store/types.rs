//! What goes into the store and what comes out.

use crate::clock::Timestamp;
use crate::model::{Action, ActionState, Cursor, Disposition, EmailAddress, EntryId, WorkerId};
use crate::rules::membership::Sighting;

/// What a book is to hold.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// The directory that the decision is about; `0` is none.
    pub directory: i64,
    /// People of that directory.
    pub people: Vec<EntryId>,
    /// People of that directory with every invitation that is or was for them, and all that `addresses` brings for their
    /// own addresses.
    pub owed: Vec<EntryId>,
    /// Addresses: the invitation to each, its person, and who holds the address.
    pub addresses: Vec<EmailAddress>,
    /// Invitations by number, with their people, and all that `addresses` brings for the addresses of both.
    pub invitations: Vec<i64>,
    /// Of invitations nothing but themselves and their people is needed.
    pub alone: bool,
}

/// Which invitations are meant.
#[derive(Debug, Clone, Copy)]
pub enum Which<'a> {
    /// All of them.
    All,
    /// Those to these addresses.
    To(&'a [EmailAddress]),
}

/// What became of directories when it was told which are configured.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configured {
    /// Directories that have another name now, with both.
    pub renamed: Vec<(String, String)>,
    /// Directories that were configured until now.
    pub retired: Vec<String>,
}

/// Somebody whom a listing shows otherwise than they are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Its place among all of them.
    pub place: i64,
    /// Who it is.
    pub id: EntryId,
    /// What the listing said; `None` of a member whom it did not name.
    pub told: Option<Sighting>,
}

/// What a listing brought about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListingOutcome {
    /// How many joined, or joined again.
    pub joined: u64,
    /// How many left.
    pub left: u64,
    /// How many invitations are due because of it.
    pub queued: u64,
    /// How many invitations are held back because of it.
    pub held: u64,
}

/// What is known of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryRow {
    /// The store's number for it.
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
    /// All that are held, compared or not.
    pub all_held: u64,
}

/// How a worker claims actions.
pub struct Claim {
    /// The worker, by the number under which it took over.
    pub owner: WorkerId,
    /// How many at most, in view of what has not been compared.
    pub max: Box<dyn FnOnce(&Unchecked) -> u32 + Send>,
}

/// What a worker has claimed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claimed {
    /// The actions, those due first come first.
    pub actions: Vec<Action>,
    /// What has not been compared.
    pub unchecked: Unchecked,
    /// When the next queued action that nobody has claimed is due.
    pub next_due: Option<Timestamp>,
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
    /// Tasks by state, in the order of [`crate::model::ActionState::ALL`].
    pub tasks: Vec<(&'static str, u64)>,
    /// Each directory.
    pub directories: Vec<DirectoryReport>,
    /// The quarantined tasks, at most 100, newest first.
    pub quarantined: Vec<TaskReport>,
    /// What is wrong with the Vaultwarden that is there, for people.
    pub vaultwarden_trouble: Option<String>,
    /// Queued tasks whose last attempt failed, be it for an outage, at most 100, the latest arrivals first.
    pub failing: Vec<TaskReport>,
}

impl Report {
    /// How many invitations are in a state.
    pub fn count(&self, state: ActionState) -> u64 {
        let count = self.tasks.iter().find(|(name, _)| *name == state.as_str());
        count.map_or(0, |(_, count)| *count)
    }
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
    /// It is not configured any more: its people count for nothing.
    pub retired: bool,
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

/// Why the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the state open as its service.
    #[error(
        "the {store} is in use by another ldap-usher process{pid}; stop that one first, or give this one a `state` path of its own"
    )]
    InUse {
        /// What it is and where, as in "state file /var/lib/ldap-usher/state.db".
        store: String,
        /// " (process 123)" where known.
        pid: String,
    },
    /// The file cannot be opened or created.
    #[error("the {store} cannot be opened: {cause}")]
    Open {
        /// As above.
        store: String,
        /// Cause and remedy.
        cause: String,
    },
    /// An older version wrote the file, and the service has not brought it up to date yet.
    #[error("the {store} is of an older version; start the service once, which brings it up to date")]
    Older {
        /// As above.
        store: String,
    },
    /// A decision came to nothing.
    #[error("a decision on the state came to nothing, which is a bug of this program; it is tried again")]
    Undecided,
    /// A query failed: disk full, file damaged, ...
    #[error("the {store} failed while {doing}: {cause}")]
    Failed {
        /// As above.
        store: String,
        /// What was being done.
        doing: &'static str,
        /// SQLite's words, with the remedy where it is known (disk full, read-only, corrupt).
        cause: String,
    },
}

impl StoreError {
    /// What to do about it.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::InUse { .. } | Self::Open { .. } | Self::Older { .. } => Disposition::Operator,
            Self::Failed { .. } | Self::Undecided => Disposition::Outage,
        }
    }
}
