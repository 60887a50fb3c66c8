//! Reads the book for a decision, and saves its changes.

use std::collections::HashSet;

use rusqlite::{OptionalExtension, Row, Transaction};

use super::counts::Counts;
use super::journal;
use super::rows::{self, ACCOUNT, MEMBER};
use super::writers::{PersonWriter, TaskWriter};
use crate::model::{Cursor, EmailAddress, EntryId, Member, Standing};
use crate::rules::{Book, Brake, Directory, LeaverBrake, Task};
use crate::store::Scope;

/// The columns of [`task`].
const TASK: &str =
    "a.id, a.address, a.state, a.due, a.owner, a.doubt_since, a.compared, a.was_held, a.attempts,
     a.arrived, a.since, a.reason, a.fault, a.outcome, a.member, a.kind";
/// The number of columns in [`TASK`]. Those of the account follow.
const TASK_COLUMNS: usize = 16;

pub(super) fn decide(
    db: &Transaction<'_>,
    mut scope: Scope,
    decision: &mut dyn FnMut(&mut Book) -> Option<Scope>,
) -> rusqlite::Result<()> {
    let mut reader = Reader::new(db);
    loop {
        reader.read(&scope)?;
        match decision(&mut reader.book) {
            Some(more) => scope = more,
            None => break,
        }
    }
    save(db, reader.book)
}

pub(super) fn known(db: &Transaction<'_>, directory: i64, who: &[EntryId]) -> rusqlite::Result<Vec<Member>> {
    let mut query = db.prepare_cached(&format!(
        "select {MEMBER} from member m where m.directory = ? and m.entry_id = ?"
    ))?;
    let mut known = Vec::new();
    for id in who {
        let id = id.as_bytes().as_slice();
        known.extend(
            query
                .query_row((directory, id), |row| rows::member(row, 0))
                .optional()?,
        );
    }
    Ok(known)
}

/// Reads rows into a book.
struct Reader<'a> {
    db: &'a Transaction<'a>,
    book: Book,
    /// The addresses that were read.
    addresses: HashSet<EmailAddress>,
}

impl<'a> Reader<'a> {
    fn new(db: &'a Transaction<'a>) -> Self {
        Self {
            db,
            book: Book::default(),
            addresses: HashSet::new(),
        }
    }

    fn read(&mut self, scope: &Scope) -> rusqlite::Result<()> {
        if scope.directory != 0 && self.book.directory.is_none() {
            self.read_directory(scope.directory)?;
        }
        for id in scope.people.iter().chain(&scope.with_invitations) {
            self.read_person(scope.directory, *id)?;
        }
        let mut addresses = scope.addresses.clone();
        for id in &scope.with_invitations {
            if let Some(place) = self.book.person_by_id(scope.directory, *id) {
                let member = &self.book.people()[place].member;
                let row = member.row;
                addresses.extend(member.address.clone());
                // A new person has no row yet, and so no invitation.
                if row != 0 {
                    addresses.extend(self.read_tasks_of(row)?);
                }
            }
        }
        for row in &scope.tasks {
            addresses.extend(self.read_task(*row)?);
        }
        if scope.pending_leavers {
            self.read_pending_leavers(scope.directory)?;
        }
        if !scope.tasks_only {
            for address in addresses {
                self.read_address(address)?;
            }
        }
        Ok(())
    }

    fn read_directory(&mut self, id: i64) -> rusqlite::Result<()> {
        let directory = self
            .db
            .prepare_cached(
                "select name, brake_listed, brake_listed_at, brake_changed, brake_changed_since, brake_holding,
                        leave_listed, leave_listed_at, leave_changed, leave_changed_since,
                        (select coalesce(sum(members), 0) from member_count
                         where directory = directory.id and standing <> 'left')
                 from directory where id = ?",
            )?
            .query_row([id], |row| {
                Ok(Directory {
                    id,
                    name: row.get(0)?,
                    brake: brake(row, 1)?,
                    leaver_brake: LeaverBrake {
                        listed: row.get(6)?,
                        listed_at: rows::time(row, 7)?,
                        changed: row.get(8)?,
                        changed_since: rows::time(row, 9)?,
                    },
                    present: row.get(10)?,
                    cursor: None,
                })
            })
            .optional()?;
        self.book.directory = directory;
        Ok(())
    }

