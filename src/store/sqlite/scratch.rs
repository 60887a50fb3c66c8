//! The set of a listing, for a store that is not in SQLite: in a temporary file without a name.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt;
use rusqlite::Transaction;

use super::connection::Connection;
use super::error;
use super::open::{Access, open};
use super::staging::{self, Listings};
use crate::model::EntryId;
use crate::rules::membership::{Decided, Sighting};
use crate::store::Difference;
use crate::store::interface::Reply;

/// The sets of listings in progress.
#[derive(Debug)]
pub(in crate::store) struct Scratch {
    db: Connection,
    named: Arc<Mutex<Listings>>,
    path: PathBuf,
}

impl Scratch {
    /// Starts the thread on which they are kept.
    pub(in crate::store) fn new() -> Self {
        Self {
            // SQLite's own temporary file, which has no name and is removed with the connection.
            db: Connection::threaded(None, Box::new(|| open(Path::new(""), Access::Stage))),
            named: Arc::default(),
            path: PathBuf::from("of listings in the folder for temporary files ($TMPDIR)"),
        }
    }

    /// Begins a listing of a directory. An earlier one is forgotten.
    pub(in crate::store) fn begin(&self, directory: i64) -> Reply<'_, ()> {
        self.run("beginning a listing", move |db, listings| {
            staging::begin(db, listings, directory)
        })
    }

    /// Adds what a listing named. `known` are the members among them, each with the row and how they stand.
    pub(in crate::store) fn append(
        &self,
        directory: i64,
        named: Vec<Sighting>,
        known: HashMap<EntryId, (i64, Decided)>,
    ) -> Reply<'_, ()> {
        self.run("storing what a listing named", move |db, listings| {
            staging::append(db, listings, directory, &named, |id| Ok(known.get(&id).cloned()))
        })
    }

    /// Sorts the differences.
    pub(in crate::store) fn sort(&self, directory: i64) -> Reply<'_, ()> {
        self.run("comparing a listing", move |db, _| staging::sort(db, directory))
    }

    /// Adds to the differences those of these members whom the listing did not name.
    pub(in crate::store) fn add_unnamed(
        &self,
        directory: i64,
        members: Vec<(i64, EntryId)>,
    ) -> Reply<'_, ()> {
        self.run("comparing a listing", move |db, listings| {
            staging::add_unnamed(db, listings, directory, members.into_iter().map(Ok))
        })
    }

    /// Up to `limit` differences after the place `after`.
    pub(in crate::store) fn differences(
        &self,
        directory: i64,
        after: i64,
        limit: u32,
    ) -> Reply<'_, Vec<Difference>> {
        self.run("reading what a listing found", move |db, _| {
            staging::differences(db, directory, after, limit)
        })
    }

    /// Up to `limit` differences after the place `after` that may show that a member has left.
    pub(in crate::store) fn leavers(
        &self,
        directory: i64,
        after: i64,
        limit: u32,
    ) -> Reply<'_, Vec<Difference>> {
        self.run("reading who may have left", move |db, _| {
            staging::leavers(db, directory, after, limit)
        })
    }

    /// Forgets a listing.
    pub(in crate::store) fn end(&self, directory: i64) -> Reply<'_, ()> {
        self.run("ending a listing", move |db, listings| {
            staging::end(db, listings, directory)
        })
    }

    fn run<'a, T: Send + 'static>(
        &'a self,
        doing: &'static str,
        work: impl FnOnce(&Transaction<'_>, &mut Listings) -> rusqlite::Result<T> + Send + 'static,
    ) -> Reply<'a, T> {
        let named = self.named.clone();
        let done = self.db.transact(false, move |db| {
            work(db, &mut named.lock().unwrap_or_else(PoisonError::into_inner))
        });
        async move { done.await.map_err(|e| error::failed(&self.path, doing, &e)) }.boxed()
    }
}
