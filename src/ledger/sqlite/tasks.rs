//! The worker's side: tasks claimed, settled and compared with Vaultwarden's accounts.

use std::time::Duration;

use sqlx::SqliteConnection;

use super::begin;
use super::invitations::{self, Opening};
use super::rows::{self, json};
use crate::clock::Timestamp;
use crate::ledger::Unchecked;
use crate::model::{EmailAddress, Settlement, Task};

/// Ends the leases of a process that died: what it had claimed may or may not have been sent.
pub(super) async fn end_leases(db: &mut SqliteConnection) -> sqlx::Result<()> {
    sqlx::query("update task set lease_until = null, in_doubt = 1 where lease_until is not null")
        .execute(db)
        .await?;
    Ok(())
}

pub(super) async fn claim(
    db: &mut SqliteConnection,
    max: u32,
    lease: Duration,
    now: Timestamp,
) -> sqlx::Result<Vec<Task>> {
    type Row = (i64, String, String, String, u32, bool, i64, i64);
    let mut claimed: Vec<Row> = sqlx::query_as(
        "update task set lease_until = ?3, in_doubt = in_doubt or lease_until is not null
         where id in (select id from task
                      where state = 'queued' and due <= ?2 and (lease_until is null or lease_until <= ?2)
                      order by due, id limit ?1)
         returning id, address, (select dn from member where id = task.member),
                   (select d.name from member m join directory d on d.id = m.directory where m.id = task.member),
                   attempts, in_doubt, arrived, due",
    )
    .bind(max)
    .bind(now.0)
    .bind((now + lease).0)
    .fetch_all(db)
    .await?;
    claimed.sort_unstable_by_key(|&(id, .., due)| (due, id));
    Ok(claimed
        .into_iter()
        .map(
            |(id, address, dn, directory, attempts, in_doubt, arrived, _)| Task {
                id,
                address: EmailAddress::stored(address),
                dn,
                directory,
                attempts,
                in_doubt,
                arrived: Timestamp(arrived),
            },
        )
        .collect())
}

/// A single statement, and so a transaction, where every task is done: the worker waits for it between invitations.
pub(super) async fn settle(
    db: &mut SqliteConnection,
    settled: &[(i64, Settlement)],
    now: Timestamp,
) -> sqlx::Result<()> {
    let done = settled.iter().filter_map(|(task, settlement)| match settlement {
        Settlement::Done(outcome) => Some((task, outcome.as_str())),
        _ => None,
    });
    let done: Vec<_> = done.collect();
    if done.len() == settled.len() {
        return settle_done(db, &done, now).await;
    }
    let mut tx = begin(db).await?;
    settle_done(&mut tx, &done, now).await?;
    settle_failed(&mut tx, settled, now).await?;
    tx.commit().await
}

async fn settle_done(db: &mut SqliteConnection, done: &[(&i64, &str)], now: Timestamp) -> sqlx::Result<()> {
    // Whatever became of a task meanwhile: the person has an account.
    sqlx::query(
        "update task set state = 'done', outcome = j.value ->> 1, since = ?2, lease_until = null, in_doubt = 0,
                         reason = null
         from json_each(?1) j
         where task.id = j.value ->> 0 and task.state <> 'done'",
    )
    .bind(json(done.iter())?)
    .bind(now.0)
    .execute(db)
    .await?;
    Ok(())
}

async fn settle_failed(
    db: &mut SqliteConnection,
    settled: &[(i64, Settlement)],
    now: Timestamp,
) -> sqlx::Result<()> {
    let mut changed = Vec::new();
    for (task, settlement) in settled {
        let query = match settlement {
            Settlement::Done(_) => continue,
            Settlement::RetryAt {
                at,
                failed,
                in_doubt,
                error,
            } => sqlx::query(
                "update task set due = ?2, attempts = attempts + ?3, in_doubt = ?4, reason = nullif(?5, ''),
                                 lease_until = null
                 where id = ?1 and lease_until is not null",
            )
            .bind(task)
            .bind(at.0)
            .bind(failed)
            .bind(in_doubt)
            .bind(error),
            Settlement::Quarantine(reason) => sqlx::query(
                "update task set state = 'quarantined', reason = ?2, since = ?3, attempts = attempts + 1,
                                 lease_until = null, in_doubt = 0
                 where id = ?1 and lease_until is not null",
            )
            .bind(task)
            .bind(reason)
            .bind(now.0),
        };
        if query.execute(&mut *db).await?.rows_affected() > 0 {
            changed.push(*task);
        }
    }
    release_unwanted(db, &changed, now).await
}

