//! The real store, in memory, with somebody who looks at each cursor that is stored.

use futures::FutureExt;
use ldap_usher::clock::Timestamp;
use ldap_usher::model::{Cursor, EntryId, ListedAccount, Member, WorkerId};
use ldap_usher::rules::Noted;
use ldap_usher::rules::membership::Sighting;
use ldap_usher::store::interface::*;
use ldap_usher::store::{
    Claim, Claimed, Difference, DirectoryRow, DirectoryState, ManagedRow, Matched, Report, Scope, Sqlite,
    Unchecked,
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

impl BaseStore for Watched {
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

    fn report(&self) -> Reply<'_, Report> {
        self.store.report()
    }

    pass_on! {
        get_note(name: &'a str) -> Option<Vec<u8>>;
        set_note(name: &'a str, note: &'a [u8]) -> ();
        swap_note(name: &'a str, expected: Option<&'a [u8]>, note: &'a [u8]) -> bool;
    }
}

impl ListenerStore for Watched {
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

    fn leavers(&self, directory: i64, after: i64, limit: u32) -> Reply<'_, Vec<Difference>> {
        self.store.leavers(directory, after, limit)
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

    pass_on! {
        register(name: &'a str, scope: &'a str, settings: &'a str) -> DirectoryRow;
        observe(directory: i64, state: &'a DirectoryState, now: Timestamp) -> ();
        known(directory: i64, who: &'a [EntryId]) -> Vec<Member>;
    }
}

impl QueueStore for Watched {
    fn take_over(&self, owner: WorkerId, now: Timestamp) -> Reply<'_, ()> {
        self.store.take_over(owner, now)
    }

    fn rebase(&self, by: i64) -> Reply<'_, ()> {
        self.store.rebase(by)
    }

    fn exchange(&self, scope: Scope, decision: Decision, claim: Claim, now: Timestamp) -> Reply<'_, Claimed> {
        self.store.exchange(scope, decision, claim, now)
    }

    fn matched(&self, listed: Vec<ListedAccount>) -> Reply<'_, Vec<Matched>> {
        self.store.matched(listed)
    }

    fn renew_mark(&self) -> Reply<'_, bool> {
        self.store.renew_mark()
    }

    fn witnesses(&self, directory: i64, limit: u32) -> Reply<'_, Vec<EntryId>> {
        self.store.witnesses(directory, limit)
    }

    fn managed(&self, after: i64, limit: u32) -> Reply<'_, Vec<ManagedRow>> {
        self.store.managed(after, limit)
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

    pass_on! {
        pardon(fault: &'a str, now: Timestamp) -> Vec<String>;
    }
}
