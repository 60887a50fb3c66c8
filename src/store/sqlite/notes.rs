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

/// Replaces a note if it is still the expected one. Returns whether it was.
pub(super) fn swap(
    db: &Transaction<'_>,
    name: &str,
    expected: Option<&[u8]>,
    note: &[u8],
) -> rusqlite::Result<bool> {
    let is_expected = get(db, name)?.as_deref() == expected;
    if is_expected {
        set(db, name, note)?;
    }
    Ok(is_expected)
}
