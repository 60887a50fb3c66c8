//! A DNS server with a few records (RFC 1035, RFC 2782).

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::net::UdpSocket;
use tokio::task::JoinSet;

const A: u16 = 1;
const SRV: u16 = 33;
const NAME_ERROR: u8 = 3;

/// A running server; it ends when it is dropped.
pub struct Dns {
    address: SocketAddr,
    _serving: JoinSet<()>,
}

/// The records of a server: data by name and type.
#[derive(Debug, Clone, Default)]
pub struct Zone(HashMap<(String, u16), Vec<Vec<u8>>>);

impl Zone {
    /// Adds a host.
    pub fn host(mut self, name: &str, address: Ipv4Addr) -> Self {
        self.add(name, A, address.octets().into());
        self
    }

    /// Adds a domain controller of the domain.
    pub fn controller(mut self, domain: &str, priority: u16, target: &str) -> Self {
        let numbers = [priority, 100, 389].map(u16::to_be_bytes).concat();
        let name = format!("_ldap._tcp.dc._msdcs.{domain}");
        self.add(&name, SRV, [numbers, encoded(target)].concat());
        self
    }

    fn add(&mut self, name: &str, kind: u16, data: Vec<u8>) {
        self.0.entry((name.into(), kind)).or_default().push(data);
    }

    /// Starts the server on a loopback port.
    pub async fn serve(self) -> Dns {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut question = [0; 512];
            loop {
                let (length, client) = socket.recv_from(&mut question).await.unwrap();
                let answer = self.answer(&question[..length]);
                socket.send_to(&answer, client).await.unwrap();
            }
        });
        Dns {
            address,
            _serving: serving,
        }
    }

    fn answer(&self, query: &[u8]) -> Vec<u8> {
        // A header of twelve bytes, the name as labels that end with an empty one, type and class.
        let (mut at, mut labels) = (12, Vec::new());
        while query[at] != 0 {
            let end = at + 1 + usize::from(query[at]);
            labels.push(String::from_utf8_lossy(&query[at + 1..end]).to_lowercase());
            at = end;
        }
        let kind = u16::from_be_bytes([query[at + 1], query[at + 2]]);
        let question = &query[12..at + 5];
        let name = labels.join(".");
        let known = self.0.keys().any(|(known, _)| *known == name);
        let records = self.0.get(&(name, kind)).map_or(&[][..], Vec::as_slice);
        let count = u16::try_from(records.len()).unwrap().to_be_bytes();
        let code = if known { 0 } else { NAME_ERROR };
        let mut answer = [&query[..2], &[0x85, 0x80 | code, 0, 1], &count, &[0; 4], question].concat();
        for data in records {
            let length = u16::try_from(data.len()).unwrap().to_be_bytes();
            // The name is that of the question, at byte twelve.
            answer.extend([0xc0, 12]);
            answer.extend(kind.to_be_bytes());
            answer.extend([0, 1, 0, 0, 0, 60]);
            answer.extend(length);
            answer.extend(data);
        }
        answer
    }
}

impl Dns {
    /// Its address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

fn encoded(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}
