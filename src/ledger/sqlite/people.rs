//! What people decide, and the small notes.

use sqlx::SqliteConnection;

use super::report::{TaskRow, task_report};
use super::rows::json;
use crate::clock::Timestamp;
use crate::ledger::TaskReport;
use crate::model::EmailAddress;

pub(super) async fn approve(
    db: &mut SqliteConnection,
    addresses: Option<&[EmailAddress]>,
    now: Timestamp,
) -> sqlx::Result<Vec<String>> {
    let query = match addresses {
        None => sqlx::query_scalar(
            "update task set state = 'queued', since = ? where state = 'held' returning address",
        )
        .bind(now.0),
        Some(addresses) => sqlx::query_scalar(
            "update task set state = 'queued', since = ?
             where +state = 'held' and address in (select value from json_each(?)) returning address",
        )
        .bind(now.0)
        .bind(json(addresses.iter().map(EmailAddress::as_str))?),
    };
    query.fetch_all(db).await
}

pub(super) async fn held(db: &mut SqliteConnection) -> sqlx::Result<Vec<TaskReport>> {
    let rows: Vec<TaskRow> = sqlx::query_as(
        "select t.address, m.dn, d.name, t.reason, t.attempts, t.arrived
         from task t cross join member m on m.id = t.member cross join directory d on d.id = m.directory
         where t.state = 'held' order by t.arrived, t.id",
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(task_report).collect())
}

pub(super) async fn retry(
    db: &mut SqliteConnection,
    addresses: Option<&[EmailAddress]>,
    now: Timestamp,
) -> sqlx::Result<Vec<String>> {
    let addresses = addresses.map(|addresses| json(addresses.iter().map(EmailAddress::as_str)));
    sqlx::query_scalar(
        "update task set state = 'queued', since = ?1, due = ?1, attempts = 0, reason = null
         where state = 'quarantined' and (?2 is null or address in (select value from json_each(?2)))
         returning address",
    )
    .bind(now.0)
    .bind(addresses.transpose()?)
    .fetch_all(db)
    .await
}

pub(super) async fn quarantined(db: &mut SqliteConnection) -> sqlx::Result<Vec<TaskReport>> {
    let rows: Vec<TaskRow> = sqlx::query_as(
        "select t.address, m.dn, d.name, t.reason, t.attempts, t.arrived
         from task t cross join member m on m.id = t.member cross join directory d on d.id = m.directory
         where t.state = 'quarantined' order by t.arrived, t.id",
    )
    .fetch_all(db)
    .await?;
    Ok(rows.into_iter().map(task_report).collect())
}

pub(super) async fn recall(db: &mut SqliteConnection, name: &str) -> sqlx::Result<Option<Vec<u8>>> {
    sqlx::query_scalar("select value from note where name = ?")
        .bind(name)
        .fetch_optional(db)
        .await
}

pub(super) async fn remember(db: &mut SqliteConnection, name: &str, note: &[u8]) -> sqlx::Result<()> {
    sqlx::query(
        "insert into note (name, value) values (?, ?) on conflict (name) do update set value = excluded.value",
    )
    .bind(name)
    .bind(note)
    .execute(db)
    .await?;
    Ok(())
}
