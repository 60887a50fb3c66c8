//! Checks the messages of a server: their form, and whether they answer a request. Never panics.

use std::io;

use crate::ber::{self, Malformed, Reader};
use crate::directory::ldap::result::one_line;
use crate::directory::ldap::traffic::{Answers, BIND_REQUEST, SEARCH_REQUEST, TooManyStray, Traffic};

const BIND_RESPONSE: u8 = 0x61;
const SEARCH_RESULT_ENTRY: u8 = 0x64;
const SEARCH_RESULT_DONE: u8 = 0x65;
const SEARCH_RESULT_REFERENCE: u8 = 0x73;
const EXTENDED_RESPONSE: u8 = 0x78;
const INTERMEDIATE_RESPONSE: u8 = 0x79;
const CONTROLS: u8 = 0xa0;

/// No LDAP response nests deeper than this (an entry reaches 6).
const DEPTH: usize = 16;
/// The largest number of elements in a message. No entry has as many values: a group with so many members would be larger
/// than the largest message. `ldap3` needs about fifty bytes for each element, which may have only two bytes.
const ELEMENTS: usize = 262_144;
/// The largest size of a DN in bytes, which is also OpenLDAP's limit.
const LONGEST_NAME: usize = 8192;

/// Why the relay ended a connection. The text completes the sentence "the server ...".
#[derive(Debug, thiserror::Error)]
pub(crate) enum Disconnect {
    /// The server closed the connection.
    #[error("closed the connection")]
    Closed,
    /// The server closed the connection in the middle of a message.
    #[error("closed the connection in the middle of a message")]
    ClosedWithinMessage,
    /// The server sent a Notice of Disconnection (RFC 4511, 4.4.1).
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
    /// Responses without requests.
    #[error("keeps sending responses without a request")]
    Stray,
}

impl From<TooManyStray> for Disconnect {
    fn from(_: TooManyStray) -> Self {
        Self::Stray
    }
}

impl From<io::Error> for Disconnect {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Closed,
            _ => Self::Io(error),
        }
    }
}

/// What to do with a message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Relay it to `ldap3`.
    Pass {
        /// The id of the request that it answers.
        id: i64,
        /// The memory that it needs, in bytes.
        weight: usize,
        /// Whether it is the last answer.
        last: bool,
    },
    /// Ignore it.
    Drop,
}

/// Checks a message.
///
/// # Errors
/// The connection is to end.
pub(crate) fn inspect(message: &[u8], traffic: &Traffic) -> Result<Verdict, Disconnect> {
    let elements = ber::check_elements(message, DEPTH, ELEMENTS)?;
    let (id, operation, contents, controls) = envelope(message)?;
    if id == 0 {
        return unsolicited(operation, contents);
    }
    let request = match traffic.answers(id)? {
        Some(Answers::Request(request)) => request,
        Some(Answers::Abandoned) => {
            if operation == SEARCH_RESULT_DONE {
                traffic.finished(id);
            }
            return Ok(Verdict::Drop);
        }
        // The request has ended already.
        None => return Ok(Verdict::Drop),
    };
    let wrong = |answered: String| {
        let asked = if request == BIND_REQUEST { "bind" } else { "search" };
        Err(Disconnect::WrongAnswer { asked, answered })
    };
    match (request, operation) {
        (BIND_REQUEST, BIND_RESPONSE) | (SEARCH_REQUEST, SEARCH_RESULT_DONE) => drop(result(contents)?),
        (SEARCH_REQUEST, SEARCH_RESULT_ENTRY) => {
            if let Some(name) = overlong_name(contents)? {
                traffic.skipped(name);
                return Ok(Verdict::Drop);
            }
        }
        (SEARCH_REQUEST, SEARCH_RESULT_REFERENCE | INTERMEDIATE_RESPONSE) => {}
        (_, EXTENDED_RESPONSE) => {
            let (code, text) = result(contents)?;
            return wrong(format!("an extended response, result {code}{text}"));
        }
        _ => return wrong(format!("an operation of type 0x{operation:02x}")),
    }
    if let Some(controls) = controls {
        check_controls(controls)?;
    }
    Ok(Verdict::Pass {
        id,
        weight: Traffic::weight(message.len(), elements),
        last: matches!(operation, BIND_RESPONSE | SEARCH_RESULT_DONE),
    })
}

/// The DN of an entry if it is too long.
fn overlong_name(entry: &[u8]) -> Result<Option<&[u8]>, Malformed> {
    let name = Reader::new(entry).next()?;
    Ok(name.and_then(|(_, name)| (name.len() > LONGEST_NAME).then_some(name)))
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

/// Checks an unsolicited notification (RFC 4511, 4.4). Only the Notice of Disconnection has a meaning.
fn unsolicited(operation: u8, contents: &[u8]) -> Result<Verdict, Disconnect> {
    if operation != EXTENDED_RESPONSE {
        return Err(Malformed("has message id 0 and is not a notification").into());
    }
    let (code, text) = result(contents)?;
    Err(Disconnect::Notice { code, text })
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
    let text = match &*one_line(text) {
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A search (id 2) and a bind (id 1) are under way.
    fn traffic() -> Traffic {
        let traffic = Traffic::default();
        for (id, operation) in [(1, BIND_REQUEST), (2, SEARCH_REQUEST)] {
            let request = [0x30, 0x05, 0x02, 0x01, id, operation, 0x00];
            traffic.sent(&request).unwrap();
        }
        traffic
    }

    fn said(message: &[u8]) -> String {
        match inspect(message, &traffic()) {
            Ok(verdict) => format!("{verdict:?}"),
            Err(breach) => breach.to_string(),
        }
    }

    const DONE: [u8; 14] = [
        0x30, 0x0c, 0x02, 0x01, 0x02, 0x65, 0x07, 0x0a, 0x01, 0x00, 0x04, 0x00, 0x04, 0x00,
    ];

    #[test]
    fn what_was_asked_for_passes() {
        assert_eq!(said(&DONE), "Pass { id: 2, weight: 494, last: true }");
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
        assert_eq!(said(&unknown), "Drop");
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

    proptest! {
        #[test]
        fn arbitrary_messages_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = inspect(&bytes, &traffic());
            let mut message = vec![0x30, u8::try_from(bytes.len() + 3).unwrap(), 2, 1, 2];
            message.extend(&bytes);
            let _ = inspect(&message, &traffic());
        }
    }
}
