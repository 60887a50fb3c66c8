//! The end of a listing, and a directory's brake.

use rusqlite::Transaction;

use super::book::{brake, save_brake};
use crate::clock::Timestamp;
use crate::rules::{Brake, Verdict};

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
        .prepare_cached(
            "select brake_listed, brake_listed_at, brake_changed, brake_changed_since, brake_holding
             from directory where id = ?",
        )?
        .query_row([directory], |row| brake(row, 0))?;
    let verdict = judge(&mut now, count);
    save_brake(db, directory, &now)?;
    Ok(verdict)
}
