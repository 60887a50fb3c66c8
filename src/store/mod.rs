//! The durable memory: members, invitations and cursors. It stores and finds; what follows from what, [`crate::rules`]
//! decide. The only folder that knows `rusqlite`.

mod decisions;
mod location;
mod sqlite;
mod story;
mod types;

use futures::future::BoxFuture;

use crate::clock::Timestamp;
use crate::model::{ActionState, EmailAddress, EntryId, Member, Release, WorkerId};
use crate::rules::membership::Sighting;
use crate::rules::{Book, Brake, Noted, Verdict};

pub use decisions::{Decisions, Step, Taken};
pub use location::{Location, dry_run, in_memory, is_served, open, open_read_only, open_shared};
pub use sqlite::Sqlite;
pub use story::{JournalPage, Owed, Story, Whose};
pub use types::{
    Claim, Claimed, Configured, Difference, DirectoryReport, DirectoryRow, DirectoryState, ListingOutcome,
    Report, Scope, StoreError, TaskReport, Unchecked, Which,
};

/// The note of what is wrong with the Vaultwarden that is there, as [`Report`] shows it; empty while nothing is.
pub const VAULTWARDEN_TROUBLE: &str = "vaultwarden-trouble";

/// A future of this module. What it does is done as a whole, or not at all, even if it is dropped.
pub type Reply<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// Decides with the book in hand; asks for more where it does not suffice. What the book holds when nothing more is asked
/// for is saved.
pub type Decision = Box<dyn FnMut(&mut Book) -> Option<Scope> + Send>;

/// Judges so many invitations of one directory.
pub type Judge = Box<dyn FnMut(&mut Brake, u64) -> Verdict + Send>;

/// The store. Each method is one transaction, all or nothing; a method that returned `Ok` survives `kill -9` and power loss as far
/// as order goes: after a power loss the last transactions may be missing, never one before a later one.
///
/// A method that fails leaves nothing behind, and the next one starts afresh: the storage is tried again with each call.
pub trait Store: Send + Sync {
    /// Reads what `scope` names into a book, lets `decision` change it, and saves what it changed, in one transaction.
    fn transact(&self, scope: Scope, decision: Decision) -> Reply<'_, ()>;

    // -- directories --------------------------------------------------------------------------------------------

    /// Tells which directories are configured, each by its name and its scope (base and filter). One that is stored
    /// under another name with the scope of a new one is renamed; all others that are not configured are retired: their
    /// people count for nothing.
    fn configure(&self, directories: Vec<(String, String)>) -> Reply<'_, Configured>;

    /// Registers a directory under its name and returns what is known of it. Where `settings` (the text of all
    /// settings on which a cursor depends) differ from those stored, the cursor is dropped.
    fn register<'a>(&'a self, name: &'a str, scope: &'a str, settings: &'a str) -> Reply<'a, DirectoryRow>;

    /// Up to `limit` numbers of invitations to people of directories that are not configured which have not been sent,
    /// under way, or in doubt.
    fn orphans(&self, limit: u32) -> Reply<'_, Vec<i64>>;

    /// Records how a directory's stream stands, for `status`.
    fn observe<'a>(&'a self, directory: i64, state: &'a DirectoryState, now: Timestamp) -> Reply<'a, ()>;

    // -- listings -----------------------------------------------------------------------------------------------

    /// Begins a listing. A directory has one at a time; one that did not end is forgotten. What it names is kept as long
    /// as the process lives: a listing that died with it is repeated.
    fn begin_listing(&self, directory: i64) -> Reply<'_, ()>;

    /// Appends what the listing named, in the order in which the directory told it.
    fn append(&self, directory: i64, named: Vec<Sighting>) -> Reply<'_, ()>;

    /// Compares what the listing named with the members, for [`Store::differences`]; `complete` where it named everyone.
    /// May take seconds, in which everything but listings goes on.
    fn compare(&self, directory: i64, complete: bool) -> Reply<'_, ()>;

    /// Up to `limit` differences that [`Store::compare`] found, after the place `after`: those that were named, in the order
    /// in which they are best written, then members (not those who have left) whom a complete listing did not name. Whoever
    /// was named more than once comes as often, in the order in which it was told.
    fn differences(&self, directory: i64, after: i64, limit: u32) -> Reply<'_, Vec<Difference>>;

