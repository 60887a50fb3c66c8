//! Reads what `status` and the metrics show. Metrics are read every few seconds, so nothing here scans members or
//! invitations.

use rusqlite::{ToSql, Transaction};

use super::{notes, selection};
use crate::model::{ActionKind, ActionState};
use crate::store::reporting::{self, Parts};
use crate::store::rows::{self, DIRECTORY_REPORT, TASK_REPORT};
use crate::store::selection::Selection;
use crate::store::{ACCOUNTS_TROUBLE, DirectoryReport, Report, TaskReport, VAULTWARDEN_TROUBLE};

/// The tables of a [`TaskReport`].
const TABLES: &str = "cross join member m on m.id = a.member cross join directory d on d.id = m.directory";

pub(super) fn in_state(
    db: &Transaction<'_>,
    state: ActionState,
    which: &Selection,
) -> rusqlite::Result<Vec<TaskReport>> {
    let state = state.as_str();
    let mut found: Vec<TaskReport> = Vec::new();
    selection::each(which, |condition, parameters| {
        let from = format!("from action a {TABLES} where a.state = '{state}'{condition}");
        found.extend(tasks(db, &from, parameters)?);
        Ok(())
    })?;
    Ok(reporting::by_arrival(found))
}

pub(super) fn report(db: &Transaction<'_>) -> rusqlite::Result<Report> {
    let quarantined = format!(
        "from action a {TABLES} where a.state = 'quarantined' order by a.since desc, a.id desc limit 100"
    );
    let held = format!("from action a {TABLES} where a.state = 'held' order by a.due, a.id limit 100");
    let failing = format!(
        "from action a indexed by action_failing {TABLES}
         where a.state = 'queued' and a.reason is not null order by a.arrived desc, a.id desc limit 100"
    );
    let parts = Parts {
        directories: directories(db)?,
        instances: Vec::new(),
        counts: db
            .prepare_cached("select kind, state, sum(actions) from action_count group by kind, state")?
            .query_map([], |row| {
                Ok((rows::kind(row, 0)?, rows::state(row, 1)?, row.get(2)?))
            })?
            .collect::<rusqlite::Result<Vec<(ActionKind, ActionState, u64)>>>()?,
        unregistered: db
            .prepare_cached("select count(*) from action where account_state = 'invited'")?
            .query_row([], |row| row.get(0))?,
        troubles: [
            notes::get(db, VAULTWARDEN_TROUBLE)?,
            notes::get(db, ACCOUNTS_TROUBLE)?,
        ],
        quarantined: tasks(db, &quarantined, &[])?,
        held: tasks(db, &held, &[])?,
        failing: tasks(db, &failing, &[])?,
    };
    Ok(parts.report())
}

fn tasks(db: &Transaction<'_>, from: &str, parameters: &[&dyn ToSql]) -> rusqlite::Result<Vec<TaskReport>> {
    db.prepare_cached(&format!("select {TASK_REPORT} {from}"))?
        .query_map(parameters, |row| rows::task_report(row))?
        .collect()
}

fn directories(db: &Transaction<'_>) -> rusqlite::Result<Vec<DirectoryReport>> {
    db.prepare_cached(&format!(
        "select {DIRECTORY_REPORT}
         from directory d
         left join member_count m on m.directory = d.id and m.standing = 'member'
         left join member_count w on w.directory = d.id and w.standing = 'without-address'
         order by d.id"
    ))?
    .query_map([], |row| rows::directory_report(row))?
    .collect()
}
