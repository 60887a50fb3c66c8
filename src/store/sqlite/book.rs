//! Reads the book for a decision, and saves its changes.

use std::collections::HashSet;

use rusqlite::{OptionalExtension, Transaction};

use super::writers::{PersonWriter, TaskWriter};
use super::{counts, journal};
use crate::model::{Cursor, EmailAddress, EntryId, Member, Standing};
use crate::rules::{Book, Brake, LeaverBrake, Task};
use crate::store::Scope;
use crate::store::counts::Counts;
use crate::store::rows::{self, DIRECTORY, MEMBER, TASK};

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
            .prepare_cached(&format!(
                "select {DIRECTORY},
                        (select coalesce(sum(members), 0) from member_count where directory = d.id and standing <> 'left')
                 from directory d where d.id = ?"
            ))?
            .query_row([id], |row| rows::directory(row))
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
            .prepare_cached(&format!("select {TASK} from action a where {condition}"))?
            .query_map([parameter], |row| rows::task(row))?
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
    counts::save(db, &counts)?;
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
