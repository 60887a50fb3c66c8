//! A listing: what is known of those whom it names, its end, and a directory's brake.

use rusqlite::{OptionalExtension, Transaction};

use super::book::save_brake;
use super::staging::{self, Listings};
use crate::clock::Timestamp;
use crate::rules::membership::Sighting;
use crate::rules::{Brake, Verdict};
use crate::store::rows::{self, BRAKE};

/// Records that a listing has ended, and whether it named everyone.
pub(super) fn ended(
    db: &Transaction<'_>,
    directory: i64,
    complete: bool,
    now: Timestamp,
) -> rusqlite::Result<()> {
    db.prepare_cached("update directory set brake_holding = 0, listed = iif(?2, ?3, listed) where id = ?1")?
        .execute((directory, complete, now.0))?;
    Ok(())
}

/// Lets `judge` decide on this number of new people of a directory, and saves its brake.
pub(super) fn judge_new(
    db: &Transaction<'_>,
    directory: i64,
    count: u64,
    judge: &mut dyn FnMut(&mut Brake, u64) -> Verdict,
) -> rusqlite::Result<Verdict> {
    let mut now = db
        .prepare_cached(&format!("select {BRAKE} from directory d where d.id = ?"))?
        .query_row([directory], |row| rows::brake(row, 0))?;
    let verdict = judge(&mut now, count);
    save_brake(db, directory, &now)?;
    Ok(verdict)
}

/// Adds what a listing named to its set.
pub(super) fn append(
    db: &Transaction<'_>,
    listings: &mut Listings,
    directory: i64,
    named: &[Sighting],
) -> rusqlite::Result<()> {
    let mut find = db.prepare_cached(
        "select id, standing, reason, decided_on from member where directory = ? and entry_id = ?",
    )?;
    staging::append(db, listings, directory, named, |id| {
        find.query_row((directory, id.as_bytes().as_slice()), |row| {
            Ok((row.get(0)?, rows::stands(row, 1)?))
        })
        .optional()
    })
}

/// Compares the set of a listing with the members.
pub(super) fn compare(
    db: &Transaction<'_>,
    listings: &Listings,
    directory: i64,
    complete: bool,
) -> rusqlite::Result<()> {
    staging::sort(db, directory)?;
    if !complete {
        return Ok(());
    }
    let mut members =
        db.prepare_cached("select id, entry_id from member where directory = ? and standing <> 'left'")?;
    let members = members.query_map([directory], |row| Ok((row.get(0)?, rows::entry_id(row, 1)?)))?;
    staging::add_unnamed(db, listings, directory, members)
}
