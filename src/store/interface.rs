//! What the users of the store ask of it, one trait for each.
//!
//! Each method is one transaction, done as a whole or not at all, unless it says otherwise. What a method that returned `Ok`
//! has written survives `kill -9`; a power loss may take the last transactions, and never one without those after it. A
//! method that fails changes nothing. The next one opens the storage again.

use std::sync::Arc;

use futures::future::BoxFuture;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::types::{
    Claim, Claimed, Configured, Difference, DirectoryRow, DirectoryState, Hour, ManagedRow, Matched, Report,
    Scope, StoreError, TaskReport, Unchecked, Unregistered, Which,
};
use super::{PersonQuery, PersonReport};
use crate::clock::{Clock, Timestamp};
use crate::model::{ActionState, EntryId, Event, ListedAccount, Member, Release, WorkerId};
use crate::rules::membership::Sighting;
use crate::rules::{Book, Brake, Noted, Verdict};

/// The result of a method. A method that is one transaction takes effect even if this is dropped.
pub type Reply<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// Changes a book, or returns what the book must hold for that. It is called again with more, and its changes are saved
/// once it asks for nothing.
pub type Decision = Box<dyn FnMut(&mut Book) -> Option<Scope> + Send>;

/// Decides whether this number of invitations of one directory may be sent.
pub type Judge = Box<dyn FnMut(&mut Brake, u64) -> Verdict + Send>;

/// A store, for the one who opens it.
pub trait Store: ListenerStore + QueueStore + AdminStore {
    /// What one instance does at a time, such as listening to a directory: the right to do it, and a store whose transactions
    /// fail with [`StoreError::Superseded`] once another instance has that right.
    fn duty(self: Arc<Self>, name: &str) -> Duty;

    /// The clock by which stored times are written and compared.
    fn clock(&self) -> Clock;

    /// Notified when actions may be due, also because of another instance.
    fn wake(&self) -> Arc<Notify>;

    /// Says that this instance ends: others take its duties over at once.
    fn depart(&self) -> Reply<'_, ()>;
}

/// What one instance does at a time.
pub struct Duty {
    /// The right to do it.
    pub lease: Arc<dyn Lease>,
    /// The store for it.
    pub store: Arc<dyn Store>,
}

/// The right to do what one instance does at a time.
pub trait Lease: Send + Sync {
    /// Waits until this instance has it. Returns a token that is cancelled when another instance has it instead.
    ///
    /// # Cancellation
    /// Safe: a later call returns at once if this instance has got it meanwhile.
    fn take(&self) -> BoxFuture<'_, CancellationToken>;

    /// Lets another instance have it.
    fn release(&self);
}

/// What all users need.
pub trait BaseStore: Send + Sync {
    /// Reads what `scope` names into a book, lets `decision` change it, and saves the changes.
    fn transact(&self, scope: Scope, decision: Decision) -> Reply<'_, ()>;

    /// Everything that `status` and the metrics show. Takes about a millisecond, however large the directory is.
    fn report(&self) -> Reply<'_, Report>;

    /// The note with this name: the session with Vaultwarden, its identity, the times of logins.
    fn get_note<'a>(&'a self, name: &'a str) -> Reply<'a, Option<Vec<u8>>>;

    /// Keeps a note.
    fn set_note<'a>(&'a self, name: &'a str, note: &'a [u8]) -> Reply<'a, ()>;

    /// Replaces a note if it is still the expected one; `None` stands for a missing one. Returns whether it was.
    fn swap_note<'a>(&'a self, name: &'a str, expected: Option<&'a [u8]>, note: &'a [u8]) -> Reply<'a, bool>;
}

/// What the listener needs.
pub trait ListenerStore: BaseStore {
    /// Registers a directory by its name and returns what is stored of it. If `settings` (the text of all settings on which
    /// a cursor depends) differ from the stored ones, the cursor is dropped.
    fn register<'a>(&'a self, name: &'a str, scope: &'a str, settings: &'a str) -> Reply<'a, DirectoryRow>;

    /// Records the state of a directory's stream, for `status`.
    fn observe<'a>(&'a self, directory: i64, state: &'a DirectoryState, now: Timestamp) -> Reply<'a, ()>;