    fn read_person(&mut self, directory: i64, id: EntryId) -> rusqlite::Result<()> {
        if self.book.person_by_id(directory, id).is_some() {
            return Ok(());
        }
        let Some(name) = self
            .book
            .directory
            .as_ref()
            .map(|directory| directory.name.clone())
        else {
            return Ok(());
        };
        let member = self
            .db
            .prepare_cached(&format!(
                "select {MEMBER} from member m where m.directory = ? and m.entry_id = ?"
            ))?
            .query_row((directory, id.as_bytes().as_slice()), |row| rows::decided(row, 0))
            .optional()?;
        if let Some(member) = member {
            self.book.load_person((directory, &name), true, member);
        }
        Ok(())
    }

    /// Reads all tasks of a member. Returns their addresses and that of the member.
    fn read_tasks_of(&mut self, member: i64) -> rusqlite::Result<Vec<EmailAddress>> {
        self.read_tasks("a.member = ?", member)
    }

    /// Reads one task with its person. Returns the addresses of both.
    fn read_task(&mut self, row: i64) -> rusqlite::Result<Vec<EmailAddress>> {
        self.read_tasks("a.id = ?", row)
    }

    /// Reads the actions for leavers of a directory that are queued.
    fn read_pending_leavers(&mut self, directory: i64) -> rusqlite::Result<()> {
        self.read_tasks(
            "a.state = 'queued' and a.kind in ('deauthorize', 'disable', 'delete')
             and (select m.directory from member m where m.id = a.member) = ?",
            directory,
        )?;
        Ok(())
    }

    /// Reads the tasks that meet a condition, with their people. Returns the addresses of both.
    fn read_tasks(
        &mut self,
        condition: &str,
        parameter: impl rusqlite::ToSql,
    ) -> rusqlite::Result<Vec<EmailAddress>> {
        let found: Vec<(Task, i64)> = self
            .db
            .prepare_cached(&format!(
                "select {TASK}, {ACCOUNT} from action a where {condition}"
            ))?
            .query_map([parameter], task)?
            .collect::<rusqlite::Result<_>>()?;
        let mut addresses = Vec::new();
        for (mut task, member) in found {
            task.person = self.read_member(member)?;
            addresses.push(task.address.clone());
            addresses.extend(self.book.people()[task.person].member.address.clone());
            self.book.load_task(task);
        }
        Ok(addresses)
    }

    /// Reads the tasks for an address, their people, and the people who have the address, until there is a member who was not
    /// in the book yet: a decision needs one person to whom it can hand over a task.
    fn read_address(&mut self, address: EmailAddress) -> rusqlite::Result<()> {
        if self.addresses.contains(&address) {
            return Ok(());
        }
        self.read_tasks("a.address = ?", address.as_str())?;
        // In the order of the index, because sorting costs more than the whole search.
        let mut query = self.db.prepare_cached(&format!(
            "select d.id, d.name, d.retired, {MEMBER} from member m cross join directory d on d.id = m.directory
             where m.address = ? and m.standing <> 'left' order by m.id"
        ))?;
        let mut holders = query.query([address.as_str()])?;
        while let Some(row) = holders.next()? {
            let (directory, name, retired): (i64, String, bool) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let member = rows::decided(row, 3)?;
            let is_new = self.book.person_by_id(directory, member.0.id).is_none();
            let is_member = member.0.standing == Standing::Member && !retired;
            self.book.load_person((directory, &name), !retired, member);
            if is_new && is_member {
                break;
            }
        }
        self.addresses.insert(address);
        Ok(())
    }

    /// Reads the member of a row. Returns the place in the book.
    fn read_member(&mut self, member: i64) -> rusqlite::Result<usize> {
        let (directory, name, retired, member): (i64, String, bool, _) = self
            .db
            .prepare_cached(&format!(
                "select d.id, d.name, d.retired, {MEMBER} from member m cross join directory d on d.id = m.directory
                 where m.id = ?"
            ))?
            .query_row([member], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?, rows::decided(row, 3)?))
            })?;
        Ok(self.book.load_person((directory, &name), !retired, member))
    }
}

