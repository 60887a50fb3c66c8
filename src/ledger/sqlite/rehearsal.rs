//! A ledger to rehearse on: a copy of the state that nobody else sees, and that knows afterwards what was changed.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteRow, SqliteSynchronous};
use sqlx::{Row, SqliteConnection};

use super::open::{connect, migrate, writer};
use super::{Sqlite, error, rows, tasks};
use crate::clock::Timestamp;
use crate::ledger::{Before, Fate, LedgerError, Reply, TaskFate};
use crate::model::{EmailAddress, Outcome, TaskState};

/// Remembers what the rehearsal is the first to change.
const MEMORY: &str = "
    create table former_task (task integer primary key, state text) strict;
    create trigger task_opened after insert on task begin
        insert into former_task values (new.id, null);
    end;
    create trigger task_moved after update of state on task when old.state <> new.state begin
        insert into former_task select old.id, old.state
        where not exists (select 1 from former_task where task = old.id);
    end;
    create table leaver (member integer primary key) strict;
    create trigger member_left after update of standing on member
    when new.standing = 'left' and old.standing <> 'left' begin
        insert into leaver select new.id where not exists (select 1 from leaver where member = new.id);
    end;";

impl Sqlite {
    /// A ledger that begins as the state file is now, or empty where there is none, and vanishes with this value. As
    /// after [`Sqlite::open`], what was claimed is due again and in doubt. The state file is only read, whether or
    /// not a service is running on it.
    ///
    /// # Errors
    /// [`LedgerError::Open`] where the state cannot be read or there is no room for the copy.
    pub async fn rehearsal(path: &Path) -> Result<Self, LedgerError> {
        let state = match fs::exists(path) {
            Ok(true) => Some(Self::open_any(path, SqliteConnectOptions::new().read_only(true)).await?),
            Ok(false) => None,
            Err(e) => return Err(error::open_io(path, "it cannot be reached", &e)),
        };
        let mut db = match state {
            Some(mut state) => copy(&mut state, path).await?,
            // SQLite's own temporary file: it has no name, and goes with the connection.
            None => connect(Path::new(""), private()).await?,
        };
        migrate(&mut db, path).await?;
        let prepared = async {
            tasks::end_leases(&mut db).await?;
            sqlx::raw_sql(MEMORY).execute(&mut db).await
        };
        prepared.await.map_err(|e| error::open_sqlite(path, &e))?;
        Ok(Self::new(path.into(), db, None))
    }

    /// What a rehearsal made of each person: those in the rows after `after`, `limit` at a time, in their order; a
    /// person with several open invitations comes several times.
    pub fn fates(&self, after: i64, limit: u32) -> Reply<'_, Vec<Fate>> {
        self.reply("reading the plan", async move {
            sqlx::query(
                "with page as (select id from member where id > ?1 order by id limit ?2)
                 select m.id, m.entry_id, m.dn, m.address, m.standing, m.reason, d.name,
                        exists (select 1 from leaver where member = m.id) as has_left,
                        exists (select 1 from task c cross join former_task f on f.task = c.id
                                where c.member = m.id and c.state = 'cancelled') as cancelled,
                        (select o.dn from task h cross join member o on o.id = h.member
                         where h.address = m.address and h.member <> m.id and h.state <> 'cancelled') as holder_dn,
                        (select address from task where member = m.id and state = 'done' limit 1) as invited_as,
                        t.address as task, t.state, t.outcome, t.reason as task_reason, t.due,
                        f.task is not null as changed, f.state as former
                 from page cross join member m using (id) cross join directory d on d.id = m.directory
                 left join task t on t.member = m.id and t.state <> 'cancelled'
                      and (t.address = m.address or t.state <> 'done'
                           or exists (select 1 from former_task where task = t.id))
                 left join former_task f on f.task = t.id
                 order by m.id, t.id",
            )
            .bind(after)
            .bind(limit)
            .fetch_all(&mut *self.db.lock().await)
            .await?
            .iter()
            .map(fate)
            .collect()
        })
    }
}

/// A copy in a temporary file that has no name any more once it is open: it holds addresses and a session.
async fn copy(state: &mut SqliteConnection, path: &Path) -> Result<SqliteConnection, LedgerError> {
    let target = temporary().map_err(|e| error::open_io(path, "it cannot be copied", &e))?;
    let copied = async {
        sqlx::query("vacuum into ?")
            .bind(target.to_string_lossy())
            .execute(state)
            .await
            .map_err(|e| error::open_sqlite(&target, &e))?;
        connect(&target, private()).await
    };
    let copied = copied.await;
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

/// Nothing of a rehearsal has to survive anything.
fn private() -> SqliteConnectOptions {
    writer()
        .journal_mode(SqliteJournalMode::Memory)
        .synchronous(SqliteSynchronous::Off)
}

fn fate(row: &SqliteRow) -> sqlx::Result<Fate> {
    let member = rows::member((
        row.try_get("id")?,
        row.try_get("entry_id")?,
        row.try_get("dn")?,
        row.try_get("address")?,
        row.try_get("standing")?,
        row.try_get("reason")?,
    ))?;
    let task: Option<String> = row.try_get("task")?;
    Ok(Fate {
        row: member.row,
        directory: row.try_get("name")?,
        dn: member.dn,
        address: member.address,
        standing: member.standing,
        left: row.try_get("has_left")?,
        cancelled: row.try_get("cancelled")?,
        holder_dn: row.try_get("holder_dn")?,
        invited_as: row.try_get("invited_as")?,
        task: task.map(|address| task_fate(row, address)).transpose()?,
    })
}

fn task_fate(row: &SqliteRow, address: String) -> sqlx::Result<TaskFate> {
    let before = match (
        row.try_get("changed")?,
        row.try_get::<Option<String>, _>("former")?,
    ) {
        (false, _) => Before::Same,
        (true, None) => Before::Absent,
        (true, Some(former)) => Before::Was(state(&former)?),
    };
    let outcome: Option<String> = row.try_get("outcome")?;
    Ok(TaskFate {
        address: EmailAddress::stored(address),
        state: state(&row.try_get::<String, _>("state")?)?,
        outcome: outcome.map(|word| match word == Outcome::Invited.as_str() {
            true => Outcome::Invited,
            false => Outcome::HadAccount,
        }),
        reason: row.try_get("task_reason")?,
        due: Timestamp(row.try_get("due")?),
        before,
    })
}

fn state(word: &str) -> sqlx::Result<TaskState> {
    TaskState::ALL
        .into_iter()
        .find(|state| state.as_str() == word)
        .ok_or_else(|| sqlx::Error::Decode(format!("{word} is no state of a task").into()))
}
