//! The protocol: connections, and the operations on them.
//!
//! `dns` finds the servers of a domain; `connect` opens an authenticated connection. Every message of the server passes the
//! `relay`, which checks it (`inspect`) and stops reading while too many messages wait (`traffic`). `session` runs operations
//! on the connection. The connections of a directory share its `access`: the `credentials`, the TLS configuration, and how
//! far its servers have replicated (`replication`). `root_dse` reads the server's capabilities. `decode` parses bytes of the
//! server and never panics. `filter` and `dn` parse texts, so that they are compared by their meaning; `schema` knows all
//! names of an attribute type, and `requested_attributes` gives the attributes of an answer the names of the request.

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
pub(crate) mod identity;
pub(crate) mod inspect;
#[cfg(feature = "kerberos")]
pub(crate) mod kerberos;
pub(crate) mod paging;
pub(crate) mod password_policy;
pub(crate) mod references;
pub(crate) mod relay;
pub(crate) mod replication;
pub(crate) mod request;
pub(crate) mod requested_attributes;
pub(crate) mod result;
pub(crate) mod root_dse;
pub(crate) mod schema;
pub(crate) mod search;
pub(crate) mod search_progress;
pub(crate) mod session;
pub(crate) mod traffic;
