//! The parameters and results of the store.

use crate::clock::Timestamp;
use crate::model::{
    Action, ActionKind, ActionState, Cursor, Disposition, EmailAddress, EntryId, ListedAccount,
    ManagedAccount, WorkerId,
};
use crate::rules::membership::Sighting;

/// What to read into a book.
#[derive(Debug, Clone, Default)]
pub struct Scope {
    /// The directory that the decision concerns; `0` for none.
    pub directory: i64,
    /// People of that directory.
    pub people: Vec<EntryId>,
    /// People of that directory, each with all of their invitations and with what `addresses` reads for the addresses of
    /// those and for their own.
    pub with_invitations: Vec<EntryId>,
    /// Addresses: the invitation to each, its person, and the people who have the address.
    pub addresses: Vec<EmailAddress>,
    /// Numbers of actions: each with its person, and with what `addresses` reads for the addresses of both.
    pub tasks: Vec<i64>,
    /// Whether to read only the actions of `tasks` and their people, and nothing for any address.
    pub tasks_only: bool,
    /// Whether to read the queued actions for leavers of that directory.
    pub pending_leavers: bool,
}

impl Scope {
    /// Whether it names nothing.
    pub fn is_empty(&self) -> bool {
        let Self {
            directory,
            people,
            with_invitations,
            addresses,
            tasks,
            tasks_only: _,
            pending_leavers,
        } = self;
        *directory == 0
            && people.is_empty()
            && with_invitations.is_empty()
            && addresses.is_empty()
            && tasks.is_empty()
            && !pending_leavers
    }
}

/// Which actions are meant.
#[derive(Debug, Clone, Copy)]
pub enum Which<'a> {
    /// All of them.
    All,
    /// Those that concern these addresses.
    To(&'a [EmailAddress]),
    /// Those with these numbers.
    Rows(&'a [i64]),
}

/// The effect of the configuration on the stored directories.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configured {
    /// Directories that were renamed, each with the old and the new name.
    pub renamed: Vec<(String, String)>,
    /// Directories that are no longer configured.
    pub retired: Vec<String>,
}

/// A person about whom a listing and the store differ.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Its position among all differences.
    pub place: i64,
    /// The identity of the person.
    pub id: EntryId,
    /// What the listing reported; `None` for a member whom it did not report.
    pub sighting: Option<Sighting>,
}

/// The effect of a listing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ListingOutcome {
    /// The number of people who joined or joined again.
    pub joined: u64,
    /// The number of people who left.
    pub left: u64,
    /// The number of invitations that it queued.
    pub queued: u64,
    /// The number of invitations that it holds.
    pub held: u64,
}

/// A registered directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryRow {
    /// The store's number for it.
    pub id: i64,
    /// Where to resume; `None` without a cursor of the present settings.
    pub cursor: Option<Cursor>,
    /// Whether a cursor was dropped because the settings have changed.
    pub settings_changed: bool,
    /// When the last complete listing ended.
    pub listed: Option<Timestamp>,
}

/// The numbers of actions that have not been compared with Vaultwarden's list of accounts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unchecked {
    /// Queued actions.
    pub queued: u64,
    /// Held actions: the comparison decides whether they stay held.
    pub held: u64,
    /// All held actions, whether compared or not.
    pub all_held: u64,
}

/// A request of a worker for actions.
pub struct Claim {
    /// The worker.
    pub owner: WorkerId,
    /// Returns the largest number to claim, given how many have not been compared.
    pub max: Box<dyn FnOnce(&Unchecked) -> u32 + Send>,
    /// The row of the only person whose actions are claimed; `None` for everyone's.
    pub only: Option<i64>,
}

/// The reply to a [`Claim`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claimed {
    /// The claimed actions, in the order in which they are due.
    pub actions: Vec<Action>,
    /// How many actions have not been compared.
    pub unchecked: Unchecked,
    /// When the next unclaimed action is due.
    pub next_due: Option<Timestamp>,
    /// The number of workers that claim actions of this store now; `0` if it is not known.
    pub workers: u32,
}

/// An account in our care, with the number of its invitation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ManagedRow {
    /// The number of the invitation.
    pub row: i64,
    /// The number of the directory of its person.
    pub directory: i64,
    /// The account.
    pub account: ManagedAccount,
}

/// A person who was invited and has not registered, as far as is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unregistered {
    /// The number of the invitation.
    pub row: i64,
    /// The address.
    pub address: EmailAddress,
    /// The DN of the person.
    pub dn: String,
    /// The name of their directory.
    pub directory: String,
    /// The account.
    pub account: ManagedAccount,
}

/// An account as Vaultwarden lists it, compared with the invitation to which it belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Matched {
    /// The number of the invitation.
    pub row: i64,
    /// Whether the invitation waits, although there is an account.
    pub waits: bool,
    /// What is known of the account; `None` if it is not in our care.
    pub known: Option<ManagedAccount>,
    /// What Vaultwarden lists.
    pub listed: ListedAccount,
}

impl Matched {
    /// Whether the listed account is the known one. It is another one if only the address is the same.
    pub fn is_known(&self) -> bool {
        let known = self.known.as_ref().and_then(|known| known.id.as_ref());
        known.is_none_or(|id| *id == self.listed.id)
    }
}

/// The state of a directory's stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryState {
    /// The kind of stream, as in the configuration: `syncrepl`, `poll`.
    pub stream: String,
    /// Whether a session is open.
    pub connected: bool,
    /// The last error, while there is one.
    pub error: Option<String>,
}

