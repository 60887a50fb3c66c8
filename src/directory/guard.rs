//! Stands between the server and `ldap3`, which trusts what it reads: its codec recurses without a limit, buffers
//! without a limit, and panics on what it does not expect. Here each message is checked before `ldap3` sees it, so
//! that a hostile or broken server ends one session with a clear error.

use std::collections::HashMap;
use std::convert::Infallible;
use std::io;
use std::sync::{Mutex, PoisonError};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_util::bytes::{Buf, BytesMut};

use super::error::words;
use crate::ber::{self, Malformed, Reader};

/// Why the guard ended a connection; reads as the end of "the server ...".
#[derive(Debug, thiserror::Error)]
pub(super) enum Breach {
    /// The peer is gone.
    #[error("closed the connection")]
    Closed,
    /// The peer is gone, in the middle of something.
    #[error("closed the connection in the middle of a message")]
    ClosedWithinMessage,
    /// RFC 4511, 4.4.1.
    #[error("announced that it closes the connection (Notice of Disconnection, result {code}{text})")]
    Notice { code: i64, text: String },
    /// The network failed.
    #[error("lost the connection: {0}")]
    Io(io::Error),
    /// A message that is not LDAP.
    #[error("sent a message that {0}")]
    Malformed(#[from] Malformed),
    /// A message larger than the limit.
    #[error("sent a message of {length} bytes; the limit is {limit}")]
    TooLarge { length: usize, limit: usize },
    /// A response of the wrong kind.
    #[error("answered a {asked} with {answered}")]
    WrongAnswer { asked: &'static str, answered: String },
}

impl From<io::Error> for Breach {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

const BIND_REQUEST: u8 = 0x60;
const BIND_RESPONSE: u8 = 0x61;
const SEARCH_REQUEST: u8 = 0x63;
const SEARCH_RESULT_ENTRY: u8 = 0x64;
const SEARCH_RESULT_DONE: u8 = 0x65;
const SEARCH_RESULT_REFERENCE: u8 = 0x73;
const EXTENDED_RESPONSE: u8 = 0x78;
const INTERMEDIATE_RESPONSE: u8 = 0x79;
const CONTROLS: u8 = 0xa0;

/// No LDAP response nests deeper than this (an entry reaches 6).
const DEPTH: usize = 16;
/// No entry has this many values of the few attributes that are asked for: a group of so many members would be larger
/// than any message may be. `ldap3` makes some fifty bytes of each element, and two bytes are enough for one.
const ELEMENTS: usize = 262_144;
const READ_SIZE: usize = 64 * 1024;
/// Messages beyond this do not stay in the buffer that they came in.
const LARGE: usize = 1024 * 1024;

/// Carries bytes between the server and `ldap3` until either side ends or the server sends what it may not.
///
/// `limit` is the size in bytes that one message of the server may have; nothing is buffered past it.
///
/// # Cancellation
/// Dropping it drops both ends.
pub(super) async fn relay<S, L>(server: S, ldap3: L, limit: usize) -> Breach
where
    S: AsyncRead + AsyncWrite,
    L: AsyncRead + AsyncWrite,
{
    let (from_server, to_server) = tokio::io::split(server);
    let (from_ldap3, to_ldap3) = tokio::io::split(ldap3);
    let asked = Asked::default();
    let end = tokio::select! {
        end = downstream(from_server, to_ldap3, limit, &asked) => end,
        end = upstream(from_ldap3, to_server, &asked) => end,
    };
    let Err(breach) = end;
    breach
}

async fn upstream<R, W>(mut from: R, mut to: W, asked: &Asked) -> Result<Infallible, Breach>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = BytesMut::new();
    loop {
        if from.read_buf(&mut buffer).await? == 0 {
            return Err(Breach::Closed);
        }
        let mut whole = 0;
        while let Some(message) = next_message(&buffer[whole..], usize::MAX)? {
            asked.remember(message)?;
            whole += message.len();
        }
        to.write_all(&buffer[..whole]).await?;
        to.flush().await?;
        buffer.advance(whole);
    }
}

async fn downstream<R, W>(mut from: R, mut to: W, limit: usize, asked: &Asked) -> Result<Infallible, Breach>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut buffer = BytesMut::with_capacity(READ_SIZE);
    loop {
        buffer.reserve(READ_SIZE);
        if from.read_buf(&mut buffer).await? == 0 {
            return Err(if buffer.is_empty() {
                Breach::Closed
            } else {
                Breach::ClosedWithinMessage
            });
        }
        // What passes is handed on even if what follows it does not.
        let mut end = Ok(());
        let mut passed = 0;
        loop {
            let judged = next_message(&buffer[passed..], limit).and_then(|message| {
                let judge = |message: &[u8]| Ok((message.len(), inspect(message, asked)?));
                message.map(judge).transpose()
            });
            match judged {
                Ok(None) => break,
                Ok(Some((length, true))) => passed += length,
                Ok(Some((length, false))) => {
                    to.write_all(&buffer[..passed]).await?;
                    buffer.advance(passed + length);
                    passed = 0;
                }
                Err(breach) => {
                    end = Err(breach);
                    break;
                }
            }
        }
        to.write_all(&buffer[..passed]).await?;
        if passed > LARGE {
            // What `ldap3` is about to make of it takes thrice the memory: this copy goes first.
            buffer = BytesMut::from(&buffer[passed..]);
        } else {
            buffer.advance(passed);
        }
        end?;
    }
}

/// The first whole message in `bytes`; `None` while it is incomplete.
pub(super) fn next_message(bytes: &[u8], limit: usize) -> Result<Option<&[u8]>, Breach> {
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
        return Err(Breach::TooLarge { length, limit });
    }
    Ok(bytes.get(..length))
}

