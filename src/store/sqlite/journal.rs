//! The journal of events: appended in the transaction of the decision, read by person or by time, pruned from the oldest.

use rusqlite::types::Type;
use rusqlite::{Row, Transaction};

use super::rows;
use crate::clock::Timestamp;
use crate::model::{EmailAddress, Event, What};
use crate::rules::Noted;

/// The columns of [`event`].
pub(super) const EVENT: &str = "j.id, j.at, d.name, j.entry_id, j.dn, j.address, j.source, j.event";

pub(super) fn append(db: &Transaction<'_>, noted: &[Noted]) -> rusqlite::Result<()> {
    if noted.is_empty() {
        return Ok(());
    }
    let mut insert = db.prepare_cached(
        "insert into journal (at, directory, entry_id, dn, address, source, event) values (?, ?, ?, ?, ?, ?, ?)",
    )?;
    for Noted { directory, event } in noted {
        insert.execute((
            event.at.0,
            directory,
            event.person.as_ref().map(|id| id.as_bytes().as_slice()),
            &event.dn,
            event.address.as_ref().map(EmailAddress::as_str),
            event.source.as_str(),
            text(&event.what)?,
        ))?;
    }
    Ok(())
}

pub(super) fn since(
    db: &Transaction<'_>,
    after: i64,
    from: Timestamp,
    limit: u32,
) -> rusqlite::Result<Vec<(i64, Event)>> {
    let mut query = db.prepare_cached(&format!(
        "select {EVENT} from journal j cross join directory d on d.id = j.directory
         where j.id > ? and j.at >= ? order by j.id limit ?"
    ))?;
    query
        .query_map((after, from.0, limit), |row| Ok((row.get(0)?, event(row)?)))?
        .collect()
}

pub(super) fn end(db: &Transaction<'_>) -> rusqlite::Result<i64> {
    db.prepare_cached("select coalesce(max(id), 0) from journal")?
        .query_row((), |row| row.get(0))
}

pub(super) fn prune(db: &Transaction<'_>, before: Timestamp, limit: u32) -> rusqlite::Result<u64> {
    // Rows are in the order of time unless the clock was set. Those out of order are kept until the rows before them are old.
    let pruned = db
        .prepare_cached(
            "delete from journal where id in
                 (select id from (select id, at from journal order by id limit ?2) where at < ?1)",
        )?
        .execute((before.0, limit))?;
    Ok(pruned as u64)
}

/// Reads the columns [`EVENT`].
pub(super) fn event(row: &Row<'_>) -> rusqlite::Result<Event> {
    let broken = |column, error: serde_json::Error| {
        rusqlite::Error::FromSqlConversionFailure(column, Type::Text, Box::new(error))
    };
    let source = serde_json::Value::String(row.get(6)?);
    let person = match row.get_ref(3)? {
        rusqlite::types::ValueRef::Null => None,
        _ => Some(rows::entry_id(row, 3)?),
    };
    Ok(Event {
        at: rows::time(row, 1)?,
        directory: row.get(2)?,
        person,
        dn: row.get(4)?,
        address: row.get::<_, Option<String>>(5)?.map(EmailAddress::stored),
        source: serde_json::from_value(source).map_err(|e| broken(6, e))?,
        what: serde_json::from_str(row.get_ref(7)?.as_str()?).map_err(|e| broken(7, e))?,
    })
}

fn text(what: &What) -> rusqlite::Result<String> {
    serde_json::to_string(what).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))
}
