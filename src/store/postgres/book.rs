//! Reads the book for a decision, and saves its changes. Reads and writes all rows of a kind in one statement.

use std::collections::{HashMap, HashSet};

use tokio_postgres::Row;

use super::error::Failure;
use super::sql::{Db, Value, all, values};
use super::writers;
use crate::model::{EmailAddress, EntryId, Member};
use crate::rules::Book;
use crate::store::Scope;
use crate::store::interface::Decision;
use crate::store::rows::{self, DIRECTORY, MEMBER, TASK};

/// Reads what `scope` names, lets `decision` change it, and saves the changes. The transaction has the lock of the writer, so
/// that nothing but claims changes what was read; actions are locked against claims, too.
pub(super) async fn decide(db: &Db, mut scope: Scope, decision: &mut Decision) -> Result<(), Failure> {
    let mut reader = Reader::new(db);
    loop {
        reader.read(&scope).await?;
        match decision(&mut reader.book) {
            Some(more) => scope = more,
            None => break,
        }
    }
    writers::save(db, reader.book).await
}

/// As [`decide`], with a decision that needs nothing more than `scope` names, and returns something.
pub(super) async fn decide_with<T>(
    db: &Db,
    scope: &Scope,
    decision: impl FnOnce(&mut Book) -> T,
) -> Result<T, Failure> {
    let mut reader = Reader::new(db);
    reader.read(scope).await?;
    let decided = decision(&mut reader.book);
    writers::save(db, reader.book).await?;
    Ok(decided)
}

pub(super) async fn known(db: &Db, directory: i64, who: &[EntryId]) -> Result<Vec<Member>, Failure> {
    let found = db
        .query(&of_entries(), values![directory, identities(who)])
        .await?;
    found.iter().map(|row| rows::member(row, 0)).collect()
}

/// Selects the members of a directory ($1) with these identities ($2), in no order.
fn of_entries() -> String {
    format!("select {MEMBER} from ldap_usher.member m where m.directory = $1 and m.entry_id = any($2)")
}

/// The identities as values.
pub(super) fn identities(ids: &[EntryId]) -> Vec<&[u8]> {
    ids.iter().map(|id| id.as_bytes().as_slice()).collect()
}

/// Reads rows into a book.
struct Reader<'a> {
    db: &'a Db,
    book: Book,
    /// The place in the book of each member that was read, by row.
    members: HashMap<i64, usize>,
    /// The addresses that were read.
    addresses: HashSet<EmailAddress>,
}

impl<'a> Reader<'a> {
    fn new(db: &'a Db) -> Self {
        Self {
            db,
            book: Book::default(),
            members: HashMap::new(),
            addresses: HashSet::new(),
        }
    }

    async fn read(&mut self, scope: &Scope) -> Result<(), Failure> {
        let people: Vec<EntryId> = scope
            .people
            .iter()
            .chain(&scope.with_invitations)
            .copied()
            .filter(|id| self.book.person_by_id(scope.directory, *id).is_none())
            .collect();
        self.read_directory(scope.directory, &people).await?;
        let mut addresses = scope.addresses.clone();
        let mut of_members = Vec::new();
        for id in &scope.with_invitations {
            if let Some(place) = self.book.person_by_id(scope.directory, *id) {
                let member = &self.book.people()[place].member;
                addresses.extend(member.address.clone());
                // A new person has no row yet, and so no invitation.
                if member.row != 0 {
                    of_members.push(member.row);
                }
            }
        }
        if !of_members.is_empty() {
            let found = self.read_tasks("a.member = any($1)", values![of_members]).await?;
            addresses.extend(found);
        }
        if !scope.tasks.is_empty() {
            let found = self.read_tasks("a.id = any($1)", values![scope.tasks]).await?;
            addresses.extend(found);
        }
        if scope.pending_leavers {
            let leavers = "a.state = 'queued' and a.kind in ('deauthorize', 'disable', 'delete')
                           and (select m.directory from ldap_usher.member m where m.id = a.member) = $1";
            self.read_tasks(leavers, values![scope.directory]).await?;
        }
        if scope.tasks_only {
            return Ok(());
        }
        self.read_addresses(addresses).await
    }

