//! Stored counts of members and actions. Metrics read them every few seconds, which is too often to count a million rows.
//!
//! A transaction adds up its changes in memory and saves them once. The service counts the rows once after its start.

use std::collections::BTreeMap;

use rusqlite::Transaction;

use super::rows;
use crate::model::{ActionKind, ActionState, Compared, Standing};

/// Changes of the counts.
#[derive(Debug, Default)]
pub(super) struct Counts {
    members: BTreeMap<(i64, &'static str), i64>,
    actions: BTreeMap<(&'static str, &'static str, i64), i64>,
}

impl Counts {
    /// Counts a change of standing; `before` is `None` for a new member.
    pub(super) fn member(&mut self, directory: i64, before: Option<&Standing>, now: &Standing) {
        if let Some(before) = before {
            self.no_member(directory, before);
        }
        *self
            .members
            .entry((directory, rows::standing(now).0))
            .or_default() += 1;
    }

    /// Counts a member who is removed.
    pub(super) fn no_member(&mut self, directory: i64, was: &Standing) {
        *self
            .members
            .entry((directory, rows::standing(was).0))
            .or_default() -= 1;
    }

    /// Counts a change of state; `before` is `None` for a new action.
    pub(super) fn action(
        &mut self,
        kind: ActionKind,
        before: Option<(ActionState, Compared)>,
        now: (ActionState, Compared),
    ) {
        if let Some(before) = before {
            self.actions(kind, before, -1);
        }
        self.actions(kind, now, 1);
    }

    /// Adds `by` to the number of actions in a state.
    pub(super) fn actions(&mut self, kind: ActionKind, (state, compared): (ActionState, Compared), by: i64) {
        *self
            .actions
            .entry((kind.as_str(), state.as_str(), rows::compared_number(compared)))
            .or_default() += by;
    }

    /// Whether there is no change.
    pub(super) fn is_zero(&self) -> bool {
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
        for ((kind, state, compared), by) in self.actions.into_iter().filter(|(_, by)| *by != 0) {
            db.prepare_cached(
                "insert into action_count (kind, state, compared, actions) values (?, ?, ?, max(?4, 0))
                 on conflict do update set actions = max(actions + ?4, 0)",
            )?
            .execute((kind, state, compared, by))?;
        }
        Ok(())
    }
}

/// Counts the rows. Returns the changes that make the stored counts right.
pub(super) fn corrections(db: &Transaction<'_>) -> rusqlite::Result<Counts> {
    let mut counts = Counts::default();
    let mut members = db.prepare("select directory, standing, reason from member")?;
    let mut rows = members.query([])?;
    while let Some(row) = rows.next()? {
        counts.member(row.get(0)?, None, &rows::read_standing(row, 1)?);
    }
    let mut actions = db.prepare("select kind, state, compared from action")?;
    let mut rows = actions.query([])?;
    while let Some(row) = rows.next()? {
        let now = (rows::state(row, 1)?, rows::compared(row, 2)?);
        counts.action(rows::kind(row, 0)?, None, now);
    }
    let mut stored = db.prepare("select directory, standing, members from member_count")?;
    let mut rows = stored.query([])?;
    while let Some(row) = rows.next()? {
        let standing = rows::standing_named(row.get_ref(1)?.as_str()?);
        *counts.members.entry((row.get(0)?, standing)).or_default() -= row.get::<_, i64>(2)?;
    }
    let mut stored = db.prepare("select kind, state, compared, actions from action_count")?;
    let mut rows = stored.query([])?;
    while let Some(row) = rows.next()? {
        counts.actions(
            rows::kind(row, 0)?,
            (rows::state(row, 1)?, rows::compared(row, 2)?),
            -row.get::<_, i64>(3)?,
        );
    }
    Ok(counts)
}
