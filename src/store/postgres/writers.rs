//! Writes the changes of a book: each kind of row in one statement.

use super::error::Failure;
use super::sql::{Db, all, stored, values};
use super::{counts, journal};
use crate::clock::Timestamp;
use crate::model::{Cursor, EmailAddress, Outcome};
use crate::rules::{Book, Brake, Directory, Person, Task};
use crate::store::counts::Counts;
use crate::store::rows;

/// Saves what has changed in a book.
pub(super) async fn save(db: &Db, mut book: Book) -> Result<(), Failure> {
    let mut counts = Counts::default();
    let mut free = reserve(db, new_people(&book)).await?.into_iter();
    let (mut joined, mut changed) = (Members::default(), Members::default());
    book.save_people(|person, before| {
        let before = before.map(|member| &member.standing);
        counts.member(person.directory, before, &person.member.standing);
        if person.member.row != 0 {
            changed.push(person.member.row, person);
            return Ok(person.member.row);
        }
        let row = free.next().ok_or(Failure::Broken("a new person has no number"))?;
        joined.push(row, person);
        Ok::<_, Failure>(row)
    })?;
    let (mut opened, mut updated) = (Actions::default(), Actions::default());
    book.save_tasks(|task, before, member| {
        let state = |task: &Task| (task.state, task.compared);
        counts.action(task.kind, before.map(state), state(task));
        match task.row {
            0 => opened.push(task, member),
            _ => updated.push(task, member),
        }
        Ok::<_, Failure>(())
    })?;
    let is_due = !opened.rows.is_empty() || !updated.rows.is_empty();
    // Actions refer to them.
    joined.insert(db).await?;
    all! {
        _members: changed.update(db),
        _opened: opened.insert(db),
        _updated: updated.update(db),
        _counts: counts::save(db, &counts),
        _journal: journal::append(db, &book.events),
        _directory: save_directory(db, book.directory.as_ref()),
        _hint: hint(db, is_due),
    }
    Ok(())
}

fn new_people(book: &Book) -> i64 {
    let new = book.people().iter().filter(|person| person.member.row == 0);
    i64::try_from(new.count()).unwrap_or(i64::MAX)
}

