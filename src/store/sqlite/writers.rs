//! Writes people and tasks.

use rusqlite::{CachedStatement, ToSql, Transaction, params};

use crate::clock::Timestamp;
use crate::model::{EmailAddress, Outcome};
use crate::rules::{Person, Task};
use crate::store::rows;

/// The statements that write people.
pub(super) struct PersonWriter<'a> {
    db: &'a Transaction<'a>,
    insert: CachedStatement<'a>,
    update: CachedStatement<'a>,
}

impl<'a> PersonWriter<'a> {
    pub(super) fn new(db: &'a Transaction<'a>) -> rusqlite::Result<Self> {
        Ok(Self {
            db,
            insert: db.prepare_cached(
                "insert into member (dn, address, standing, reason, had_left, decided_on, directory, entry_id)
                 values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?,
            update: db.prepare_cached(
                "update member set dn = ?1, address = ?2, standing = ?3, reason = ?4, had_left = ?5, decided_on = ?6
                 where id = ?7",
            )?,
        })
    }

    /// Writes a person. Returns the number of the row.
    pub(super) fn save(&mut self, person: &Person) -> rusqlite::Result<i64> {
        let member = &person.member;
        let (standing, reason) = rows::standing(&member.standing);
        let address = member.address.as_ref().map(EmailAddress::as_str);
        if member.row == 0 {
            // Without `returning`, for which SQLite would open a temporary table each time.
            self.insert.execute(params![
                member.dn,
                address,
                standing,
                reason,
                member.returning,
                person.decided_on,
                person.directory,
                member.id.as_bytes().as_slice(),
            ])?;
            return Ok(self.db.last_insert_rowid());
        }
        self.update.execute(params![
            member.dn,
            address,
            standing,
            reason,
            member.returning,
            person.decided_on,
            member.row,
        ])?;
        Ok(member.row)
    }
}

/// The statements that write tasks.
pub(super) struct TaskWriter<'a> {
    insert: CachedStatement<'a>,
    update: CachedStatement<'a>,
}

impl<'a> TaskWriter<'a> {
    pub(super) fn new(db: &'a Transaction<'a>) -> rusqlite::Result<Self> {
        Ok(Self {
            insert: db.prepare_cached(
                "insert into action (member, due, doubt_since, compared, was_held, attempts, arrived, since, reason, fault,
                                     outcome, state, owner, care, account, account_state, care_since, reminders, reminded,
                                     kind, address)
                 values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)",
            )?,
            update: db.prepare_cached(
                "update action set member = ?1, due = ?2, doubt_since = ?3, compared = ?4, was_held = ?5, attempts = ?6,
                        arrived = ?7, since = ?8, reason = ?9, fault = ?10, outcome = ?11, state = ?12, owner = ?13,
                        care = ?14, account = ?15, account_state = ?16, care_since = ?17, reminders = ?18, reminded = ?19
                 where id = ?20 and address = ?21",
            )?,
        })
    }

    /// Writes a task for the member of this row.
    pub(super) fn save(&mut self, task: &Task, member: i64) -> rusqlite::Result<()> {
        let account = task.account.as_ref();
        let address = task.address.as_str();
        let kind = task.kind.as_str();
        let (statement, which): (_, &dyn ToSql) = match &task.row {
            0 => (&mut self.insert, &kind),
            row => (&mut self.update, row),
        };
        statement.execute(params![
            member,
            task.due.0,
            task.in_doubt.map(|Timestamp(since)| since),
            rows::compared_number(task.compared),
            task.was_held,
            task.attempts,
            task.arrived.0,
            task.since.0,
            task.reason,
            task.fault,
            task.outcome.map(Outcome::as_str),
            task.state.as_str(),
            task.owner,
            account.map(|account| account.care.as_str()),
            account.and_then(|account| account.id.as_deref()),
            account.map(|account| account.state.as_str()),
            account.map(|account| account.since.0),
            account.map_or(0, |account| account.reminders),
            account
                .and_then(|account| account.reminded)
                .map(|Timestamp(at)| at),
            which,
            address,
        ])?;
        Ok(())
    }
}
