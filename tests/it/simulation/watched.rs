//! The real store, in memory, with somebody who looks at each cursor that is stored.

use futures::FutureExt;
use ldap_usher::clock::Timestamp;
use ldap_usher::model::{ActionState, Cursor, EmailAddress, EntryId, Member, Release, WorkerId};
use ldap_usher::rules::Noted;
use ldap_usher::rules::membership::Sighting;
use ldap_usher::store::{
    Claim, Claimed, Configured, Decision, Difference, DirectoryRow, DirectoryState, JournalPage, Judge,
    Reply, Report, Scope, Sqlite, Store, Story, TaskReport, Unchecked, Which, Whose,
};

use super::PEOPLE;
use crate::support::journal::id;

type Inspect = dyn Fn(&[Member], &Cursor) + Send + Sync;

/// A store that shows each cursor together with everybody who is stored by then.
pub struct Watched {
    store: Sqlite,
    inspect: Box<Inspect>,
}

impl Watched {
    /// An empty one.
    pub fn new(inspect: impl Fn(&[Member], &Cursor) + Send + Sync + 'static) -> Self {
        let store = Sqlite::in_memory().now_or_never().unwrap().unwrap();
        Self {
            store,
            inspect: Box::new(inspect),
        }
    }
}

/// Passes calls on.
macro_rules! pass_on {
    ($($name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)+) => {
        $(fn $name<'a>(&'a self, $($argument: $type),*) -> Reply<'a, $answer> { self.store.$name($($argument),*) })+
    };
}

impl Store for Watched {
    fn transact(&self, scope: Scope, decision: Decision) -> Reply<'_, ()> {
        async move {
            let directory = scope.directory;
            self.store.transact(scope, decision).await?;
            if directory != 0 {
                let people: Vec<EntryId> = (0..=PEOPLE).map(id).collect();
                let members = self.store.known(directory, &people).await?;
                let row = self.store.register("main", "scope", "settings").await?;
                if let Some(cursor) = row.cursor {
                    (self.inspect)(&members, &cursor);
                }
            }
            Ok(())
        }
        .boxed()
    }

    fn orphans(&self, limit: u32) -> Reply<'_, Vec<i64>> {
        self.store.orphans(limit)
    }

    fn begin_listing(&self, directory: i64) -> Reply<'_, ()> {
        self.store.begin_listing(directory)
    }

    fn append(&self, directory: i64, named: Vec<Sighting>) -> Reply<'_, ()> {
        self.store.append(directory, named)
    }

    fn compare(&self, directory: i64, complete: bool) -> Reply<'_, ()> {
        self.store.compare(directory, complete)
    }

    fn differences(&self, directory: i64, after: i64, limit: u32) -> Reply<'_, Vec<Difference>> {
        self.store.differences(directory, after, limit)
    }

    fn end_listing(
        &self,
        directory: i64,
        complete: bool,
        noted: Option<Noted>,
        now: Timestamp,
    ) -> Reply<'_, ()> {
        self.store.end_listing(directory, complete, noted, now)
    }

    fn configure(&self, directories: Vec<(String, String)>) -> Reply<'_, Configured> {
        self.store.configure(directories)
    }

    fn take_over(&self, owner: WorkerId, now: Timestamp) -> Reply<'_, ()> {
        self.store.take_over(owner, now)
    }

    fn rebase(&self, by: i64) -> Reply<'_, ()> {
        self.store.rebase(by)
    }

    fn exchange(&self, scope: Scope, decision: Decision, claim: Claim, now: Timestamp) -> Reply<'_, Claimed> {
        self.store.exchange(scope, decision, claim, now)
    }

    fn next_due(&self) -> Reply<'_, Option<Timestamp>> {
        self.store.next_due()
    }

    fn unchecked(&self) -> Reply<'_, Unchecked> {
        self.store.unchecked()
    }

    fn begin_comparison(&self) -> Reply<'_, ()> {
        self.store.begin_comparison()
    }

    fn end_comparison(&self, judge: Judge, now: Timestamp) -> Reply<'_, Vec<(String, u64)>> {
        self.store.end_comparison(judge, now)
    }

    fn report(&self) -> Reply<'_, Report> {
        self.store.report()
    }

    fn stories(&self, whose: Whose, since: i64) -> Reply<'_, Vec<Story>> {
        self.store.stories(whose, since)
    }

    fn journal(&self, after: i64, from: Timestamp, limit: u32) -> Reply<'_, JournalPage> {
        self.store.journal(after, from, limit)
    }

    fn note(&self, events: Vec<Noted>) -> Reply<'_, ()> {
        self.store.note(events)
    }

    fn prune(&self, before: Timestamp, limit: u32) -> Reply<'_, u64> {
        self.store.prune(before, limit)
    }

    pass_on! {
        register(name: &'a str, scope: &'a str, settings: &'a str) -> DirectoryRow;
        observe(directory: i64, state: &'a DirectoryState, now: Timestamp) -> ();
        pardon(fault: &'a str, now: Timestamp) -> Vec<String>;
        invited(addresses: &'a [EmailAddress]) -> u64;
        release(from: &'a [ActionState], which: Which<'a>, because: Release, now: Timestamp) -> Vec<String>;
        in_state(state: ActionState, which: Which<'a>) -> Vec<TaskReport>;
        known(directory: i64, who: &'a [EntryId]) -> Vec<Member>;
        get_note(name: &'a str) -> Option<Vec<u8>>;
        set_note(name: &'a str, note: &'a [u8]) -> ();
    }
}
