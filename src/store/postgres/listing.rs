//! A listing: what is known of those whom it names, its end, and a directory's brake.

use std::collections::HashMap;

use super::book::identities;
use super::error::Failure;
use super::sql::{Db, values};
use super::writers::save_brake;
use crate::clock::Timestamp;
use crate::model::EntryId;
use crate::rules::membership::Decided;
use crate::rules::{Brake, Verdict};
use crate::store::rows::{self, BRAKE};

/// Records that a listing has ended, and whether it named everyone.
pub(super) async fn ended(db: &Db, directory: i64, complete: bool, now: Timestamp) -> Result<(), Failure> {
    let sql = "update ldap_usher.directory
               set brake_holding = false, listed = case when $2 then $3 else listed end where id = $1";
    db.execute(sql, values![directory, complete, now.0]).await?;
    Ok(())
}

/// Lets `judge` decide on this number of new people of a directory, and saves its brake.
pub(super) async fn judge_new(
    db: &Db,
    directory: i64,
    count: u64,
    judge: &mut (dyn FnMut(&mut Brake, u64) -> Verdict + Send),
) -> Result<Verdict, Failure> {
    let sql = format!("select {BRAKE} from ldap_usher.directory d where d.id = $1");
    let mut now = rows::brake(&db.one(&sql, values![directory]).await?, 0)?;
    let verdict = judge(&mut now, count);
    save_brake(db, directory, &now).await?;
    Ok(verdict)
}

/// The number of members that are read at a time.
const PAGE: i64 = 10_000;

/// The members among these entries, each with the row and how they stand.
pub(super) async fn decided(
    db: &Db,
    directory: i64,
    ids: &[EntryId],
) -> Result<HashMap<EntryId, (i64, Decided)>, Failure> {
    let sql = "select m.entry_id, m.id, m.standing, m.reason, m.decided_on
               from ldap_usher.member m where m.directory = $1 and m.entry_id = any($2)";
    let found = db.query(sql, values![directory, identities(ids)]).await?;
    found
        .iter()
        .map(|row| Ok((rows::entry_id(row, 0)?, (row.try_get(1)?, rows::stands(row, 2)?))))
        .collect()
}

/// Members of a directory who have not left, after the row `after`, each with the row.
pub(super) async fn present(db: &Db, directory: i64, after: i64) -> Result<Vec<(i64, EntryId)>, Failure> {
    let sql = "select id, entry_id from ldap_usher.member
               where directory = $1 and standing <> 'left' and id > $2 order by id limit $3";
    let found = db.query(sql, values![directory, after, PAGE]).await?;
    found
        .iter()
        .map(|row| Ok((row.try_get(0)?, rows::entry_id(row, 1)?)))
        .collect()
}
