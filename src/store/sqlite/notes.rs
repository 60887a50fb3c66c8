//! Small values, each stored under a name.

use rusqlite::{OptionalExtension, Transaction};

pub(super) fn get(db: &Transaction<'_>, name: &str) -> rusqlite::Result<Option<Vec<u8>>> {
    db.prepare_cached("select value from note where name = ?")?
        .query_row([name], |row| row.get(0))
        .optional()
}

pub(super) fn set(db: &Transaction<'_>, name: &str, note: &[u8]) -> rusqlite::Result<()> {
    db.prepare_cached(
        "insert into note (name, value) values (?, ?) on conflict (name) do update set value = excluded.value",
    )?
    .execute((name, note))?;
    Ok(())
}
