//! Which actions a method concerns.

use super::Which;
use crate::model::EmailAddress;

/// As [`Which`], for a transaction that outlives its caller.
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
