//! Small values, each stored under a name.

use super::error::Failure;
use super::sql::{Db, values};

pub(super) async fn get(db: &Db, name: &str) -> Result<Option<Vec<u8>>, Failure> {
    let found = db
        .optional("select value from ldap_usher.note where name = $1", values![name])
        .await?;
    Ok(found.map(|row| row.try_get(0)).transpose()?)
}

pub(super) async fn set(db: &Db, name: &str, note: &[u8]) -> Result<(), Failure> {
    db.execute(
        "insert into ldap_usher.note (name, value) values ($1, $2)
         on conflict (name) do update set value = excluded.value",
        values![name, note],
    )
    .await?;
    Ok(())
}

/// Replaces a note if it is still the expected one. Returns whether it was.
pub(super) async fn swap(db: &Db, name: &str, expected: Option<&[u8]>, note: &[u8]) -> Result<bool, Failure> {
    let stored = get(db, name).await?;
    let is_expected = stored.as_deref() == expected;
    if is_expected {
        set(db, name, note).await?;
    }
    Ok(is_expected)
}

/// The name of the note with the mark of the database.
const MARK: &str = "mark";

/// Stores what tells this database from a copy of it: a dump that is restored has other tables, and a physical backup that is
/// restored begins another timeline. Returns whether it is the same as before.
pub(super) async fn renew_mark(db: &Db) -> Result<bool, Failure> {
    let sql = "select s.system_identifier || '/' || c.timeline_id || '/' || 'ldap_usher.note'::regclass::oid
               from pg_catalog.pg_control_system() s, pg_catalog.pg_control_checkpoint() c";
    let mark: String = db.one(sql, &[]).await?.try_get(0)?;
    let stored = get(db, MARK).await?.unwrap_or_default();
    set(db, MARK, mark.as_bytes()).await?;
    // A state that never had a mark is new.
    Ok(stored.is_empty() || stored == mark.as_bytes())
}