/// While a task is claimed, the listener leaves it alone. Where its person has left or changed address meanwhile
/// and it turns out not to have been sent, what the listener would have done is done here.
async fn release_unwanted(db: &mut SqliteConnection, settled: &[i64], now: Timestamp) -> sqlx::Result<()> {
    if settled.is_empty() {
        return Ok(());
    }
    type Row = (i64, i64, i64, Vec<u8>, Option<String>);
    let unwanted: Vec<Row> = sqlx::query_as(
        "select t.id, t.arrived, m.directory, m.entry_id, iif(m.standing = 'member', m.address, null)
         from json_each(?) j cross join task t on t.id = j.value cross join member m on m.id = t.member
         where t.state in ('queued', 'quarantined') and t.in_doubt = 0
           and (m.standing <> 'member' or m.address <> t.address)",
    )
    .bind(json(settled.iter())?)
    .fetch_all(&mut *db)
    .await?;
    for (task, arrived, directory, entry_id, address) in unwanted {
        invitations::release(db, &[task], now).await?;
        if let Some(address) = address {
            let opening = Opening {
                state: "queued",
                again: false,
                arrived: Timestamp(arrived),
                now,
            };
            let owed = (&rows::entry_id(&entry_id)?, &EmailAddress::stored(address));
            invitations::open(db, directory, &[owed], &opening).await?;
        }
    }
    Ok(())
}

pub(super) async fn next_due(db: &mut SqliteConnection) -> sqlx::Result<Option<Timestamp>> {
    let due: Option<i64> = sqlx::query_scalar(
        "select min(due) from (
             select * from (select due from task where state = 'queued' and lease_until is null
                            order by due limit 1)
             union all
             select min(lease_until) from task where lease_until is not null)",
    )
    .fetch_one(db)
    .await?;
    Ok(due.map(Timestamp))
}

pub(super) async fn unchecked(db: &mut SqliteConnection) -> sqlx::Result<Unchecked> {
    let (queued, held) = sqlx::query_as(
        "select sum(tasks) filter (where state = 'queued'), sum(tasks) filter (where state = 'held')
         from task_count where state in ('queued', 'held') and checked = 0",
    )
    .fetch_one(db)
    .await?;
    Ok(Unchecked { queued, held })
}

pub(super) async fn had_accounts(
    db: &mut SqliteConnection,
    accounts: &[EmailAddress],
    now: Timestamp,
) -> sqlx::Result<u64> {
    let done = sqlx::query(
        "update task set state = 'done', outcome = 'had-account', since = ?2, lease_until = null, in_doubt = 0,
                         reason = null
         where address in (select value from json_each(?1))
           and (+state = 'held' or +state = 'queued' and (lease_until is null or lease_until <= ?2))",
    )
    .bind(json(accounts.iter().map(EmailAddress::as_str))?)
    .bind(now.0)
    .execute(db)
    .await?;
    Ok(done.rows_affected())
}

pub(super) async fn checked(
    db: &mut SqliteConnection,
    begun: Timestamp,
    hold_above: Option<u32>,
    now: Timestamp,
) -> sqlx::Result<Vec<(String, u64)>> {
    // Only what was compared just now is judged: older held tasks stay held until someone approves them.
    let compared: Vec<(i64, String, u64)> = sqlx::query_as(
        "select d.id, d.name, count(*)
         from task t cross join member m on m.id = t.member cross join directory d on d.id = m.directory
         where t.state = 'held' and t.checked = 0 and t.since <= ?
         group by d.id order by d.id",
    )
    .bind(begun.0)
    .fetch_all(&mut *db)
    .await?;
    let mut held = Vec::new();
    for (directory, name, count) in compared {
        if hold_above.is_some_and(|limit| count > u64::from(limit)) {
            held.push((name, held_of(db, directory).await?));
        } else {
            sqlx::query(
                "update task set state = 'queued', since = ?3, checked = 1
                 where state = 'held' and checked = 0 and since <= ?2
                   and (select directory from member where id = task.member) = ?1",
            )
            .bind(directory)
            .bind(begun.0)
            .bind(now.0)
            .execute(&mut *db)
            .await?;
        }
    }
    sqlx::query(
        "update task set checked = 1 where (state = 'queued' or state = 'held') and checked = 0 and since <= ?",
    )
    .bind(begun.0)
    .execute(db)
    .await?;
    Ok(held)
}

async fn held_of(db: &mut SqliteConnection, directory: i64) -> sqlx::Result<u64> {
    sqlx::query_scalar(
        "select count(*) from task t cross join member m on m.id = t.member
         where t.state = 'held' and m.directory = ?",
    )
    .bind(directory)
    .fetch_one(db)
    .await
}
