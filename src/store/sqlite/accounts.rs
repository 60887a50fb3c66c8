//! The accounts in our care, compared with those that Vaultwarden lists.

use rusqlite::{OptionalExtension, Transaction};

use crate::clock::Timestamp;
use crate::model::{EntryId, ListedAccount};
use crate::store::rows::{self, ACCOUNT, INVITE, UNREGISTERED};
use crate::store::{ManagedRow, Matched, Unregistered};

pub(super) fn matched(db: &Transaction<'_>, listed: Vec<ListedAccount>) -> rusqlite::Result<Vec<Matched>> {
    let columns = format!(
        "select a.id, (a.state = 'queued' or a.state = 'held') and a.owner is null and a.doubt_since is null, {ACCOUNT}
         from action a where a.kind = '{INVITE}'"
    );
    let mut by_id = db.prepare_cached(&format!("{columns} and a.account = ?"))?;
    let mut by_address = db.prepare_cached(&format!("{columns} and a.address = ?"))?;
    let mut matched = Vec::new();
    for listed in listed {
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, rows::account(row, 2)?));
        let mut found = by_id.query_row([&listed.id], read).optional()?;
        if found.is_none() {
            found = by_address.query_row([listed.address.as_str()], read).optional()?;
        }
        if let Some((row, waits, known)) = found {
            matched.push(Matched {
                row,
                waits,
                known,
                listed,
            });
        }
    }
    Ok(matched)
}

pub(super) fn witnesses(db: &Transaction<'_>, directory: i64, limit: u32) -> rusqlite::Result<Vec<EntryId>> {
    db.prepare_cached(
        "select entry_id from member where directory = ? and standing = 'member' order by id desc limit ?",
    )?
    .query_map((directory, limit), |row| rows::entry_id(row, 0))?
    .collect()
}

pub(super) fn managed(db: &Transaction<'_>, after: i64, limit: u32) -> rusqlite::Result<Vec<ManagedRow>> {
    db.prepare_cached(&format!(
        "select a.id, m.directory, {ACCOUNT} from action a cross join member m on m.id = a.member
         where a.id > ? and a.account_state is not null and a.account_state not like 'deleted%' order by a.id limit ?"
    ))?
    .query_map((after, limit), |row| {
        let account = rows::account(row, 2)?;
        Ok(account.map(|account| (row.get(0), row.get(1), account)))
    })?
    .filter_map(|found| found.transpose())
    .map(|found| {
        let (row, directory, account) = found?;
        Ok(ManagedRow {
            row: row?,
            directory: directory?,
            account,
        })
    })
    .collect()
}

pub(super) fn unregistered(
    db: &Transaction<'_>,
    after: (Timestamp, i64),
    limit: u32,
) -> rusqlite::Result<Vec<Unregistered>> {
    let mut query = db.prepare_cached(&format!(
        "select {UNREGISTERED}
         from action a indexed by action_unregistered
         cross join member m on m.id = a.member cross join directory d on d.id = m.directory
         where a.account_state = 'invited' and (a.care_since, a.id) > (?, ?) order by a.care_since, a.id limit ?"
    ))?;
    query
        .query_map((after.0.0, after.1, limit), |row| rows::unregistered(row))?
        .filter_map(Result::transpose)
        .collect()
}
