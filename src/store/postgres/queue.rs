//! The queue of actions: claimed, released, and compared with Vaultwarden's accounts.

use super::book;
use super::counts;
use super::error::Failure;
use super::listing::judge_new;
use super::sql::{Db, Value, all, values};
use crate::clock::Timestamp;
use crate::model::{Action, ActionKind, ActionState, Compared, Release};
use crate::rules::{Book, Brake, Verdict, longest_wait};
use crate::store::counts::Counts;
use crate::store::rows::{self, ACTION, INVITE};
use crate::store::selection::{Selection, WAITING, releasable};
use crate::store::{Claim, Claimed, Scope, Unchecked};

/// Actions that are in memory at a time where very many are decided on.
const PAGE: usize = 2000;

/// Takes back what workers of dead instances, and earlier workers of this one, have claimed.
pub(super) async fn take_over(db: &Db, now: Timestamp) -> Result<(), Failure> {
    take_back(db, now).await?;
    let latest = (now + longest_wait()).0;
    // The grace of a leaver counts from `arrived`. An attempt before its end waits again.
    db.execute(
        "update ldap_usher.action set due = least(due, $1), since = least(since, $2), arrived = least(arrived, $2),
                                      doubt_since = case when doubt_since > $2 then $2 else doubt_since end
         where state in ('queued', 'held') and (due > $1 or since > $2 or arrived > $2 or doubt_since > $2)",
        values![latest, now.0],
    )
    .await?;
    db.execute(
        "update ldap_usher.directory set brake_listed_at = least(brake_listed_at, $1),
                                         brake_changed_since = least(brake_changed_since, $1),
                                         leave_listed_at = least(leave_listed_at, $1),
                                         leave_changed_since = least(leave_changed_since, $1)
         where greatest(brake_listed_at, brake_changed_since, leave_listed_at, leave_changed_since) > $1",
        values![now.0],
    )
    .await?;
    Ok(())
}

/// Takes back what is claimed by no worker of a living instance. Returns the number of actions.
pub(super) async fn take_back(db: &Db, now: Timestamp) -> Result<usize, Failure> {
    let lost = numbers(
        db,
        "a.owner is not null and not exists (select 1 from ldap_usher.instance i
                                             where i.worker = a.owner and i.until > clock_timestamp())",
        &[],
    )
    .await?;
    decide_on(db, &lost, move |book, id| book.take_back(id, now)).await?;
    Ok(lost.len())
}

/// Claims actions that are due, except those on which another transaction decides right now. A worker that its instance
/// does not keep alive claims none.
pub(super) async fn claim(
    db: &Db,
    owner: i64,
    max: u32,
    only: Option<i64>,
    now: Timestamp,
) -> Result<Vec<Action>, Failure> {
    let sql = format!(
        "with claimed as (
             update ldap_usher.action a set owner = $4
             where a.id = any (array(
                 select id from ldap_usher.action
                 where state = 'queued' and due <= $2 and owner is null and ($3 is null or member = $3)
                       and exists (select 1 from ldap_usher.instance i where i.worker = $4 and i.until > clock_timestamp())
                 order by due, id limit $1 for update skip locked))
             returning a.*)
         select {ACTION},
                case when a.kind <> '{INVITE}' then
                    (select i.account from ldap_usher.action i where i.address = a.address and i.kind = '{INVITE}') end
         from claimed a join ldap_usher.member m on m.id = a.member join ldap_usher.directory d on d.id = m.directory
         order by a.due, a.id"
    );
    let claimed = db
        .query(&sql, values![i64::from(max), now.0, only, owner])
        .await?;
    claimed.iter().map(rows::action).collect()
}

/// Claims as many as `claim` allows.
///
/// `compares` says whether this instance compares actions with the accounts. Otherwise they count as compared here.
pub(super) async fn claim_some(
    db: &Db,
    how: Claim,
    compares: bool,
    now: Timestamp,
) -> Result<Claimed, Failure> {
    let unchecked = unchecked(db, compares).await?;
    let max = (how.max)(&unchecked);
    let actions = match max {
        0 => Vec::new(),
        _ => claim(db, how.owner.0, max, how.only, now).await?,
    };
    all! { next_due: next_due(db, how.only), workers: workers(db) }
    Ok(Claimed {
        actions,
        unchecked,
        next_due,
        workers,
    })
}

