//! The protocol: connections, and what is asked on them.
//!
//! `dns` finds the servers of a domain; `connect` makes an authenticated connection. Every message of the server passes
//! the `guard`, which checks it (`inspect`) and stops reading where too many wait (`traffic`). `session` runs operations
//! on the connection. What the connections of a directory share is its `access`: the `credentials`, and how far its
//! servers have come (`replication`). `root_dse` tells what the server can do. `decode` reads foreign bytes without ever
//! panicking. Texts of LDAP are compared by what they mean: `filter` and `dn` read them, `schema` knows what attribute
//! types are called, and `requested_attributes` gives the attributes of an answer the names by which they were requested.

pub(crate) mod access;
pub(crate) mod capabilities;
pub(crate) mod connect;
pub(crate) mod credentials;
pub(crate) mod deadline;
pub(crate) mod decode;
pub(crate) mod dn;
pub(crate) mod dns;
pub(crate) mod domain_controller;
mod driver;
pub(crate) mod endpoint;
pub(crate) mod filter;
pub(crate) mod guard;
pub(crate) mod identity;
pub(crate) mod inspect;
pub(crate) mod paging;
pub(crate) mod password_policy;
pub(crate) mod progress;
pub(crate) mod references;
pub(crate) mod replication;
pub(crate) mod request;
pub(crate) mod requested_attributes;
pub(crate) mod result;
pub(crate) mod root_dse;
pub(crate) mod schema;
pub(crate) mod search;
pub(crate) mod session;
pub(crate) mod traffic;
