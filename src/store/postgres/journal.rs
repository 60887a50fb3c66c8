//! The journal of events: appended in the transaction of the decision, read by person or by time, pruned from the oldest.
//!
//! The numbers of events are in the order of their commits, because whoever appends has the lock of the writer. So a reader
//! that remembers the last number that it has read misses none.

use super::error::Failure;
use super::sql::{Db, stored, values};
use crate::clock::Timestamp;
use crate::model::{EmailAddress, Event};
use crate::rules::Noted;
use crate::store::Hour;
use crate::store::rows::{self, EVENT, HOUR};

pub(super) async fn append(db: &Db, noted: &[Noted]) -> Result<(), Failure> {
    if noted.is_empty() {
        return Ok(());
    }
    let each = || noted.iter().map(|noted| &noted.event);
    let times: Vec<i64> = each().map(|event| event.at.0).collect();
    let directories: Vec<i64> = noted.iter().map(|noted| noted.directory).collect();
    let people: Vec<Option<Vec<u8>>> = each()
        .map(|event| event.person.as_ref().map(|id| id.as_bytes().to_vec()))
        .collect();
    let dns: Vec<String> = each().map(|event| stored(&event.dn)).collect();
    let addresses: Vec<Option<&str>> = each()
        .map(|event| event.address.as_ref().map(EmailAddress::as_str))
        .collect();
    let sources: Vec<&str> = each().map(|event| event.source.as_str()).collect();
    let events: Vec<String> = each()
        .map(|event| {
            serde_json::to_string(&event.what).map_err(|error| Failure::Unwritable(error.to_string()))
        })
        .collect::<Result<_, _>>()?;
    db.execute(
        "insert into ldap_usher.journal (at, directory, entry_id, dn, address, source, event)
         select at, directory, entry_id, dn, address, source, event
         from unnest($1, $2, $3, $4, $5, $6, $7)
              with ordinality n(at, directory, entry_id, dn, address, source, event, place) order by place",
        values![times, directories, people, dns, addresses, sources, events],
    )
    .await?;
    Ok(())
}

pub(super) async fn since(
    db: &Db,
    after: i64,
    from: Timestamp,
    limit: u32,
) -> Result<Vec<(i64, Event)>, Failure> {
    let sql = format!(
        "select {EVENT} from ldap_usher.journal j join ldap_usher.directory d on d.id = j.directory
         where j.id > $1 and j.at >= $2 order by j.id limit $3"
    );
    let found = db.query(&sql, values![after, from.0, i64::from(limit)]).await?;
    found
        .iter()
        .map(|row| Ok((row.try_get(0)?, rows::event(row)?)))
        .collect()
}

pub(super) async fn end(db: &Db) -> Result<i64, Failure> {
    let sql = "select coalesce(max(id), 0) from ldap_usher.journal";
    Ok(db.one(sql, &[]).await?.try_get(0)?)
}

pub(super) async fn latest(db: &Db, limit: u32) -> Result<Vec<(i64, Event)>, Failure> {
    let sql = format!(
        "select {EVENT} from ldap_usher.journal j join ldap_usher.directory d on d.id = j.directory
         order by j.id desc limit $1"
    );
    let found = db.query(&sql, values![i64::from(limit)]).await?;
    found
        .iter()
        .map(|row| Ok((row.try_get(0)?, rows::event(row)?)))
        .collect()
}

pub(super) async fn hours(db: &Db, after: i64, upto: i64) -> Result<Vec<Hour>, Failure> {
    let sql = format!(
        "select hour, joined::bigint, left_::bigint, invited::bigint, delays::bigint, longest::bigint from (
             select {HOUR} from (
                 select at, source, event ->> 'event' kind, (event ->> 'joined')::numeric joined,
                        (event ->> 'left')::numeric left_, (event ->> 'after_ms')::numeric after_ms
                 from (select at, source, event::jsonb event from ldap_usher.journal
                       where id > $1 and id <= $2 and position('\\u0000' in event) = 0) journal
             ) events
             group by 1
         ) hours (hour, joined, left_, invited, delays, longest)
         order by hour"
    );
    let found = db.query(&sql, values![after, upto]).await?;
    found.iter().map(rows::hour).collect()
}

pub(super) async fn prune(db: &Db, before: Timestamp, limit: u32) -> Result<u64, Failure> {
    // Rows are in the order of time unless the clock was set. Those out of order are kept until the rows before them are old.
    let sql = "delete from ldap_usher.journal where id in
                   (select id from (select id, at from ldap_usher.journal order by id limit $2) oldest where at < $1)";
    db.execute(sql, values![before.0, i64::from(limit)]).await
}