/// What `status` and the metrics show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Present members with a usable address, over all directories.
    pub members: u64,
    /// Present members without a usable address.
    pub without_address: u64,
    /// The number of invitations in each state, in the order of [`crate::model::ActionState::ALL`].
    pub tasks: Vec<(&'static str, u64)>,
    /// The number of actions for leavers in each state, in the same order.
    pub leavers: Vec<(&'static str, u64)>,
    /// The number of people who were invited and have not registered, as far as is known.
    pub unregistered: u64,
    /// The directories.
    pub directories: Vec<DirectoryReport>,
    /// The quarantined actions, newest first, at most 100.
    pub quarantined: Vec<TaskReport>,
    /// What is wrong with the present Vaultwarden, if anything.
    pub vaultwarden_trouble: Option<String>,
    /// The held actions, those that were held first at the top, at most 100.
    pub held: Vec<TaskReport>,
    /// Queued actions whose last attempt failed (outages included), latest arrival first, at most 100.
    pub failing: Vec<TaskReport>,
    /// The instances that use the store, in the order of their start; none for a store that only one can use.
    pub instances: Vec<InstanceReport>,
}

/// One instance in a [`Report`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceReport {
    /// Its name, by default that of its machine.
    pub name: String,
    /// The version of this program that it runs.
    pub version: String,
    /// When it started.
    pub started: Timestamp,
    /// What it does alone, and since when.
    pub duties: Vec<(String, Timestamp)>,
}

impl Report {
    /// The number of invitations in a state.
    pub fn count(&self, state: ActionState) -> u64 {
        in_state(&self.tasks, state)
    }

    /// The number of actions for leavers in a state.
    pub fn leavers_in(&self, state: ActionState) -> u64 {
        in_state(&self.leavers, state)
    }
}

fn in_state(counts: &[(&'static str, u64)], state: ActionState) -> u64 {
    let count = counts.iter().find(|(name, _)| *name == state.as_str());
    count.map_or(0, |(_, count)| *count)
}

/// What the journal says about one hour, or a part of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hour {
    /// When it began.
    pub began: Timestamp,
    /// The number of people who joined or rejoined. Those whom a listing found are counted by the event at its end, because
    /// a listing of very many people does not journal each.
    pub joined: u64,
    /// The number of people who left, counted in the same way.
    pub left: u64,
    /// The number of people who were invited.
    pub invited: u64,
    /// How long their invitations took ([`crate::model::What::Invited`]), in total and in milliseconds.
    pub delays_ms: u64,
    /// The longest of these times.
    pub longest_ms: u64,
}

/// One directory in a [`Report`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirectoryReport {
    /// Its name.
    pub name: String,
    /// The last recorded state of its stream; out of date while the service is not running.
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
    /// Whether it is no longer configured: its people do not count.
    pub retired: bool,
}

/// One action in a [`Report`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskReport {
    /// Its number.
    pub row: i64,
    /// What is owed.
    pub kind: ActionKind,
    /// The address.
    pub address: String,
    /// The identity of the person's entry.
    pub entry: EntryId,
    /// The DN of the person.
    pub dn: String,
    /// Whether it is an invitation whose account is in our care and exists as far as is known.
    pub has_account: bool,
    /// The directory's name.
    pub directory: String,
    /// The last error or the reason.
    pub reason: String,
    /// The number of failed attempts.
    pub attempts: u32,
    /// When the change that caused it arrived.
    pub arrived: Timestamp,
}

/// Why the store failed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the state file open as its service.
    #[error(
        "the {store} is in use by another ldap-usher process{pid}; stop that one first, or give this one a `state` path of its own"
    )]
    InUse {
        /// The kind and the place of the store, as in "state file /var/lib/ldap-usher/state.db".
        store: String,
        /// " (process 123)", or empty if it is not known.
        pid: String,
    },
    /// The file or the database cannot be opened or created.
    #[error("the {store} cannot be opened: {cause}")]
    Open {
        /// As above.
        store: String,
        /// Cause and remedy.
        cause: String,
    },
    /// An older version wrote the state, and the service has not upgraded it yet.
    #[error("the {store} is of an older version; start the service once, which brings it up to date")]
    Older {
        /// As above.
        store: String,
    },
    /// A backup cannot be written.
    #[error("the backup {file} cannot be written: {cause}")]
    Backup {
        /// The file.
        file: String,
        /// Cause and remedy.
        cause: String,
    },
    /// A decision ended without a result.
    #[error(
        "a decision on the state ended without a result, which is a bug of this program; it is tried again"
    )]
    Undecided,
    /// Another instance has the right to do this now.
    #[error("another instance has taken over: {duty} (in the {store})")]
    Superseded {
        /// As above.
        store: String,
        /// What it does, as in "directory main".
        duty: String,
    },
    /// A query failed: disk full, file damaged, server away, ...
    #[error("the {store} failed while {doing}: {cause}")]
    Failed {
        /// As above.
        store: String,
        /// The operation, as in "reading the journal".
        doing: &'static str,
        /// The message of the database, with the remedy if it is known (disk full, read-only, corrupt).
        cause: String,
    },
}

impl StoreError {
    /// What is wrong, whatever was to be done.
    pub fn cause(&self) -> String {
        match self {
            Self::Failed { cause, .. } | Self::Open { cause, .. } => cause.clone(),
            other => other.to_string(),
        }
    }

    /// What to do about it.
    pub fn disposition(&self) -> Disposition {
        match self {
            Self::InUse { .. } | Self::Open { .. } | Self::Older { .. } | Self::Backup { .. } => {
                Disposition::Operator
            }
            Self::Failed { .. } | Self::Undecided | Self::Superseded { .. } => Disposition::Outage,
        }
    }
}
