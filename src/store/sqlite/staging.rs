//! Listings under way: what each has named so far, and how that differs from the members.
//!
//! The tables are temporary ones of the connection for listings, so they are neither synced nor written twice, and go with
//! the process. That connection only reads the state, hence it keeps no transaction of others waiting. All writes are
//! sequential, and SQLite sorts on disk: memory does not grow with the directory.

use rusqlite::{Row, Transaction};

use super::rows;
use crate::model::EmailAddress;
use crate::rules::membership::{Account, EntryFacts, Sighting};
use crate::store::Difference;

/// What the column `told` says.
const PRESENT: i64 = 0;
const GONE: i64 = 1;
const USABLE: i64 = 2;
const WITHOUT_ADDRESS: i64 = 3;
const DISABLED: i64 = 4;

/// Between two addresses, which contain no control characters.
const SEPARATOR: &str = "\n";

/// Begins a listing of a directory, and forgets an earlier one.
pub(super) fn begin(db: &Transaction<'_>, directory: i64) -> rusqlite::Result<()> {
    end(db, directory)?;
    db.execute_batch(&format!(
        "create temp table listed_{directory} (
             place    integer primary key, -- the order in which the directory told it
             entry_id blob    not null,
             told     integer not null,
             digest   integer,             -- of an entry
             dn       text,
             account  text                 -- its addresses, or why there is none
         ) strict"
    ))
}

/// Forgets a listing.
pub(super) fn end(db: &Transaction<'_>, directory: i64) -> rusqlite::Result<()> {
    db.execute_batch(&format!(
        "drop table if exists temp.listed_{directory};
         drop table if exists temp.compared_{directory};
         drop table if exists temp.difference_{directory};"
    ))
}

/// Appends what the listing named.
pub(super) fn append(db: &Transaction<'_>, directory: i64, named: &[Sighting]) -> rusqlite::Result<()> {
    let mut insert = db.prepare_cached(&format!(
        "insert into temp.listed_{directory} (entry_id, told, digest, dn, account) values (?, ?, ?, ?, ?)"
    ))?;
    for sighting in named {
        let id = sighting.id();
        let id = id.as_bytes().as_slice();
        match sighting {
            Sighting::Present(_) => insert.execute((id, PRESENT, None::<i64>, None::<&str>, None::<&str>))?,
            Sighting::Gone(_) => insert.execute((id, GONE, None::<i64>, None::<&str>, None::<&str>))?,
            Sighting::Entry(seen) => {
                let (told, account) = account(&seen.account);
                insert.execute((id, told, seen.digest(), &seen.dn, account))?
            }
        };
    }
    Ok(())
}

/// Compares what was named with the members, of whom those who were not named count only if the listing is `complete`.
///
/// An entry that was named once and is as its member was decided on is no difference. All others are: those named more than
/// once in the order in which they were told, then those named once in the order of their addresses, in which the indexes
/// on addresses are written from one end to the other, and then the members who were not named.
pub(super) fn compare(db: &Transaction<'_>, directory: i64, complete: bool) -> rusqlite::Result<()> {
    let members = if complete {
        "member m where m.directory = ?1".to_owned()
    } else {
        format!(
            "temp.listed_{directory} l cross join member m on m.directory = ?1 and m.entry_id = l.entry_id where ?1"
        )
    };
    db.execute_batch(&format!(
        "drop table if exists temp.compared_{directory};
         drop table if exists temp.difference_{directory};
         create temp table compared_{directory} (entry_id blob not null, named integer not null, place integer) strict;
         create temp table difference_{directory} (
             place    integer primary key,
             entry_id blob not null,
             told     integer,             -- null: a member who was not named
             dn       text,
             account  text
         ) strict;"
    ))?;
    db.prepare(&format!(
        "insert into temp.compared_{directory}
         select entry_id, count(place), max(place) from (
             select entry_id, place, told, digest, null as standing from temp.listed_{directory}
             union all
             select m.entry_id, null, null, m.decided_on, m.standing from {members}
         )
         group by entry_id
         having case count(place)
             when 0 then max(standing) <> 'left'
             when 1 then not (max(told) = {PRESENT} and coalesce(max(standing) <> 'left', 0)
                              or max(told) >= {USABLE} and count(digest) = 2 and min(digest) = max(digest))
             else true end"
    ))?
    .execute([directory])?;
    db.execute_batch(&format!(
        "insert into temp.difference_{directory} (entry_id, told, dn, account)
         select entry_id, told, dn, account from temp.listed_{directory}
         where exists (select 1 from temp.compared_{directory} where named > 1)
           and entry_id in (select entry_id from temp.compared_{directory} where named > 1)
         order by place;
         insert into temp.difference_{directory} (entry_id, told, dn, account)
         select l.entry_id, l.told, l.dn, l.account
         from (select place from temp.compared_{directory} where named = 1 order by place limit -1) c
         cross join temp.listed_{directory} l using (place)
         order by l.account, l.place;
         insert into temp.difference_{directory} (entry_id)
         select entry_id from temp.compared_{directory} where named = 0 order by rowid;
         drop table temp.compared_{directory};"
    ))
}

/// Up to `limit` differences after the place `after`, in their order.
pub(super) fn differences(
    db: &Transaction<'_>,
    directory: i64,
    after: i64,
    limit: u32,
) -> rusqlite::Result<Vec<Difference>> {
    db.prepare_cached(&format!(
        "select place, entry_id, told, dn, account from temp.difference_{directory}
         where place > ? order by place limit ?"
    ))?
    .query_map((after, limit), difference)?
    .collect()
}

fn difference(row: &Row<'_>) -> rusqlite::Result<Difference> {
    let id = rows::entry_id(row, 1)?;
    let told: Option<i64> = row.get(2)?;
    let told = match told {
        None => None,
        Some(PRESENT) => Some(Sighting::Present(id)),
        Some(GONE) => Some(Sighting::Gone(id)),
        Some(told) => {
            let text: String = row.get(4)?;
            let account = match told {
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
        told,
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
