//! Whether an invitation is owed, and to whom: the rules of [`TaskWrite`].

use std::collections::HashSet;

use sqlx::SqliteConnection;

use super::rows::{hex, json};
use crate::clock::Timestamp;
use crate::ledger::{Batch, Committed, Duplicate, Origin, TaskWrite};
use crate::model::{EmailAddress, EntryId};

/// What an invitation is when it is opened.
pub(super) struct Opening {
    /// `staged`, `queued` or `held`.
    pub(super) state: &'static str,
    /// The person left and came back: one that was sent before does not count.
    pub(super) again: bool,
    /// When the change that caused it arrived.
    pub(super) arrived: Timestamp,
    /// The time now.
    pub(super) now: Timestamp,
}

/// Opens invitations for members of one directory where none is open and none was sent. Returns for each that it opened
/// whether somebody else holds the address, too.
///
/// One that was sent is opened `again` only if it was not for another person who is still there.
pub(super) async fn open(
    db: &mut SqliteConnection,
    directory: i64,
    owed: &[Who<'_>],
    how: &Opening,
) -> sqlx::Result<Vec<bool>> {
    sqlx::query_scalar(
        "insert into task (member, address, state, due, arrived, since)
         select m.id, j.value ->> 1, ?3, ?5, ?5, ?6
         from json_each(?2) j
         cross join member m on m.directory = ?1 and m.entry_id = unhex(j.value ->> 0)
         where true
         on conflict (address) do update
         set member = excluded.member, state = excluded.state, due = excluded.due, arrived = excluded.arrived,
             since = excluded.since, checked = 0, attempts = 0, reason = null, outcome = null
         where task.state = 'cancelled'
            or ?4 and task.state in ('done', 'quarantined') and not exists (
                   select 1 from member
                   where id = task.member and id <> excluded.member
                     and address = task.address and standing = 'member')
         returning exists (select 1 from member o
                           where o.address = task.address and o.standing = 'member' and o.id <> task.member)",
    )
    .bind(directory)
    .bind(pairs(owed)?)
    .bind(how.state)
    .bind(how.again)
    .bind(how.arrived.0)
    .bind(how.now.0)
    .fetch_all(db)
    .await
}

/// Takes tasks from the members they are for, who want them no more: each goes to another present member who holds
/// its address, or, where there is none and it was not sent, is cancelled.
pub(super) async fn release(db: &mut SqliteConnection, tasks: &[i64], now: Timestamp) -> sqlx::Result<()> {
    if tasks.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "with released (task, heir) as materialized (
             select t.id, (select m.id from member m
                           where m.address = t.address and m.standing = 'member' and m.id <> t.member
                           order by m.id limit 1)
             from json_each(?1) j cross join task t on t.id = j.value)
         update task
         set member = coalesce(heir, member),
             state = iif(heir is null, 'cancelled', state),
             since = iif(heir is null, ?2, since)
         from released
         where id = released.task
           and (heir is not null
                or state in ('staged', 'held', 'quarantined')
                or state = 'queued' and lease_until is null and in_doubt = 0)",
    )
    .bind(json(tasks.iter())?)
    .bind(now.0)
    .execute(db)
    .await?;
    Ok(())
}

/// The invitations of one batch, on their way into the ledger.
pub(super) struct Invitations<'a> {
    batch: &'a Batch,
    now: Timestamp,
    /// The pairs of members already reported as duplicates.
    paired: HashSet<(i64, i64)>,
    committed: Committed,
}

impl<'a> Invitations<'a> {
    pub(super) fn of(batch: &'a Batch, now: Timestamp) -> Self {
        Self {
            batch,
            now,
            paired: HashSet::new(),
            committed: Committed::default(),
        }
    }

    /// Writes them in order. Neighbours of one kind go into one statement.
    pub(super) async fn write(mut self, db: &mut SqliteConnection) -> sqlx::Result<Committed> {
        for run in self.batch.tasks.chunk_by(alike) {
            match &run[0] {
                TaskWrite::Open { again, .. } => self.open(db, &who(run), self.state(), *again).await?,
                TaskWrite::Cancel { .. } => {
                    let theirs = self.theirs(db, &who(run)).await?;
                    let tasks: Vec<i64> = theirs.iter().map(|theirs| theirs.task).collect();
                    release(db, &tasks, self.now).await?;
                }
                TaskWrite::Readdress { id, from, to, invite } => {
                    self.readdress(db, id, from, to, *invite).await?;
                }
            }
        }
        Ok(self.committed)
    }

