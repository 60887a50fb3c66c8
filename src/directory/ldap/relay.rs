//! Relays messages between the server and `ldap3`. `ldap3` trusts what it reads: its codec recurses and buffers without a
//! limit, and panics on unexpected messages. The relay checks each message first, so that a hostile or broken server ends
//! one session with a clear error. While too many messages wait in `ldap3` (see `traffic`), the relay reads nothing more.

use std::convert::Infallible;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::bytes::{Buf, BytesMut};

use crate::ber::{self, Malformed};
use crate::directory::ldap::inspect::{Disconnect, Verdict, inspect};
use crate::directory::ldap::traffic::Traffic;
use crate::timing::{self, Step};

const READ_SIZE: usize = 64 * 1024;
/// After more bytes than this, the buffer is replaced by a small one.
const LARGE: usize = 1024 * 1024;

/// Relays until either side closes the connection or the server sends a message that is not allowed.
///
/// `limit` is the largest size of one message of the server, in bytes; nothing is buffered beyond it. `traffic` is shared
/// with the session, which takes the messages.
///
/// # Cancellation
/// Dropping it drops both ends.
pub(crate) async fn relay<S, L>(server: S, ldap3: L, limit: usize, traffic: &Traffic) -> Disconnect
where
    S: AsyncRead + AsyncWrite,
    L: AsyncRead + AsyncWrite,
{
    let (from_server, to_server) = tokio::io::split(server);
    let (from_ldap3, to_ldap3) = tokio::io::split(ldap3);
    let end = tokio::select! {
        end = downstream(from_server, to_ldap3, limit, traffic) => end,
        end = upstream(from_ldap3, to_server, traffic) => end,
    };
    let Err(disconnect) = end;
    disconnect
}

async fn upstream<R, W>(mut from: R, mut to: W, traffic: &Traffic) -> Result<Infallible, Disconnect>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = BytesMut::new();
    loop {
        if from.read_buf(&mut buffer).await? == 0 {
            return Err(Disconnect::Closed);
        }
        let mut whole = 0;
        while let Some(message) = next_message(&buffer[whole..], usize::MAX)? {
            traffic.sent(message)?;
            whole += message.len();
        }
        to.write_all(&buffer[..whole]).await?;
        to.flush().await?;
        buffer.advance(whole);
    }
}

async fn downstream<R, W>(
    mut from: R,
    mut to: W,
    limit: usize,
    traffic: &Traffic,
) -> Result<Infallible, Disconnect>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = BytesMut::with_capacity(READ_SIZE);
    loop {
        buffer.reserve(READ_SIZE);
        if from.read_buf(&mut buffer).await? == 0 {
            return Err(if buffer.is_empty() {
                Disconnect::Closed
            } else {
                Disconnect::ClosedWithinMessage
            });
        }
        timing::reached(Step::Read);
        // Messages before a bad one are still relayed.
        let mut end = Ok(());
        let mut passed = 0;
        loop {
            let judged = next_message(&buffer[passed..], limit).and_then(|message| {
                let judge = |message: &[u8]| Ok((message.len(), inspect(message, traffic)?));
                message.map(judge).transpose()
            });
            match judged {
                Ok(None) => break,
                Ok(Some((length, Verdict::Pass { id, weight, last }))) => {
                    if !traffic.has_room_for(weight) {
                        to.write_all(&buffer[..passed]).await?;
                        buffer.advance(passed);
                        passed = 0;
                        traffic.room_for(weight).await;
                    }
                    traffic.passed(id, weight, last);
                    passed += length;
                }
                Ok(Some((length, Verdict::Drop))) => {
                    to.write_all(&buffer[..passed]).await?;
                    buffer.advance(passed + length);
                    passed = 0;
                }
                Err(disconnect) => {
                    end = Err(disconnect);
                    break;
                }
            }
        }
        to.write_all(&buffer[..passed]).await?;
        if passed > LARGE {
            // `ldap3` needs three times this memory for the messages, so this copy is freed first.
            buffer = BytesMut::from(&buffer[passed..]);
        } else {
            buffer.advance(passed);
        }
        end?;
    }
}

/// The first whole message in `bytes`; `None` while it is incomplete.
pub(crate) fn next_message(bytes: &[u8], limit: usize) -> Result<Option<&[u8]>, Disconnect> {
    let Some(header) = ber::header(bytes)? else {
        return Ok(None);
    };
    if header.tag != ber::SEQUENCE {
        return Err(Malformed(
            "is not an LDAP message (is this the port of an LDAP server, and does it want TLS?)",
        )
        .into());
    }
    let length = header.size.saturating_add(header.length);
    if length > limit {
        return Err(Disconnect::TooLarge { length, limit });
    }
    Ok(bytes.get(..length))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The result of the search with id 2.
    const DONE: [u8; 14] = [
        0x30, 0x0c, 0x02, 0x01, 0x02, 0x65, 0x07, 0x0a, 0x01, 0x00, 0x04, 0x00, 0x04, 0x00,
    ];

    #[test]
    fn a_message_beyond_the_limit_is_refused_by_its_header_alone() {
        let error = next_message(&[0x30, 0x84, 0x7f, 0xff, 0xff, 0xff], 1024).unwrap_err();
        assert_eq!(
            error.to_string(),
            "sent a message of 2147483653 bytes; the limit is 1024"
        );
        assert!(matches!(next_message(&[0x30, 0x84, 0x7f], 1024), Ok(None)));
        assert!(next_message(b"HTTP/1.1 400 Bad Request", 1024).is_err());
    }

    #[tokio::test]
    async fn messages_before_a_bad_one_still_arrive() {
        let (mut server, server_side) = tokio::io::duplex(4096);
        let (mut client, client_side) = tokio::io::duplex(4096);
        client
            .write_all(&[0x30, 0x05, 0x02, 0x01, 0x02, 0x63, 0x00])
            .await
            .unwrap();
        let traffic = Traffic::default();
        let relay = relay(server_side, client_side, 1024, &traffic);
        let peers = async {
            let mut request = [0; 7];
            server.read_exact(&mut request).await.unwrap();
            server.write_all(&DONE).await.unwrap();
            server.write_all(b"garbage").await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let (disconnect, answer) = tokio::join!(relay, peers);
        assert_eq!(answer, DONE);
        assert!(
            disconnect.to_string().contains("is not an LDAP message"),
            "{disconnect}"
        );
    }
}
