//! What commands, the status page, and the service at its start need.

use futures::FutureExt;

use super::{Sqlite, accounts, counts, directories, forget, journal, people, queue, report};
use crate::clock::Timestamp;
use crate::model::{ActionState, EntryId, Event, Release};
use crate::store::interface::{AdminStore, Reply};
use crate::store::{Configured, Hour, PersonQuery, PersonReport, TaskReport, Unregistered, Which};

impl AdminStore for Sqlite {
    fn check_counts(&self) -> Reply<'_, bool> {
        const DOING: &str = "counting members and actions";
        async move {
            let corrections = self.on_listings(DOING, |db, _| counts::corrections(db)).await?;
            if corrections.is_zero() {
                return Ok(true);
            }
            // Transactions in between have updated the stored counts, too, so the differences are still right.
            self.write(DOING, move |db| counts::save(db, &corrections))
                .await?;
            Ok(false)
        }
        .boxed()
    }

    fn configure(&self, configured: Vec<(String, String)>) -> Reply<'_, Configured> {
        self.write("registering directories", move |db| {
            directories::configure(db, &configured)
        })
    }

    fn orphans(&self, limit: u32) -> Reply<'_, Vec<i64>> {
        self.read("reading actions", move |db| directories::orphans(db, limit))
    }

    fn release<'a>(
        &'a self,
        from: &'a [ActionState],
        which: Which<'a>,
        because: Release,
        now: Timestamp,
    ) -> Reply<'a, Vec<String>> {
        let from = from.to_vec();
        let which = which.into();
        self.write("releasing actions", move |db| {
            queue::release(db, &from, &which, because, now)
        })
    }

    fn unregistered(&self, after: (Timestamp, i64), limit: u32) -> Reply<'_, Vec<Unregistered>> {
        self.read("reading who has not registered", move |db| {
            accounts::unregistered(db, after, limit)
        })
    }

    fn directory<'a>(&'a self, name: &'a str) -> Reply<'a, Option<i64>> {
        let name = name.to_owned();
        self.read("reading a directory", move |db| forget::directory(db, &name))
    }

    fn present(&self, directory: i64, limit: u32) -> Reply<'_, Vec<EntryId>> {
        self.read("reading members", move |db| forget::present(db, directory, limit))
    }

    fn declare_left(&self, directory: i64) -> Reply<'_, ()> {
        self.write("forgetting a directory", move |db| {
            forget::declare_left(db, directory)
        })
    }

    fn forget(&self, people: Vec<i64>) -> Reply<'_, ()> {
        self.write("forgetting people", move |db| forget::people(db, &people))
    }

    fn in_state<'a>(&'a self, state: ActionState, which: Which<'a>) -> Reply<'a, Vec<TaskReport>> {
        let which = which.into();
        self.read("reading actions", move |db| report::in_state(db, state, &which))
    }

    fn people(&self, query: PersonQuery, events: u32) -> Reply<'_, Vec<PersonReport>> {
        self.read("reading the history of people", move |db| {
            people::people(db, &query, events)
        })
    }

    fn journal(&self, after: i64, from: Timestamp, limit: u32) -> Reply<'_, Vec<(i64, Event)>> {
        self.read("reading the journal", move |db| {
            journal::since(db, after, from, limit)
        })
    }

    fn journal_end(&self) -> Reply<'_, i64> {
        self.read("reading the journal", journal::end)
    }

    fn prune(&self, before: Timestamp, limit: u32) -> Reply<'_, u64> {
        self.write("pruning the journal", move |db| journal::prune(db, before, limit))
    }

    fn latest(&self, limit: u32) -> Reply<'_, Vec<(i64, Event)>> {
        self.read("reading the journal", move |db| journal::latest(db, limit))
    }

    fn hours(&self, after: i64, upto: i64) -> Reply<'_, Vec<Hour>> {
        self.read("counting the events of the journal", move |db| {
            journal::hours(db, after, upto)
        })
    }
}
