//! The ledger without SQLite's thread, for tests in paused time: the model behind the trait, with one directory.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use futures::FutureExt;
use ldap_usher::clock::Timestamp;
use ldap_usher::ledger::{
    Batch, Committed, DirectoryRow, DirectoryState, Ledger, ListingOutcome, Reply, Report, TaskReport,
    Unchecked,
};
use ldap_usher::model::{Cursor, EmailAddress, EntryId, Listing, Member, Settlement, Task, TaskState};
use tokio::task::yield_now;

use super::model::Model;

/// The number of the only directory.
pub const DIRECTORY: i64 = 1;

/// What outlives a crash.
#[derive(Default)]
pub struct State {
    /// Members and tasks.
    pub model: Model,
    cursor: Option<Cursor>,
    listed: Option<Timestamp>,
    notes: BTreeMap<String, Vec<u8>>,
}

type Inspect = dyn Fn(&Model, &Cursor) + Send + Sync;

/// A ledger in memory. Each method is one transaction, and may be dropped before or after it.
pub struct InMemory {
    state: Mutex<State>,
    inspect: Box<Inspect>,
}

impl InMemory {
    /// An empty ledger. `inspect` is shown each cursor together with everything that is stored by then.
    pub fn new(inspect: impl Fn(&Model, &Cursor) + Send + Sync + 'static) -> Self {
        Self {
            state: Mutex::default(),
            inspect: Box::new(inspect),
        }
    }

    /// Looks at what is stored.
    pub fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.state.lock().unwrap())
    }

    fn run<'a, T: Send + 'a>(&'a self, work: impl FnOnce(&mut State) -> T + Send + 'a) -> Reply<'a, T> {
        async move {
            yield_now().await;
            let answer = work(&mut self.state.lock().unwrap());
            yield_now().await;
            Ok(answer)
        }
        .boxed()
    }
}

impl Ledger for InMemory {
    fn enroll<'a>(&'a self, _: &'a str, _: &'a str) -> Reply<'a, DirectoryRow> {
        self.run(|state| DirectoryRow {
            id: DIRECTORY,
            cursor: state.cursor.clone(),
            settings_changed: false,
            listed: state.listed,
        })
    }

    fn known<'a>(&'a self, directory: i64, who: &'a [EntryId]) -> Reply<'a, Vec<Member>> {
        self.run(move |state| {
            let known = who.iter().filter_map(|&id| state.model.member(directory, id));
            known.cloned().collect()
        })
    }

    fn begin_listing(&self, directory: i64) -> Reply<'_, ()> {
        self.run(move |state| state.model.begin_listing(directory))
    }

    fn commit<'a>(&'a self, batch: &'a Batch, now: Timestamp) -> Reply<'a, Committed> {
        self.run(move |state| {
            let committed = state.model.commit(batch, now);
            if let Some(cursor) = &batch.cursor {
                state.cursor = Some(cursor.clone());
                (self.inspect)(&state.model, cursor);
            }
            committed
        })
    }

    fn unseen(&self, directory: i64, after: i64, limit: u32) -> Reply<'_, Vec<Member>> {
        self.run(move |state| state.model.unseen(directory, after, limit as usize))
    }

    fn end_listing<'a>(
        &'a self,
        directory: i64,
        end: &'a Listing,
        hold_above: Option<u32>,
        now: Timestamp,
    ) -> Reply<'a, ListingOutcome> {
        self.run(move |state| {
            if *end == Listing::Complete {
                state.listed = Some(now);
            }
            state.model.end_listing(directory, end, hold_above, now)
        })
    }

    fn observe<'a>(&'a self, _: i64, _: &'a DirectoryState, _: Timestamp) -> Reply<'a, ()> {
        self.run(|_| ())
    }

    fn claim(&self, max: u32, lease: Duration, now: Timestamp) -> Reply<'_, Vec<Task>> {
        self.run(move |state| state.model.claim(max as usize, lease, now))
    }

    fn settle<'a>(&'a self, settled: &'a [(i64, Settlement)], now: Timestamp) -> Reply<'a, ()> {
        self.run(move |state| {
            for (task, how) in settled {
                state.model.settle(*task, how, now);
            }
        })
    }

    fn next_due(&self) -> Reply<'_, Option<Timestamp>> {
        self.run(|state| state.model.next_due())
    }

    fn unchecked(&self) -> Reply<'_, Unchecked> {
        self.run(|state| state.model.unchecked())
    }

    fn had_accounts<'a>(&'a self, accounts: &'a [EmailAddress], now: Timestamp) -> Reply<'a, u64> {
        self.run(move |state| {
            accounts
                .iter()
                .map(|account| state.model.had_account(account, now))
                .sum()
        })
    }

    fn checked(
        &self,
        begun: Timestamp,
        hold_above: Option<u32>,
        now: Timestamp,
    ) -> Reply<'_, Vec<(String, u64)>> {
        self.run(move |state| state.model.checked(begun, hold_above, now))
    }

    fn approve<'a>(
        &'a self,
        addresses: Option<&'a [EmailAddress]>,
        now: Timestamp,
    ) -> Reply<'a, Vec<String>> {
        self.run(move |state| match addresses {
            None => state.model.approve(None, now),
            Some(addresses) => addresses
                .iter()
                .flat_map(|address| state.model.approve(Some(address), now))
                .collect(),
        })
    }

    fn held(&self) -> Reply<'_, Vec<TaskReport>> {
        self.run(|state| state.model.held())
    }

    fn retry<'a>(&'a self, addresses: Option<&'a [EmailAddress]>, now: Timestamp) -> Reply<'a, Vec<String>> {
        self.run(move |state| match addresses {
            None => state.model.retry(None, now),
            Some(addresses) => addresses
                .iter()
                .flat_map(|address| state.model.retry(Some(address), now))
                .collect(),
        })
    }

    fn quarantined(&self) -> Reply<'_, Vec<TaskReport>> {
        self.run(|state| state.model.in_quarantine())
    }

    fn report(&self) -> Reply<'_, Report> {
        self.run(|state| Report {
            tasks: TaskState::ALL
                .map(|task| (task.as_str(), state.model.count(task)))
                .into(),
            ..Report::default()
        })
    }

    fn recall<'a>(&'a self, name: &'a str) -> Reply<'a, Option<Vec<u8>>> {
        self.run(move |state| state.notes.get(name).cloned())
    }

    fn remember<'a>(&'a self, name: &'a str, note: &'a [u8]) -> Reply<'a, ()> {
        self.run(move |state| {
            state.notes.insert(name.into(), note.into());
        })
    }
}
