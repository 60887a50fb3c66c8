//! How many members and actions there are of each sort: metrics ask every few seconds, and counting a million rows takes too
//! long for that.
//!
//! Whatever changes them adds up the difference in memory and saves it once, in the same transaction. The service counts
//! the rows once after its start.

use std::collections::BTreeMap;

use rusqlite::Transaction;

use super::rows;
use crate::model::{ActionState, Compared, Standing};

/// Changes of the counts.
#[derive(Debug, Default)]
pub(super) struct Counts {
    members: BTreeMap<(i64, &'static str), i64>,
    actions: BTreeMap<(&'static str, i64), i64>,
}

impl Counts {
    /// A member of a directory came to stand so; `before` is `None` for a new one.
    pub(super) fn member(&mut self, directory: i64, before: Option<&Standing>, now: &Standing) {
        if let Some(before) = before {
            *self
                .members
                .entry((directory, rows::standing(before).0))
                .or_default() -= 1;
        }
        *self
            .members
            .entry((directory, rows::standing(now).0))
            .or_default() += 1;
    }

    /// An action came to a state; `before` is `None` for a new one.
    pub(super) fn action(&mut self, before: Option<(ActionState, Compared)>, now: (ActionState, Compared)) {
        if let Some(before) = before {
            self.actions(before, -1);
        }
        self.actions(now, 1);
    }

    /// So many actions came to a state, or left it.
    pub(super) fn actions(&mut self, (state, compared): (ActionState, Compared), by: i64) {
        *self
            .actions
            .entry((state.as_str(), rows::compared_number(compared)))
            .or_default() += by;
    }

    /// Whether nothing changes.
    pub(super) fn are_unchanged(&self) -> bool {
        self.members
            .values()
            .chain(self.actions.values())
            .all(|by| *by == 0)
    }

    /// Adds the changes to what is stored.
    pub(super) fn save(self, db: &Transaction<'_>) -> rusqlite::Result<()> {
        for ((directory, standing), by) in self.members.into_iter().filter(|(_, by)| *by != 0) {
            db.prepare_cached(
                "insert into member_count (directory, standing, members) values (?, ?, max(?3, 0))
                 on conflict do update set members = max(members + ?3, 0)",
            )?
            .execute((directory, standing, by))?;
        }
        for ((state, compared), by) in self.actions.into_iter().filter(|(_, by)| *by != 0) {
            db.prepare_cached(
                "insert into action_count (state, compared, actions) values (?, ?, max(?3, 0))
                 on conflict do update set actions = max(actions + ?3, 0)",
            )?
            .execute((state, compared, by))?;
        }
        Ok(())
    }
}

/// Counts the rows: by how much what is stored is wrong.
pub(super) fn errors(db: &Transaction<'_>) -> rusqlite::Result<Counts> {
    let mut counts = Counts::default();
    let mut members = db.prepare("select directory, standing, reason from member")?;
    let mut rows = members.query([])?;
    while let Some(row) = rows.next()? {
        counts.member(row.get(0)?, None, &rows::read_standing(row, 1)?);
    }
    let mut actions = db.prepare("select state, compared from action")?;
    let mut rows = actions.query([])?;
    while let Some(row) = rows.next()? {
        counts.action(None, (rows::state(row, 0)?, rows::compared(row, 1)?));
    }
    let mut stored = db.prepare("select directory, standing, members from member_count")?;
    let mut rows = stored.query([])?;
    while let Some(row) = rows.next()? {
        let standing = rows::standing_named(row.get_ref(1)?.as_str()?);
        *counts.members.entry((row.get(0)?, standing)).or_default() -= row.get::<_, i64>(2)?;
    }
    let mut stored = db.prepare("select state, compared, actions from action_count")?;
    let mut rows = stored.query([])?;
    while let Some(row) = rows.next()? {
        counts.actions(
            (rows::state(row, 0)?, rows::compared(row, 1)?),
            -row.get::<_, i64>(2)?,
        );
    }
    Ok(counts)
}