/// Takes numbers for new members.
async fn reserve(db: &Db, count: i64) -> Result<Vec<i64>, Failure> {
    if count == 0 {
        return Ok(Vec::new());
    }
    let sql = "select nextval('ldap_usher.member_id_seq') from generate_series(1, $1)";
    let taken = db.query(sql, values![count]).await?;
    taken.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Tells other instances that actions may be due.
async fn hint(db: &Db, is_due: bool) -> Result<(), Failure> {
    if is_due {
        db.query("select pg_notify('ldap_usher', '')", &[]).await?;
    }
    Ok(())
}

/// Writes the brakes if they have changed, and the resume point if there is a new one.
async fn save_directory(db: &Db, directory: Option<&Directory>) -> Result<(), Failure> {
    let Some(directory) = directory else {
        return Ok(());
    };
    let (brake, leave) = (&directory.brake, &directory.leaver_brake);
    let cursor = directory.cursor.as_ref();
    let point = cursor.map(|(Cursor(point), _)| point.clone());
    let stored = cursor.map(|(_, Timestamp(at))| *at);
    let sql = "update ldap_usher.directory
               set brake_listed = $2, brake_listed_at = $3, brake_changed = $4, brake_changed_since = $5, brake_holding = $6,
                   leave_listed = $7, leave_listed_at = $8, leave_changed = $9, leave_changed_since = $10,
                   cursor = coalesce($11, cursor), cursor_stored = coalesce($12, cursor_stored)
               where id = $1
                 and ((brake_listed, brake_listed_at, brake_changed, brake_changed_since, brake_holding,
                       leave_listed, leave_listed_at, leave_changed, leave_changed_since)
                      <> ($2, $3, $4, $5, $6, $7, $8, $9, $10) or $12 is not null)";
    let parameters = values![
        directory.id,
        i64::from(brake.listed),
        brake.listed_at.0,
        i64::from(brake.changed),
        brake.changed_since.0,
        brake.holding,
        i64::from(leave.listed),
        leave.listed_at.0,
        i64::from(leave.changed),
        leave.changed_since.0,
        point,
        stored,
    ];
    db.execute(sql, parameters).await?;
    Ok(())
}

/// Writes a brake if it has changed.
pub(super) async fn save_brake(db: &Db, directory: i64, brake: &Brake) -> Result<(), Failure> {
    let sql = "update ldap_usher.directory
               set brake_listed = $2, brake_listed_at = $3, brake_changed = $4, brake_changed_since = $5, brake_holding = $6
               where id = $1 and (brake_listed, brake_listed_at, brake_changed, brake_changed_since, brake_holding)
                                 <> ($2, $3, $4, $5, $6)";
    let (listed, changed) = (i64::from(brake.listed), i64::from(brake.changed));
    let parameters = values![
        directory,
        listed,
        brake.listed_at.0,
        changed,
        brake.changed_since.0,
        brake.holding,
    ];
    db.execute(sql, parameters).await?;
    Ok(())
}

/// The columns of members.
#[derive(Default)]
struct Members {
    rows: Vec<i64>,
    directories: Vec<i64>,
    entries: Vec<Vec<u8>>,
    dns: Vec<String>,
    addresses: Vec<Option<String>>,
    standings: Vec<&'static str>,
    reasons: Vec<Option<String>>,
    returning: Vec<bool>,
    decided_on: Vec<Option<i64>>,
}

impl Members {
    fn push(&mut self, row: i64, person: &Person) {
        let member = &person.member;
        let (standing, reason) = rows::standing(&member.standing);
        self.rows.push(row);
        self.directories.push(person.directory);
        self.entries.push(member.id.as_bytes().to_vec());
        self.dns.push(stored(&member.dn));
        let address = member.address.as_ref().map(EmailAddress::as_str);
        self.addresses.push(address.map(stored));
        self.standings.push(standing);
        self.reasons.push(reason.map(stored));
        self.returning.push(member.returning);
        self.decided_on.push(person.decided_on);
    }

    async fn insert(&self, db: &Db) -> Result<(), Failure> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let sql = "insert into ldap_usher.member (id, directory, entry_id, dn, address, standing, reason, had_left, decided_on)
                   select * from unnest($1, $2, $3, $4, $5, $6, $7, $8, $9)";
        self.execute(db, sql).await
    }

    async fn update(&self, db: &Db) -> Result<(), Failure> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let sql = "update ldap_usher.member m
                   set dn = n.dn, address = n.address, standing = n.standing, reason = n.reason, had_left = n.had_left,
                       decided_on = n.decided_on
                   from unnest($1, $2, $3, $4, $5, $6, $7, $8, $9)
                        n(id, directory, entry_id, dn, address, standing, reason, had_left, decided_on)
                   where m.id = n.id";
        self.execute(db, sql).await
    }

    async fn execute(&self, db: &Db, sql: &str) -> Result<(), Failure> {
        let parameters = values![
            self.rows,
            self.directories,
            self.entries,
            self.dns,
            self.addresses,
            self.standings,
            self.reasons,
            self.returning,
            self.decided_on,
        ];
        db.execute(sql, parameters).await?;
        Ok(())
    }
}

/// The columns of actions.
#[derive(Default)]
struct Actions {
    rows: Vec<i64>,
    members: Vec<i64>,
    kinds: Vec<&'static str>,
    addresses: Vec<String>,
    states: Vec<&'static str>,
    due: Vec<i64>,
    owners: Vec<Option<i64>>,
    doubts: Vec<Option<i64>>,
    compared: Vec<i64>,
    was_held: Vec<bool>,
    attempts: Vec<i64>,
    arrived: Vec<i64>,
    since: Vec<i64>,
    reasons: Vec<Option<String>>,
    faults: Vec<Option<String>>,
    outcomes: Vec<Option<&'static str>>,
    cares: Vec<Option<&'static str>>,
    accounts: Vec<Option<String>>,
    account_states: Vec<Option<&'static str>>,
    care_since: Vec<Option<i64>>,
    reminders: Vec<i64>,
    reminded: Vec<Option<i64>>,
}

