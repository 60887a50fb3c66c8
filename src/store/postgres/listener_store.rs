//! What the listener needs.

use super::{Kind, Postgres, book, directories, journal, listing};
use crate::clock::Timestamp;
use crate::model::{EntryId, Member};
use crate::rules::Noted;
use crate::rules::membership::Sighting;
use crate::store::interface::{ListenerStore, Reply};
use crate::store::{Difference, DirectoryRow, DirectoryState};

impl ListenerStore for Postgres {
    fn register<'a>(&'a self, name: &'a str, scope: &'a str, settings: &'a str) -> Reply<'a, DirectoryRow> {
        let (name, scope, settings) = (name.to_owned(), scope.to_owned(), settings.to_owned());
        self.write("registering a directory", move |db| async move {
            directories::register(&db, &name, &scope, &settings).await
        })
    }

    fn observe<'a>(&'a self, directory: i64, state: &'a DirectoryState, now: Timestamp) -> Reply<'a, ()> {
        let state = state.clone();
        self.write("recording a directory's state", move |db| async move {
            directories::observe(&db, directory, &state, now).await
        })
    }

    fn known<'a>(&'a self, directory: i64, who: &'a [EntryId]) -> Reply<'a, Vec<Member>> {
        let who = who.to_vec();
        self.read("reading members", move |db| async move {
            book::known(&db, directory, &who).await
        })
    }

    fn begin_listing(&self, directory: i64) -> Reply<'_, ()> {
        self.listing("beginning a listing", async move {
            Ok(self.listings.begin(directory).await?)
        })
    }

    fn append(&self, directory: i64, named: Vec<Sighting>) -> Reply<'_, ()> {
        self.listing("storing what a listing named", async move {
            let ids: Vec<EntryId> = named.iter().map(Sighting::id).collect();
            let known = self
                .perform(Kind::Read, move |db| async move {
                    listing::decided(&db, directory, &ids).await
                })
                .await?;
            Ok(self.listings.append(directory, named, known).await?)
        })
    }

    fn compare(&self, directory: i64, complete: bool) -> Reply<'_, ()> {
        self.listing("comparing a listing", async move {
            self.listings.sort(directory).await?;
            let mut after = 0;
            if !complete {
                return Ok(());
            }
            loop {
                let page = self
                    .perform(Kind::Read, move |db| async move {
                        listing::present(&db, directory, after).await
                    })
                    .await?;
                let Some((last, _)) = page.last() else {
                    return Ok(());
                };
                after = *last;
                self.listings.add_unnamed(directory, page).await?;
            }
        })
    }

    fn differences(&self, directory: i64, after: i64, limit: u32) -> Reply<'_, Vec<Difference>> {
        self.listing("reading what a listing found", async move {
            Ok(self.listings.differences(directory, after, limit).await?)
        })
    }

    fn leavers(&self, directory: i64, after: i64, limit: u32) -> Reply<'_, Vec<Difference>> {
        self.listing("reading who may have left", async move {
            Ok(self.listings.leavers(directory, after, limit).await?)
        })
    }

    fn end_listing(
        &self,
        directory: i64,
        complete: bool,
        noted: Option<Noted>,
        now: Timestamp,
    ) -> Reply<'_, ()> {
        self.listing("ending a listing", async move {
            self.listings.end(directory).await?;
            self.perform(Kind::Decide, move |db| async move {
                journal::append(&db, noted.as_slice()).await?;
                listing::ended(&db, directory, complete, now).await
            })
            .await
        })
    }
}
