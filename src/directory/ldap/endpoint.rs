//! One server that was reached.

use std::net::SocketAddr;

use crate::directory::settings::Server;

/// One server that was reached, to be found again: a name may stand for several machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub server: Server,
    /// The address behind the name; `None` for a socket of this machine.
    pub peer: Option<SocketAddr>,
}
