//! Reads what `status` and the metrics show. Metrics are read every few seconds, so nothing here scans members or
//! invitations.

use rusqlite::{Row, Transaction};

use super::selection::Selection;
use super::{notes, rows};
use crate::model::{ActionKind, ActionState};
use crate::store::{
    ACCOUNTS_TROUBLE, DirectoryReport, DirectoryState, Report, TaskReport, VAULTWARDEN_TROUBLE,
};

/// Selects the columns that [`task`] reads; a condition follows.
const TASK: &str =
    "select a.address, m.dn, d.name, a.reason, a.attempts, a.arrived, a.kind, a.id, m.entry_id,
            a.account_state is not null and a.account_state not like 'deleted%'
     from action a cross join member m on m.id = a.member cross join directory d on d.id = m.directory";

fn task(row: &Row<'_>) -> rusqlite::Result<TaskReport> {
    Ok(TaskReport {
        address: row.get(0)?,
        dn: row.get(1)?,
        directory: row.get(2)?,
        reason: row.get::<_, Option<String>>(3)?.unwrap_or_default(),
        attempts: row.get(4)?,
        arrived: rows::time(row, 5)?,
        kind: rows::kind(row, 6)?,
        row: row.get(7)?,
        entry: rows::entry_id(row, 8)?,
        has_account: row.get(9)?,
    })
}

pub(super) fn in_state(
    db: &Transaction<'_>,
    state: ActionState,
    which: &Selection,
) -> rusqlite::Result<Vec<TaskReport>> {
    let state = state.as_str();
    let mut found: Vec<TaskReport> = Vec::new();
    which.each(|condition, parameters| {
        let mut query = db.prepare_cached(&format!("{TASK} where a.state = '{state}'{condition}"))?;
        for one in query.query_map(parameters, task)? {
            found.push(one?);
        }
        Ok(())
    })?;
    found.sort_by_key(|task| (task.arrived, task.row));
    Ok(found)
}

pub(super) fn report(db: &Transaction<'_>) -> rusqlite::Result<Report> {
    let directories = directories(db)?;
    let configured = || directories.iter().filter(|directory| !directory.retired);
    Ok(Report {
        members: configured().map(|directory| directory.members).sum(),
        without_address: configured().map(|directory| directory.without_address).sum(),
        tasks: tasks(db, |kind| kind.is_invite())?,
        leavers: tasks(db, ActionKind::is_leave)?,
        unregistered: db
            .prepare_cached("select count(*) from action where account_state = 'invited'")?
            .query_row([], |row| row.get(0))?,
        vaultwarden_trouble: match trouble(db, VAULTWARDEN_TROUBLE)? {
            None => trouble(db, ACCOUNTS_TROUBLE)?,
            some => some,
        },
        quarantined: db
            .prepare_cached(&format!(
                "{TASK} where a.state = 'quarantined' order by a.since desc, a.id desc limit 100"
            ))?
            .query_map([], task)?
            .collect::<rusqlite::Result<_>>()?,
        failing: db
            .prepare_cached(
                "select a.address, m.dn, d.name, a.reason, a.attempts, a.arrived, a.kind, a.id, m.entry_id,
                        a.account_state is not null and a.account_state not like 'deleted%'
                 from action a indexed by action_failing
                 cross join member m on m.id = a.member cross join directory d on d.id = m.directory
                 where a.state = 'queued' and a.reason is not null order by a.arrived desc, a.id desc limit 100",
            )?
            .query_map([], task)?
            .collect::<rusqlite::Result<_>>()?,
        directories,
    })
}

fn trouble(db: &Transaction<'_>, note: &str) -> rusqlite::Result<Option<String>> {
    let note = notes::get(db, note)?.and_then(|note| String::from_utf8(note).ok());
    Ok(note.filter(|note| !note.is_empty()))
}

/// The number of actions of some kinds in each state.
fn tasks(
    db: &Transaction<'_>,
    of: impl Fn(ActionKind) -> bool,
) -> rusqlite::Result<Vec<(&'static str, u64)>> {
    let counts: Vec<(ActionKind, ActionState, u64)> = db
        .prepare_cached("select kind, state, sum(actions) from action_count group by kind, state")?
        .query_map([], |row| {
            Ok((rows::kind(row, 0)?, rows::state(row, 1)?, row.get(2)?))
        })?
        .collect::<rusqlite::Result<_>>()?;
    let count = |state: ActionState| {
        let counts = counts
            .iter()
            .filter(|(kind, of_state, _)| of(*kind) && *of_state == state);
        counts.map(|(_, _, count)| count).sum()
    };
    Ok(ActionState::ALL
        .map(|state| (state.as_str(), count(state)))
        .into())
}

fn directories(db: &Transaction<'_>) -> rusqlite::Result<Vec<DirectoryReport>> {
    db.prepare_cached(
        "select d.name, d.stream, d.connected, d.error, d.recorded, coalesce(m.members, 0), coalesce(w.members, 0), d.cursor_stored, d.listed,
                d.retired
         from directory d
         left join member_count m on m.directory = d.id and m.standing = 'member'
         left join member_count w on w.directory = d.id and w.standing = 'without-address'
         order by d.id",
    )?
    .query_map([], |row| {
        Ok(DirectoryReport {
            name: row.get(0)?,
            state: DirectoryState {
                stream: row.get(1)?,
                connected: row.get(2)?,
                error: row.get(3)?,
            },
            recorded: rows::optional_time(row, 4)?,
            members: row.get(5)?,
            without_address: row.get(6)?,
            cursor_stored: rows::optional_time(row, 7)?,
            listed: rows::optional_time(row, 8)?,
            retired: row.get(9)?,
        })
    })?
    .collect()
}
