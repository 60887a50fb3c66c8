//! Reads everything that the store knows of people, for `explain` and `plan`.

use rusqlite::Transaction;

use crate::model::{EmailAddress, EntryId, Member};
use crate::store::rows::{self, ACTION_REPORT, EVENT, MEMBER};
use crate::store::{MAX_PEOPLE, PersonQuery, PersonReport};

pub(super) fn people(
    db: &Transaction<'_>,
    query: &PersonQuery,
    events: u32,
) -> rusqlite::Result<Vec<PersonReport>> {
    let people = "select m.id from member m";
    let ids = |sql: &str, parameters: &[&dyn rusqlite::ToSql]| -> rusqlite::Result<Vec<i64>> {
        db.prepare_cached(sql)?
            .query_map(parameters, |row| row.get(0))?
            .collect()
    };
    let rows = match query {
        PersonQuery::After(after, limit) => ids(
            &format!("{people} where m.id > ? order by m.id limit ?"),
            &[after, limit],
        )?,
        PersonQuery::Id(id) => ids(
            &format!("{people} where m.entry_id = ? order by m.id limit ?"),
            &[&id.as_bytes().as_slice(), &MAX_PEOPLE],
        )?,
        PersonQuery::Dn(dn, same) => by_dn(db, |other| same(dn, other))?,
        PersonQuery::Address(address) => ids(
            "select id from (
                 select m.id from member m where m.address = ?1
                 union select a.member from action a where a.address = ?1
                 union select m.id from journal j cross join member m on (m.directory, m.entry_id) = (j.directory, j.entry_id)
                 where j.address = ?1)
             order by id limit ?2",
            &[&address.as_str(), &MAX_PEOPLE],
        )?,
    };
    rows.into_iter().map(|row| person(db, row, events)).collect()
}

/// The rows of people with a DN. Compares every DN, because servers write the same DN in different ways.
fn by_dn(db: &Transaction<'_>, is_same: impl Fn(&str) -> bool) -> rusqlite::Result<Vec<i64>> {
    let mut query = db.prepare_cached("select id, dn from member order by id")?;
    let mut rows = query.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        if is_same(row.get_ref(1)?.as_str()?) {
            found.push(row.get(0)?);
        }
    }
    found.truncate(MAX_PEOPLE as usize);
    Ok(found)
}

/// One person, with so many of the last events, or with all.
fn person(db: &Transaction<'_>, row: i64, count: u32) -> rusqlite::Result<PersonReport> {
    let (directory_id, directory, configured, member): (i64, String, bool, Member) = db
        .prepare_cached(&format!(
            "select d.id, d.name, d.retired = 0, {MEMBER} from member m cross join directory d on d.id = m.directory
             where m.id = ?"
        ))?
        .query_row([row], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, rows::member(row, 3)?))
        })?;
    let actions = db
        .prepare_cached(&format!(
            "select {ACTION_REPORT} from action a where a.member = ? order by a.id"
        ))?
        .query_map([row], |row| rows::action_report(row, 0))?
        .collect::<rusqlite::Result<_>>()?;
    let holder_dn = match &member.address {
        Some(address) => holder(db, address, row)?,
        None => None,
    };
    Ok(PersonReport {
        events: events(db, directory_id, member.id, count)?,
        directory,
        configured,
        member,
        actions,
        holder_dn,
    })
}

fn holder(db: &Transaction<'_>, address: &EmailAddress, row: i64) -> rusqlite::Result<Option<String>> {
    db.prepare_cached(
        "select m.dn from action a cross join member m on m.id = a.member
         where a.address = ? and a.member <> ? and a.kind = 'invite' and a.state <> 'cancelled'",
    )?
    .query_map((address.as_str(), row), |row| row.get(0))?
    .next()
    .transpose()
}

fn events(
    db: &Transaction<'_>,
    directory: i64,
    id: EntryId,
    count: u32,
) -> rusqlite::Result<Vec<crate::model::Event>> {
    // A negative limit is none.
    let limit = if count == 0 { -1 } else { i64::from(count) };
    db.prepare_cached(&format!(
        "select {EVENT} from
             (select * from journal where entry_id = ?2 and directory = ?1 order by id desc limit ?3) j
             cross join directory d on d.id = j.directory
         order by j.id"
    ))?
    .query_map((directory, id.as_bytes().as_slice(), limit), |row| {
        rows::event(row)
    })?
    .collect()
}