    /// The state in which this batch opens invitations.
    fn state(&self) -> &'static str {
        match self.batch.origin {
            Origin::Live => "queued",
            Origin::Listing => "staged",
        }
    }

    async fn open(
        &mut self,
        db: &mut SqliteConnection,
        owed: &[Who<'_>],
        state: &'static str,
        again: bool,
    ) -> sqlx::Result<()> {
        let opening = Opening {
            state,
            again,
            arrived: self.batch.arrived,
            now: self.now,
        };
        let opened = open(db, self.batch.directory, owed, &opening).await?;
        if state == "queued" {
            self.committed.queued += opened.len() as u64;
        }
        // Whose invitation was not opened may find that of somebody else under the address.
        if opened.len() < owed.len() || opened.contains(&true) {
            self.report_duplicates(db, owed).await?;
        }
        Ok(())
    }

    /// Notes those of `owed` whose address another member holds.
    async fn report_duplicates(&mut self, db: &mut SqliteConnection, owed: &[Who<'_>]) -> sqlx::Result<()> {
        // A holder of the same name is the entry before it was deleted and made anew: a listing tells of the new one
        // before it finds that the old one has left.
        let rows: Vec<(u32, i64, i64, String, String)> = sqlx::query_as(
            "select j.key, m.id, o.id, m.dn, o.dn
             from json_each(?2) j
             cross join member m on m.directory = ?1 and m.entry_id = unhex(j.value ->> 0)
             cross join member o on o.id = (
                 select id from member
                 where address = j.value ->> 1 and standing = 'member' and id <> m.id
                   and (directory <> m.directory or dn <> m.dn)
                 order by id limit 1)
             order by j.key",
        )
        .bind(self.batch.directory)
        .bind(pairs(owed)?)
        .fetch_all(db)
        .await?;
        for (key, member, holder, dn, holder_dn) in rows {
            if self.paired.insert((member.min(holder), member.max(holder))) {
                self.committed.duplicates.push(Duplicate {
                    address: owed[key as usize].1.clone(),
                    dn,
                    holder_dn,
                });
            }
        }
        Ok(())
    }

    async fn readdress(
        &mut self,
        db: &mut SqliteConnection,
        id: &EntryId,
        from: &EmailAddress,
        to: &EmailAddress,
        invite: bool,
    ) -> sqlx::Result<()> {
        let before = self.theirs(db, &[(id, from)]).await?.pop();
        let state = match before {
            Some(Theirs {
                task,
                state,
                sent: false,
            }) => {
                release(db, &[task], self.now).await?;
                // The new one waits where the old one waited: a change of address is no way around an approval.
                match state.as_str() {
                    "held" => "held",
                    "staged" => "staged",
                    _ => self.state(),
                }
            }
            _ if invite || !self.was_invited(db, id).await? => self.state(),
            _ => return Ok(()),
        };
        self.open(db, &[(id, to)], state, false).await
    }

    /// Those tasks for these addresses that are for just these entries.
    async fn theirs(&self, db: &mut SqliteConnection, who: &[Who<'_>]) -> sqlx::Result<Vec<Theirs>> {
        let tasks: Vec<(i64, String, bool)> = sqlx::query_as(
            "select t.id, t.state, t.state = 'done' or t.lease_until is not null or t.in_doubt
             from json_each(?2) j
             cross join member m on m.directory = ?1 and m.entry_id = unhex(j.value ->> 0)
             cross join task t on t.address = j.value ->> 1 and t.member = m.id
             where t.state <> 'cancelled'",
        )
        .bind(self.batch.directory)
        .bind(pairs(who)?)
        .fetch_all(db)
        .await?;
        Ok(tasks
            .into_iter()
            .map(|(task, state, sent)| Theirs { task, state, sent })
            .collect())
    }

    /// Whether an invitation to this entry, at whatever address, was sent or may have been.
    async fn was_invited(&self, db: &mut SqliteConnection, id: &EntryId) -> sqlx::Result<bool> {
        sqlx::query_scalar(
            "select exists (
                 select 1 from member m cross join task t on t.member = m.id
                 where m.directory = ?1 and m.entry_id = ?2
                   and (t.state = 'done' or t.lease_until is not null or t.in_doubt))",
        )
        .bind(self.batch.directory)
        .bind(id.as_bytes().as_slice())
        .fetch_one(db)
        .await
    }
}

/// A task that is for the entry in question.
struct Theirs {
    task: i64,
    state: String,
    /// The invitation was sent, or may have been.
    sent: bool,
}

/// Whether two neighbours can go into one statement.
fn alike(one: &TaskWrite, other: &TaskWrite) -> bool {
    match (one, other) {
        (TaskWrite::Open { again: one, .. }, TaskWrite::Open { again: other, .. }) => one == other,
        (TaskWrite::Cancel { .. }, TaskWrite::Cancel { .. }) => true,
        _ => false,
    }
}

/// An entry and an address of its own.
pub(super) type Who<'a> = (&'a EntryId, &'a EmailAddress);

/// Whom the writes of one run are about.
fn who(run: &[TaskWrite]) -> Vec<Who<'_>> {
    run.iter()
        .map(|write| match write {
            TaskWrite::Open { id, address, .. } | TaskWrite::Cancel { id, address } => (id, address),
            TaskWrite::Readdress { id, from, .. } => (id, from),
        })
        .collect()
}

fn pairs(who: &[Who<'_>]) -> sqlx::Result<String> {
    json(who.iter().map(|(id, address)| (hex(id), address.as_str())))
}