/// The columns in the order of [`Actions::execute`].
const ACTION_COLUMNS: &str = "id, member, kind, address, state, due, owner, doubt_since, compared, was_held, attempts, arrived, since, reason,
     fault, outcome, care, account, account_state, care_since, reminders, reminded";

const ACTION_VALUES: &str = "unnest($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22)";

impl Actions {
    fn push(&mut self, task: &Task, member: i64) {
        let millis = |time: Option<Timestamp>| time.map(|Timestamp(at)| at);
        let account = task.account.as_ref();
        self.rows.push(task.row);
        self.members.push(member);
        self.kinds.push(task.kind.as_str());
        self.addresses.push(task.address.as_str().to_owned());
        self.states.push(task.state.as_str());
        self.due.push(task.due.0);
        self.owners.push(task.owner);
        self.doubts.push(millis(task.in_doubt));
        self.compared.push(rows::compared_number(task.compared));
        self.was_held.push(task.was_held);
        self.attempts.push(task.attempts.into());
        self.arrived.push(task.arrived.0);
        self.since.push(task.since.0);
        self.reasons.push(task.reason.as_deref().map(stored));
        self.faults.push(task.fault.as_deref().map(stored));
        self.outcomes.push(task.outcome.map(Outcome::as_str));
        self.cares.push(account.map(|account| account.care.as_str()));
        let id = account.and_then(|account| account.id.as_deref());
        self.accounts.push(id.map(stored));
        self.account_states
            .push(account.map(|account| account.state.as_str()));
        self.care_since.push(account.map(|account| account.since.0));
        self.reminders
            .push(account.map_or(0, |account| account.reminders.into()));
        self.reminded
            .push(account.and_then(|account| millis(account.reminded)));
    }

    async fn insert(&self, db: &Db) -> Result<(), Failure> {
        if self.rows.is_empty() {
            return Ok(());
        }
        // The number of an action is given by its column.
        let columns = ACTION_COLUMNS.trim_start_matches("id, ");
        let sql = format!(
            "insert into ldap_usher.action ({columns})
             select {columns} from {ACTION_VALUES} with ordinality n({ACTION_COLUMNS}, place) order by place"
        );
        self.execute(db, &sql).await
    }

    async fn update(&self, db: &Db) -> Result<(), Failure> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "update ldap_usher.action a
             set member = n.member, state = n.state, due = n.due, owner = n.owner, doubt_since = n.doubt_since,
                 compared = n.compared, was_held = n.was_held, attempts = n.attempts, arrived = n.arrived, since = n.since,
                 reason = n.reason, fault = n.fault, outcome = n.outcome, care = n.care, account = n.account,
                 account_state = n.account_state, care_since = n.care_since, reminders = n.reminders, reminded = n.reminded
             from {ACTION_VALUES} n({ACTION_COLUMNS})
             where a.id = n.id and a.address = n.address"
        );
        self.execute(db, &sql).await
    }

    async fn execute(&self, db: &Db, sql: &str) -> Result<(), Failure> {
        let parameters = values![
            self.rows,
            self.members,
            self.kinds,
            self.addresses,
            self.states,
            self.due,
            self.owners,
            self.doubts,
            self.compared,
            self.was_held,
            self.attempts,
            self.arrived,
            self.since,
            self.reasons,
            self.faults,
            self.outcomes,
            self.cares,
            self.accounts,
            self.account_states,
            self.care_since,
            self.reminders,
            self.reminded,
        ];
        db.execute(sql, parameters).await?;
        Ok(())
    }
}