    /// Ends a listing, `complete` or not, and notes what it brought about.
    fn end_listing(
        &self,
        directory: i64,
        complete: bool,
        noted: Option<Noted>,
        now: Timestamp,
    ) -> Reply<'_, ()>;

    // -- the worker ---------------------------------------------------------------------------------------------

    /// Makes `owner` the only worker. What others have claimed and not settled is due at once, and in doubt; no time
    /// lies further in the future than a wait can be.
    fn take_over(&self, owner: WorkerId, now: Timestamp) -> Reply<'_, ()>;

    /// Moves every stored time of what is still to come by so many milliseconds: the clock was set.
    fn rebase(&self, by: i64) -> Reply<'_, ()>;

    /// Decides as [`Store::transact`] does, and then claims queued invitations that are due, in one transaction. They stay
    /// claimed until they are settled or another worker takes over. Those due first come first, so that one that keeps
    /// failing delays no other.
    ///
    /// One in doubt is claimed even if its person has left meanwhile, because it may have been sent.
    fn exchange(&self, scope: Scope, decision: Decision, claim: Claim, now: Timestamp) -> Reply<'_, Claimed>;

    /// When the next queued invitation that nobody has claimed is due, if there is one.
    fn next_due(&self) -> Reply<'_, Option<Timestamp>>;

    /// Lets all invitations that are in quarantine for this fault be tried again; returns their addresses.
    fn pardon<'a>(&'a self, fault: &'a str, now: Timestamp) -> Reply<'a, Vec<String>>;

    // -- the comparison with Vaultwarden's accounts ---------------------------------------------------------------

    /// How many queued or held invitations have not been compared with Vaultwarden's list of accounts; as if none were held
    /// while a listing is being taken in whose people are.
    fn unchecked(&self) -> Reply<'_, Unchecked>;

    /// Begins a comparison of all that are queued or held and have not been compared; without those who are held while a
    /// listing is being taken in, since they are judged by their number.
    fn begin_comparison(&self) -> Reply<'_, ()>;

    /// Ends the comparison that was begun last. A directory's held invitations that were compared become queued where
    /// `judge` says so of their number; others stay held until somebody approves them. Returns (directory, how many are
    /// held there) for those where they stay.
    fn end_comparison(&self, judge: Judge, now: Timestamp) -> Reply<'_, Vec<(String, u64)>>;

    /// How many of these addresses were invited.
    fn invited<'a>(&'a self, addresses: &'a [EmailAddress]) -> Reply<'a, u64>;

    // -- people and the rest --------------------------------------------------------------------------------------

    /// Lets invitations in one of these states be tried at once, their failures forgotten; returns their addresses. Whoever
    /// was held together with them stays held until they are named, too.
    fn release<'a>(
        &'a self,
        from: &'a [ActionState],
        which: Which<'a>,
        because: Release,
        now: Timestamp,
    ) -> Reply<'a, Vec<String>>;

    /// Invitations in a state, in the order in which they arrived.
    fn in_state<'a>(&'a self, state: ActionState, which: Which<'a>) -> Reply<'a, Vec<TaskReport>>;

    /// The members among `who`. Unknown ids are absent from the answer.
    fn known<'a>(&'a self, directory: i64, who: &'a [EntryId]) -> Reply<'a, Vec<Member>>;

    /// Everything that `status` and the metrics show, in about a millisecond however large the directory is.
    fn report(&self) -> Reply<'_, Report>;

    /// The stories of people, in the order of their rows; of the events only those after number `since`.
    fn stories(&self, whose: Whose, since: i64) -> Reply<'_, Vec<Story>>;

    /// Up to `limit` events that are numbered after `after` and happened at `from` or later, oldest first.
    fn journal(&self, after: i64, from: Timestamp, limit: u32) -> Reply<'_, JournalPage>;

    /// Appends events that no decision brings about.
    fn note(&self, events: Vec<Noted>) -> Reply<'_, ()>;

    /// Removes events that happened before `before` among the `limit` oldest; returns how many.
    fn prune(&self, before: Timestamp, limit: u32) -> Reply<'_, u64>;

    /// A small note, kept under a name (a session cookie, the times of logins, Vaultwarden's identity).
    fn get_note<'a>(&'a self, name: &'a str) -> Reply<'a, Option<Vec<u8>>>;

    /// Keeps a small note.
    fn set_note<'a>(&'a self, name: &'a str, note: &'a [u8]) -> Reply<'a, ()>;
}
