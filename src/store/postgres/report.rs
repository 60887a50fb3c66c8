//! Reads what `status` and the metrics show. Metrics are read every few seconds, so nothing here scans members or
//! invitations.

use super::error::Failure;
use super::sql::{Db, all, values};
use super::{instance, notes};
use crate::model::{ActionKind, ActionState};
use crate::store::reporting::{self, Parts};
use crate::store::rows::{self, DIRECTORY_REPORT, TASK_REPORT};
use crate::store::selection::Selection;
use crate::store::{ACCOUNTS_TROUBLE, DirectoryReport, Report, TaskReport, VAULTWARDEN_TROUBLE};

/// The tables of a [`TaskReport`]; a condition follows.
const TABLES: &str = "from ldap_usher.action a join ldap_usher.member m on m.id = a.member
     join ldap_usher.directory d on d.id = m.directory";

pub(super) async fn in_state(
    db: &Db,
    state: ActionState,
    which: &Selection,
) -> Result<Vec<TaskReport>, Failure> {
    let sql = format!(
        "select {TASK_REPORT} {TABLES} where a.state = '{}'",
        state.as_str()
    );
    let found = match which {
        Selection::All => db.query(&sql, &[]).await?,
        Selection::To(addresses) => {
            let addresses: Vec<&str> = addresses.iter().map(|address| address.as_str()).collect();
            db.query(&format!("{sql} and a.address = any($1)"), values![addresses])
                .await?
        }
        Selection::Rows(ids) => {
            db.query(&format!("{sql} and a.id = any($1)"), values![ids.as_slice()])
                .await?
        }
    };
    let found: Result<Vec<_>, Failure> = found.iter().map(rows::task_report).collect();
    Ok(reporting::by_arrival(found?))
}

pub(super) async fn report(db: &Db) -> Result<Report, Failure> {
    let unregistered = "select count(*) from ldap_usher.action where account_state = 'invited'";
    let quarantined = "a.state = 'quarantined' order by a.since desc, a.id desc limit 100";
    let held = "a.state = 'held' order by a.id limit 100";
    let failing = "a.state = 'queued' and a.reason is not null order by a.arrived desc, a.id desc limit 100";
    all! {
        directories: directories(db),
        instances: instance::report(db),
        counts: counts(db),
        unregistered: db.one(unregistered, &[]),
        vaultwarden: notes::get(db, VAULTWARDEN_TROUBLE),
        accounts: notes::get(db, ACCOUNTS_TROUBLE),
        quarantined: tasks(db, quarantined),
        held: tasks(db, held),
        failing: tasks(db, failing),
    }
    let parts = Parts {
        directories,
        instances,
        counts,
        unregistered: rows::count(&unregistered, 0)?,
        troubles: [vaultwarden, accounts],
        quarantined,
        held,
        failing,
    };
    Ok(parts.report())
}

async fn tasks(db: &Db, condition: &str) -> Result<Vec<TaskReport>, Failure> {
    let sql = format!("select {TASK_REPORT} {TABLES} where {condition}");
    let found = db.query(&sql, &[]).await?;
    found.iter().map(rows::task_report).collect()
}

/// The number of actions of each kind in each state.
async fn counts(db: &Db) -> Result<Vec<(ActionKind, ActionState, u64)>, Failure> {
    let sql = "select kind, state, sum(actions)::bigint from ldap_usher.action_count group by kind, state";
    let found = db.query(sql, &[]).await?;
    found
        .iter()
        .map(|row| Ok((rows::kind(row, 0)?, rows::state(row, 1)?, rows::count(row, 2)?)))
        .collect()
}

async fn directories(db: &Db) -> Result<Vec<DirectoryReport>, Failure> {
    let sql = format!(
        "select {DIRECTORY_REPORT} from ldap_usher.directory d
         left join ldap_usher.member_count m on m.directory = d.id and m.standing = 'member'
         left join ldap_usher.member_count w on w.directory = d.id and w.standing = 'without-address'
         order by d.id"
    );
    let found = db.query(&sql, &[]).await?;
    found.iter().map(rows::directory_report).collect()
}
