//! Forgets people and directories, because an administrator says so.

use rusqlite::{OptionalExtension, Transaction};

use super::counts;
use crate::model::EntryId;
use crate::store::counts::Counts;
use crate::store::rows;

pub(super) fn directory(db: &Transaction<'_>, name: &str) -> rusqlite::Result<Option<i64>> {
    db.prepare_cached("select id from directory where name = ?")?
        .query_row([name], |row| row.get(0))
        .optional()
}

pub(super) fn present(db: &Transaction<'_>, directory: i64, limit: u32) -> rusqlite::Result<Vec<EntryId>> {
    db.prepare_cached(
        "select entry_id from member where directory = ? and standing <> 'left' order by id limit ?",
    )?
    .query_map((directory, limit), |row| rows::entry_id(row, 0))?
    .collect()
}

pub(super) fn declare_left(db: &Transaction<'_>, directory: i64) -> rusqlite::Result<()> {
    db.execute(
        "update directory set forgotten = 1 where id = ? and retired = 1",
        [directory],
    )?;
    Ok(())
}

pub(super) fn people(db: &Transaction<'_>, people: &[i64]) -> rusqlite::Result<()> {
    let mut counts = Counts::default();
    for person in people {
        db.execute(
            "delete from journal where (directory, entry_id) = (select directory, entry_id from member where id = ?)",
            [person],
        )?;
        let mut actions =
            db.prepare_cached("delete from action where member = ? returning kind, state, compared")?;
        let mut deleted = actions.query([person])?;
        while let Some(row) = deleted.next()? {
            let was = (rows::state(row, 1)?, rows::compared(row, 2)?);
            counts.actions(rows::kind(row, 0)?, was, -1);
        }
        let mut members =
            db.prepare_cached("delete from member where id = ? returning directory, standing, reason")?;
        let mut deleted = members.query([person])?;
        while let Some(row) = deleted.next()? {
            counts.no_member(row.get(0)?, &rows::read_standing(row, 1)?);
        }
    }
    counts::save(db, &counts)
}
