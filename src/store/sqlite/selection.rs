//! Which actions a method concerns.

use rusqlite::ToSql;

use crate::model::EmailAddress;
use crate::store::Which;

/// As [`Which`], for a transaction on another thread.
#[derive(Debug)]
pub(super) enum Selection {
    All,
    To(Vec<EmailAddress>),
    Rows(Vec<i64>),
}

impl From<Which<'_>> for Selection {
    fn from(which: Which<'_>) -> Self {
        match which {
            Which::All => Self::All,
            Which::To(addresses) => Self::To(addresses.to_vec()),
            Which::Rows(rows) => Self::Rows(rows.to_vec()),
        }
    }
}

impl Selection {
    /// Calls `query` with each condition on actions (`a`) that follows another one, and its parameters.
    pub(super) fn each(
        &self,
        mut query: impl FnMut(&str, &[&dyn ToSql]) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<()> {
        match self {
            Self::All => query("", &[]),
            Self::To(addresses) => addresses
                .iter()
                .try_for_each(|address| query(" and a.address = ?", &[&address.as_str()])),
            Self::Rows(rows) => rows.iter().try_for_each(|row| query(" and a.id = ?", &[row])),
        }
    }
}
