//! Converts between the program's types and SQLite's values.

use rusqlite::Row;
use rusqlite::types::Type;

use crate::clock::Timestamp;
use crate::model::{
    AccountState, ActionKind, ActionState, Care, Compared, EmailAddress, EntryId, ManagedAccount, Member,
    Outcome, Standing,
};

/// The kind of action that an invitation is.
pub(super) const INVITE: &str = ActionKind::Invite.as_str();

/// The columns that [`member`] reads, of the table or alias `m`.
pub(super) const MEMBER: &str =
    "m.id, m.entry_id, m.dn, m.address, m.standing, m.reason, m.had_left, m.decided_on";

/// Reads a member from the columns [`MEMBER`], of which the first is at `first`.
pub(super) fn member(row: &Row<'_>, first: usize) -> rusqlite::Result<Member> {
    Ok(Member {
        row: row.get(first)?,
        id: entry_id(row, first + 1)?,
        dn: row.get(first + 2)?,
        address: row.get::<_, Option<String>>(first + 3)?.map(EmailAddress::stored),
        standing: read_standing(row, first + 4)?,
        returning: row.get(first + 6)?,
    })
}

/// Reads a member and the digest of the entry that was decided on from the same columns.
pub(super) fn decided(row: &Row<'_>, first: usize) -> rusqlite::Result<(Member, Option<i64>)> {
    Ok((member(row, first)?, row.get(first + 7)?))
}

/// Reads the identity of an entry.
pub(super) fn entry_id(row: &Row<'_>, column: usize) -> rusqlite::Result<EntryId> {
    let bytes = row.get_ref(column)?.as_blob()?;
    EntryId::from_slice(bytes).ok_or_else(|| broken(column, "an entry id is not 16 bytes"))
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
pub(super) fn read_standing(row: &Row<'_>, first: usize) -> rusqlite::Result<Standing> {
    let reason: Option<String> = row.get(first + 1)?;
    Ok(match (row.get_ref(first)?.as_str()?, reason) {
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
pub(super) fn kind(row: &Row<'_>, column: usize) -> rusqlite::Result<ActionKind> {
    let word: String = row.get(column)?;
    let kind = ActionKind::ALL.into_iter().find(|kind| kind.as_str() == word);
    kind.ok_or_else(|| broken(column, "unknown kind of action"))
}

/// Reads a state.
pub(super) fn state(row: &Row<'_>, column: usize) -> rusqlite::Result<ActionState> {
    let word: String = row.get(column)?;
    state_named(&word).ok_or_else(|| broken(column, "unknown state of an invitation"))
}

/// The state with this name.
pub(super) fn state_named(word: &str) -> Option<ActionState> {
    ActionState::ALL.into_iter().find(|state| state.as_str() == word)
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
pub(super) fn compared(row: &Row<'_>, column: usize) -> rusqlite::Result<Compared> {
    match row.get(column)? {
        0 => Ok(Compared::No),
        1 => Ok(Compared::Yes),
        2 => Ok(Compared::UnderWay),
        _ => Err(broken(column, "unknown stage of a comparison")),
    }
}

/// Reads an outcome.
pub(super) fn outcome(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Outcome>> {
    let word: Option<String> = row.get(column)?;
    word.map(|word| {
        let outcome = Outcome::ALL.into_iter().find(|outcome| outcome.as_str() == word);
        outcome.ok_or_else(|| broken(column, "unknown outcome"))
    })
    .transpose()
}

/// The columns that [`account`] reads, of the table or alias `a`.
pub(super) const ACCOUNT: &str = "a.care, a.account, a.account_state, a.care_since, a.reminders, a.reminded";

/// Reads an account from the columns [`ACCOUNT`], of which the first is at `first`.
pub(super) fn account(row: &Row<'_>, first: usize) -> rusqlite::Result<Option<ManagedAccount>> {
    let Some(care) = row.get_ref(first)?.as_str_or_null()? else {
        return Ok(None);
    };
    let care = Care::ALL.into_iter().find(|known| known.as_str() == care);
    let state = row.get_ref(first + 2)?.as_str()?;
    let state = AccountState::ALL
        .into_iter()
        .find(|known| known.as_str() == state);
    Ok(Some(ManagedAccount {
        care: care.ok_or_else(|| broken(first, "unknown care"))?,
        id: row.get(first + 1)?,
        state: state.ok_or_else(|| broken(first + 2, "unknown state of an account"))?,
        since: time(row, first + 3)?,
        reminders: row.get(first + 4)?,
        reminded: optional_time(row, first + 5)?,
    }))
}

/// Reads a time.
pub(super) fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    row.get(column).map(Timestamp)
}

/// Reads a time that may be missing.
pub(super) fn optional_time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp))
}

fn broken(column: usize, what: &str) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, Type::Text, what.into())
}
