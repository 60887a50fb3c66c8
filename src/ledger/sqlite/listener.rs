//! The listener's side: directories and their members.

use sqlx::SqliteConnection;

use super::rows::{self, MemberRow, hex, json};
use super::{invitations, invitations::Invitations};
use crate::clock::Timestamp;
use crate::ledger::{Batch, Committed, DirectoryRow, DirectoryState, ListingOutcome, MemberWrite};
use crate::model::{Cursor, EntryId, Listing, Member};

/// How many leavers are taken at a time, so that memory does not grow with their number.
const CHUNK: u32 = 1000;

pub(super) async fn enroll(
    db: &mut SqliteConnection,
    name: &str,
    settings: &str,
) -> sqlx::Result<DirectoryRow> {
    type Row = (i64, String, Option<Vec<u8>>, Option<i64>);
    let stored: Option<Row> =
        sqlx::query_as("select id, settings, cursor, listed from directory where name = ?")
            .bind(name)
            .fetch_optional(&mut *db)
            .await?;
    match stored {
        Some((id, before, cursor, listed)) if before == settings => Ok(DirectoryRow {
            id,
            cursor: cursor.map(Cursor),
            settings_changed: false,
            listed: listed.map(Timestamp),
        }),
        Some((id, _, cursor, listed)) => {
            sqlx::query(
                "update directory set settings = ?2, cursor = null, cursor_stored = null where id = ?1",
            )
            .bind(id)
            .bind(settings)
            .execute(db)
            .await?;
            Ok(DirectoryRow {
                id,
                cursor: None,
                settings_changed: cursor.is_some(),
                listed: listed.map(Timestamp),
            })
        }
        None => {
            let id = sqlx::query_scalar("insert into directory (name, settings) values (?, ?) returning id")
                .bind(name)
                .bind(settings)
                .fetch_one(db)
                .await?;
            Ok(DirectoryRow {
                id,
                cursor: None,
                settings_changed: false,
                listed: None,
            })
        }
    }
}

pub(super) async fn known(
    db: &mut SqliteConnection,
    directory: i64,
    who: &[EntryId],
) -> sqlx::Result<Vec<Member>> {
    // `cross join` keeps SQLite from walking all members and looking each up in the batch.
    sqlx::query_as::<_, MemberRow>(
        "select m.id, m.entry_id, m.dn, m.address, m.standing, m.reason
         from json_each(?2) j
         cross join member m on m.directory = ?1 and m.entry_id = unhex(j.value)",
    )
    .bind(directory)
    .bind(json(who.iter().map(hex))?)
    .fetch_all(db)
    .await?
    .into_iter()
    .map(rows::member)
    .collect()
}

pub(super) async fn begin_listing(db: &mut SqliteConnection, directory: i64) -> sqlx::Result<()> {
    sqlx::query("update directory set generation = generation + 1 where id = ?")
        .bind(directory)
        .execute(db)
        .await?;
    Ok(())
}

pub(super) async fn commit(
    db: &mut SqliteConnection,
    batch: &Batch,
    now: Timestamp,
) -> sqlx::Result<Committed> {
    write_members(db, batch.directory, &batch.members).await?;
    mark_seen(db, batch.directory, &batch.seen).await?;
    let committed = Invitations::of(batch, now).write(db).await?;
    if let Some(cursor) = &batch.cursor {
        sqlx::query("update directory set cursor = ?2, cursor_stored = ?3 where id = ?1")
            .bind(batch.directory)
            .bind(&cursor.0)
            .bind(now.0)
            .execute(db)
            .await?;
    }
    Ok(committed)
}

async fn write_members(
    db: &mut SqliteConnection,
    directory: i64,
    members: &[MemberWrite],
) -> sqlx::Result<()> {
    if members.is_empty() {
        return Ok(());
    }
    let members = json(members.iter().map(|member| {
        let (standing, reason) = rows::standing(&member.standing);
        let address = member.address.as_ref().map(|address| address.as_str());
        (hex(&member.id), &member.dn, address, standing, reason)
    }))?;
    sqlx::query(
        "insert into member (directory, entry_id, dn, address, standing, reason, seen)
         select d.id, unhex(j.value ->> 0), j.value ->> 1, j.value ->> 2, j.value ->> 3, j.value ->> 4,
                d.generation
         from directory d cross join json_each(?2) j
         where d.id = ?1
         on conflict (directory, entry_id) do update
         set dn = excluded.dn, address = excluded.address, standing = excluded.standing,
             reason = excluded.reason, seen = excluded.seen",
    )
    .bind(directory)
    .bind(members)
    .execute(db)
    .await?;
    Ok(())
}