    /// The members among these entries.
    fn known<'a>(&'a self, directory: i64, who: &'a [EntryId]) -> Reply<'a, Vec<Member>>;

    /// Begins a listing. A directory has one at a time: an earlier one that has not ended is forgotten. The set that a
    /// listing names lives as long as the process.
    fn begin_listing(&self, directory: i64) -> Reply<'_, ()>;

    /// Adds to the set of a listing, in the order in which the directory named it.
    fn append(&self, directory: i64, named: Vec<Sighting>) -> Reply<'_, ()>;

    /// Compares the set of a listing with the members, for [`ListenerStore::differences`]. `complete` says whether the
    /// listing named everyone. May take seconds; everything but listings goes on meanwhile.
    fn compare(&self, directory: i64, complete: bool) -> Reply<'_, ()>;

    /// Up to `limit` differences after the place `after`. First come the named entries that are new or changed, in the order
    /// in which they are best written; an entry that was named several times comes as often, in the directory's order.
    /// Then come the members (without those who have left) whom a complete listing did not name.
    fn differences(&self, directory: i64, after: i64, limit: u32) -> Reply<'_, Vec<Difference>>;

    /// Up to `limit` of the differences that [`ListenerStore::differences`] returns after the place `after`: those that may
    /// show that a member has left.
    fn leavers(&self, directory: i64, after: i64, limit: u32) -> Reply<'_, Vec<Difference>>;

    /// Ends a listing. `complete` says whether it named everyone, `noted` what it changed. Its set is forgotten in a step of
    /// its own before that; if this is interrupted, the next listing begins anew.
    fn end_listing(
        &self,
        directory: i64,
        complete: bool,
        noted: Option<Noted>,
        now: Timestamp,
    ) -> Reply<'_, ()>;
}

/// What the worker needs.
pub trait QueueStore: BaseStore {
    /// Makes `owner` the only worker of this instance. What earlier ones, and those of dead instances, have claimed and not
    /// settled is due at once, and in doubt. Times that lie further in the future than any wait are brought back.
    fn take_over(&self, owner: WorkerId, now: Timestamp) -> Reply<'_, ()>;

    /// Moves all stored times of what is still to come by this many milliseconds: the clock was set. A store with a clock of
    /// its own leaves them as they are.
    fn rebase(&self, by: i64) -> Reply<'_, ()>;

    /// Decides as [`BaseStore::transact`] does, then claims queued actions that are due, in one transaction. They stay
    /// claimed until they are settled, or another worker takes over. The earliest due come first, so an action that keeps
    /// failing delays no other.
    ///
    /// An action in doubt is claimed even if its person has left meanwhile, because it may have been carried out.
    fn exchange(&self, scope: Scope, decision: Decision, claim: Claim, now: Timestamp) -> Reply<'_, Claimed>;

    /// When the next queued action is due that nobody has claimed.
    fn next_due(&self) -> Reply<'_, Option<Timestamp>>;

    /// Queues all actions that are quarantined for this fault; returns their addresses.
    fn pardon<'a>(&'a self, fault: &'a str, now: Timestamp) -> Reply<'a, Vec<String>>;

    /// How many queued or held actions have not been compared with Vaultwarden's accounts; none while another instance
    /// compares them. While a listing whose new people
    /// are held has not ended, held actions count as none.
    fn unchecked(&self) -> Reply<'_, Unchecked>;

    /// Begins a comparison of all queued or held actions that have not been compared. While a listing whose new people are
    /// held has not ended, it leaves out the held ones: they are judged by their number.
    fn begin_comparison(&self) -> Reply<'_, ()>;

    /// Ends the comparison that was begun last. Where `judge` allows the number of held actions that were compared in a
    /// directory, they are queued; otherwise they stay held until an administrator approves them. Returns the name of each
    /// directory where they stay, and how many are held there.
    fn end_comparison(&self, judge: Judge, now: Timestamp) -> Reply<'_, Vec<(String, u64)>>;

