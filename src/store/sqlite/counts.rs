//! The stored counts of members and actions.

use rusqlite::Transaction;

use crate::store::counts::Counts;
use crate::store::rows::{self, Columns as _};

/// Adds changes to what is stored.
pub(super) fn save(db: &Transaction<'_>, counts: &Counts) -> rusqlite::Result<()> {
    for change in counts.changed_members() {
        db.prepare_cached(
            "insert into member_count (directory, standing, members) values (?, ?, max(?3, 0))
             on conflict do update set members = max(members + ?3, 0)",
        )?
        .execute(change)?;
    }
    for change in counts.changed_actions() {
        db.prepare_cached(
            "insert into action_count (kind, state, compared, actions) values (?, ?, ?, max(?4, 0))
             on conflict do update set actions = max(actions + ?4, 0)",
        )?
        .execute(change)?;
    }
    Ok(())
}

/// Counts the rows. Returns the changes that make the stored counts right.
pub(super) fn corrections(db: &Transaction<'_>) -> rusqlite::Result<Counts> {
    let mut counts = Counts::default();
    let mut members = db.prepare("select directory, standing, reason from member")?;
    let mut found = members.query([])?;
    while let Some(row) = found.next()? {
        counts.member(row.int(0)?, None, &rows::read_standing(row, 1)?);
    }
    let mut actions = db.prepare("select kind, state, compared from action")?;
    let mut found = actions.query([])?;
    while let Some(row) = found.next()? {
        let now = (rows::state(row, 1)?, rows::compared(row, 2)?);
        counts.action(rows::kind(row, 0)?, None, now);
    }
    let mut stored = db.prepare("select directory, standing, members from member_count")?;
    let mut found = stored.query([])?;
    while let Some(row) = found.next()? {
        let standing = rows::standing_named(&row.text(1)?);
        counts.members_by(row.int(0)?, standing, -row.int(2)?);
    }
    let mut stored = db.prepare("select kind, state, compared, actions from action_count")?;
    let mut found = stored.query([])?;
    while let Some(row) = found.next()? {
        let stage = (rows::state(row, 1)?, rows::compared(row, 2)?);
        counts.actions(rows::kind(row, 0)?, stage, -row.int(3)?);
    }
    Ok(counts)
}
