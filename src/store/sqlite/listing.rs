//! Listings: who was seen, and what was found.

use rusqlite::Transaction;

use super::book::{brake, save_brake};
use super::rows::{self, MEMBER};
use crate::clock::Timestamp;
use crate::model::{ActionState, Member};
use crate::rules::{Brake, Verdict};
use crate::store::ListingOutcome;

pub(super) fn begin(db: &Transaction<'_>, directory: i64) -> rusqlite::Result<()> {
    db.prepare_cached("update directory set generation = generation + 1 where id = ?")?
        .execute([directory])?;
    Ok(())
}

pub(super) fn unseen(
    db: &Transaction<'_>,
    directory: i64,
    after: i64,
    limit: u32,
) -> rusqlite::Result<Vec<Member>> {
    // In the order of rows, so that all pages together walk the table once.
    db.prepare_cached(&format!(
        "select {MEMBER} from member m
         where m.id > ?2 and +m.directory = ?1 and m.standing <> 'left'
           and m.seen <> (select generation from directory where id = ?1)
         order by m.id limit ?3"
    ))?
    .query_map((directory, after, limit), |row| rows::member(row, 0))?
    .collect()
}

pub(super) fn end(
    db: &Transaction<'_>,
    directory: i64,
    complete: bool,
    judge: &mut dyn FnMut(&mut Brake, u64) -> Verdict,
    now: Timestamp,
) -> rusqlite::Result<ListingOutcome> {
    if complete {
        db.prepare_cached("update directory set listed = ?2 where id = ?1")?
            .execute((directory, now.0))?;
    }
    let staged: u64 = db
        .prepare_cached(
            "select count(*) from action a cross join member m on m.id = a.member
             where a.state = 'staged' and m.directory = ?",
        )?
        .query_row([directory], |row| row.get(0))?;
    let verdict = judged(db, directory, staged, judge)?;
    if staged == 0 {
        return Ok(ListingOutcome::default());
    }
    let (state, outcome) = match verdict {
        Verdict::Invite => (
            ActionState::Queued,
            ListingOutcome {
                queued: staged,
                ..ListingOutcome::default()
            },
        ),
        Verdict::Hold => (
            ActionState::Held,
            ListingOutcome {
                held: staged,
                ..ListingOutcome::default()
            },
        ),
    };
    db.prepare_cached(
        "update action set state = ?2, since = ?3
         where state = 'staged' and (select directory from member where id = action.member) = ?1",
    )?
    .execute((directory, state.as_str(), now.0))?;
    Ok(outcome)
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