/// Whether `ldap3` may see a message: `Ok(false)` for what is harmless but of no use to it.
fn inspect(message: &[u8], asked: &Asked) -> Result<bool, Breach> {
    ber::check_elements(message, DEPTH, ELEMENTS)?;
    let (id, operation, contents, controls) = envelope(message)?;
    if id == 0 {
        return unsolicited(operation, contents);
    }
    let Some(request) = asked.request(id) else {
        // An answer to a search that was dropped.
        return Ok(false);
    };
    let wrong = |answered: String| {
        let asked = if request == BIND_REQUEST { "bind" } else { "search" };
        Err(Breach::WrongAnswer { asked, answered })
    };
    match (request, operation) {
        (BIND_REQUEST, BIND_RESPONSE) | (SEARCH_REQUEST, SEARCH_RESULT_DONE) => {
            result(contents)?;
            asked.forget(id);
        }
        (SEARCH_REQUEST, SEARCH_RESULT_ENTRY | SEARCH_RESULT_REFERENCE | INTERMEDIATE_RESPONSE) => {}
        (_, EXTENDED_RESPONSE) => {
            let (code, text) = result(contents)?;
            return wrong(format!("an extended response, result {code}{text}"));
        }
        _ => return wrong(format!("an operation of type 0x{operation:02x}")),
    }
    if let Some(controls) = controls {
        check_controls(controls)?;
    }
    Ok(true)
}

type Envelope<'a> = (i64, u8, &'a [u8], Option<&'a [u8]>);

/// `LDAPMessage` (RFC 4511, 4.1.1): message id, the operation's tag and contents, controls.
fn envelope(message: &[u8]) -> Result<Envelope<'_>, Malformed> {
    let mut outer = Reader::new(message);
    let mut parts = Reader::new(outer.expect(ber::SEQUENCE, "is not an LDAP message")?);
    let id = parts.expect(ber::INTEGER, "has no message id")?;
    if id.len() > 4 {
        return Err(Malformed("has a message id beyond 2147483647"));
    }
    let id = ber::integer(id)?;
    if id < 0 {
        return Err(Malformed("has a negative message id"));
    }
    let (operation, contents) = parts.next()?.ok_or(Malformed("has no operation"))?;
    if operation & 0x20 == 0 {
        return Err(Malformed("has an operation that is no response"));
    }
    let controls = parts.optional(CONTROLS)?;
    // Active Directory puts the name of its Notice of Disconnection here, outside of the operation.
    if !parts.is_empty() && id != 0 {
        return Err(Malformed("has something after its controls"));
    }
    Ok((id, operation, contents, controls))
}

/// Unsolicited notifications (RFC 4511, 4.4): the Notice of Disconnection is the one that means something.
fn unsolicited(operation: u8, contents: &[u8]) -> Result<bool, Breach> {
    if operation != EXTENDED_RESPONSE {
        return Err(Malformed("has message id 0 and is not a notification").into());
    }
    let (code, text) = result(contents)?;
    Err(Breach::Notice { code, text })
}

/// `LDAPResult` (RFC 4511, 4.1.9), checked as far as `ldap3` reads it: code and ": text".
fn result(contents: &[u8]) -> Result<(i64, String), Malformed> {
    const TEXT: Malformed = Malformed("has a result whose text is not UTF-8");
    let mut parts = Reader::new(contents);
    let code = parts.expect(ber::ENUMERATED, "has a result without a code")?;
    if code.len() > 4 {
        return Err(Malformed("has a result code beyond all codes"));
    }
    let matched = parts.expect(ber::OCTET_STRING, "has a result without a matched DN")?;
    let text = parts.expect(ber::OCTET_STRING, "has a result without a diagnostic message")?;
    std::str::from_utf8(matched).map_err(|_| TEXT)?;
    let text = std::str::from_utf8(text).map_err(|_| TEXT)?;
    while let Some((tag, contents)) = parts.next()? {
        match tag {
            0xa3 => {
                let mut uris = Reader::new(contents);
                while let Some((tag, uri)) = uris.next()? {
                    if tag != ber::OCTET_STRING || std::str::from_utf8(uri).is_err() {
                        return Err(Malformed("has a malformed referral"));
                    }
                }
            }
            0x87 | 0x8b => {}
            0x8a if std::str::from_utf8(contents).is_ok() => {}
            _ => return Err(Malformed("has a result with an unknown part")),
        }
    }
    let text = match &*words(text) {
        "" => String::new(),
        text => format!(": {text}"),
    };
    Ok((ber::integer(code)?, text))
}

