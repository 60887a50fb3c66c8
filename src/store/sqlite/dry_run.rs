//! A store to run_dry on: a copy of the state that nobody else sees, and that knows afterwards what was changed.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Row};

use super::open::{Access, connect};
use super::{Sqlite, error, rows, schema};
use crate::model::EmailAddress;
use crate::store::{Before, Fate, Reply, StoreError, TaskFate};

/// Remembers what the dry_run is the first to change.
const MEMORY: &str = "
    create temp table former_task (task integer primary key, state text) strict;
    create temp trigger task_opened after insert on action begin
        insert into former_task values (new.id, null);
    end;
    create temp trigger task_moved after update of state on action when old.state <> new.state begin
        insert into former_task select old.id, old.state
        where not exists (select 1 from former_task where task = old.id);
    end;
    create temp table leaver (member integer primary key) strict;
    create temp trigger member_left after update of standing on member
    when new.standing = 'left' and old.standing <> 'left' begin
        insert into leaver select new.id where not exists (select 1 from leaver where member = new.id);
    end;";

impl Sqlite {
    /// A store that begins as the state file is now, or empty where there is none, and vanishes with this value. As
    /// after [`Sqlite::open`], what was claimed is due again and in doubt. The state file is only read, whether or
    /// not a service is running on it.
    ///
    /// # Errors
    /// [`StoreError::Open`] where the state cannot be read or there is no room for the copy.
    pub async fn dry_run(path: &Path) -> Result<Self, StoreError> {
        let mut db = match fs::exists(path) {
            Ok(true) => copy(&Self::open_any(path, Access::Read)?, path)?,
            // SQLite's own temporary file: it has no name, and goes with the connection.
            Ok(false) => connect(Path::new(""), Access::Scratch)?,
            Err(e) => return Err(error::open_io(path, "it cannot be reached", &e)),
        };
        schema::migrate(&mut db)
            .and_then(|()| db.execute_batch(MEMORY))
            .map_err(|e| error::open_sqlite(path, &e))?;
        Ok(Self::inline(path.into(), db))
    }

    /// What a dry_run made of each person: those in the rows after `after`, `limit` at a time, in their order; a
    /// person with several open invitations comes several times.
    pub fn fates(&self, after: i64, limit: u32) -> Reply<'_, Vec<Fate>> {
        self.read("reading the plan", move |db| {
            db.prepare_cached(
                "with page as (select id from member where id > ?1 order by id limit ?2)
                 select m.id, m.entry_id, m.dn, m.address, m.standing, m.reason, m.had_left, d.name,
                        exists (select 1 from leaver where member = m.id),
                        exists (select 1 from action c cross join former_task f on f.task = c.id
                                where c.member = m.id and c.state = 'cancelled'),
                        (select o.dn from action h cross join member o on o.id = h.member
                         where h.address = m.address and h.member <> m.id and h.state <> 'cancelled'),
                        (select address from action where member = m.id and state = 'done' limit 1),
                        t.address, t.state, t.outcome, t.reason, t.due, f.task is not null, f.state, d.retired = 0
                 from page cross join member m using (id) cross join directory d on d.id = m.directory
                 left join action t on t.member = m.id and t.state <> 'cancelled'
                      and (t.address = m.address or t.state <> 'done'
                           or exists (select 1 from former_task where task = t.id))
                 left join former_task f on f.task = t.id
                 order by m.id, t.id",
            )?
            .query_map((after, limit), fate)?
            .collect()
        })
    }
}

/// A copy in a temporary file that has no name any more once it is open: it holds addresses and a session.
fn copy(state: &Connection, path: &Path) -> Result<Connection, StoreError> {
    let target = temporary().map_err(|e| error::open_io(path, "it cannot be copied", &e))?;
    let copied = state
        .execute("vacuum into ?", [target.to_string_lossy()])
        .map_err(|e| error::open_sqlite(&target, &e))
        .and_then(|_| connect(&target, Access::Scratch));
    // A name that stays does no harm but to look untidy.
    let _ = fs::remove_file(&target);
    copied
}

/// An empty file that nobody else can read.
fn temporary() -> io::Result<PathBuf> {
    let path = std::env::temp_dir().join(format!("ldap-usher-plan-{:016x}", rand::random::<u64>()));
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    Ok(path)
}

fn fate(row: &Row<'_>) -> rusqlite::Result<Fate> {
    let member = rows::member(row, 0)?;
    let address: Option<String> = row.get(12)?;
    Ok(Fate {
        row: member.row,
        directory: row.get(7)?,
        configured: row.get(19)?,
        dn: member.dn,
        address: member.address,
        standing: member.standing,
        left: row.get(8)?,
        cancelled: row.get(9)?,
        holder_dn: row.get(10)?,
        invited_as: row.get(11)?,
        task: address.map(|address| task_fate(row, address)).transpose()?,
    })
}

fn task_fate(row: &Row<'_>, address: String) -> rusqlite::Result<TaskFate> {
    let former: Option<String> = row.get(18)?;
    let before = match (row.get(17)?, former) {
        (false, _) => Before::Same,
        (true, None) => Before::Absent,
        (true, Some(_)) => Before::Was(rows::state(row, 18)?),
    };
    Ok(TaskFate {
        address: EmailAddress::stored(address),
        state: rows::state(row, 13)?,
        outcome: rows::outcome(row, 14)?,
        reason: row.get(15)?,
        due: rows::time(row, 16)?,
        before,
    })
}