    /// The invitations to which these accounts belong, by the account's id or else by its address. Accounts that belong to
    /// none are left out.
    fn matched(&self, listed: Vec<ListedAccount>) -> Reply<'_, Vec<Matched>>;

    /// Writes a new mark into the state and beside it. Returns whether both had the same mark before. Otherwise the state is a
    /// backup, and lacks what happened after it was made.
    fn renew_mark(&self) -> Reply<'_, bool>;

    /// Up to `limit` members of a directory, those that were found last.
    fn witnesses(&self, directory: i64, limit: u32) -> Reply<'_, Vec<EntryId>>;

    /// Up to `limit` accounts in our care after the row `after` that exist as far as is known.
    fn managed(&self, after: i64, limit: u32) -> Reply<'_, Vec<ManagedRow>>;
}

/// What commands, and the service at its start, need.
pub trait AdminStore: BaseStore {
    /// Counts members and actions, and corrects the counts that [`BaseStore::report`] returns. Returns whether they were
    /// right. May take seconds; everything but listings goes on meanwhile.
    fn check_counts(&self) -> Reply<'_, bool>;

    /// Records which directories are configured, each by its name and its scope (base and filter). A stored directory under
    /// another name with the scope of a new one is renamed. All others that are not configured are retired: their people do
    /// not count.
    fn configure(&self, directories: Vec<(String, String)>) -> Reply<'_, Configured>;

    /// Up to `limit` numbers of actions for people of retired directories that have not been carried out and are neither
    /// claimed nor in doubt.
    fn orphans(&self, limit: u32) -> Reply<'_, Vec<i64>>;

    /// Queues actions in these states and forgets their failures; returns their addresses. Actions that are held with them
    /// stay held until somebody names them, too.
    fn release<'a>(
        &'a self,
        from: &'a [ActionState],
        which: Which<'a>,
        because: Release,
        now: Timestamp,
    ) -> Reply<'a, Vec<String>>;

    /// Up to `limit` people who were invited and have not registered, after the one who was invited at that time by the
    /// invitation with that number. Who was invited first comes first.
    fn unregistered(&self, after: (Timestamp, i64), limit: u32) -> Reply<'_, Vec<Unregistered>>;

    /// The number of the directory with this name, if it is registered.
    fn directory<'a>(&'a self, name: &'a str) -> Reply<'a, Option<i64>>;

    /// Up to `limit` people of a directory who have not left.
    fn present(&self, directory: i64, limit: u32) -> Reply<'_, Vec<EntryId>>;

    /// Records that an administrator said that the people of a retired directory have left. A directory that is configured
    /// again loses the mark.
    fn declare_left(&self, directory: i64) -> Reply<'_, ()>;

    /// Removes people, by the numbers of their rows, with their actions and events.
    fn forget(&self, people: Vec<i64>) -> Reply<'_, ()>;

    /// The actions in a state, in the order of their arrival.
    fn in_state<'a>(&'a self, state: ActionState, which: Which<'a>) -> Reply<'a, Vec<TaskReport>>;

    /// These people, in the order of their rows, each with the last `events` events; `0` stands for all of them.
    fn people(&self, query: PersonQuery, events: u32) -> Reply<'_, Vec<PersonReport>>;

    /// Up to `limit` events after number `after` that happened at `from` or later, oldest first, each with its number.
    fn journal(&self, after: i64, from: Timestamp, limit: u32) -> Reply<'_, Vec<(i64, Event)>>;

    /// The number of the last event of the journal; `0` if it is empty. Numbers grow, and begin again after all events were
    /// removed.
    fn journal_end(&self) -> Reply<'_, i64>;

    /// The last `limit` events of the journal, newest first, each with its number.
    fn latest(&self, limit: u32) -> Reply<'_, Vec<(i64, Event)>>;

    /// What happened in each hour that has an event with a number above `after` and up to `upto`, in the order of time. Counts
    /// these events only: a reader adds pages up, so that no transaction is long.
    fn hours(&self, after: i64, upto: i64) -> Reply<'_, Vec<Hour>>;

    /// Removes the events before `before` among the `limit` oldest; returns how many.
    fn prune(&self, before: Timestamp, limit: u32) -> Reply<'_, u64>;
}
