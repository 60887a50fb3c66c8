//! The queue of invitations: claimed, released, and compared with Vaultwarden's accounts.

use rusqlite::{Row, ToSql, Transaction};

use super::counts::Counts;
use super::listing::judge_new;
use super::{journal, rows};
use crate::clock::Timestamp;
use crate::model::{Action, ActionState, Compared, EmailAddress, Release, Source, What};
use crate::rules::{Brake, Verdict, longest_wait};
use crate::store::{Claim, Claimed, Unchecked};

pub(super) fn take_over(db: &Transaction<'_>, owner: i64, now: Timestamp) -> rusqlite::Result<()> {
    db.execute(
        "update action set owner = null, doubt_since = coalesce(doubt_since, ?2), due = min(due, ?2)
         where owner is not null and owner <> ?1",
        (owner, now.0),
    )?;
    db.execute(
        "update action set due = min(due, ?1), since = min(since, ?2), doubt_since = min(doubt_since, ?2)
         where (state = 'queued' or state = 'held')
           and (due > ?1 or since > ?2 or doubt_since > ?2)",
        ((now + longest_wait()).0, now.0),
    )?;
    db.execute(
        "update directory set brake_listed_at = min(brake_listed_at, ?1), brake_changed_since = min(brake_changed_since, ?1)",
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
        "update directory set brake_listed_at = brake_listed_at + ?1, brake_changed_since = brake_changed_since + ?1",
        [by],
    )?;
    Ok(())
}

pub(super) fn claim(
    db: &Transaction<'_>,
    owner: i64,
    max: u32,
    now: Timestamp,
) -> rusqlite::Result<Vec<Action>> {
    let mut claimed: Vec<(Timestamp, Action)> = db
        .prepare_cached(
            "update action set owner = ?3
             where id in (select id from action
                          where state = 'queued' and due <= ?2 and owner is null
                          order by due, id limit ?1)
             returning id, kind, address, (select dn from member where id = action.member),
                       (select d.name from member m join directory d on d.id = m.directory where m.id = action.member),
                       attempts, doubt_since, arrived, due",
        )?
        .query_map((max, now.0, owner), |row| {
            let action = Action {
                id: row.get(0)?,
                kind: rows::kind(row, 1)?,
                address: EmailAddress::stored(row.get(2)?),
                dn: row.get(3)?,
                directory: row.get(4)?,
                attempts: row.get(5)?,
                in_doubt: rows::optional_time(row, 6)?,
                arrived: rows::time(row, 7)?,
            };
            Ok((rows::time(row, 8)?, action))
        })?
        .collect::<rusqlite::Result<_>>()?;
    claimed.sort_unstable_by_key(|(due, action)| (*due, action.id));
    Ok(claimed.into_iter().map(|(_, action)| action).collect())
}

/// Claims as many as `claim` allows.
pub(super) fn claim_some(db: &Transaction<'_>, how: Claim, now: Timestamp) -> rusqlite::Result<Claimed> {
    let unchecked = unchecked(db)?;
    let max = (how.max)(&unchecked);
    let actions = match max {
        0 => Vec::new(),
        _ => claim(db, how.owner.0, max, now)?,
    };
    Ok(Claimed {
        actions,
        unchecked,
        next_due: next_due(db)?,
    })
}

pub(super) fn next_due(db: &Transaction<'_>) -> rusqlite::Result<Option<Timestamp>> {
    db.prepare_cached(
        "select min(due) from (select due from action where state = 'queued' and owner is null order by due limit 1)",
    )?
    .query_row([], |row| rows::optional_time(row, 0))
}

pub(super) fn pardon(db: &Transaction<'_>, fault: &str, now: Timestamp) -> rusqlite::Result<Vec<String>> {
    journal::append_for(
        db,
        "a.state = 'quarantined' and a.fault = :fault",
        &[(":fault", &fault)],
        (now, Source::Vaultwarden),
        &What::Released {
            because: Release::FaultOfServer,
        },
    )?;
    let mut counts = Counts::default();
    let pardoned = db
        .prepare_cached(
            "update action set state = 'queued', since = ?2, due = ?2, fault = null
             where state = 'quarantined' and fault = ?1 returning address, compared",
        )?
        .query_map((fault, now.0), |row| {
            queued_from(ActionState::Quarantined, row, &mut counts)
        })?
        .collect::<rusqlite::Result<_>>()?;
    counts.save(db)?;
    Ok(pardoned)
}

/// Reads the address and `compared` of an action that was queued from `state`. Counts the change of its state.
fn queued_from(state: ActionState, row: &Row<'_>, counts: &mut Counts) -> rusqlite::Result<String> {
    let compared = rows::compared(row, 1)?;
    counts.action(Some((state, compared)), (ActionState::Queued, compared));
    row.get(0)
}

