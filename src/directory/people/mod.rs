//! The people whom the configuration selects: all of them (`listing`) or some by identity (`lookup`), and the groups that
//! decide about them. `query` holds the settings as resolved for one session; `warnings` holds what searches report to the
//! administrator besides failures.

pub(crate) mod groups;
pub(crate) mod listing;
pub(crate) mod lookup;
pub(crate) mod query;
pub(crate) mod warnings;
