//! What the worker needs.

use futures::FutureExt;

use super::{Kind, Postgres, accounts, book, notes, queue};
use crate::clock::Timestamp;
use crate::model::{EntryId, ListedAccount, WorkerId};
use crate::store::interface::{Decision, Judge, QueueStore, Reply};
use crate::store::{Claim, Claimed, ManagedRow, Matched, Scope, Unchecked};

impl QueueStore for Postgres {
    fn take_over(&self, owner: WorkerId, now: Timestamp) -> Reply<'_, ()> {
        let instance = self.instance.clone();
        self.write("taking over the queue", move |db| async move {
            instance.employ(&db, owner.0).await?;
            queue::take_over(&db, now).await
        })
    }

    /// Does nothing: times are those of the database, and other instances use them, too.
    fn rebase(&self, _: i64) -> Reply<'_, ()> {
        async { Ok(()) }.boxed()
    }

    fn exchange(
        &self,
        scope: Scope,
        mut decision: Decision,
        claim: Claim,
        now: Timestamp,
    ) -> Reply<'_, Claimed> {
        const DOING: &str = "settling and claiming actions";
        let compares = self.compares();
        if scope.is_empty() {
            return self.run(DOING, Kind::Claim, move |db| async move {
                queue::claim_some(&db, claim, compares, now).await
            });
        }
        self.write(DOING, move |db| async move {
            book::decide(&db, scope, &mut decision).await?;
            queue::claim_some(&db, claim, compares, now).await
        })
    }

    fn next_due(&self) -> Reply<'_, Option<Timestamp>> {
        self.read("looking for the next action", |db| async move {
            queue::next_due(&db, None).await
        })
    }

    fn pardon<'a>(&'a self, fault: &'a str, now: Timestamp) -> Reply<'a, Vec<String>> {
        let fault = fault.to_owned();
        self.write("releasing quarantined actions", move |db| async move {
            queue::pardon(&db, &fault, now).await
        })
    }

    fn unchecked(&self) -> Reply<'_, Unchecked> {
        let compares = self.compares();
        self.read("counting actions", move |db| async move {
            queue::unchecked(&db, compares).await
        })
    }

    fn begin_comparison(&self) -> Reply<'_, ()> {
        self.write("beginning the comparison of accounts", |db| async move {
            queue::begin_comparison(&db).await
        })
    }

    fn end_comparison(&self, mut judge: Judge, now: Timestamp) -> Reply<'_, Vec<(String, u64)>> {
        self.write("ending the comparison of accounts", move |db| async move {
            queue::end_comparison(&db, &mut *judge, now).await
        })
    }

    fn matched(&self, listed: Vec<ListedAccount>) -> Reply<'_, Vec<Matched>> {
        self.read("comparing accounts", move |db| async move {
            accounts::matched(&db, listed).await
        })
    }

    fn renew_mark(&self) -> Reply<'_, bool> {
        self.write(
            "marking the state",
            |db| async move { notes::renew_mark(&db).await },
        )
    }

    fn witnesses(&self, directory: i64, limit: u32) -> Reply<'_, Vec<EntryId>> {
        self.read("reading members", move |db| async move {
            accounts::witnesses(&db, directory, limit).await
        })
    }

    fn managed(&self, after: i64, limit: u32) -> Reply<'_, Vec<ManagedRow>> {
        self.read("reading the accounts in our care", move |db| async move {
            accounts::managed(&db, after, limit).await
        })
    }
}
