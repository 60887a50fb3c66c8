//! The queue of actions: claimed, released, and compared with Vaultwarden's accounts.

use rusqlite::{ToSql, Transaction};

use super::listing::judge_new;
use super::{book, counts, selection};
use crate::clock::Timestamp;
use crate::model::{Action, ActionKind, ActionState, Compared, Release};
use crate::rules::{Book, Brake, Verdict, longest_wait};
use crate::store::counts::Counts;
use crate::store::rows::{self, ACTION, INVITE};
use crate::store::selection::{Selection, WAITING, releasable};
use crate::store::{Claim, Claimed, Scope, Unchecked};

/// Actions that are in memory at a time where very many are decided on.
const PAGE: usize = 500;

pub(super) fn take_over(db: &Transaction<'_>, owner: i64, now: Timestamp) -> rusqlite::Result<()> {
    let lost = numbers(db, "a.owner is not null and a.owner <> ?", &[&owner])?;
    decide_on(db, &lost, &mut |book, id| book.take_back(id, now))?;
    db.execute(
        // The grace of a leaver counts from `arrived`. An attempt before its end waits again.
        "update action set due = min(due, ?1), since = min(since, ?2), arrived = min(arrived, ?2),
                           doubt_since = min(doubt_since, ?2)
         where (state = 'queued' or state = 'held')
           and (due > ?1 or since > ?2 or arrived > ?2 or doubt_since > ?2)",
        ((now + longest_wait()).0, now.0),
    )?;
    db.execute(
        "update directory set brake_listed_at = min(brake_listed_at, ?1),
                              brake_changed_since = min(brake_changed_since, ?1),
                              leave_listed_at = min(leave_listed_at, ?1),
                              leave_changed_since = min(leave_changed_since, ?1)
         where brake_listed_at > ?1 or brake_changed_since > ?1 or leave_listed_at > ?1 or leave_changed_since > ?1",
        [now.0],
    )?;
    Ok(())
}

pub(super) fn rebase(db: &Transaction<'_>, by: i64) -> rusqlite::Result<()> {
    db.execute(
        "update action set due = due + ?1, since = since + ?1, arrived = arrived + ?1, doubt_since = doubt_since + ?1
         where state = 'queued' or state = 'held'",
        [by],
    )?;
    db.execute(
        "update directory set brake_listed_at = brake_listed_at + ?1, brake_changed_since = brake_changed_since + ?1,
                              leave_listed_at = leave_listed_at + ?1, leave_changed_since = leave_changed_since + ?1",
        [by],
    )?;
    Ok(())
}

pub(super) fn claim(
    db: &Transaction<'_>,
    owner: i64,
    max: u32,
    only: Option<i64>,
    now: Timestamp,
) -> rusqlite::Result<Vec<Action>> {
    let claimed: Vec<Action> = db
        .prepare_cached(&format!(
            "select {ACTION},
                    iif(a.kind = 'invite', null,
                        (select i.account from action i where i.address = a.address and i.kind = 'invite'))
             from (select id from action
                   where state = 'queued' and due <= ?2 and owner is null and (?3 is null or member = ?3)
                   order by due, id limit ?1) due
             cross join action a on a.id = due.id
             cross join member m on m.id = a.member
             cross join directory d on d.id = m.directory",
        ))?
        .query_map((max, now.0, only), |row| rows::action(row))?
        .collect::<rusqlite::Result<_>>()?;
    let mut claim = db.prepare_cached("update action set owner = ? where id = ?")?;
    for action in &claimed {
        claim.execute((owner, action.id))?;
    }
    Ok(claimed)
}

/// Claims as many as `claim` allows.
pub(super) fn claim_some(db: &Transaction<'_>, how: Claim, now: Timestamp) -> rusqlite::Result<Claimed> {
    let unchecked = unchecked(db)?;
    let max = (how.max)(&unchecked);
    let actions = match max {
        0 => Vec::new(),
        _ => claim(db, how.owner.0, max, how.only, now)?,
    };
    Ok(Claimed {
        actions,
        unchecked,
        next_due: next_due(db, how.only)?,
        workers: 1,
    })
}

pub(super) fn next_due(db: &Transaction<'_>, only: Option<i64>) -> rusqlite::Result<Option<Timestamp>> {
    db.prepare_cached(
        "select min(due) from (select due from action
                               where state = 'queued' and owner is null and (?1 is null or member = ?1)
                               order by due limit 1)",
    )?
    .query_row([only], |row| rows::optional_time(row, 0))
}

pub(super) fn pardon(db: &Transaction<'_>, fault: &str, now: Timestamp) -> rusqlite::Result<Vec<String>> {
    let quarantined = ActionState::Quarantined;
    let ids = numbers(db, "a.state = 'quarantined' and a.fault = ?", &[&fault])?;
    requeue(db, &ids, quarantined, Release::FaultOfServer, now)
}

/// The numbers of the actions (`a`, of the member `m`) that meet a condition.
fn numbers(db: &Transaction<'_>, condition: &str, parameters: &[&dyn ToSql]) -> rusqlite::Result<Vec<i64>> {
    db.prepare_cached(&format!(
        "select a.id from action a cross join member m on m.id = a.member where {condition} order by a.id"
    ))?
    .query_map(parameters, |row| row.get(0))?
    .collect()
}