async fn mark_seen(db: &mut SqliteConnection, directory: i64, seen: &[i64]) -> sqlx::Result<()> {
    if seen.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "update member set seen = (select generation from directory where id = ?1)
         where id in (select value from json_each(?2)) and +directory = ?1
           and seen <> (select generation from directory where id = ?1)",
    )
    .bind(directory)
    .bind(json(seen.iter())?)
    .execute(db)
    .await?;
    Ok(())
}

pub(super) async fn unseen(
    db: &mut SqliteConnection,
    directory: i64,
    after: i64,
    limit: u32,
) -> sqlx::Result<Vec<Member>> {
    // In the order of rows, so that all pages together walk the table once.
    sqlx::query_as::<_, MemberRow>(
        "select id, entry_id, dn, address, standing, reason from member
         where id > ?2 and +directory = ?1 and standing <> 'left'
           and seen <> (select generation from directory where id = ?1)
         order by id limit ?3",
    )
    .bind(directory)
    .bind(after)
    .bind(limit)
    .fetch_all(db)
    .await?
    .into_iter()
    .map(rows::member)
    .collect()
}

pub(super) async fn end_listing(
    db: &mut SqliteConnection,
    directory: i64,
    end: &Listing,
    hold_above: Option<u32>,
    now: Timestamp,
) -> sqlx::Result<ListingOutcome> {
    let mut outcome = ListingOutcome::default();
    if *end == Listing::Complete {
        record_leavers(db, directory, &mut outcome, now).await?;
        sqlx::query("update directory set listed = ?2 where id = ?1")
            .bind(directory)
            .bind(now.0)
            .execute(&mut *db)
            .await?;
    }
    release_staged(db, directory, hold_above, &mut outcome, now).await?;
    Ok(outcome)
}

async fn record_leavers(
    db: &mut SqliteConnection,
    directory: i64,
    outcome: &mut ListingOutcome,
    now: Timestamp,
) -> sqlx::Result<()> {
    let mut after = 0;
    loop {
        let leavers = unseen(db, directory, after, CHUNK).await?;
        let Some(last) = leavers.last() else {
            return Ok(());
        };
        after = last.row;
        let rows = json(leavers.iter().map(|leaver| leaver.row))?;
        sqlx::query(
            "update member set standing = 'left', reason = null
             where id in (select value from json_each(?))",
        )
        .bind(&rows)
        .execute(&mut *db)
        .await?;
        let tasks: Vec<i64> = sqlx::query_scalar(
            "select t.id from json_each(?) j cross join task t on t.member = j.value where t.state <> 'cancelled'",
        )
        .bind(&rows)
        .fetch_all(&mut *db)
        .await?;
        invitations::release(db, &tasks, now).await?;
        outcome.left += leavers.len() as u64;
        let unnamed = ListingOutcome::NAMED - outcome.left_dns.len();
        outcome
            .left_dns
            .extend(leavers.into_iter().take(unnamed).map(|leaver| leaver.dn));
    }
}

async fn release_staged(
    db: &mut SqliteConnection,
    directory: i64,
    hold_above: Option<u32>,
    outcome: &mut ListingOutcome,
    now: Timestamp,
) -> sqlx::Result<()> {
    let staged: u64 = sqlx::query_scalar(
        "select count(*) from task t cross join member m on m.id = t.member
         where t.state = 'staged' and m.directory = ?",
    )
    .bind(directory)
    .fetch_one(&mut *db)
    .await?;
    if staged == 0 {
        return Ok(());
    }
    let state = if hold_above.is_some_and(|limit| staged > u64::from(limit)) {
        outcome.held = staged;
        "held"
    } else {
        outcome.queued = staged;
        "queued"
    };
    sqlx::query(
        "update task set state = ?2, since = ?3
         where state = 'staged' and (select directory from member where id = task.member) = ?1",
    )
    .bind(directory)
    .bind(state)
    .bind(now.0)
    .execute(db)
    .await?;
    Ok(())
}

pub(super) async fn observe(
    db: &mut SqliteConnection,
    directory: i64,
    state: &DirectoryState,
    now: Timestamp,
) -> sqlx::Result<()> {
    sqlx::query("update directory set stream = ?2, connected = ?3, error = ?4, recorded = ?5 where id = ?1")
        .bind(directory)
        .bind(&state.stream)
        .bind(state.connected)
        .bind(&state.error)
        .bind(now.0)
        .execute(db)
        .await?;
    Ok(())
}
