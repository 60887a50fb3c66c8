//! Reads everything that the store knows of people, for `explain` and `plan`.

use std::collections::HashMap;

use super::error::Failure;
use super::sql::{Db, values};
use crate::model::{EmailAddress, Event, Member};
use crate::store::rows::{self, ACTION_REPORT, EVENT, MEMBER};
use crate::store::{ActionReport, MAX_PEOPLE, PersonQuery, PersonReport};

pub(super) async fn people(db: &Db, query: &PersonQuery, count: u32) -> Result<Vec<PersonReport>, Failure> {
    let found = match query {
        PersonQuery::After(after, limit) => {
            let sql = "select id from ldap_usher.member where id > $1 order by id limit $2";
            db.query(sql, values![*after, i64::from(*limit)]).await?
        }
        PersonQuery::Id(id) => {
            let sql = "select id from ldap_usher.member where entry_id = $1 order by id limit $2";
            let id = id.as_bytes().as_slice();
            db.query(sql, values![id, i64::from(MAX_PEOPLE)]).await?
        }
        PersonQuery::Dn(dn, same) => return of(db, &by_dn(db, |other| same(dn, other)).await?, count).await,
        PersonQuery::Address(address) => {
            let sql = "select id from (
                           select m.id from ldap_usher.member m where m.address = $1
                           union select a.member from ldap_usher.action a where a.address = $1
                           union select m.id from ldap_usher.journal j
                                 join ldap_usher.member m on (m.directory, m.entry_id) = (j.directory, j.entry_id)
                                 where j.address = $1) found
                       order by id limit $2";
            db.query(sql, values![address.as_str(), i64::from(MAX_PEOPLE)])
                .await?
        }
    };
    let ids: Result<Vec<i64>, Failure> = found.iter().map(|row| Ok(row.try_get(0)?)).collect();
    of(db, &ids?, count).await
}

/// The rows of people with a DN. Compares every DN, because servers write the same DN in different ways.
async fn by_dn(db: &Db, is_same: impl Fn(&str) -> bool) -> Result<Vec<i64>, Failure> {
    const PAGE: i64 = 10_000;
    let (mut found, mut after) = (Vec::new(), 0);
    loop {
        let sql = "select id, dn from ldap_usher.member where id > $1 order by id limit $2";
        let page = db.query(sql, values![after, PAGE]).await?;
        for row in &page {
            after = row.try_get(0)?;
            if is_same(row.try_get(1)?) {
                found.push(after);
            }
        }
        if page.is_empty() || found.len() >= MAX_PEOPLE as usize {
            found.truncate(MAX_PEOPLE as usize);
            return Ok(found);
        }
    }
}

/// The people in these rows, in this order, each with so many of the last events, or with all.
async fn of(db: &Db, ids: &[i64], count: u32) -> Result<Vec<PersonReport>, Failure> {
    let sql = format!(
        "select d.name, d.retired, {MEMBER}
         from ldap_usher.member m join ldap_usher.directory d on d.id = m.directory
         where m.id = any($1) order by m.id"
    );
    let mut reports = Vec::new();
    for row in db.query(&sql, values![ids]).await? {
        let (directory, retired): (String, bool) = (row.try_get(0)?, row.try_get(1)?);
        reports.push(PersonReport {
            directory,
            configured: !retired,
            member: rows::member(&row, 2)?,
            actions: Vec::new(),
            holder_dn: None,
            events: Vec::new(),
        });
    }
    let mut actions = actions(db, ids).await?;
    let mut events = events(db, ids, count).await?;
    for report in &mut reports {
        let Member { row, address, .. } = &report.member;
        report.actions = actions.remove(row).unwrap_or_default();
        report.events = events.remove(row).unwrap_or_default();
        if let Some(address) = address {
            report.holder_dn = holder(db, address, *row).await?;
        }
    }
    Ok(reports)
}

async fn actions(db: &Db, ids: &[i64]) -> Result<HashMap<i64, Vec<ActionReport>>, Failure> {
    let sql = format!(
        "select a.member, {ACTION_REPORT} from ldap_usher.action a where a.member = any($1) order by a.id"
    );
    let mut found: HashMap<i64, Vec<ActionReport>> = HashMap::new();
    for row in db.query(&sql, values![ids]).await? {
        let action = rows::action_report(&row, 1)?;
        found.entry(row.try_get(0)?).or_default().push(action);
    }
    Ok(found)
}

async fn events(db: &Db, ids: &[i64], count: u32) -> Result<HashMap<i64, Vec<Event>>, Failure> {
    let sql = format!(
        "select {EVENT}, m.id from ldap_usher.member m
         cross join lateral (
             select * from ldap_usher.journal
             where (directory, entry_id) = (m.directory, m.entry_id) order by id desc limit nullif($2::bigint, 0)) j
         join ldap_usher.directory d on d.id = j.directory
         where m.id = any($1) order by j.id"
    );
    let mut found: HashMap<i64, Vec<Event>> = HashMap::new();
    for row in db.query(&sql, values![ids, i64::from(count)]).await? {
        let event = rows::event(&row)?;
        found.entry(row.try_get(8)?).or_default().push(event);
    }
    Ok(found)
}

async fn holder(db: &Db, address: &EmailAddress, row: i64) -> Result<Option<String>, Failure> {
    let sql = "select m.dn from ldap_usher.action a join ldap_usher.member m on m.id = a.member
               where a.address = $1 and a.member <> $2 and a.kind = 'invite' and a.state <> 'cancelled' limit 1";
    let found = db.optional(sql, values![address.as_str(), row]).await?;
    Ok(found.map(|row| row.try_get(0)).transpose()?)
}