/// The number of workers of living instances.
async fn workers(db: &Db) -> Result<u32, Failure> {
    let sql =
        "select count(*) from ldap_usher.instance where worker is not null and until > clock_timestamp()";
    let count: i64 = db.one(sql, &[]).await?.try_get(0)?;
    Ok(u32::try_from(count).unwrap_or(u32::MAX))
}

pub(super) async fn next_due(db: &Db, only: Option<i64>) -> Result<Option<Timestamp>, Failure> {
    let sql = "select min(due) from ldap_usher.action
               where state = 'queued' and owner is null and ($1 is null or member = $1)";
    let due: Option<i64> = db.one(sql, values![only]).await?.try_get(0)?;
    Ok(due.map(Timestamp))
}

pub(super) async fn pardon(db: &Db, fault: &str, now: Timestamp) -> Result<Vec<String>, Failure> {
    let ids = numbers(db, "a.state = 'quarantined' and a.fault = $1", values![fault]).await?;
    requeue(db, &ids, ActionState::Quarantined, Release::FaultOfServer, now).await
}

/// The numbers of the actions (`a`, of the member `m`) that meet a condition.
async fn numbers(db: &Db, condition: &str, parameters: &[Value<'_>]) -> Result<Vec<i64>, Failure> {
    let sql = format!(
        "select a.id from ldap_usher.action a join ldap_usher.member m on m.id = a.member where {condition} order by a.id"
    );
    let found = db.query(&sql, parameters).await?;
    found.iter().map(|row| Ok(row.try_get(0)?)).collect()
}

/// Queues actions as [`Book::requeue`] does; returns their addresses.
async fn requeue(
    db: &Db,
    ids: &[i64],
    from: ActionState,
    because: Release,
    now: Timestamp,
) -> Result<Vec<String>, Failure> {
    let found = decide_on(db, ids, move |book, id| {
        book.requeue(id, from, because, now)
            .map(|address| address.to_string())
    })
    .await?;
    Ok(found.into_iter().flatten().collect())
}

/// Decides on actions, some at a time: there may be very many.
async fn decide_on<T>(db: &Db, ids: &[i64], rule: impl Fn(&mut Book, i64) -> T) -> Result<Vec<T>, Failure> {
    let mut results = Vec::new();
    for page in ids.chunks(PAGE) {
        let scope = Scope {
            tasks: page.to_vec(),
            tasks_only: true,
            ..Scope::default()
        };
        let decided = book::decide_with(db, &scope, |book| {
            page.iter().map(|&id| rule(book, id)).collect::<Vec<T>>()
        });
        results.extend(decided.await?);
    }
    Ok(results)
}

/// The numbers of actions that this instance has to compare.
pub(super) async fn unchecked(db: &Db, compares: bool) -> Result<Unchecked, Failure> {
    if !compares {
        return Ok(Unchecked::default());
    }
    let sql = format!(
        "select coalesce(sum(actions) filter (where state = 'queued' and compared <> 1), 0)::bigint,
                coalesce(sum(actions) filter (where state = 'held' and compared <> 1), 0)::bigint,
                coalesce(sum(actions) filter (where state = 'held'), 0)::bigint
         from ldap_usher.action_count
         where kind = '{INVITE}' and (state = 'queued' or state = 'held' and not exists ({HOLDING}))"
    );
    rows::unchecked(&db.one(&sql, &[]).await?)
}

/// Directories with a listing in progress whose new people are held. They are judged when the listing has ended.
const HOLDING: &str = "select 1 from ldap_usher.directory where brake_holding and not retired";

pub(super) async fn begin_comparison(db: &Db) -> Result<(), Failure> {
    let mut counts = Counts::default();
    let holding = db.one(&format!("select exists ({HOLDING})"), &[]).await?;
    let holding: bool = holding.try_get(0)?;
    for state in WAITING {
        if state == ActionState::Queued || !holding {
            compare(db, state, (Compared::No, Compared::UnderWay), &mut counts).await?;
        }
    }
    counts::save(db, &counts).await
}

/// Moves the actions in a state from one stage of a comparison to another.
async fn compare(
    db: &Db,
    state: ActionState,
    (from, to): (Compared, Compared),
    counts: &mut Counts,
) -> Result<(), Failure> {
    let number = rows::compared_number;
    let sql = format!(
        "update ldap_usher.action set compared = $2 where state = '{}' and compared = $1 and kind = '{INVITE}'",
        state.as_str()
    );
    let compared = db.execute(&sql, values![number(from), number(to)]).await?;
    let compared = i64::try_from(compared).unwrap_or(i64::MAX);
    counts.actions(ActionKind::Invite, (state, from), -compared);
    counts.actions(ActionKind::Invite, (state, to), compared);
    Ok(())
}

pub(super) async fn end_comparison(
    db: &Db,
    judge: &mut (dyn FnMut(&mut Brake, u64) -> Verdict + Send),
    now: Timestamp,
) -> Result<Vec<(String, u64)>, Failure> {
    let compared = db
        .query(
            "select d.id, d.name, count(*)
             from ldap_usher.action a join ldap_usher.member m on m.id = a.member
             join ldap_usher.directory d on d.id = m.directory
             where a.state = 'held' and a.compared = 2 and a.kind = 'invite'
             group by d.id, d.name order by d.id",
            &[],
        )
        .await?;
    let mut counts = Counts::default();
    let mut held = Vec::new();
    for row in compared {
        let (directory, name, count): (i64, String, i64) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let count = u64::try_from(count).unwrap_or_default();
        if judge_new(db, directory, count, judge).await? == Verdict::Hold {
            held.push((name, held_of(db, directory).await?));
            continue;
        }
        let condition = "a.state = 'held' and a.compared = 2 and m.directory = $1";
        let ids = numbers(db, condition, values![directory]).await?;
        requeue(db, &ids, ActionState::Held, Release::Comparison, now).await?;
    }
    for state in WAITING {
        compare(db, state, (Compared::UnderWay, Compared::Yes), &mut counts).await?;
    }
    counts::save(db, &counts).await?;
    Ok(held)
}

async fn held_of(db: &Db, directory: i64) -> Result<u64, Failure> {
    let sql = "select count(*) from ldap_usher.action a join ldap_usher.member m on m.id = a.member
               where a.state = 'held' and m.directory = $1 and a.kind = 'invite'";
    let held: i64 = db.one(sql, values![directory]).await?.try_get(0)?;
    Ok(u64::try_from(held).unwrap_or_default())
}

pub(super) async fn release(
    db: &Db,
    from: &[ActionState],
    which: &Selection,
    because: Release,
    now: Timestamp,
) -> Result<Vec<String>, Failure> {
    let mut released = Vec::new();
    for &state in from {
        let in_state = releasable(state);
        let ids = match which {
            Selection::All => numbers(db, &in_state, &[]).await?,
            Selection::To(addresses) => {
                let addresses: Vec<&str> = addresses.iter().map(|address| address.as_str()).collect();
                numbers(
                    db,
                    &format!("{in_state} and a.address = any($1)"),
                    values![addresses],
                )
                .await?
            }
            Selection::Rows(ids) => {
                numbers(
                    db,
                    &format!("{in_state} and a.id = any($1)"),
                    values![ids.as_slice()],
                )
                .await?
            }
        };
        released.extend(requeue(db, &ids, state, because, now).await?);
    }
    let mut counts = Counts::default();
    if from.contains(&ActionState::Held) && !released.is_empty() {
        // The administrator has seen all of them and approved only some: no comparison may release the others.
        for stage in [Compared::No, Compared::UnderWay] {
            compare(db, ActionState::Held, (stage, Compared::Yes), &mut counts).await?;
        }
    }
    counts::save(db, &counts).await?;
    Ok(released)
}
