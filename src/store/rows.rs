//! Reads and writes the program's types as values of a database: SQLite and PostgreSQL have the same columns.
//!
//! Column lists name tables by the aliases `m` (member), `a` (action), `d` (directory) and `j` (journal).

use crate::clock::Timestamp;
use crate::model::{
    AccountState, Action, ActionKind, ActionState, Care, Compared, EmailAddress, EntryId, Event,
    ManagedAccount, Member, Outcome, Standing,
};
use crate::rules::membership::Decided;
use crate::rules::{Brake, Directory, LeaverBrake, Task};

use super::{ActionReport, DirectoryReport, DirectoryState, Hour, TaskReport, Unchecked, Unregistered};

/// One row of a result. Columns are counted from 0.
pub(super) trait Columns {
    /// The error of the database.
    type Error;

    fn int(&self, column: usize) -> Result<i64, Self::Error>;
    fn optional_int(&self, column: usize) -> Result<Option<i64>, Self::Error>;
    fn flag(&self, column: usize) -> Result<bool, Self::Error>;
    fn text(&self, column: usize) -> Result<String, Self::Error>;
    fn optional_text(&self, column: usize) -> Result<Option<String>, Self::Error>;
    fn bytes(&self, column: usize) -> Result<Vec<u8>, Self::Error>;
    fn optional_bytes(&self, column: usize) -> Result<Option<Vec<u8>>, Self::Error>;

    /// The error for a value that this program does not write.
    fn broken(column: usize, what: &'static str) -> Self::Error;
}

/// The kind of action that an invitation is.
pub(super) const INVITE: &str = ActionKind::Invite.as_str();

/// The columns of [`member`] and [`decided`].
pub(super) const MEMBER: &str =
    "m.id, m.entry_id, m.dn, m.address, m.standing, m.reason, m.had_left, m.decided_on";

/// Reads a member from the columns [`MEMBER`], of which the first is at `first`.
pub(super) fn member<R: Columns>(row: &R, first: usize) -> Result<Member, R::Error> {
    Ok(Member {
        row: row.int(first)?,
        id: entry_id(row, first + 1)?,
        dn: row.text(first + 2)?,
        address: row.optional_text(first + 3)?.map(EmailAddress::stored),
        standing: read_standing(row, first + 4)?,
        returning: row.flag(first + 6)?,
    })
}

/// Reads a member and the digest of the entry that was decided on from the same columns.
pub(super) fn decided<R: Columns>(row: &R, first: usize) -> Result<(Member, Option<i64>), R::Error> {
    Ok((member(row, first)?, row.optional_int(first + 7)?))
}

/// Reads how a member stands and why, from the columns `standing, reason, decided_on`.
pub(super) fn stands<R: Columns>(row: &R, first: usize) -> Result<Decided, R::Error> {
    Ok(Decided {
        standing: read_standing(row, first)?,
        on: row.optional_int(first + 2)?,
    })
}

/// Reads the identity of an entry.
pub(super) fn entry_id<R: Columns>(row: &R, column: usize) -> Result<EntryId, R::Error> {
    let bytes = row.bytes(column)?;
    EntryId::from_slice(&bytes).ok_or_else(|| R::broken(column, "an entry id is not 16 bytes"))
}

/// The name of a standing.
pub(super) fn standing_named(word: &str) -> &'static str {
    match word {
        "member" => "member",
        "left" => "left",
        _ => "without-address",
    }
}

/// Reads the columns `standing, reason`.
pub(super) fn read_standing<R: Columns>(row: &R, first: usize) -> Result<Standing, R::Error> {
    let reason = row.optional_text(first + 1)?;
    Ok(match (row.text(first)?.as_str(), reason) {
        ("left", _) => Standing::Left,
        (_, Some(reason)) => Standing::WithoutAddress(reason),
        (_, None) => Standing::Member,
    })
}

/// The columns `standing, reason`.
pub(super) fn standing(standing: &Standing) -> (&'static str, Option<&str>) {
    match standing {
        Standing::Member => ("member", None),
        Standing::WithoutAddress(reason) => ("without-address", Some(reason)),
        Standing::Left => ("left", None),
    }
}

/// Reads a kind.
pub(super) fn kind<R: Columns>(row: &R, column: usize) -> Result<ActionKind, R::Error> {
    let word = row.text(column)?;
    let kind = ActionKind::ALL.into_iter().find(|kind| kind.as_str() == word);
    kind.ok_or_else(|| R::broken(column, "unknown kind of action"))
}

