//! Reads the book for a decision, and saves its changes.

use std::collections::HashSet;

use rusqlite::{CachedStatement, OptionalExtension, Row, ToSql, Transaction, params};

use super::counts::Counts;
use super::journal;
use super::rows::{self, INVITE, MEMBER};
use crate::clock::Timestamp;
use crate::model::{Cursor, EmailAddress, EntryId, Member, Outcome};
use crate::rules::{Book, Brake, Directory, Invitation, Person};
use crate::store::Scope;

/// The columns of [`invitation`].
const INVITATION: &str =
    "a.id, a.address, a.state, a.due, a.owner, a.doubt_since, a.compared, a.was_held, a.attempts,
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
                    addresses.extend(self.read_invitations_of(row)?);
                }
            }
        }
        for row in &scope.invitations {
            addresses.extend(self.read_invitation(*row)?);
        }
        if !scope.invitations_only {
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
                "select name, brake_listed, brake_listed_at, brake_changed, brake_changed_since, brake_holding
                 from directory where id = ?",
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

    /// Reads all invitations of a member. Returns their addresses and that of the member.
    fn read_invitations_of(&mut self, member: i64) -> rusqlite::Result<Vec<EmailAddress>> {
        self.read_invitations(
            &format!("select {INVITATION} from action a where a.member = ? and a.kind = '{INVITE}'"),
            member,
        )
    }

    /// Reads one invitation with its person. Returns the addresses of both.
    fn read_invitation(&mut self, row: i64) -> rusqlite::Result<Vec<EmailAddress>> {
        self.read_invitations(&format!("select {INVITATION} from action a where a.id = ?"), row)
    }

    /// Reads the invitations that `query` selects, with their people. Returns the addresses of both.
    fn read_invitations(
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
            invitation.person = self.read_member(member)?;
            addresses.push(invitation.address.clone());
            addresses.extend(self.book.people()[invitation.person].member.address.clone());
            self.book.load_invitation(invitation);
        }
        Ok(addresses)
    }

    /// Reads the invitation to an address, its person, and the people who have the address: of those that are not in the
    /// book yet only the first, because a decision needs one person to whom it can hand over the invitation.
    fn read_address(&mut self, address: EmailAddress) -> rusqlite::Result<()> {
        if self.addresses.contains(&address) {
            return Ok(());
        }
        self.read_invitations(
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
            let is_new = self.book.person_by_id(directory, member.0.id).is_none();
            self.book.load_person((directory, &name), true, member);
            if is_new {
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
    invitation.owner = row.get(4)?;
    invitation.in_doubt = rows::optional_time(row, 5)?;
    invitation.compared = rows::compared(row, 6)?;
    invitation.was_held = row.get(7)?;
    invitation.attempts = row.get(8)?;
    invitation.reason = row.get(11)?;
    invitation.fault = row.get(12)?;
    invitation.outcome = rows::outcome(row, 13)?;
    Ok((invitation, row.get(14)?))
}

fn save(db: &Transaction<'_>, mut book: Book) -> rusqlite::Result<()> {
    let mut counts = Counts::default();
    let (mut people, mut invitations) = (PersonWriter::new(db)?, InvitationWriter::new(db)?);
    book.save_people(|person, before| {
        let before = before.map(|member| &member.standing);
        counts.member(person.directory, before, &person.member.standing);
        people.save(person)
    })?;
    book.save_invitations(|invitation, before, member| {
        let state = |invitation: &Invitation| (invitation.state, invitation.compared);
        counts.action(before.map(state), state(invitation));
        invitations.save(invitation, member)
    })?;
    counts.save(db)?;
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

/// The statements that write people.
struct PersonWriter<'a> {
    db: &'a Transaction<'a>,
    insert: CachedStatement<'a>,
    update: CachedStatement<'a>,
}

impl<'a> PersonWriter<'a> {
    fn new(db: &'a Transaction<'a>) -> rusqlite::Result<Self> {
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
    fn save(&mut self, person: &Person) -> rusqlite::Result<i64> {
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

/// The statements that write invitations.
struct InvitationWriter<'a> {
    insert: CachedStatement<'a>,
    update: CachedStatement<'a>,
}

impl<'a> InvitationWriter<'a> {
    fn new(db: &'a Transaction<'a>) -> rusqlite::Result<Self> {
        Ok(Self {
            insert: db.prepare_cached(&format!(
                "insert into action (kind, member, due, doubt_since, compared, was_held, attempts, arrived, since, reason,
                                     fault, outcome, state, owner, address)
                 values ('{INVITE}', ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)"
            ))?,
            update: db.prepare_cached(
                "update action set member = ?1, due = ?2, doubt_since = ?3, compared = ?4, was_held = ?5, attempts = ?6,
                        arrived = ?7, since = ?8, reason = ?9, fault = ?10, outcome = ?11, state = ?12, owner = ?13
                 where id = ?14",
            )?,
        })
    }

    /// Writes an invitation for the member of this row.
    fn save(&mut self, invitation: &Invitation, member: i64) -> rusqlite::Result<()> {
        let Invitation {
            row,
            address,
            state,
            due,
            owner,
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
        let (statement, which): (_, &dyn ToSql) = match row {
            0 => (&mut self.insert, &address.as_str()),
            row => (&mut self.update, row),
        };
        statement.execute(params![
            member,
            due.0,
            in_doubt.map(|Timestamp(since)| since),
            rows::compared_number(*compared),
            was_held,
            attempts,
            arrived.0,
            since.0,
            reason,
            fault,
            outcome.map(Outcome::as_str),
            state.as_str(),
            owner,
            which,
        ])?;
        Ok(())
    }
}
