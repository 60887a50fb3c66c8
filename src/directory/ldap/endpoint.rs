//! The address of a server that was reached.

use std::net::SocketAddr;

use crate::directory::settings::Server;

/// A server that was reached, with its address: a name may stand for several machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub server: Server,
    /// The address of the name; `None` for a Unix socket.
    pub peer: Option<SocketAddr>,
}