/// Reads a state.
pub(super) fn state<R: Columns>(row: &R, column: usize) -> Result<ActionState, R::Error> {
    let word = row.text(column)?;
    let state = ActionState::ALL.into_iter().find(|state| state.as_str() == word);
    state.ok_or_else(|| R::broken(column, "unknown state of an action"))
}

/// The column `compared`.
pub(super) fn compared_number(compared: Compared) -> i64 {
    match compared {
        Compared::No => 0,
        Compared::Yes => 1,
        Compared::UnderWay => 2,
    }
}

/// Reads whether an action was compared.
pub(super) fn compared<R: Columns>(row: &R, column: usize) -> Result<Compared, R::Error> {
    match row.int(column)? {
        0 => Ok(Compared::No),
        1 => Ok(Compared::Yes),
        2 => Ok(Compared::UnderWay),
        _ => Err(R::broken(column, "unknown stage of a comparison")),
    }
}

/// Reads an outcome.
pub(super) fn outcome<R: Columns>(row: &R, column: usize) -> Result<Option<Outcome>, R::Error> {
    let word = row.optional_text(column)?;
    word.map(|word| {
        let outcome = Outcome::ALL.into_iter().find(|outcome| outcome.as_str() == word);
        outcome.ok_or_else(|| R::broken(column, "unknown outcome"))
    })
    .transpose()
}

/// The columns of [`account`].
pub(super) const ACCOUNT: &str = "a.care, a.account, a.account_state, a.care_since, a.reminders, a.reminded";

/// Reads an account from the columns [`ACCOUNT`], of which the first is at `first`.
pub(super) fn account<R: Columns>(row: &R, first: usize) -> Result<Option<ManagedAccount>, R::Error> {
    let Some(care) = row.optional_text(first)? else {
        return Ok(None);
    };
    let care = Care::ALL.into_iter().find(|known| known.as_str() == care);
    let state = row.text(first + 2)?;
    let state = AccountState::ALL
        .into_iter()
        .find(|known| known.as_str() == state);
    Ok(Some(ManagedAccount {
        care: care.ok_or_else(|| R::broken(first, "unknown care"))?,
        id: row.optional_text(first + 1)?,
        state: state.ok_or_else(|| R::broken(first + 2, "unknown state of an account"))?,
        since: time(row, first + 3)?,
        reminders: small(row, first + 4)?,
        reminded: optional_time(row, first + 5)?,
    }))
}

/// The columns of [`task`].
pub(super) const TASK: &str =
    "a.id, a.address, a.state, a.due, a.owner, a.doubt_since, a.compared, a.was_held, a.attempts,
     a.arrived, a.since, a.reason, a.fault, a.outcome, a.member, a.kind,
     a.care, a.account, a.account_state, a.care_since, a.reminders, a.reminded";

/// Reads a task and the number of its member from the columns [`TASK`]. Its person is to be set.
pub(super) fn task<R: Columns>(row: &R) -> Result<(Task, i64), R::Error> {
    let address = EmailAddress::stored(row.text(1)?);
    let mut task = Task::new(
        kind(row, 15)?,
        address,
        0,
        state(row, 2)?,
        time(row, 9)?,
        time(row, 10)?,
    );
    task.row = row.int(0)?;
    task.due = time(row, 3)?;
    task.owner = row.optional_int(4)?;
    task.in_doubt = optional_time(row, 5)?;
    task.compared = compared(row, 6)?;
    task.was_held = row.flag(7)?;
    task.attempts = small(row, 8)?;
    task.reason = row.optional_text(11)?;
    task.fault = row.optional_text(12)?;
    task.outcome = outcome(row, 13)?;
    task.account = account(row, 16)?;
    Ok((task, row.int(14)?))
}

/// The columns of [`action`]; the id of the account follows.
pub(super) const ACTION: &str =
    "a.id, a.kind, a.address, m.dn, m.entry_id, d.name, d.id, d.retired, d.forgotten,
     a.attempts, a.doubt_since, a.arrived";

