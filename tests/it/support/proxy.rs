//! A TCP proxy with faults on demand, between the service and a server.
//!
//! A fault lasts until the next one is set, and applies to open and to new connections.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::slapd::free_port;

/// What the proxy does to connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// No fault.
    None,
    /// Connections break, and new ones are refused.
    Refuse,
    /// Connections break, and new ones break at once.
    Cut,
    /// The server's direction is shut down, and the client's stays open.
    HalfClose,
    /// Nothing passes in either direction, and connections stay open.
    BlackHole,
    /// Each piece is delayed by this time.
    Delay(Duration),
    /// Data is sent in pieces of this size in bytes.
    Split(usize),
    /// The connection breaks in the middle of the next data from the server.
    Truncate,
}

/// A running proxy; it ends when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    fault: watch::Sender<Fault>,
    _serving: JoinSet<()>,
}

impl Proxy {
    /// Starts a proxy to this local port, without a fault.
    pub async fn to(port: u16) -> Self {
        let address = (Ipv4Addr::LOCALHOST, free_port()).into();
        let listener = TcpListener::bind(address).await.unwrap();
        let (fault, faults) = watch::channel(Fault::None);
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, (Ipv4Addr::LOCALHOST, port).into(), faults));
        Self {
            address,
            fault,
            _serving: serving,
        }
    }

    /// The address on which it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sets the fault.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }
}

async fn serve(listener: TcpListener, target: SocketAddr, mut faults: watch::Receiver<Fault>) {
    let address = listener.local_addr().unwrap();
    let (mut open, mut connections) = (Some(listener), JoinSet::new());
    while faults.wait_for(|fault| *fault != Fault::Refuse).await.is_ok() {
        let listener = match open.take() {
            Some(listener) => listener,
            None => TcpListener::bind(address).await.unwrap(),
        };
        let guests = faults.clone();
        let accept = async {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                connections.spawn(carry(client, target, guests.clone()));
            }
        };
        tokio::select! {
            refuses = faults.wait_for(|fault| *fault == Fault::Refuse) => if refuses.is_err() {
                return;
            },
            () = accept => {}
        }
    }
}

/// One connection, until either side or a fault ends it.
async fn carry(client: TcpStream, target: SocketAddr, mut faults: watch::Receiver<Fault>) {
    let Ok(server) = TcpStream::connect(target).await else {
        return;
    };
    client.set_nodelay(true).unwrap();
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let up = pump(from_client, to_server, faults.clone(), false);
    let down = pump(from_server, to_client, faults.clone(), true);
    tokio::select! {
        _ = faults.wait_for(|fault| matches!(fault, Fault::Refuse | Fault::Cut)) => {}
        _ = async { tokio::try_join!(up, down) } => {}
    }
}

/// One direction of a connection; an error breaks the other one as well.
async fn pump(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut faults: watch::Receiver<Fault>,
    is_servers: bool,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = tokio::select! {
            _ = faults.wait_for(|fault| *fault == Fault::HalfClose), if is_servers => 0,
            length = from.read(&mut buffer) => length?,
        };
        if length == 0 {
            return to.shutdown().await;
        }
        let bytes = &buffer[..length];
        let fault = faults.wait_for(|fault| *fault != Fault::BlackHole).await;
        let fault = *fault.map_err(io::Error::other)?;
        match fault {
            Fault::Delay(delay) => {
                sleep(delay).await;
                to.write_all(bytes).await?;
            }
            Fault::Split(size) => {
                for piece in bytes.chunks(size) {
                    to.write_all(piece).await?;
                    sleep(Duration::from_millis(1)).await;
                }
            }
            Fault::Truncate if is_servers => {
                to.write_all(&bytes[..length / 2]).await?;
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            _ => to.write_all(bytes).await?,
        }
    }
}
