//! Binds by Kerberos: SASL GSSAPI (RFC 4752) on a connection that TLS protects, without a security layer of its own. The
//! exchange is made before `ldap3` gets the connection.
//!
//! The library takes the ticket from where the environment says (krb5.conf(5)): with a client keytab (`$KRB5_CLIENT_KTNAME`) it gets
//! tickets itself, and others before they expire; otherwise there must be one in the cache (`$KRB5CCNAME`).

use cross_krb5::{ClientCtx, InitiateFlags, K5Ctx, PendingClientCtx, Step};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::spawn_blocking;

use crate::ber::{self, Malformed, Reader};
use crate::directory::DirectoryError;
use crate::directory::ldap::relay;
use crate::foreign;

/// The account, for messages.
pub(crate) const WHO: &str = "Kerberos";
/// The largest answer of a server.
const LARGEST: usize = 64 * 1024;
/// saslBindInProgress
const IN_PROGRESS: i64 = 14;
/// The security layer "none", in what both sides offer and choose.
const NO_LAYER: u8 = 1;
/// The tag of the credentials that a server sends.
const SERVER_CREDENTIALS: u8 = 0x87;

/// Binds as the owner of the ticket to the server with this host name. `binding` identifies the TLS connection (RFC 5929, 4).
///
/// # Errors
/// There is no ticket, or the server refuses it.
///
/// # Cancellation
/// The connection cannot be used afterwards.
pub(crate) async fn bind<S>(
    server: &str,
    host: &str,
    stream: &mut S,
    binding: Option<Vec<u8>>,
) -> Result<(), DirectoryError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let failed = |cause: String| DirectoryError::Bind {
        server: server.to_owned(),
        who: WHO.into(),
        cause,
        wrong_password: false,
    };
    let principal = format!("ldap/{host}");
    // The library asks the key distribution centre, and waits for it.
    let begun = spawn_blocking(move || begin(&principal, binding.as_deref())).await;
    let (pending, token) = begun
        .map_err(|panic| failed(panic.to_string()))?
        .map_err(|error| failed(no_ticket(&error)))?;
    let mut exchange = Exchange {
        server,
        stream,
        sent: 0,
    };
    let answer = exchange.send(Some(&token)).await?;
    let step = pending
        .step(&answer)
        .map_err(|error| failed(format!("{error:#}")))?;
    let Step::Finished((mut context, token)) = step else {
        return Err(failed("the server wants more than one exchange".into()));
    };
    let offer = exchange.send(token.as_deref()).await?;
    let offer = context
        .unwrap(&offer)
        .map_err(|error| failed(format!("{error:#}")))?;
    if offer.first().is_none_or(|layers| layers & NO_LAYER == 0) {
        return Err(failed(
            "the server insists on a security layer of Kerberos although TLS protects the connection; let it accept none over TLS"
                .into(),
        ));
    }
    // No layer, no size of its buffer, and no other identity.
    let choice = context.wrap(false, &[NO_LAYER, 0, 0, 0]);
    let choice = choice.map_err(|error| failed(format!("{error:#}")))?;
    exchange.finish(&choice).await
}

type Begun = (PendingClientCtx, Vec<u8>);

fn begin(principal: &str, binding: Option<&[u8]>) -> Result<Begun, String> {
    let begun = ClientCtx::new(InitiateFlags::empty(), None, principal, binding);
    let (pending, token) = begun.map_err(|error| format!("{error:#}"))?;
    Ok((pending, token.to_vec()))
}

fn no_ticket(error: &str) -> String {
    format!(
        "{}; set KRB5_CLIENT_KTNAME to a keytab with the account's key, or KRB5CCNAME to a cache with its ticket; the host name in \
         `url` must be that of the server in Kerberos, and its clock must agree with this one's",
        foreign::shown(error)
    )
}

