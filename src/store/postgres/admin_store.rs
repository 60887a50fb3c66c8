//! What commands, the status page, and the service at its start need.

use super::{Postgres, accounts, counts, directories, forget, journal, people, queue, report};
use crate::clock::Timestamp;
use crate::model::{ActionState, EntryId, Event, Release};
use crate::store::interface::{AdminStore, Reply};
use crate::store::{Configured, Hour, PersonQuery, PersonReport, TaskReport, Unregistered, Which};

impl AdminStore for Postgres {
    fn check_counts(&self) -> Reply<'_, bool> {
        self.write("counting members and actions", |db| async move {
            counts::correct(&db).await
        })
    }

    fn configure(&self, configured: Vec<(String, String)>) -> Reply<'_, Configured> {
        self.write("registering directories", move |db| async move {
            directories::configure(&db, &configured).await
        })
    }

    fn orphans(&self, limit: u32) -> Reply<'_, Vec<i64>> {
        self.read("reading actions", move |db| async move {
            directories::orphans(&db, limit).await
        })
    }

    fn release<'a>(
        &'a self,
        from: &'a [ActionState],
        which: Which<'a>,
        because: Release,
        now: Timestamp,
    ) -> Reply<'a, Vec<String>> {
        let (from, which) = (from.to_vec(), which.into());
        self.write("releasing actions", move |db| async move {
            queue::release(&db, &from, &which, because, now).await
        })
    }

    fn unregistered(&self, after: (Timestamp, i64), limit: u32) -> Reply<'_, Vec<Unregistered>> {
        self.read("reading who has not registered", move |db| async move {
            accounts::unregistered(&db, after, limit).await
        })
    }

    fn directory<'a>(&'a self, name: &'a str) -> Reply<'a, Option<i64>> {
        let name = name.to_owned();
        self.read("reading a directory", move |db| async move {
            forget::directory(&db, &name).await
        })
    }

    fn present(&self, directory: i64, limit: u32) -> Reply<'_, Vec<EntryId>> {
        self.read("reading members", move |db| async move {
            forget::present(&db, directory, limit).await
        })
    }

    fn declare_left(&self, directory: i64) -> Reply<'_, ()> {
        self.write("forgetting a directory", move |db| async move {
            forget::declare_left(&db, directory).await
        })
    }

    fn forget(&self, people: Vec<i64>) -> Reply<'_, ()> {
        self.write("forgetting people", move |db| async move {
            forget::people(&db, &people).await
        })
    }

    fn in_state<'a>(&'a self, state: ActionState, which: Which<'a>) -> Reply<'a, Vec<TaskReport>> {
        let which = which.into();
        self.read("reading actions", move |db| async move {
            report::in_state(&db, state, &which).await
        })
    }

    fn people(&self, query: PersonQuery, events: u32) -> Reply<'_, Vec<PersonReport>> {
        self.read("reading the history of people", move |db| async move {
            people::people(&db, &query, events).await
        })
    }

    fn journal(&self, after: i64, from: Timestamp, limit: u32) -> Reply<'_, Vec<(i64, Event)>> {
        self.read("reading the journal", move |db| async move {
            journal::since(&db, after, from, limit).await
        })
    }

    fn journal_end(&self) -> Reply<'_, i64> {
        self.read("reading the journal", |db| async move { journal::end(&db).await })
    }

    fn prune(&self, before: Timestamp, limit: u32) -> Reply<'_, u64> {
        self.write("pruning the journal", move |db| async move {
            journal::prune(&db, before, limit).await
        })
    }

    fn latest(&self, limit: u32) -> Reply<'_, Vec<(i64, Event)>> {
        self.read("reading the journal", move |db| async move {
            journal::latest(&db, limit).await
        })
    }

    fn hours(&self, after: i64, upto: i64) -> Reply<'_, Vec<Hour>> {
        self.read("counting the events of the journal", move |db| async move {
            journal::hours(&db, after, upto).await
        })
    }
}
