//! The accounts in our care, compared with those that Vaultwarden lists.

use std::collections::HashMap;

use super::error::Failure;
use super::sql::{Db, values};
use crate::clock::Timestamp;
use crate::model::{EntryId, ListedAccount, ManagedAccount};
use crate::store::rows::{self, ACCOUNT, INVITE, UNREGISTERED};
use crate::store::{ManagedRow, Matched, Unregistered};

pub(super) async fn matched(db: &Db, listed: Vec<ListedAccount>) -> Result<Vec<Matched>, Failure> {
    type Known = (i64, bool, Option<ManagedAccount>);
    let ids: Vec<&str> = listed.iter().map(|account| account.id.as_str()).collect();
    let addresses: Vec<&str> = listed.iter().map(|account| account.address.as_str()).collect();
    let sql = format!(
        "select a.address, a.id,
                a.state in ('queued', 'held') and a.owner is null and a.doubt_since is null, {ACCOUNT}
         from ldap_usher.action a
         where a.kind = '{INVITE}' and (a.account = any($1) or a.address = any($2)) order by a.id"
    );
    let (mut by_id, mut by_address) = (HashMap::<String, Known>::new(), HashMap::<String, Known>::new());
    for row in db.query(&sql, values![ids, addresses]).await? {
        let known = rows::account(&row, 3)?;
        let found: Known = (row.try_get(1)?, row.try_get(2)?, known);
        if let Some(id) = found.2.as_ref().and_then(|account| account.id.clone()) {
            by_id.entry(id).or_insert_with(|| found.clone());
        }
        by_address.insert(row.try_get(0)?, found);
    }
    let matched = listed.into_iter().filter_map(|listed| {
        let found = by_id
            .get(&listed.id)
            .or_else(|| by_address.get(listed.address.as_str()))?;
        let (row, waits, known) = found.clone();
        Some(Matched {
            row,
            waits,
            known,
            listed,
        })
    });
    Ok(matched.collect())
}

pub(super) async fn witnesses(db: &Db, directory: i64, limit: u32) -> Result<Vec<EntryId>, Failure> {
    let sql = "select entry_id from ldap_usher.member
               where directory = $1 and standing = 'member' order by id desc limit $2";
    let found = db.query(sql, values![directory, i64::from(limit)]).await?;
    found.iter().map(|row| rows::entry_id(row, 0)).collect()
}

pub(super) async fn managed(db: &Db, after: i64, limit: u32) -> Result<Vec<ManagedRow>, Failure> {
    let sql = format!(
        "select a.id, m.directory, {ACCOUNT} from ldap_usher.action a join ldap_usher.member m on m.id = a.member
         where a.id > $1 and a.account_state is not null and a.account_state not like 'deleted%' order by a.id limit $2"
    );
    let found = db.query(&sql, values![after, i64::from(limit)]).await?;
    let mut managed = Vec::new();
    for row in &found {
        if let Some(account) = rows::account(row, 2)? {
            managed.push(ManagedRow {
                row: row.try_get(0)?,
                directory: row.try_get(1)?,
                account,
            });
        }
    }
    Ok(managed)
}

pub(super) async fn unregistered(
    db: &Db,
    after: (Timestamp, i64),
    limit: u32,
) -> Result<Vec<Unregistered>, Failure> {
    let sql = format!(
        "select {UNREGISTERED}
         from ldap_usher.action a join ldap_usher.member m on m.id = a.member
         join ldap_usher.directory d on d.id = m.directory
         where a.account_state = 'invited' and (a.care_since, a.id) > ($1, $2) order by a.care_since, a.id limit $3"
    );
    let found = db
        .query(&sql, values![after.0.0, after.1, i64::from(limit)])
        .await?;
    let found: Result<Vec<_>, Failure> = found.iter().map(rows::unregistered).collect();
    Ok(found?.into_iter().flatten().collect())
}
