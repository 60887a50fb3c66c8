//! The end of a listing: what becomes of the invitations that it brought.

use rusqlite::{Transaction, named_params};

use super::book::{brake, save_brake};
use super::journal;
use crate::clock::Timestamp;
use crate::model::{ActionState, Hold, Source, What};
use crate::rules::{Brake, Verdict};
use crate::store::ListingOutcome;

/// Staged invitations that one transaction moves: others wait for no more.
const SLICE: u32 = 5000;

/// Has the staged invitations of a directory judged by their number.
pub(super) fn judge_staged(
    db: &Transaction<'_>,
    directory: i64,
    judge: &mut dyn FnMut(&mut Brake, u64) -> Verdict,
) -> rusqlite::Result<ListingOutcome> {
    let staged: u64 = db
        .prepare_cached(
            "select count(*) from action a cross join member m on m.id = a.member
             where a.state = 'staged' and m.directory = ?",
        )?
        .query_row([directory], |row| row.get(0))?;
    let (queued, held) = match judged(db, directory, staged, judge)? {
        Verdict::Invite => (staged, 0),
        Verdict::Hold => (0, staged),
    };
    Ok(ListingOutcome {
        queued,
        held,
        left: 0,
    })
}

/// Some of the staged invitations of a directory: the same ones as long as none of them moves.
const SOME_STAGED: &str = "a.id in (select s.id from action s cross join member o on o.id = s.member
                                    where s.state = 'staged' and o.directory = :directory limit :slice)";

/// Moves some of the staged invitations of a directory to another state; returns whether there may be more.
pub(super) fn move_staged(
    db: &Transaction<'_>,
    directory: i64,
    state: ActionState,
    now: Timestamp,
) -> rusqlite::Result<bool> {
    if state == ActionState::Held {
        journal::append_for(
            db,
            SOME_STAGED,
            &[(":directory", &directory), (":slice", &SLICE)],
            (now, Source::Listing),
            &What::Held { by: Hold::Listing },
        )?;
    }
    let moved = db
        .prepare_cached(&format!(
            "update action as a set state = :state, since = :now where {SOME_STAGED}"
        ))?
        .execute(named_params! {
            ":directory": directory, ":slice": SLICE, ":state": state.as_str(), ":now": now.0,
        })?;
    Ok(moved > 0)
}

/// Records that a listing named everyone.
pub(super) fn completed(db: &Transaction<'_>, directory: i64, now: Timestamp) -> rusqlite::Result<()> {
    db.prepare_cached("update directory set listed = ?2 where id = ?1")?
        .execute((directory, now.0))?;
    Ok(())
}

/// Has so many new people of a directory judged by its brake.
pub(super) fn judged(
    db: &Transaction<'_>,
    directory: i64,
    count: u64,
    judge: &mut dyn FnMut(&mut Brake, u64) -> Verdict,
) -> rusqlite::Result<Verdict> {
    let mut now = db
        .prepare_cached(
            "select brake_listed, brake_listed_at, brake_changed, brake_changed_since from directory where id = ?",
        )?
        .query_row([directory], |row| brake(row, 0))?;
    let verdict = judge(&mut now, count);
    save_brake(db, directory, &now)?;
    Ok(verdict)
}
