//! Between Rust's values and SQLite's.
//!
//! A whole batch goes into a statement as one JSON array, which the statement unfolds with `json_each`: one round
//! trip and one prepared statement, however long the batch is. Entry ids travel as hexadecimal digits, which
//! `unhex` reads.

use serde::Serialize;

use crate::model::{EmailAddress, EntryId, Member, Standing};

/// A JSON array of the rows given.
pub(super) fn json<T: Serialize>(rows: impl Iterator<Item = T>) -> sqlx::Result<String> {
    serde_json::to_string(&rows.collect::<Vec<_>>()).map_err(|e| sqlx::Error::Encode(e.into()))
}

/// An entry id for `unhex`. By hand, because a million ids through `fmt` are a tenth of the time of a listing.
pub(super) fn hex(id: &EntryId) -> String {
    id.as_bytes()
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(b"0123456789abcdef"[usize::from(digit)]))
        .collect()
}

/// The columns `id, entry_id, dn, address, standing, reason` of `member`.
pub(super) type MemberRow = (i64, Vec<u8>, String, Option<String>, String, Option<String>);

/// Reads one row of `member`.
pub(super) fn member((row, id, dn, address, standing, reason): MemberRow) -> sqlx::Result<Member> {
    Ok(Member {
        row,
        id: entry_id(&id)?,
        dn,
        address: address.map(EmailAddress::stored),
        standing: match (standing.as_str(), reason) {
            ("left", _) => Standing::Left,
            (_, Some(reason)) => Standing::WithoutAddress(reason),
            (_, None) => Standing::Member,
        },
    })
}

/// The column `entry_id`.
pub(super) fn entry_id(bytes: &[u8]) -> sqlx::Result<EntryId> {
    EntryId::from_slice(bytes).ok_or_else(|| sqlx::Error::Decode("an entry id is not 16 bytes".into()))
}

/// The columns `standing, reason`.
pub(super) fn standing(standing: &Standing) -> (&'static str, Option<&str>) {
    match standing {
        Standing::Member => ("member", None),
        Standing::WithoutAddress(reason) => ("without-address", Some(reason)),
        Standing::Left => ("left", None),
    }
}
