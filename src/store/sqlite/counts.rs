//! How many members and actions there are of each sort: metrics ask every few seconds, and counting a million rows takes too
//! long for that.
//!
//! Whatever changes them adds up the difference in memory and saves it once, in the same transaction. The service counts
//! the rows when it starts.

use std::collections::BTreeMap;

use rusqlite::{Connection, Transaction};

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

/// Counts the rows, and stores the counts where they differ.
pub(super) fn check(db: &mut Connection) -> rusqlite::Result<()> {
    const MEMBERS: &str = "select directory, standing, count(*) from member group by directory, standing";
    const ACTIONS: &str = "select state, compared, count(*) from action group by state, compared";
    let tx = db.transaction()?;
    let differ = |stored: &str, counted: &str| {
        let sql = format!(
            "select exists (select * from ({stored}) except select * from ({counted}))
                 or exists (select * from ({counted}) except select * from ({stored}))"
        );
        tx.query_row(&sql, [], |row| row.get::<_, bool>(0))
    };
    let members = differ("select * from member_count where members > 0", MEMBERS)?;
    let actions = differ("select * from action_count where actions > 0", ACTIONS)?;
    if members || actions {
        tracing::warn!("the stored counts of members and invitations were wrong; they are counted anew");
        tx.execute_batch(&format!(
            "delete from member_count; insert into member_count {MEMBERS};
             delete from action_count; insert into action_count {ACTIONS};"
        ))?;
    }
    tx.commit()
}
