//! The conditions for which actions a method concerns.

use rusqlite::ToSql;

use crate::store::selection::Selection;

/// Calls `query` with each condition on actions (`a`) that follows another one, and its parameters.
pub(super) fn each(
    which: &Selection,
    mut query: impl FnMut(&str, &[&dyn ToSql]) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    match which {
        Selection::All => query("", &[]),
        Selection::To(addresses) => addresses
            .iter()
            .try_for_each(|address| query(" and a.address = ?", &[&address.as_str()])),
        Selection::Rows(rows) => rows.iter().try_for_each(|row| query(" and a.id = ?", &[row])),
    }
}