/// `Controls` (RFC 4511, 4.1.11).
fn check_controls(controls: &[u8]) -> Result<(), Malformed> {
    const BAD: &str = "has a malformed control";
    let mut controls = Reader::new(controls);
    while !controls.is_empty() {
        let mut parts = Reader::new(controls.expect(ber::SEQUENCE, BAD)?);
        let kind = parts.expect(ber::OCTET_STRING, BAD)?;
        if let Some(criticality) = parts.optional(ber::BOOLEAN)? {
            ber::boolean(criticality)?;
        }
        parts.optional(ber::OCTET_STRING)?;
        if std::str::from_utf8(kind).is_err() || !parts.is_empty() {
            return Err(Malformed(BAD));
        }
    }
    Ok(())
}

/// The requests that wait for answers: `ldap3` must not be handed an answer of another kind.
#[derive(Default)]
struct Asked(Mutex<HashMap<i64, u8>>);

impl Asked {
    fn remember(&self, request: &[u8]) -> Result<(), Malformed> {
        let mut outer = Reader::new(request);
        let mut parts = Reader::new(outer.expect(ber::SEQUENCE, "is not an LDAP message")?);
        let id = ber::integer(parts.expect(ber::INTEGER, "has no message id")?)?;
        if let Some(operation @ (BIND_REQUEST | SEARCH_REQUEST)) = parts.peek() {
            self.0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(id, operation);
        }
        Ok(())
    }

    fn request(&self, id: i64) -> Option<u8> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&id)
            .copied()
    }

    fn forget(&self, id: i64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A search (id 2) and a bind (id 1) are under way.
    fn asked() -> Asked {
        let asked = Asked::default();
        asked
            .remember(&[0x30, 0x05, 0x02, 0x01, 0x01, 0x60, 0x00])
            .unwrap();
        asked
            .remember(&[0x30, 0x05, 0x02, 0x01, 0x02, 0x63, 0x00])
            .unwrap();
        asked
    }

    fn said(message: &[u8]) -> String {
        match inspect(message, &asked()) {
            Ok(pass) => format!("pass: {pass}"),
            Err(breach) => breach.to_string(),
        }
    }

    const DONE: [u8; 14] = [
        0x30, 0x0c, 0x02, 0x01, 0x02, 0x65, 0x07, 0x0a, 0x01, 0x00, 0x04, 0x00, 0x04, 0x00,
    ];

    #[test]
    fn what_was_asked_for_passes() {
        assert_eq!(said(&DONE), "pass: true");
    }

    #[test]
    fn answers_that_ldap3_would_panic_on_are_breaches_in_plain_words() {
        let mut extended = DONE;
        extended[5] = 0x78;
        extended[9] = 0x0c;
        assert_eq!(
            said(&extended),
            "answered a search with an extended response, result 12"
        );
        let mut bind = DONE;
        bind[5] = 0x61;
        assert_eq!(said(&bind), "answered a search with an operation of type 0x61");
        let mut negative = DONE;
        negative[4] = 0x81;
        assert_eq!(said(&negative), "sent a message that has a negative message id");
        let mut unknown = DONE;
        unknown[4] = 0x07;
        assert_eq!(said(&unknown), "pass: false");
        assert_eq!(said(&[0x30, 0x00]), "sent a message that has no message id");
        assert_eq!(
            said(&[0x30, 0x03, 0x02, 0x01, 0x02]),
            "sent a message that has no operation"
        );
        assert_eq!(
            said(&[
                0x30, 0x0a, 0x02, 0x01, 0x02, 0x65, 0x05, 0x0a, 0x01, 0x00, 0x04, 0x00
            ]),
            "sent a message that has a result without a diagnostic message"
        );
    }

    #[test]
    fn a_notice_of_disconnection_is_told_as_such() {
        let notice = b"\x30\x16\x02\x01\x00\x78\x11\x0a\x01\x34\x04\x00\x04\x0agoing down";
        assert_eq!(
            said(notice),
            "announced that it closes the connection (Notice of Disconnection, result 52: going down)"
        );
    }

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
    async fn messages_before_a_breach_still_arrive() {
        let (mut server, server_side) = tokio::io::duplex(4096);
        let (mut client, client_side) = tokio::io::duplex(4096);
        client
            .write_all(&[0x30, 0x05, 0x02, 0x01, 0x02, 0x63, 0x00])
            .await
            .unwrap();
        let relay = relay(server_side, client_side, 1024);
        let peers = async {
            let mut request = [0; 7];
            server.read_exact(&mut request).await.unwrap();
            server.write_all(&DONE).await.unwrap();
            server.write_all(b"garbage").await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let (breach, answer) = tokio::join!(relay, peers);
        assert_eq!(answer, DONE);
        assert!(breach.to_string().contains("is not an LDAP message"), "{breach}");
    }

    proptest! {
        #[test]
        fn arbitrary_messages_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = inspect(&bytes, &asked());
            let mut message = vec![0x30, u8::try_from(bytes.len() + 3).unwrap(), 2, 1, 2];
            message.extend(&bytes);
            let _ = inspect(&message, &asked());
        }
    }
}
