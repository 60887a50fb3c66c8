//! Listings in progress: the members that each has named, and the entries that differ from the store.
//!
//! A named member takes one bit of memory. Only entries that differ are written, into temporary tables, which are neither
//! synced nor written to the WAL, and end with the process. SQLite sorts on disk, so memory does not grow with the differences.

use std::collections::HashMap;

use rusqlite::{Row, Transaction};

use crate::model::{EmailAddress, EntryId};
use crate::rules::membership::{Account, Decided, EntryFacts, Sighting};
use crate::store::rows;
use crate::store::{Difference, RowSet};

/// The values of the column `kind`.
const PRESENT: i64 = 0;
const GONE: i64 = 1;
const USABLE: i64 = 2;
const WITHOUT_ADDRESS: i64 = 3;
const DISABLED: i64 = 4;

/// Separates addresses, which contain no control characters.
const SEPARATOR: &str = "\n";

/// The members that the listing of each directory has named.
#[derive(Debug, Default)]
pub(super) struct Listings(HashMap<i64, RowSet>);

/// Begins a listing of a directory. An earlier one is forgotten.
pub(super) fn begin(db: &Transaction<'_>, listings: &mut Listings, directory: i64) -> rusqlite::Result<()> {
    end(db, listings, directory)?;
    listings.0.insert(directory, RowSet::default());
    db.execute_batch(&format!(
        "create temp table listed_{directory} (
             place    integer primary key, -- the order in which the directory named it
             entry_id blob    not null,
             kind     integer not null,
             dn       text,
             account  text                 -- its addresses, or the reason why it has none
         ) strict"
    ))
}

/// Forgets a listing.
pub(super) fn end(db: &Transaction<'_>, listings: &mut Listings, directory: i64) -> rusqlite::Result<()> {
    listings.0.remove(&directory);
    db.execute_batch(&format!(
        "drop table if exists temp.listed_{directory};
         drop table if exists temp.difference_{directory};"
    ))
}

/// Marks the members that the listing named. Stores the sightings that differ from the store, and those of entries that were
/// already named. `find` returns the row of a member and how they stand.
pub(super) fn append(
    db: &Transaction<'_>,
    listings: &mut Listings,
    directory: i64,
    sightings: &[Sighting],
    mut find: impl FnMut(EntryId) -> rusqlite::Result<Option<(i64, Decided)>>,
) -> rusqlite::Result<()> {
    let named = listings.0.entry(directory).or_default();
    let mut insert = db.prepare_cached(&format!(
        "insert into temp.listed_{directory} (entry_id, kind, dn, account) values (?, ?, ?, ?)"
    ))?;
    for sighting in sightings {
        let entry = sighting.id();
        let id = entry.as_bytes().as_slice();
        if let Some((row, decided)) = find(entry)?
            && !named.insert(row)
            && decided.stands(sighting)
        {
            continue;
        }
        match sighting {
            Sighting::Present(_) => insert.execute((id, PRESENT, None::<&str>, None::<&str>))?,
            Sighting::Gone(_) => insert.execute((id, GONE, None::<&str>, None::<&str>))?,
            Sighting::Entry(seen) => {
                let (kind, account) = account(&seen.account);
                insert.execute((id, kind, &seen.dn, account))?
            }
        };
    }
    Ok(())
}

/// Sorts the differences: first the entries that were named more than once, in the order of the directory; then the other
/// entries in the order of their addresses, so that the indexes on addresses are written sequentially.
pub(super) fn sort(db: &Transaction<'_>, directory: i64) -> rusqlite::Result<()> {
    db.execute_batch(&format!(
        "drop table if exists temp.difference_{directory};
         create temp table difference_{directory} (
             place    integer primary key,
             entry_id blob not null,
             kind     integer,             -- null for a member who was not named
             dn       text,
             account  text
         ) strict;
         create temp table repeated as
             select entry_id from temp.listed_{directory} group by entry_id having count(*) > 1;
         insert into temp.difference_{directory} (entry_id, kind, dn, account)
             select entry_id, kind, dn, account from temp.listed_{directory}
             where entry_id in (select entry_id from temp.repeated) order by place;
         insert into temp.difference_{directory} (entry_id, kind, dn, account)
             select entry_id, kind, dn, account from temp.listed_{directory}
             where entry_id not in (select entry_id from temp.repeated) order by account, place;
         drop table temp.repeated;
         delete from temp.listed_{directory};"
    ))
}

/// Adds the members whom a complete listing did not name. `members` are those who have not left, each with the row.
pub(super) fn add_unnamed(
    db: &Transaction<'_>,
    listings: &Listings,
    directory: i64,
    members: impl Iterator<Item = rusqlite::Result<(i64, EntryId)>>,
) -> rusqlite::Result<()> {
    let named = listings.0.get(&directory);
    let mut insert = db.prepare_cached(&format!(
        "insert into temp.difference_{directory} (entry_id) values (?)"
    ))?;
    for member in members {
        let (row, id) = member?;
        if !named.is_some_and(|named| named.contains(row)) {
            insert.execute([id.as_bytes().as_slice()])?;
        }
    }
    Ok(())
}

/// Up to `limit` differences after the place `after`, in their order.
pub(super) fn differences(
    db: &Transaction<'_>,
    directory: i64,
    after: i64,
    limit: u32,
) -> rusqlite::Result<Vec<Difference>> {
    db.prepare_cached(&format!(
        "select place, entry_id, kind, dn, account from temp.difference_{directory}
         where place > ? order by place limit ?"
    ))?
    .query_map((after, limit), difference)?
    .collect()
}

/// Up to `limit` differences after the place `after` that may show that a member has left.
pub(super) fn leavers(
    db: &Transaction<'_>,
    directory: i64,
    after: i64,
    limit: u32,
) -> rusqlite::Result<Vec<Difference>> {
    db.prepare_cached(&format!(
        "select place, entry_id, kind, dn, account from temp.difference_{directory}
         where place > ? and (kind is null or kind = {GONE} or kind = {DISABLED}) order by place limit ?"
    ))?
    .query_map((after, limit), difference)?
    .collect()
}

fn difference(row: &Row<'_>) -> rusqlite::Result<Difference> {
    let id = rows::entry_id(row, 1)?;
    let kind: Option<i64> = row.get(2)?;
    let sighting = match kind {
        None => None,
        Some(PRESENT) => Some(Sighting::Present(id)),
        Some(GONE) => Some(Sighting::Gone(id)),
        Some(kind) => {
            let text: String = row.get(4)?;
            let account = match kind {
                USABLE => Account::Usable(
                    text.split(SEPARATOR)
                        .map(|address| EmailAddress::stored(address.to_owned()))
                        .collect(),
                ),
                WITHOUT_ADDRESS => Account::WithoutAddress(text),
                _ => Account::Disabled(text),
            };
            let dn = row.get(3)?;
            Some(Sighting::Entry(EntryFacts { id, dn, account }))
        }
    };
    Ok(Difference {
        place: row.get(0)?,
        id,
        sighting,
    })
}

fn account(account: &Account) -> (i64, String) {
    match account {
        Account::Usable(addresses) => {
            let texts: Vec<&str> = addresses.iter().map(EmailAddress::as_str).collect();
            (USABLE, texts.join(SEPARATOR))
        }
        Account::WithoutAddress(why) => (WITHOUT_ADDRESS, why.clone()),
        Account::Disabled(why) => (DISABLED, why.clone()),
    }
}
