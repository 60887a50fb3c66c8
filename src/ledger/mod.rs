//! The durable memory: members, tasks and cursors. The only folder that knows `sqlx`.

mod fate;
mod sqlite;
mod types;

use std::time::Duration;

use futures::future::BoxFuture;

use crate::clock::Timestamp;
use crate::model::{EmailAddress, EntryId, Listing, Member, Settlement, Task};

pub use fate::{Before, Fate, TaskFate};
pub use sqlite::Sqlite;
pub use types::{
    Batch, Committed, DirectoryReport, DirectoryRow, DirectoryState, Duplicate, LedgerError, ListingOutcome,
    MemberWrite, Origin, Report, TaskReport, TaskWrite, Unchecked,
};

/// A future of this module.
pub type Reply<'a, T> = BoxFuture<'a, Result<T, LedgerError>>;

/// The ledger. Each method is one transaction, all or nothing; a method that returned `Ok` survives `kill -9` and power loss as far
/// as order goes: after a power loss the last transactions may be missing, never one before a later one.
pub trait Ledger: Send + Sync {
    // -- the listener's side ------------------------------------------------------------------------------------

    /// Registers a directory under its name and returns what is known of it. Where `settings` (the text of all
    /// settings on which a cursor depends) differ from those stored, the cursor is dropped.
    fn enroll<'a>(&'a self, name: &'a str, settings: &'a str) -> Reply<'a, DirectoryRow>;

    /// The members among `who`. Unknown ids are absent from the answer.
    fn known<'a>(&'a self, directory: i64, who: &'a [EntryId]) -> Reply<'a, Vec<Member>>;

    /// Begins a listing: from now on every row that a batch touches counts as seen by it. A directory has one
    /// listing at a time; one that did not end is forgotten.
    fn begin_listing(&self, directory: i64) -> Reply<'_, ()>;

    /// Commits members, tasks and cursor together.
    fn commit<'a>(&'a self, batch: &'a Batch, now: Timestamp) -> Reply<'a, Committed>;

    /// Up to `limit` members (not those who have left) that the current listing has not seen, in the order of
    /// their rows, after the row `after`.
    fn unseen(&self, directory: i64, after: i64, limit: u32) -> Reply<'_, Vec<Member>>;

    /// Ends a listing. After a [`Listing::Complete`] one whoever is still unseen is recorded as having left, and
    /// their invitations are dealt with as by [`TaskWrite::Cancel`]. However the listing ended, staged tasks of this
    /// directory (those of a listing that died with an earlier process among them) become queued, or, where there
    /// are more than `hold_above`, held and unchecked (see [`Ledger::unchecked`]).
    fn end_listing<'a>(
        &'a self,
        directory: i64,
        end: &'a Listing,
        hold_above: Option<u32>,
        now: Timestamp,
    ) -> Reply<'a, ListingOutcome>;

    /// Records how a directory's stream stands, for `status`.
    fn observe<'a>(&'a self, directory: i64, state: &'a DirectoryState, now: Timestamp) -> Reply<'a, ()>;

    // -- the worker's side --------------------------------------------------------------------------------------

    /// Up to `max` queued tasks that are due, leased for `lease`: nobody else gets them until then. Those due first
    /// come first, so that a task that keeps failing delays no other. A task whose lease ran out without a
    /// settlement comes back `in_doubt`; let `lease` be longer than any attempt.
    ///
    /// A task in doubt is claimed even if its person has left meanwhile, because it may have been sent. Where the
    /// look-up finds no account, settle it with a [`Settlement::RetryAt`] that is due at once and no longer in
    /// doubt: it comes back only if the invitation is still wanted.
    fn claim(&self, max: u32, lease: Duration, now: Timestamp) -> Reply<'_, Vec<Task>>;

    /// Settles claimed tasks.
    ///
    /// [`Settlement::Done`] holds whatever became of the task meanwhile; the others change nothing unless it is still
    /// claimed. Where it turns out not to have been sent and its person has left or changed address meanwhile, it is
    /// cancelled or handed over as by [`TaskWrite::Cancel`], and an invitation to the address they have now is opened.
    fn settle<'a>(&'a self, settled: &'a [(i64, Settlement)], now: Timestamp) -> Reply<'a, ()>;

    /// When the next queued task is due, if there is one; one that is claimed, when its lease ends.
    fn next_due(&self) -> Reply<'_, Option<Timestamp>>;

    /// How many queued or held tasks have not been compared with Vaultwarden's list of accounts.
    fn unchecked(&self) -> Reply<'_, Unchecked>;

    /// Marks tasks done (had an account) whose address is among `accounts` and that are queued, not under a lease,
    /// or held; returns how many.
    fn had_accounts<'a>(&'a self, accounts: &'a [EmailAddress], now: Timestamp) -> Reply<'a, u64>;

    /// Every task that was queued or held at `begun` has now been compared with the list of accounts.
    ///
    /// A directory's held tasks that were compared just now become queued if they are no more than `hold_above`;
    /// older ones stay held until someone approves them. Returns (directory, how many are held there) for those
    /// where they are more.
    fn checked(
        &self,
        begun: Timestamp,
        hold_above: Option<u32>,
        now: Timestamp,
    ) -> Reply<'_, Vec<(String, u64)>>;

    // -- people and the rest ------------------------------------------------------------------------------------

    /// Releases held tasks: all of them, or those of the addresses given. Returns the addresses released.
    fn approve<'a>(&'a self, addresses: Option<&'a [EmailAddress]>, now: Timestamp)
    -> Reply<'a, Vec<String>>;

    /// The addresses of held tasks with their DNs, in the order in which they arrived.
    fn held(&self) -> Reply<'_, Vec<TaskReport>>;

    /// Releases quarantined tasks as [`Ledger::approve`] does held ones: due at once, their failures forgotten.
    fn retry<'a>(&'a self, addresses: Option<&'a [EmailAddress]>, now: Timestamp) -> Reply<'a, Vec<String>>;

    /// All quarantined tasks, in the order in which they arrived.
    fn quarantined(&self) -> Reply<'_, Vec<TaskReport>>;

    /// Everything that `status` and the metrics show, in about a millisecond however large the directory is.
    fn report(&self) -> Reply<'_, Report>;

    /// A small note, kept under a name (a session cookie, the times of logins, the breaker's state).
    fn recall<'a>(&'a self, name: &'a str) -> Reply<'a, Option<Vec<u8>>>;

    /// Keeps a small note.
    fn remember<'a>(&'a self, name: &'a str, note: &'a [u8]) -> Reply<'a, ()>;
}
