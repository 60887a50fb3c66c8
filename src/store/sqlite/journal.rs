//! The journal of events: appended in the transaction of the decision, read by person or by time, pruned from the oldest.

use rusqlite::Transaction;

use crate::clock::Timestamp;
use crate::model::{EmailAddress, Event, What};
use crate::rules::Noted;
use crate::store::Hour;
use crate::store::rows::{self, EVENT, HOUR};

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
        .query_map((after, from.0, limit), |row| Ok((row.get(0)?, rows::event(row)?)))?
        .collect()
}

pub(super) fn end(db: &Transaction<'_>) -> rusqlite::Result<i64> {
    db.prepare_cached("select coalesce(max(id), 0) from journal")?
        .query_row((), |row| row.get(0))
}

pub(super) fn latest(db: &Transaction<'_>, limit: u32) -> rusqlite::Result<Vec<(i64, Event)>> {
    let mut query = db.prepare_cached(&format!(
        "select {EVENT} from journal j cross join directory d on d.id = j.directory order by j.id desc limit ?"
    ))?;
    query
        .query_map((limit,), |row| Ok((row.get(0)?, rows::event(row)?)))?
        .collect()
}

pub(super) fn hours(db: &Transaction<'_>, after: i64, upto: i64) -> rusqlite::Result<Vec<Hour>> {
    let mut query = db.prepare_cached(&format!(
        "select {HOUR} from (
             select at, source, event ->> 'event' kind, event ->> 'joined' joined, event ->> 'left' left_,
                    event ->> 'after_ms' after_ms
             from journal where id > ? and id <= ?)
         group by 1 order by 1"
    ))?;
    query.query_map((after, upto), |row| rows::hour(row))?.collect()
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

fn text(what: &What) -> rusqlite::Result<String> {
    serde_json::to_string(what).map_err(|e| rusqlite::Error::ToSqlConversionFailure(Box::new(e)))
}