/// Reads a claimed action from the columns [`ACTION`] and the id of the account.
pub(super) fn action<R: Columns>(row: &R) -> Result<Action, R::Error> {
    Ok(Action {
        id: row.int(0)?,
        kind: kind(row, 1)?,
        address: EmailAddress::stored(row.text(2)?),
        dn: row.text(3)?,
        entry: entry_id(row, 4)?,
        directory: row.text(5)?,
        directory_row: row.int(6)?,
        configured: !row.flag(7)?,
        forgotten: row.flag(8)?,
        attempts: small(row, 9)?,
        in_doubt: optional_time(row, 10)?,
        arrived: time(row, 11)?,
        account: row.optional_text(12)?,
    })
}

/// Reads the columns queued, held, and all held.
pub(super) fn unchecked<R: Columns>(row: &R) -> Result<Unchecked, R::Error> {
    Ok(Unchecked {
        queued: count(row, 0)?,
        held: count(row, 1)?,
        all_held: count(row, 2)?,
    })
}

/// The columns of [`brake`].
pub(super) const BRAKE: &str =
    "d.brake_listed, d.brake_listed_at, d.brake_changed, d.brake_changed_since, d.brake_holding";

/// Reads a brake from the columns [`BRAKE`], of which the first is at `first`.
pub(super) fn brake<R: Columns>(row: &R, first: usize) -> Result<Brake, R::Error> {
    Ok(Brake {
        listed: small(row, first)?,
        listed_at: time(row, first + 1)?,
        changed: small(row, first + 2)?,
        changed_since: time(row, first + 3)?,
        holding: row.flag(first + 4)?,
    })
}

/// The columns of [`directory`]; the number of people who are in it follows.
pub(super) const DIRECTORY: &str =
    "d.id, d.name, d.brake_listed, d.brake_listed_at, d.brake_changed, d.brake_changed_since, d.brake_holding,
     d.leave_listed, d.leave_listed_at, d.leave_changed, d.leave_changed_since";

/// Reads a directory from the columns [`DIRECTORY`] and the number of people who are in it.
pub(super) fn directory<R: Columns>(row: &R) -> Result<Directory, R::Error> {
    Ok(Directory {
        id: row.int(0)?,
        name: row.text(1)?,
        brake: brake(row, 2)?,
        leaver_brake: LeaverBrake {
            listed: small(row, 7)?,
            listed_at: time(row, 8)?,
            changed: small(row, 9)?,
            changed_since: time(row, 10)?,
        },
        present: count(row, 11)?,
        cursor: None,
    })
}

/// The columns of [`unregistered`].
pub(super) const UNREGISTERED: &str = "a.id, a.address, m.dn, d.name,
     a.care, a.account, a.account_state, a.care_since, a.reminders, a.reminded";

/// Reads a person who has not registered from the columns [`UNREGISTERED`].
pub(super) fn unregistered<R: Columns>(row: &R) -> Result<Option<Unregistered>, R::Error> {
    let Some(account) = account(row, 4)? else {
        return Ok(None);
    };
    Ok(Some(Unregistered {
        row: row.int(0)?,
        address: EmailAddress::stored(row.text(1)?),
        dn: row.text(2)?,
        directory: row.text(3)?,
        account,
    }))
}

/// The columns of [`event`].
pub(super) const EVENT: &str = "j.id, j.at, d.name, j.entry_id, j.dn, j.address, j.source, j.event";

/// Reads an event from the columns [`EVENT`].
pub(super) fn event<R: Columns>(row: &R) -> Result<Event, R::Error> {
    let source = serde_json::Value::String(row.text(6)?);
    let person = match row.optional_bytes(3)? {
        None => None,
        Some(_) => Some(entry_id(row, 3)?),
    };
    Ok(Event {
        at: time(row, 1)?,
        directory: row.text(2)?,
        person,
        dn: row.text(4)?,
        address: row.optional_text(5)?.map(EmailAddress::stored),
        source: serde_json::from_value(source).map_err(|_| R::broken(6, "unknown source of an event"))?,
        what: serde_json::from_str(&row.text(7)?).map_err(|_| R::broken(7, "unknown event"))?,
    })
}

/// Reads an hour from the columns `at / HOUR_MS, joined, left, invited, delays, longest`.
pub(super) fn hour<R: Columns>(row: &R) -> Result<Hour, R::Error> {
    Ok(Hour {
        began: Timestamp(row.int(0)?.saturating_mul(HOUR_MS)),
        joined: count(row, 1)?,
        left: count(row, 2)?,
        invited: count(row, 3)?,
        delays_ms: count(row, 4)?,
        longest_ms: count(row, 5)?,
    })
}

