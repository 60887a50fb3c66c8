//! Books: read for a decision, and saved after it.

use std::collections::HashSet;

use rusqlite::{OptionalExtension, Row, Transaction};

use super::journal;
use super::rows::{self, INVITE, MEMBER};
use crate::clock::Timestamp;
use crate::model::{Cursor, EmailAddress, EntryId, Member};
use crate::rules::{Book, Brake, Directory, Invitation, Person};
use crate::store::Scope;

/// The columns of [`invitation`].
const INVITATION: &str =
    "a.id, a.address, a.state, a.due, a.owner is not null, a.doubt_since, a.compared, a.was_held, a.attempts,
     a.arrived, a.since, a.reason, a.fault, a.outcome, a.member";

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

/// Reads into a book.
struct Reader<'a> {
    db: &'a Transaction<'a>,
    book: Book,
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
            self.directory(scope.directory)?;
        }
        for id in scope.people.iter().chain(&scope.owed) {
            self.person(scope.directory, *id)?;
        }
        let mut addresses = scope.addresses.clone();
        for id in &scope.owed {
            if let Some(place) = self.book.find(scope.directory, *id) {
                let member = &self.book.people()[place].member;
                let row = member.row;
                addresses.extend(member.address.clone());
                // Nobody new is in the table yet, and so nothing there is for them.
                if row != 0 {
                    addresses.extend(self.invitations_for(row)?);
                }
            }
        }
        for row in &scope.invitations {
            addresses.extend(self.numbered(*row)?);
        }
        if !scope.alone {
            for address in addresses {
                self.address(address)?;
            }
        }
        Ok(())
    }

    fn directory(&mut self, id: i64) -> rusqlite::Result<()> {
        let directory = self
            .db
            .prepare_cached(
                "select name, brake_listed, brake_listed_at, brake_changed, brake_changed_since from directory where id = ?",
            )?
            .query_row([id], |row| {
                Ok(Directory {
                    id,
                    name: row.get(0)?,
                    brake: brake(row, 1)?,
                    cursor: None,
                })
            })
            .optional()?;
        self.book.directory = directory;
        Ok(())
    }

    fn person(&mut self, directory: i64, id: EntryId) -> rusqlite::Result<()> {
        if self.book.find(directory, id).is_some() {
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

    /// All invitations that are or were for a member; returns their addresses.
    fn invitations_for(&mut self, member: i64) -> rusqlite::Result<Vec<EmailAddress>> {
        self.invitations(
            &format!("select {INVITATION} from action a where a.member = ? and a.kind = '{INVITE}'"),
            member,
        )
    }

    /// One invitation with its person; returns the addresses of both.
    fn numbered(&mut self, row: i64) -> rusqlite::Result<Vec<EmailAddress>> {
        self.invitations(&format!("select {INVITATION} from action a where a.id = ?"), row)
    }

    /// Invitations with their people; returns the addresses of both.
    fn invitations(
        &mut self,
        query: &str,
        parameter: impl rusqlite::ToSql,
    ) -> rusqlite::Result<Vec<EmailAddress>> {
        let found: Vec<(Invitation, i64)> = self
            .db
            .prepare_cached(query)?
            .query_map([parameter], invitation)?
            .collect::<rusqlite::Result<_>>()?;
        let mut addresses = Vec::new();
        for (mut invitation, member) in found {
            invitation.person = self.owner(member)?;
            addresses.push(invitation.address.clone());
            addresses.extend(self.book.people()[invitation.person].member.address.clone());
            self.book.load_invitation(invitation);
        }
        Ok(addresses)
    }

    /// The invitation to an address, its person, and whoever holds the address, as far as a decision can need them: all
    /// that are in the book already, and the first that is not.
    fn address(&mut self, address: EmailAddress) -> rusqlite::Result<()> {
        if self.addresses.contains(&address) {
            return Ok(());
        }
        self.invitations(
            &format!("select {INVITATION} from action a where a.address = ? and a.kind = '{INVITE}'"),
            address.as_str(),
        )?;
        let mut query = self.db.prepare_cached(&format!(
            "select d.id, d.name, {MEMBER} from member m cross join directory d on d.id = m.directory
             where m.address = ? and m.standing = 'member' and d.retired = 0 order by m.id"
        ))?;
        let mut holders = query.query([address.as_str()])?;
        while let Some(row) = holders.next()? {
            let (directory, name): (i64, String) = (row.get(0)?, row.get(1)?);
            let member = rows::decided(row, 2)?;
            let is_new = self.book.find(directory, member.0.id).is_none();
            self.book.load_person((directory, &name), true, member);
            if is_new {
                break;
            }
        }
        self.addresses.insert(address);
        Ok(())
    }

    fn owner(&mut self, member: i64) -> rusqlite::Result<usize> {
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

/// Reads a brake from four columns, of which the first is at `first`.
pub(super) fn brake(row: &Row<'_>, first: usize) -> rusqlite::Result<Brake> {
    Ok(Brake {
        listed: row.get(first)?,
        listed_at: rows::time(row, first + 1)?,
        changed: row.get(first + 2)?,
        changed_since: rows::time(row, first + 3)?,
    })
}

fn invitation(row: &Row<'_>) -> rusqlite::Result<(Invitation, i64)> {
    let address = EmailAddress::stored(row.get(1)?);
    let mut invitation = Invitation::new(
        address,
        0,
        rows::state(row, 2)?,
        rows::time(row, 9)?,
        rows::time(row, 10)?,
    );
    invitation.row = row.get(0)?;
    invitation.due = rows::time(row, 3)?;
    invitation.claimed = row.get(4)?;
    invitation.in_doubt = rows::optional_time(row, 5)?;
    invitation.compared = row.get::<_, i64>(6)? == 1;
    invitation.was_held = row.get(7)?;
    invitation.attempts = row.get(8)?;
    invitation.reason = row.get(11)?;
    invitation.fault = row.get(12)?;
    invitation.outcome = rows::outcome(row, 13)?;
    Ok((invitation, row.get(14)?))
}

fn save(db: &Transaction<'_>, mut book: Book) -> rusqlite::Result<()> {
    book.save_people(|person| save_person(db, person))?;
    book.save_invitations(|invitation, member| save_invitation(db, invitation, member))?;
    journal::append(db, &book.events)?;
    let Some(directory) = &book.directory else {
        return Ok(());
    };
    save_brake(db, directory.id, &directory.brake)?;
    if let Some((Cursor(cursor), now)) = &directory.cursor {
        db.prepare_cached("update directory set cursor = ?2, cursor_stored = ?3 where id = ?1")?
            .execute((directory.id, cursor, now.0))?;
    }
    Ok(())
}

/// Writes a brake where it differs.
pub(super) fn save_brake(db: &Transaction<'_>, directory: i64, brake: &Brake) -> rusqlite::Result<()> {
    db.prepare_cached(
        "update directory set brake_listed = ?2, brake_listed_at = ?3, brake_changed = ?4, brake_changed_since = ?5
         where id = ?1 and (brake_listed, brake_listed_at, brake_changed, brake_changed_since) <> (?2, ?3, ?4, ?5)",
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

fn save_person(db: &Transaction<'_>, person: &Person) -> rusqlite::Result<i64> {
    let member = &person.member;
    let (standing, reason) = rows::standing(&member.standing);
    let address = member.address.as_ref().map(EmailAddress::as_str);
    if member.row == 0 {
        return db
            .prepare_cached(
                "insert into member (directory, entry_id, dn, address, standing, reason, had_left, decided_on)
                 values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) returning id",
            )?
            .query_row(
                (
                    person.directory,
                    member.id.as_bytes().as_slice(),
                    &member.dn,
                    address,
                    standing,
                    reason,
                    member.returning,
                    person.decided_on,
                ),
                |row| row.get(0),
            );
    }
    db.prepare_cached(
        "update member set dn = ?2, address = ?3, standing = ?4, reason = ?5, had_left = ?6, decided_on = ?7
         where id = ?1",
    )?
    .execute((
        member.row,
        &member.dn,
        address,
        standing,
        reason,
        member.returning,
        person.decided_on,
    ))?;
    Ok(member.row)
}

fn save_invitation(db: &Transaction<'_>, invitation: &Invitation, member: i64) -> rusqlite::Result<()> {
    let Invitation {
        row,
        address,
        state,
        due,
        claimed,
        in_doubt,
        compared,
        was_held,
        attempts,
        arrived,
        since,
        reason,
        fault,
        outcome,
        ..
    } = invitation;
    let outcome = outcome.map(crate::model::Outcome::as_str);
    let in_doubt = in_doubt.map(|Timestamp(since)| since);
    if *row == 0 {
        db.prepare_cached(
            "insert into action (kind, address, member, state, due, compared, was_held, arrived, since, reason)
             values (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute((
            INVITE,
            address.as_str(),
            member,
            state.as_str(),
            due.0,
            compared,
            was_held,
            arrived.0,
            since.0,
            reason,
        ))?;
        return Ok(());
    }
    // Who has claimed it is the queue's business: a decision can only end the claim. A comparison that is under way goes
    // on with it, unless the decision made something new of it.
    db.prepare_cached(
        "update action set member = ?2, due = ?3, doubt_since = ?4, was_held = ?6, attempts = ?7, arrived = ?8,
                since = ?9, reason = ?10, fault = ?11, outcome = ?12, state = ?13, owner = iif(?14, owner, null),
                compared = iif(compared = 2 and state = ?13 and since = ?9, 2, ?5)
         where id = ?1",
    )?
    .execute(rusqlite::params![
        row,
        member,
        due.0,
        in_doubt,
        compared,
        was_held,
        attempts,
        arrived.0,
        since.0,
        reason,
        fault,
        outcome,
        state.as_str(),
        claimed,
    ])?;
    Ok(())
}