    /// Reads a directory, unless it is in the book, and these people of it.
    async fn read_directory(&mut self, id: i64, people: &[EntryId]) -> Result<(), Failure> {
        let db = self.db;
        let is_known = id == 0 || self.book.directory.is_some();
        let directory = async {
            let sql = format!(
                "select {DIRECTORY},
                        (select coalesce(sum(members), 0)::bigint from ldap_usher.member_count c
                         where c.directory = d.id and c.standing <> 'left')
                 from ldap_usher.directory d where d.id = $1"
            );
            match is_known {
                true => Ok(None),
                false => db.optional(&sql, values![id]).await,
            }
        };
        let members = async {
            match people {
                [] => Ok(Vec::new()),
                people => db.query(&of_entries(), values![id, identities(people)]).await,
            }
        };
        all! { directory: directory, members: members }
        if let Some(row) = directory {
            self.book.directory = Some(rows::directory(&row)?);
        }
        let Some(name) = self
            .book
            .directory
            .as_ref()
            .map(|directory| directory.name.clone())
        else {
            return Ok(());
        };
        let mut found = HashMap::new();
        for row in members {
            let member = rows::decided(&row, 0)?;
            found.insert(member.0.id, member);
        }
        // In the order in which they are named, as the rules see them.
        for member in people.iter().filter_map(|id| found.remove(id)) {
            self.load((id, &name), true, member);
        }
        Ok(())
    }

    /// Reads the tasks that meet a condition, with their people. Returns the addresses of both.
    async fn read_tasks(
        &mut self,
        condition: &str,
        parameters: &[Value<'_>],
    ) -> Result<Vec<EmailAddress>, Failure> {
        let sql =
            format!("select {TASK} from ldap_usher.action a where {condition} order by a.id for update of a");
        let mut tasks = Vec::new();
        for row in self.db.query(&sql, parameters).await? {
            tasks.push(rows::task(&row)?);
        }
        self.read_members(tasks.iter().map(|(_, member)| *member)).await?;
        let mut addresses = Vec::new();
        for (mut task, member) in tasks {
            let place = self.members.get(&member).copied();
            task.person = place.ok_or(Failure::Broken("an action belongs to nobody"))?;
            addresses.push(task.address.clone());
            addresses.extend(self.book.people()[task.person].member.address.clone());
            self.book.load_task(task);
        }
        Ok(addresses)
    }

    /// Reads the members in these rows.
    async fn read_members(&mut self, members: impl Iterator<Item = i64>) -> Result<(), Failure> {
        let unread: Vec<i64> = members
            .filter(|member| !self.members.contains_key(member))
            .collect();
        if unread.is_empty() {
            return Ok(());
        }
        let sql = format!(
            "select d.id, d.name, d.retired, {MEMBER}
             from ldap_usher.member m join ldap_usher.directory d on d.id = m.directory
             where m.id = any($1) order by m.id"
        );
        for row in self.db.query(&sql, values![unread]).await? {
            self.load_with_directory(&row)?;
        }
        Ok(())
    }

    /// Reads the tasks for addresses, their people, and the people who have such an address, until there is a member who was
    /// not in the book yet: a decision needs one person to whom it can hand over a task.
    async fn read_addresses(&mut self, addresses: Vec<EmailAddress>) -> Result<(), Failure> {
        let mut unread = Vec::new();
        for address in addresses {
            if self.addresses.insert(address.clone()) {
                unread.push(address);
            }
        }
        if unread.is_empty() {
            return Ok(());
        }
        let texts: Vec<&str> = unread.iter().map(EmailAddress::as_str).collect();
        self.read_tasks("a.address = any($1)", values![texts]).await?;
        let known: Vec<i64> = self.members.keys().copied().collect();
        // `+ 0` and `offset 0` keep the database from reading members by their numbers instead of by their addresses, which it may
        // think cheaper while it knows nothing of the table.
        let sql = format!(
            "select d.id, d.name, d.retired, {MEMBER}
             from unnest($1) q(address)
             cross join lateral (
                 select min(o.id + 0) as id
                 from ldap_usher.member o join ldap_usher.directory e on e.id = o.directory
                 where o.address = q.address and o.standing = 'member' and not e.retired and o.id <> all($2)
             ) successor
             cross join lateral (
                 select * from ldap_usher.member h where h.address = q.address and h.standing <> 'left' offset 0
             ) m
             join ldap_usher.directory d on d.id = m.directory
             where successor.id is null or m.id <= successor.id
             order by m.id"
        );
        for row in self.db.query(&sql, values![texts, known]).await? {
            self.load_with_directory(&row)?;
        }
        Ok(())
    }

    /// Loads a member from the id, the name and the state of the directory, and the columns [`MEMBER`].
    fn load_with_directory(&mut self, row: &Row) -> Result<(), Failure> {
        let (directory, name): (i64, String) = (row.try_get(0)?, row.try_get(1)?);
        let retired: bool = row.try_get(2)?;
        self.load((directory, &name), !retired, rows::decided(row, 3)?);
        Ok(())
    }

    fn load(&mut self, directory: (i64, &str), configured: bool, member: (Member, Option<i64>)) {
        let row = member.0.row;
        let place = self.book.load_person(directory, configured, member);
        self.members.insert(row, place);
    }
}