/// The columns of [`hour`] by the columns `at, source, kind, joined, left_, after_ms` of events.
pub(super) const HOUR: &str = "at / 3600000,
     sum(case when kind in ('joined', 'rejoined') and source not in ('listing', 'audit') then 1
              when kind = 'listed' then joined else 0 end),
     sum(case when kind = 'left' and source not in ('listing', 'audit') then 1 when kind = 'listed' then left_ else 0 end),
     sum(case when kind = 'invited' then 1 else 0 end),
     sum(case when kind = 'invited' then after_ms else 0 end),
     max(case when kind = 'invited' then after_ms else 0 end)";

/// The milliseconds of an hour.
const HOUR_MS: i64 = 3_600_000;

/// The columns of [`action_report`].
pub(super) const ACTION_REPORT: &str =
    "a.address, a.state, a.outcome, a.reason, a.due, a.attempts, a.doubt_since, a.arrived, a.since, a.kind,
     a.care, a.account, a.account_state, a.care_since, a.reminders, a.reminded";

/// Reads a report of an action from the columns [`ACTION_REPORT`], of which the first is at `first`.
pub(super) fn action_report<R: Columns>(row: &R, first: usize) -> Result<ActionReport, R::Error> {
    Ok(ActionReport {
        address: EmailAddress::stored(row.text(first)?),
        state: state(row, first + 1)?,
        outcome: outcome(row, first + 2)?,
        reason: row.optional_text(first + 3)?,
        due: time(row, first + 4)?,
        attempts: small(row, first + 5)?,
        in_doubt: optional_time(row, first + 6)?,
        arrived: time(row, first + 7)?,
        since: time(row, first + 8)?,
        kind: kind(row, first + 9)?,
        account: account(row, first + 10)?,
    })
}

/// The columns of [`task_report`].
pub(super) const TASK_REPORT: &str =
    "a.address, m.dn, d.name, a.reason, a.attempts, a.arrived, a.kind, a.id, m.entry_id,
     a.account_state is not null and a.account_state not like 'deleted%'";

/// Reads a report of a task from the columns [`TASK_REPORT`].
pub(super) fn task_report<R: Columns>(row: &R) -> Result<TaskReport, R::Error> {
    Ok(TaskReport {
        address: row.text(0)?,
        dn: row.text(1)?,
        directory: row.text(2)?,
        reason: row.optional_text(3)?.unwrap_or_default(),
        attempts: small(row, 4)?,
        arrived: time(row, 5)?,
        kind: kind(row, 6)?,
        row: row.int(7)?,
        entry: entry_id(row, 8)?,
        has_account: row.flag(9)?,
    })
}

/// The columns of [`directory_report`]; `m` and `w` are the counts of members with and without an address.
pub(super) const DIRECTORY_REPORT: &str =
    "d.name, d.stream, d.connected, d.error, d.recorded, coalesce(m.members, 0), coalesce(w.members, 0), d.cursor_stored,
     d.listed, d.retired";

/// Reads a report of a directory from the columns [`DIRECTORY_REPORT`].
pub(super) fn directory_report<R: Columns>(row: &R) -> Result<DirectoryReport, R::Error> {
    Ok(DirectoryReport {
        name: row.text(0)?,
        state: DirectoryState {
            stream: row.text(1)?,
            connected: row.flag(2)?,
            error: row.optional_text(3)?,
        },
        recorded: optional_time(row, 4)?,
        members: count(row, 5)?,
        without_address: count(row, 6)?,
        cursor_stored: optional_time(row, 7)?,
        listed: optional_time(row, 8)?,
        retired: row.flag(9)?,
    })
}

/// Reads a time.
pub(super) fn time<R: Columns>(row: &R, column: usize) -> Result<Timestamp, R::Error> {
    row.int(column).map(Timestamp)
}

/// Reads a time that may be missing.
pub(super) fn optional_time<R: Columns>(row: &R, column: usize) -> Result<Option<Timestamp>, R::Error> {
    Ok(row.optional_int(column)?.map(Timestamp))
}

/// Reads a number of rows.
pub(super) fn count<R: Columns>(row: &R, column: usize) -> Result<u64, R::Error> {
    u64::try_from(row.int(column)?).map_err(|_| R::broken(column, "a count is negative"))
}

fn small<R: Columns>(row: &R, column: usize) -> Result<u32, R::Error> {
    u32::try_from(row.int(column)?).map_err(|_| R::broken(column, "a count is out of range"))
}
