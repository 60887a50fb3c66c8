//! What `status` and the metrics show. Read every few seconds, so nothing here walks members or tasks.

use sqlx::SqliteConnection;

use crate::clock::Timestamp;
use crate::ledger::{DirectoryReport, DirectoryState, Report, TaskReport};
use crate::model::TaskState;

/// The columns `address, dn, directory, reason, attempts, arrived`.
pub(super) type TaskRow = (String, String, String, Option<String>, u32, i64);

pub(super) fn task_report((address, dn, directory, reason, attempts, arrived): TaskRow) -> TaskReport {
    TaskReport {
        address,
        dn,
        directory,
        reason: reason.unwrap_or_default(),
        attempts,
        arrived: Timestamp(arrived),
    }
}

pub(super) async fn report(db: &mut SqliteConnection) -> sqlx::Result<Report> {
    let directories = directories(db).await?;
    let quarantined = "select t.address, m.dn, d.name, t.reason, t.attempts, t.arrived
         from task t cross join member m on m.id = t.member cross join directory d on d.id = m.directory
         where t.state = 'quarantined' order by t.since desc, t.id desc limit 100";
    let failing = "select t.address, m.dn, d.name, t.reason, t.attempts, t.arrived
         from task t indexed by task_failing
         cross join member m on m.id = t.member cross join directory d on d.id = m.directory
         where t.state = 'queued' and t.reason is not null order by t.arrived desc, t.id desc limit 100";
    Ok(Report {
        members: directories.iter().map(|directory| directory.members).sum(),
        without_address: directories
            .iter()
            .map(|directory| directory.without_address)
            .sum(),
        tasks: tasks(db).await?,
        quarantined: newest(db, quarantined).await?,
        failing: newest(db, failing).await?,
        directories,
    })
}

async fn tasks(db: &mut SqliteConnection) -> sqlx::Result<Vec<(&'static str, u64)>> {
    let counts: Vec<(String, u64)> =
        sqlx::query_as("select state, sum(tasks) from task_count group by state")
            .fetch_all(db)
            .await?;
    let count = |state| {
        counts
            .iter()
            .find(|(name, _)| name == state)
            .map_or(0, |&(_, count)| count)
    };
    Ok(TaskState::ALL
        .map(|state| (state.as_str(), count(state.as_str())))
        .into())
}

async fn directories(db: &mut SqliteConnection) -> sqlx::Result<Vec<DirectoryReport>> {
    type Row = (
        String,
        String,
        bool,
        Option<String>,
        Option<i64>,
        u64,
        u64,
        Option<i64>,
        Option<i64>,
    );
    let rows: Vec<Row> = sqlx::query_as(
        "select d.name, d.stream, d.connected, d.error, d.recorded, m.members, w.members, d.cursor_stored, d.listed
         from directory d
         join member_count m on m.directory = d.id and m.standing = 'member'
         join member_count w on w.directory = d.id and w.standing = 'without-address'
         order by d.id",
    )
    .fetch_all(db)
    .await?;
    Ok(rows
        .into_iter()
        .map(
            |(name, stream, connected, error, recorded, members, without_address, cursor_stored, listed)| {
                DirectoryReport {
                    name,
                    state: DirectoryState {
                        stream,
                        connected,
                        error,
                    },
                    recorded: recorded.map(Timestamp),
                    members,
                    without_address,
                    cursor_stored: cursor_stored.map(Timestamp),
                    listed: listed.map(Timestamp),
                }
            },
        )
        .collect())
}

async fn newest(db: &mut SqliteConnection, query: &'static str) -> sqlx::Result<Vec<TaskReport>> {
    let rows: Vec<TaskRow> = sqlx::query_as(query).fetch_all(db).await?;
    Ok(rows.into_iter().map(task_report).collect())
}
