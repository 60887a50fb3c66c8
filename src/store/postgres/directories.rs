//! The registered directories and their cursors.

use super::error::Failure;
use super::sql::{Db, stored, values};
use crate::clock::Timestamp;
use crate::model::Cursor;
use crate::store::configured::{self, Stored};
use crate::store::rows::INVITE;
use crate::store::{Configured, DirectoryRow, DirectoryState};

pub(super) async fn configure(db: &Db, configured: &[(String, String)]) -> Result<Configured, Failure> {
    let sql = "select id, name, scope, retired from ldap_usher.directory order by id";
    let mut known = Vec::new();
    for row in db.query(sql, &[]).await? {
        known.push(Stored {
            id: row.try_get(0)?,
            name: row.try_get(1)?,
            scope: row.try_get(2)?,
            retired: row.try_get(3)?,
        });
    }
    let changes = configured::compare(&known, configured);
    for (id, name) in &changes.rename {
        let sql =
            "update ldap_usher.directory set name = $2, retired = false, forgotten = false where id = $1";
        db.execute(sql, values![*id, name.as_str()]).await?;
    }
    let sql = "update ldap_usher.directory
               set retired = true, cursor = null, cursor_stored = null, connected = false, error = null where id = any($1)";
    db.execute(sql, values![changes.retire]).await?;
    Ok(changes.configured)
}

pub(super) async fn register(
    db: &Db,
    name: &str,
    scope: &str,
    settings: &str,
) -> Result<DirectoryRow, Failure> {
    let sql = "select id, settings, cursor, listed from ldap_usher.directory where name = $1";
    let Some(row) = db.optional(sql, values![name]).await? else {
        let sql = "insert into ldap_usher.directory (name, scope, settings) values ($1, $2, $3) returning id";
        let id = db.one(sql, values![name, scope, settings]).await?;
        return Ok(DirectoryRow {
            id: id.try_get(0)?,
            cursor: None,
            settings_changed: false,
            listed: None,
        });
    };
    let id: i64 = row.try_get(0)?;
    let before: String = row.try_get(1)?;
    let cursor: Option<Vec<u8>> = row.try_get(2)?;
    let listed: Option<i64> = row.try_get(3)?;
    let same = before == settings;
    db.execute(
        "update ldap_usher.directory
         set scope = $2, settings = $3, retired = false, forgotten = false,
             cursor = case when $4 then cursor end, cursor_stored = case when $4 then cursor_stored end
         where id = $1 and (scope, settings, retired) <> ($2, $3, false)",
        values![id, scope, settings, same],
    )
    .await?;
    Ok(DirectoryRow {
        id,
        settings_changed: !same && cursor.is_some(),
        cursor: cursor.filter(|_| same).map(Cursor),
        listed: listed.map(Timestamp),
    })
}

pub(super) async fn orphans(db: &Db, limit: u32) -> Result<Vec<i64>, Failure> {
    let sql = format!(
        "select a.id from ldap_usher.directory d
         join ldap_usher.member m on m.directory = d.id
         join ldap_usher.action a on a.member = m.id
         where d.retired and a.kind = '{INVITE}'
           and (a.state in ('held', 'quarantined')
                or a.state = 'queued' and a.owner is null and a.doubt_since is null)
         order by a.id limit $1"
    );
    let found = db.query(&sql, values![i64::from(limit)]).await?;
    found.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

pub(super) async fn observe(
    db: &Db,
    directory: i64,
    state: &DirectoryState,
    now: Timestamp,
) -> Result<(), Failure> {
    let sql = "update ldap_usher.directory set stream = $2, connected = $3, error = $4, recorded = $5 where id = $1";
    let error = state.error.as_deref().map(stored);
    let parameters = values![directory, state.stream.as_str(), state.connected, error, now.0];
    db.execute(sql, parameters).await?;
    Ok(())
}