/// Queues actions as [`Book::requeue`] does; returns their addresses.
fn requeue(
    db: &Transaction<'_>,
    ids: &[i64],
    from: ActionState,
    because: Release,
    now: Timestamp,
) -> rusqlite::Result<Vec<String>> {
    let mut addresses = Vec::new();
    decide_on(db, ids, &mut |book, id| {
        addresses.extend(
            book.requeue(id, from, because, now)
                .map(|address| address.to_string()),
        );
    })?;
    Ok(addresses)
}

/// Decides on actions, a few at a time: there may be very many.
fn decide_on(
    db: &Transaction<'_>,
    ids: &[i64],
    rule: &mut dyn FnMut(&mut Book, i64),
) -> rusqlite::Result<()> {
    for page in ids.chunks(PAGE) {
        let scope = Scope {
            tasks: page.to_vec(),
            tasks_only: true,
            ..Scope::default()
        };
        book::decide(db, scope, &mut |book| {
            for &id in page {
                rule(book, id);
            }
            None
        })?;
    }
    Ok(())
}

pub(super) fn unchecked(db: &Transaction<'_>) -> rusqlite::Result<Unchecked> {
    db.prepare_cached(&format!(
        "select coalesce(sum(actions) filter (where state = 'queued' and compared <> 1), 0),
                coalesce(sum(actions) filter (where state = 'held' and compared <> 1), 0),
                coalesce(sum(actions) filter (where state = 'held'), 0)
         from action_count
         where kind = '{INVITE}' and (state = 'queued' or state = 'held' and not exists ({HOLDING}))",
    ))?
    .query_row([], |row| rows::unchecked(row))
}

pub(super) fn begin_comparison(db: &Transaction<'_>) -> rusqlite::Result<()> {
    let mut counts = Counts::default();
    let holding: bool = db.query_row(&format!("select exists ({HOLDING})"), [], |row| row.get(0))?;
    for state in WAITING {
        if state == ActionState::Queued || !holding {
            compare(db, state, (Compared::No, Compared::UnderWay), &mut counts)?;
        }
    }
    counts::save(db, &counts)
}

/// Directories with a listing in progress whose new people are held. They are judged when the listing has ended.
const HOLDING: &str = "select 1 from directory where brake_holding = 1 and retired = 0";

/// Moves the actions in a state from one stage of a comparison to another.
fn compare(
    db: &Transaction<'_>,
    state: ActionState,
    (from, to): (Compared, Compared),
    counts: &mut Counts,
) -> rusqlite::Result<()> {
    let number = rows::compared_number;
    let compared = db
        .prepare_cached(&format!(
            "update action set compared = ?2 where state = '{}' and compared = ?1 and kind = '{INVITE}'",
            state.as_str()
        ))?
        .execute((number(from), number(to)))?;
    let compared = i64::try_from(compared).unwrap_or(i64::MAX);
    counts.actions(ActionKind::Invite, (state, from), -compared);
    counts.actions(ActionKind::Invite, (state, to), compared);
    Ok(())
}

pub(super) fn end_comparison(
    db: &Transaction<'_>,
    judge: &mut dyn FnMut(&mut Brake, u64) -> Verdict,
    now: Timestamp,
) -> rusqlite::Result<Vec<(String, u64)>> {
    let compared: Vec<(i64, String, u64)> = db
        .prepare_cached(
            "select d.id, d.name, count(*)
             from action a cross join member m on m.id = a.member cross join directory d on d.id = m.directory
             where a.state = 'held' and a.compared = 2 and a.kind = 'invite'
             group by d.id order by d.id",
        )?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect::<rusqlite::Result<_>>()?;
    let mut counts = Counts::default();
    let mut held = Vec::new();
    for (directory, name, count) in compared {
        if judge_new(db, directory, count, judge)? == Verdict::Hold {
            held.push((name, held_of(db, directory)?));
            continue;
        }
        let ids = numbers(
            db,
            "a.state = 'held' and a.compared = 2 and m.directory = ?",
            &[&directory],
        )?;
        requeue(db, &ids, ActionState::Held, Release::Comparison, now)?;
    }
    for state in WAITING {
        compare(db, state, (Compared::UnderWay, Compared::Yes), &mut counts)?;
    }
    counts::save(db, &counts)?;
    Ok(held)
}

fn held_of(db: &Transaction<'_>, directory: i64) -> rusqlite::Result<u64> {
    db.prepare_cached(
        "select count(*) from action a cross join member m on m.id = a.member
         where a.state = 'held' and m.directory = ? and a.kind = 'invite'",
    )?
    .query_row([directory], |row| row.get(0))
}

pub(super) fn release(
    db: &Transaction<'_>,
    from: &[ActionState],
    which: &Selection,
    because: Release,
    now: Timestamp,
) -> rusqlite::Result<Vec<String>> {
    let mut released = Vec::new();
    for &state in from {
        let in_state = releasable(state);
        let mut ids = Vec::new();
        selection::each(which, |condition, parameters| {
            ids.extend(numbers(db, &format!("{in_state}{condition}"), parameters)?);
            Ok(())
        })?;
        released.extend(requeue(db, &ids, state, because, now)?);
    }
    let mut counts = Counts::default();
    if from.contains(&ActionState::Held) && !released.is_empty() {
        // The administrator has seen all of them and approved only some: no comparison may release the others.
        for stage in [Compared::No, Compared::UnderWay] {
            compare(db, ActionState::Held, (stage, Compared::Yes), &mut counts)?;
        }
    }
    counts::save(db, &counts)?;
    Ok(released)
}