/// The messages of one bind.
struct Exchange<'a, S> {
    server: &'a str,
    stream: &'a mut S,
    /// The number of the last message.
    sent: u8,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Exchange<'_, S> {
    /// Sends a token. Returns the server's.
    async fn send(&mut self, token: Option<&[u8]>) -> Result<Vec<u8>, DirectoryError> {
        match self.call(token).await? {
            (IN_PROGRESS, _, token) => Ok(token),
            (code, text, _) => Err(self.refused(code, &text)),
        }
    }

    /// Sends the last token.
    async fn finish(mut self, token: &[u8]) -> Result<(), DirectoryError> {
        match self.call(Some(token)).await? {
            (0, ..) => Ok(()),
            (code, text, _) => Err(self.refused(code, &text)),
        }
    }

    async fn call(&mut self, token: Option<&[u8]>) -> Result<(i64, String, Vec<u8>), DirectoryError> {
        self.sent += 1;
        let broken = |cause: String| DirectoryError::Broken {
            server: self.server.to_owned(),
            cause,
        };
        let lost = |error: std::io::Error| broken(format!("lost the connection during the bind ({error})"));
        self.stream
            .write_all(&request(self.sent, token))
            .await
            .map_err(lost)?;
        self.stream.flush().await.map_err(lost)?;
        let mut answer = Vec::new();
        loop {
            match relay::next_message(&answer, LARGEST) {
                Ok(Some(message)) => {
                    return response(message).map_err(|malformed| {
                        broken(format!("answered the bind with a message that {malformed}"))
                    });
                }
                Ok(None) => {}
                Err(breach) => return Err(broken(breach.to_string())),
            }
            if self.stream.read_buf(&mut answer).await.map_err(lost)? == 0 {
                return Err(broken("closed the connection during the bind".into()));
            }
        }
    }

    fn refused(&self, code: i64, text: &str) -> DirectoryError {
        DirectoryError::Bind {
            server: self.server.to_owned(),
            who: WHO.into(),
            cause: match code {
                // strongerAuthRequired
                8 => format!(
                    "result {code}: {text}; let the server accept Kerberos over TLS without a layer of its own (Samba before 4.21: \
                     `ldap server require strong auth = allow_sasl_over_tls`)"
                ),
                _ => format!(
                    "result {code}: {text}; does the account exist, and do the clocks of both machines agree?"
                ),
            },
            wrong_password: false,
        }
    }
}

/// A BindRequest (RFC 4511, 4.2) with a token of GSSAPI.
fn request(id: u8, token: Option<&[u8]>) -> Vec<u8> {
    let mut sasl = element(ber::OCTET_STRING, b"GSSAPI");
    if let Some(token) = token {
        sasl.extend(element(ber::OCTET_STRING, token));
    }
    let bind = [
        element(ber::INTEGER, &[3]),
        element(ber::OCTET_STRING, b""),
        element(0xa3, &sasl),
    ];
    let message = [element(ber::INTEGER, &[id]), element(0x60, &bind.concat())];
    element(ber::SEQUENCE, &message.concat())
}

/// An element with a length of four bytes, which every decoder of BER reads.
fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = u32::try_from(contents.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[tag, 0x84], length.as_slice(), contents].concat()
}

/// The result, the server's text and its token in a BindResponse.
fn response(message: &[u8]) -> Result<(i64, String, Vec<u8>), Malformed> {
    let mut parts = Reader::new(Reader::new(message).expect(ber::SEQUENCE, "is not an LDAP message")?);
    parts.expect(ber::INTEGER, "has no message id")?;
    let mut result = Reader::new(parts.expect(0x61, "is no bind response")?);
    let code = ber::integer(result.expect(ber::ENUMERATED, "has no result code")?)?;
    result.expect(ber::OCTET_STRING, "has no matched DN")?;
    let text = foreign::shown_bytes(result.expect(ber::OCTET_STRING, "has no diagnostic message")?);
    let mut token = Vec::new();
    while let Some((tag, contents)) = result.next()? {
        if tag == SERVER_CREDENTIALS {
            token = contents.to_vec();
        }
    }
    Ok((code, text, token))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_read_as_it_was_meant() {
        let request = request(2, Some(b"token"));
        let mut parts = Reader::new(Reader::new(&request).expect(ber::SEQUENCE, "").unwrap());
        assert_eq!(parts.expect(ber::INTEGER, "").unwrap(), [2]);
        let mut bind = Reader::new(parts.expect(0x60, "").unwrap());
        assert_eq!(bind.expect(ber::INTEGER, "").unwrap(), [3]);
        assert_eq!(bind.expect(ber::OCTET_STRING, "").unwrap(), b"");
        let mut sasl = Reader::new(bind.expect(0xa3, "").unwrap());
        assert_eq!(sasl.expect(ber::OCTET_STRING, "").unwrap(), b"GSSAPI");
        assert_eq!(sasl.expect(ber::OCTET_STRING, "").unwrap(), b"token");
    }

    #[test]
    fn the_servers_token_is_found_and_what_is_no_answer_is_an_error() {
        let answer = b"\x30\x12\x02\x01\x01\x61\x0d\x0a\x01\x0e\x04\x00\x04\x02hm\x87\x02ok";
        assert_eq!(response(answer), Ok((14, "hm".into(), b"ok".to_vec())));
        assert!(response(b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00").is_err());
        for end in 0..answer.len() {
            assert!(response(&answer[..end]).is_err(), "{end}");
        }
    }
}
