//! Who is meant: the people whom the configuration selects, all of them (`listing`) or some by identity (`lookup`), and
//! the groups that decide about them. `query` is what is asked, as it reads for one server; `warnings` holds what
//! searches notice that is no failure.

pub(crate) mod groups;
pub(crate) mod listing;
pub(crate) mod lookup;
pub(crate) mod query;
pub(crate) mod warnings;
