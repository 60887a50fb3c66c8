//! Forgets people and directories, because an administrator says so.

use super::counts;
use super::error::Failure;
use super::sql::{Db, values};
use crate::model::EntryId;
use crate::store::counts::Counts;
use crate::store::rows;

pub(super) async fn directory(db: &Db, name: &str) -> Result<Option<i64>, Failure> {
    let sql = "select id from ldap_usher.directory where name = $1";
    let found = db.optional(sql, values![name]).await?;
    Ok(found.map(|row| row.try_get(0)).transpose()?)
}

pub(super) async fn present(db: &Db, directory: i64, limit: u32) -> Result<Vec<EntryId>, Failure> {
    let sql = "select entry_id from ldap_usher.member
               where directory = $1 and standing <> 'left' order by id limit $2";
    let found = db.query(sql, values![directory, i64::from(limit)]).await?;
    found.iter().map(|row| rows::entry_id(row, 0)).collect()
}

pub(super) async fn declare_left(db: &Db, directory: i64) -> Result<(), Failure> {
    let sql = "update ldap_usher.directory set forgotten = true where id = $1 and retired";
    db.execute(sql, values![directory]).await?;
    Ok(())
}

pub(super) async fn people(db: &Db, people: &[i64]) -> Result<(), Failure> {
    let mut counts = Counts::default();
    db.execute(
        "delete from ldap_usher.journal j using ldap_usher.member m
         where m.id = any($1) and (j.directory, j.entry_id) = (m.directory, m.entry_id)",
        values![people],
    )
    .await?;
    let actions = "delete from ldap_usher.action where member = any($1) returning kind, state, compared";
    for row in db.query(actions, values![people]).await? {
        let was = (rows::state(&row, 1)?, rows::compared(&row, 2)?);
        counts.actions(rows::kind(&row, 0)?, was, -1);
    }
    let members = "delete from ldap_usher.member where id = any($1) returning directory, standing, reason";
    for row in db.query(members, values![people]).await? {
        counts.no_member(row.try_get(0)?, &rows::read_standing(&row, 1)?);
    }
    counts::save(db, &counts).await
}
