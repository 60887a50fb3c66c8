//! The registered directories and their cursors.

use rusqlite::{OptionalExtension, Transaction};

use crate::clock::Timestamp;
use crate::model::Cursor;
use crate::store::configured::{self, Stored};
use crate::store::rows::INVITE;
use crate::store::{Configured, DirectoryRow, DirectoryState};

pub(super) fn configure(
    db: &Transaction<'_>,
    configured: &[(String, String)],
) -> rusqlite::Result<Configured> {
    let stored: Vec<Stored> = db
        .prepare("select id, name, scope, retired from directory order by id")?
        .query_map([], |row| {
            Ok(Stored {
                id: row.get(0)?,
                name: row.get(1)?,
                scope: row.get(2)?,
                retired: row.get(3)?,
            })
        })?
        .collect::<rusqlite::Result<_>>()?;
    let changes = configured::compare(&stored, configured);
    for renamed in &changes.rename {
        db.execute(
            "update directory set name = ?2, retired = 0, forgotten = 0 where id = ?1",
            (renamed.0, &renamed.1),
        )?;
    }
    for retired in &changes.retire {
        db.execute(
            "update directory set retired = 1, cursor = null, cursor_stored = null, connected = 0, error = null where id = ?",
            [retired],
        )?;
    }
    Ok(changes.configured)
}

pub(super) fn register(
    db: &Transaction<'_>,
    name: &str,
    scope: &str,
    settings: &str,
) -> rusqlite::Result<DirectoryRow> {
    type Row = (i64, String, Option<Vec<u8>>, Option<i64>);
    let stored: Option<Row> = db
        .prepare_cached("select id, settings, cursor, listed from directory where name = ?")?
        .query_row([name], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .optional()?;
    let Some((id, before, cursor, listed)) = stored else {
        let id = db
            .prepare_cached("insert into directory (name, scope, settings) values (?, ?, ?) returning id")?
            .query_row((name, scope, settings), |row| row.get(0))?;
        return Ok(DirectoryRow {
            id,
            cursor: None,
            settings_changed: false,
            listed: None,
        });
    };
    let same = before == settings;
    db.prepare_cached(
        "update directory set scope = ?2, settings = ?3, retired = 0, forgotten = 0, cursor = iif(?4, cursor, null),
                cursor_stored = iif(?4, cursor_stored, null)
         where id = ?1 and (scope, settings, retired) <> (?2, ?3, 0)",
    )?
    .execute((id, scope, settings, same))?;
    Ok(DirectoryRow {
        id,
        settings_changed: !same && cursor.is_some(),
        cursor: cursor.filter(|_| same).map(Cursor),
        listed: listed.map(Timestamp),
    })
}

pub(super) fn orphans(db: &Transaction<'_>, limit: u32) -> rusqlite::Result<Vec<i64>> {
    db.prepare(
        "select a.id from directory d
         cross join member m on m.directory = d.id
         cross join action a on a.member = m.id
         where d.retired = 1 and a.kind = ?1
           and (a.state in ('held', 'quarantined')
                or a.state = 'queued' and a.owner is null and a.doubt_since is null)
         order by a.id limit ?2",
    )?
    .query_map((INVITE, limit), |row| row.get(0))?
    .collect()
}

pub(super) fn observe(
    db: &Transaction<'_>,
    directory: i64,
    state: &DirectoryState,
    now: Timestamp,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "update directory set stream = ?2, connected = ?3, error = ?4, recorded = ?5 where id = ?1",
    )?
    .execute((directory, &state.stream, state.connected, &state.error, now.0))?;
    Ok(())
}
