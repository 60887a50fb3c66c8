//! The real ledger, in memory, with somebody who looks at each cursor that is stored.

use futures::FutureExt;
use ldap_usher::clock::Timestamp;
use ldap_usher::ledger::{
    Configured, Decision, DirectoryRow, DirectoryState, Judge, Ledger, ListingOutcome, Reply, Report, Scope,
    Sqlite, TaskReport, Unchecked, Which,
};
use ldap_usher::model::{Cursor, EmailAddress, EntryId, Member, Task, TaskState};

use super::PEOPLE;
use crate::support::journal::id;

type Inspect = dyn Fn(&[Member], &Cursor) + Send + Sync;

/// A ledger that shows each cursor together with everybody who is stored by then.
pub struct Watched {
    ledger: Sqlite,
    inspect: Box<Inspect>,
}

impl Watched {
    /// An empty one.
    pub fn new(inspect: impl Fn(&[Member], &Cursor) + Send + Sync + 'static) -> Self {
        let ledger = Sqlite::in_memory().now_or_never().unwrap().unwrap();
        Self {
            ledger,
            inspect: Box::new(inspect),
        }
    }
}

/// Passes calls on.
macro_rules! pass_on {
    ($($name:ident($($argument:ident: $type:ty),*) -> $answer:ty;)+) => {
        $(fn $name<'a>(&'a self, $($argument: $type),*) -> Reply<'a, $answer> { self.ledger.$name($($argument),*) })+
    };
}

impl Ledger for Watched {
    fn transact(&self, scope: Scope, decision: Decision) -> Reply<'_, ()> {
        async move {
            let directory = scope.directory;
            self.ledger.transact(scope, decision).await?;
            if directory != 0 {
                let people: Vec<EntryId> = (0..=PEOPLE).map(id).collect();
                let members = self.ledger.known(directory, &people).await?;
                let row = self.ledger.enroll("main", "scope", "settings").await?;
                if let Some(cursor) = row.cursor {
                    (self.inspect)(&members, &cursor);
                }
            }
            Ok(())
        }
        .boxed()
    }

    fn orphans(&self, limit: u32) -> Reply<'_, Vec<i64>> {
        self.ledger.orphans(limit)
    }

    fn begin_listing(&self, directory: i64) -> Reply<'_, ()> {
        self.ledger.begin_listing(directory)
    }

    fn unseen(&self, directory: i64, after: i64, limit: u32) -> Reply<'_, Vec<Member>> {
        self.ledger.unseen(directory, after, limit)
    }

    fn end_listing(
        &self,
        directory: i64,
        complete: bool,
        judge: Judge,
        now: Timestamp,
    ) -> Reply<'_, ListingOutcome> {
        self.ledger.end_listing(directory, complete, judge, now)
    }

    fn configure(&self, directories: Vec<(String, String)>) -> Reply<'_, Configured> {
        self.ledger.configure(directories)
    }

    fn take_over(&self, owner: i64, now: Timestamp) -> Reply<'_, ()> {
        self.ledger.take_over(owner, now)
    }

    fn rebase(&self, by: i64) -> Reply<'_, ()> {
        self.ledger.rebase(by)
    }

    fn claim(&self, owner: i64, max: u32, now: Timestamp) -> Reply<'_, Vec<Task>> {
        self.ledger.claim(owner, max, now)
    }

    fn next_due(&self) -> Reply<'_, Option<Timestamp>> {
        self.ledger.next_due()
    }

    fn unchecked(&self) -> Reply<'_, Unchecked> {
        self.ledger.unchecked()
    }

    fn begin_comparison(&self) -> Reply<'_, ()> {
        self.ledger.begin_comparison()
    }

    fn end_comparison(&self, judge: Judge, now: Timestamp) -> Reply<'_, Vec<(String, u64)>> {
        self.ledger.end_comparison(judge, now)
    }

    fn report(&self) -> Reply<'_, Report> {
        self.ledger.report()
    }

    pass_on! {
        enroll(name: &'a str, scope: &'a str, settings: &'a str) -> DirectoryRow;
        observe(directory: i64, state: &'a DirectoryState, now: Timestamp) -> ();
        pardon(fault: &'a str, now: Timestamp) -> Vec<String>;
        invited(addresses: &'a [EmailAddress]) -> u64;
        release(from: &'a [TaskState], which: Which<'a>, now: Timestamp) -> Vec<String>;
        in_state(state: TaskState, which: Which<'a>) -> Vec<TaskReport>;
        known(directory: i64, who: &'a [EntryId]) -> Vec<Member>;
        recall(name: &'a str) -> Option<Vec<u8>>;
        remember(name: &'a str, note: &'a [u8]) -> ();
    }
}