/// Reads a brake from five columns, beginning with `first`.
pub(super) fn brake(row: &Row<'_>, first: usize) -> rusqlite::Result<Brake> {
    Ok(Brake {
        listed: row.get(first)?,
        listed_at: rows::time(row, first + 1)?,
        changed: row.get(first + 2)?,
        changed_since: rows::time(row, first + 3)?,
        holding: row.get(first + 4)?,
    })
}

fn task(row: &Row<'_>) -> rusqlite::Result<(Task, i64)> {
    let address = EmailAddress::stored(row.get(1)?);
    let mut task = Task::new(
        rows::kind(row, 15)?,
        address,
        0,
        rows::state(row, 2)?,
        rows::time(row, 9)?,
        rows::time(row, 10)?,
    );
    task.row = row.get(0)?;
    task.due = rows::time(row, 3)?;
    task.owner = row.get(4)?;
    task.in_doubt = rows::optional_time(row, 5)?;
    task.compared = rows::compared(row, 6)?;
    task.was_held = row.get(7)?;
    task.attempts = row.get(8)?;
    task.reason = row.get(11)?;
    task.fault = row.get(12)?;
    task.outcome = rows::outcome(row, 13)?;
    task.account = rows::account(row, TASK_COLUMNS)?;
    Ok((task, row.get(14)?))
}

fn save(db: &Transaction<'_>, mut book: Book) -> rusqlite::Result<()> {
    let mut counts = Counts::default();
    let (mut people, mut tasks) = (PersonWriter::new(db)?, TaskWriter::new(db)?);
    book.save_people(|person, before| {
        let before = before.map(|member| &member.standing);
        counts.member(person.directory, before, &person.member.standing);
        people.save(person)
    })?;
    book.save_tasks(|task, before, member| {
        let state = |task: &Task| (task.state, task.compared);
        counts.action(task.kind, before.map(state), state(task));
        tasks.save(task, member)
    })?;
    counts.save(db)?;
    journal::append(db, &book.events)?;
    let Some(directory) = &book.directory else {
        return Ok(());
    };
    save_brake(db, directory.id, &directory.brake)?;
    save_leaver_brake(db, directory.id, &directory.leaver_brake)?;
    if let Some((Cursor(cursor), now)) = &directory.cursor {
        db.prepare_cached("update directory set cursor = ?2, cursor_stored = ?3 where id = ?1")?
            .execute((directory.id, cursor, now.0))?;
    }
    Ok(())
}

/// Writes a brake if it has changed.
pub(super) fn save_brake(db: &Transaction<'_>, directory: i64, brake: &Brake) -> rusqlite::Result<()> {
    db.prepare_cached(
        "update directory set brake_listed = ?2, brake_listed_at = ?3, brake_changed = ?4, brake_changed_since = ?5,
                brake_holding = ?6
         where id = ?1 and (brake_listed, brake_listed_at, brake_changed, brake_changed_since, brake_holding)
                           <> (?2, ?3, ?4, ?5, ?6)",
    )?
    .execute((
        directory,
        brake.listed,
        brake.listed_at.0,
        brake.changed,
        brake.changed_since.0,
        brake.holding,
    ))?;
    Ok(())
}

fn save_leaver_brake(db: &Transaction<'_>, directory: i64, brake: &LeaverBrake) -> rusqlite::Result<()> {
    db.prepare_cached(
        "update directory set leave_listed = ?2, leave_listed_at = ?3, leave_changed = ?4, leave_changed_since = ?5
         where id = ?1 and (leave_listed, leave_listed_at, leave_changed, leave_changed_since) <> (?2, ?3, ?4, ?5)",
    )?
    .execute((
        directory,
        brake.listed,
        brake.listed_at.0,
        brake.changed,
        brake.changed_since.0,
    ))?;
    Ok(())
}