pub(super) fn unchecked(db: &Transaction<'_>) -> rusqlite::Result<Unchecked> {
    db.prepare_cached(&format!(
        "select coalesce(sum(actions) filter (where state = 'queued' and compared <> 1), 0),
                coalesce(sum(actions) filter (where state = 'held' and compared <> 1), 0),
                coalesce(sum(actions) filter (where state = 'held'), 0)
         from action_count where state = 'queued' or state = 'held' and not exists ({HOLDING})",
    ))?
    .query_row([], |row| {
        Ok(Unchecked {
            queued: row.get(0)?,
            held: row.get(1)?,
            all_held: row.get(2)?,
        })
    })
}

pub(super) fn begin_comparison(db: &Transaction<'_>) -> rusqlite::Result<()> {
    let mut counts = Counts::default();
    let holding: bool = db.query_row(&format!("select exists ({HOLDING})"), [], |row| row.get(0))?;
    for state in WAITING {
        if state == ActionState::Queued || !holding {
            compare(db, state, (Compared::No, Compared::UnderWay), &mut counts)?;
        }
    }
    counts.save(db)
}

/// Directories with a listing in progress whose new people are held. They are judged when the listing has ended.
const HOLDING: &str = "select 1 from directory where brake_holding = 1 and retired = 0";

/// The states of actions that a comparison concerns.
const WAITING: [ActionState; 2] = [ActionState::Queued, ActionState::Held];

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
            "update action set compared = ?2 where state = '{}' and compared = ?1",
            state.as_str()
        ))?
        .execute((number(from), number(to)))?;
    let compared = i64::try_from(compared).unwrap_or(i64::MAX);
    counts.actions((state, from), -compared);
    counts.actions((state, to), compared);
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
             where a.state = 'held' and a.compared = 2
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
        journal::append_for(
            db,
            "a.state = 'held' and a.compared = 2 and m.directory = :directory",
            &[(":directory", &directory)],
            (now, Source::Vaultwarden),
            &What::Released {
                because: Release::Comparison,
            },
        )?;
        let released = db
            .prepare_cached(
                "update action set state = 'queued', since = ?2, compared = 1
                 where state = 'held' and compared = 2
                   and (select directory from member where id = action.member) = ?1",
            )?
            .execute((directory, now.0))?;
        let released = i64::try_from(released).unwrap_or(i64::MAX);
        counts.actions((ActionState::Held, Compared::UnderWay), -released);
        counts.actions((ActionState::Queued, Compared::Yes), released);
    }
    for state in WAITING {
        compare(db, state, (Compared::UnderWay, Compared::Yes), &mut counts)?;
    }
    counts.save(db)?;
    Ok(held)
}

fn held_of(db: &Transaction<'_>, directory: i64) -> rusqlite::Result<u64> {
    db.prepare_cached(
        "select count(*) from action a cross join member m on m.id = a.member
         where a.state = 'held' and m.directory = ?",
    )?
    .query_row([directory], |row| row.get(0))
}

pub(super) fn invited(db: &Transaction<'_>, addresses: &[EmailAddress]) -> rusqlite::Result<u64> {
    let mut query =
        db.prepare_cached("select exists (select 1 from action where address = ? and state = 'done')")?;
    let mut count = 0;
    for address in addresses {
        count += query.query_row([address.as_str()], |row| row.get::<_, u64>(0))?;
    }
    Ok(count)
}

pub(super) fn release(
    db: &Transaction<'_>,
    from: &[ActionState],
    to: Option<&[EmailAddress]>,
    because: Release,
    now: Timestamp,
) -> rusqlite::Result<Vec<String>> {
    let mut counts = Counts::default();
    let mut released = Vec::new();
    let (stamp, what) = ((now, because.source()), What::Released { because });
    for state in from {
        let begin = format!(
            "update action set state = 'queued', since = ?1, due = min(due, ?1), attempts = 0, reason = null,
                    fault = null, outcome = null
             where state = '{}'",
            state.as_str()
        );
        match to {
            None => {
                let name: &dyn ToSql = &state.as_str();
                journal::append_for(db, "a.state = :state", &[(":state", name)], stamp, &what)?;
                let mut all = db.prepare_cached(&format!("{begin} returning address, compared"))?;
                let all = all.query_map([now.0], |row| queued_from(*state, row, &mut counts))?;
                released.extend(all.collect::<rusqlite::Result<Vec<String>>>()?);
            }
            Some(addresses) => {
                let mut one =
                    db.prepare_cached(&format!("{begin} and address = ?2 returning address, compared"))?;
                for address in addresses {
                    let parameters: [(&str, &dyn ToSql); 2] =
                        [(":state", &state.as_str()), (":address", &address.as_str())];
                    let condition = "a.state = :state and a.address = :address";
                    journal::append_for(db, condition, &parameters, stamp, &what)?;
                    let one = one.query_map((now.0, address.as_str()), |row| {
                        queued_from(*state, row, &mut counts)
                    })?;
                    released.extend(one.collect::<rusqlite::Result<Vec<String>>>()?);
                }
            }
        }
    }
    if from.contains(&ActionState::Held) && !released.is_empty() {
        // The administrator has seen all of them and approved only some: no comparison may release the others.
        for stage in [Compared::No, Compared::UnderWay] {
            compare(db, ActionState::Held, (stage, Compared::Yes), &mut counts)?;
        }
    }
    counts.save(db)?;
    Ok(released)
}
