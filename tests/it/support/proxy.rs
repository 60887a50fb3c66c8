//! A TCP proxy that misbehaves on demand, to stand between the service and a server.
//!
//! A fault lasts until the next one is set, and is for the connections that there are as well as for new ones.

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
    /// Nothing: bytes pass as they come.
    None,
    /// Connections break, and nobody listens for new ones.
    Refuse,
    /// Connections break, and new ones do as soon as they are made.
    Cut,
    /// The server's side says that nothing more will come, and the client's side stays open.
    HalfClose,
    /// Nothing passes in either direction, and nobody is told.
    BlackHole,
    /// Each piece comes later by so much.
    Delay(Duration),
    /// What arrives together leaves in pieces of so many bytes.
    Split(usize),
    /// The connection breaks after the first half of whatever the server sends next.
    Truncate,
}

/// A running proxy; it ends when it is dropped.
pub struct Proxy {
    address: SocketAddr,
    fault: watch::Sender<Fault>,
    _serving: JoinSet<()>,
}

impl Proxy {
    /// A proxy to this port of this machine, without a fault.
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

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on it does this.
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
            _ = faults.wait_for(|fault| *fault == Fault::Refuse) => {}
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
