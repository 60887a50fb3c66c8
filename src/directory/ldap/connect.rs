//! Opens an authenticated connection: TCP, keep-alive, TLS, the relay, bind.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use ldap3::{LdapConnAsync, LdapConnSettings, LdapError, StdStream};
use rustls::pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::io::InspectReader;

use crate::ber::{self, Reader};
use crate::directory::DirectoryError;
use crate::directory::ldap::access::Access;
use crate::directory::ldap::deadline::{STEP, deadline};
use crate::directory::ldap::endpoint::Endpoint;
use crate::directory::ldap::inspect::Disconnect;
#[cfg(feature = "kerberos")]
use crate::directory::ldap::kerberos;
use crate::directory::ldap::relay;
use crate::directory::ldap::replication;
use crate::directory::ldap::session::Session;
use crate::directory::ldap::traffic::Traffic;
use crate::directory::ldap::{dns, root_dse};
#[cfg(feature = "kerberos")]
use crate::directory::settings::Bind;
use crate::directory::settings::{DirectorySettings, Server};
use crate::foreign;
use crate::panics;
use crate::tls::{self, Progress};

/// Connects to the first server that accepts the bind and is not behind the others.
///
/// # Errors
/// That of the last server if several were tried; [`DirectoryError::Behind`] if only servers that are behind accept the bind.
pub(crate) async fn connect(
    settings: &DirectorySettings,
    access: &Access,
) -> Result<Session, DirectoryError> {
    access.credentials.check()?;
    let mut last = None;
    let mut servers = Vec::new();
    for server in &settings.servers {
        match dns::servers(server, settings.starttls).await {
            Ok(found) => servers.extend(found),
            Err(error) => last = Some(error),
        }
    }
    let is_one_of_several = servers.len() > 1 || settings.servers.len() > 1;
    let mut behind = None;
    for server in servers {
        let reached = Endpoint { server, peer: None };
        match connect_to(&reached, settings, access).await {
            Ok(session) if !is_one_of_several => return Ok(session),
            Ok(mut session) => match replication::read(&mut session, &settings.base).await {
                Ok(marks) => match access.behind(&settings.name, session.server(), &marks) {
                    None => {
                        access.raise(marks);
                        return Ok(session);
                    }
                    Some(why) => behind = behind.or(Some((session, marks, why))),
                },
                Err(error) => last = Some(logged(error)),
            },
            Err(error) => last = Some(logged(error)),
        }
    }
    match (behind, last) {
        (Some((session, marks, _)), None) => {
            tracing::warn!(
                directory = settings.name,
                server = session.server(),
                "every server is behind what was seen before: using the first one, although changes are lost"
            );
            access.lower_to(marks);
            Ok(session)
        }
        (Some((session, _, why)), Some(error)) => Err(DirectoryError::Behind {
            server: session.server().to_owned(),
            why,
            others: error.to_string(),
        }),
        (None, Some(error)) => Err(error),
        (None, None) => Err(DirectoryError::Settings(format!(
            "directory {} names no server",
            settings.name
        ))),
    }
}

/// Reads the server's schema into the session. If it cannot be read, the standard names are used, and the connection is
/// replaced, because it may be broken.
pub(crate) async fn read_schema(
    session: &mut Session,
    settings: &DirectorySettings,
    access: &Access,
) -> Result<(), DirectoryError> {
    match root_dse::schema(session).await {
        Ok(schema) => session.set_schema(Arc::new(schema)),
        Err(error) => {
            tracing::info!(directory = settings.name, %error, "the subschema cannot be read: attributes are recognised by their standard names only");
            *session = connect_to(&session.endpoint().clone(), settings, access).await?;
        }
    }
    Ok(())
}

fn logged(error: DirectoryError) -> DirectoryError {
    tracing::debug!(%error, "the connection to this server failed");
    error
}

/// Connects to this server, at its former address if it was reached before, binds, and reads its capabilities.
pub(crate) async fn connect_to(
    endpoint: &Endpoint,
    settings: &DirectorySettings,
    access: &Access,
) -> Result<Session, DirectoryError> {
    let mut session = authenticate(endpoint, settings, access).await?;
    root_dse::read(&mut session, settings.id_attribute.as_deref()).await?;
    Ok(session)
}

/// As [`connect_to`], but only up to the bind.
pub(crate) async fn authenticate(
    reached: &Endpoint,
    settings: &DirectorySettings,
    access: &Access,
) -> Result<Session, DirectoryError> {
    access.credentials.check()?;
    let server = &reached.server;
    let name = server.to_string();
    let limit = settings.max_message_size;
    let traffic = Arc::new(Traffic::default());
    let (ours, ldap3s) = UnixStream::pair().map_err(|error| refused(&name, &error))?;
    let mut peer = None;
    let relay: BoxFuture<'static, Disconnect> = match server {
        Server::Unix { path } => {
            let stream = deadline(&name, "connecting", UnixStream::connect(path))
                .await?
                .map_err(|error| DirectoryError::Connect {
                    server: name.clone(),
                    cause: format!("{path}: {error}"),
                })?;
            relayed(stream, ours, limit, traffic.clone())
        }
        Server::Domain { .. } => {
            return Err(DirectoryError::Settings(format!(
                "{name} is a domain, not a server"
            )));
        }
        Server::Tcp { host, port, tls, dns } => {
            let addresses = match reached.peer {
                Some(peer) => vec![peer],
                None => dns::addresses(&name, host, *port, *dns).await?,
            };
            let mut stream = dial(&name, addresses).await?;
            peer = stream.peer_addr().ok();
            if settings.starttls && !tls {
                deadline(&name, "negotiating StartTLS", start_tls(&name, &mut stream)).await??;
            }
            if settings.starttls || *tls {
                let config = access.tls();
                let wrapped = wrap(&name, host, stream, &config, !tls);
                #[cfg_attr(
                    not(feature = "kerberos"),
                    expect(unused_mut, reason = "only Kerberos uses it here")
                )]
                let mut stream = deadline(&name, "negotiating TLS", wrapped).await??;
                #[cfg(feature = "kerberos")]
                if let Bind::Kerberos = settings.bind {
                    let binding = end_point(&stream);
                    let bind = kerberos::bind(&name, host, &mut stream, binding);
                    deadline(&name, "binding by Kerberos", bind).await??;
                }
                relayed(stream, ours, limit, traffic.clone())
            } else {
                relayed(stream, ours, limit, traffic.clone())
            }
        }
    };
    let ldap3s = ldap3s.into_std().map_err(|error| refused(&name, &error))?;
    let stream = LdapConnSettings::new().set_std_stream(StdStream::Unix(ldap3s));
    let (driver, ldap) = LdapConnAsync::with_settings(stream, "ldapi://relay")
        .await
        .map_err(|error| DirectoryError::Connect {
            server: name.clone(),
            cause: error.to_string(),
        })?;
    // The relay holds back messages on which ldap3 would panic. If one gets through, the panic ends only this session.
    let driver = panics::contain(driver.drive());
    let link = async move {
        match tokio::join!(relay, driver) {
            (_, Err(panic)) => format!("sent something that the LDAP library could not process ({panic})"),
            (Disconnect::Closed, Ok(Err(LdapError::Io { source }))) => {
                format!("lost the connection: {source}")
            }
            (breach, _) => breach.to_string(),
        }
    }
    .boxed();
    let reached = Endpoint {
        server: server.clone(),
        peer,
    };
    let mut session = Session::new(reached, &settings.name, ldap, link, traffic);
    access.credentials.bind(&mut session).await?;
    Ok(session)
}

/// What identifies the connection for an authentication within it.
#[cfg(feature = "kerberos")]
fn end_point<S>(stream: &TlsStream<S>) -> Option<Vec<u8>> {
    let certificates = stream.get_ref().1.peer_certificates()?;
    tls::server_end_point(certificates.first()?)
}

/// The relay between a server and `ldap3`.
fn relayed<S>(
    server: S,
    ldap3: UnixStream,
    limit: usize,
    traffic: Arc<Traffic>,
) -> BoxFuture<'static, Disconnect>
where
    S: AsyncRead + AsyncWrite + Send + 'static,
{
    async move { relay::relay(server, ldap3, limit, &traffic).await }.boxed()
}

fn refused(server: &str, error: &io::Error) -> DirectoryError {
    DirectoryError::Connect {
        server: server.to_owned(),
        cause: error.to_string(),
    }
}

/// Tries each address of a host. A peer that vanishes is detected within 25 s even if nothing is sent.
pub(crate) async fn dial(server: &str, addresses: Vec<SocketAddr>) -> Result<TcpStream, DirectoryError> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match timeout(STEP, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                keep_alive(&stream).map_err(|error| refused(server, &error))?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(refused(server, &last))
}

fn keep_alive(stream: &TcpStream) -> io::Result<()> {
    let socket = SockRef::from(stream);
    let probes = TcpKeepalive::new()
        .with_time(Duration::from_secs(10))
        .with_interval(Duration::from_secs(5))
        .with_retries(3);
    socket.set_tcp_keepalive(&probes)?;
    socket.set_tcp_nodelay(true)?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(Duration::from_secs(20)))?;
    Ok(())
}

/// Requests TLS on a plain connection (RFC 4511, 4.14). Nothing that arrives before the handshake is kept.
pub(crate) async fn start_tls<S: AsyncRead + AsyncWrite + Unpin>(
    server: &str,
    stream: &mut S,
) -> Result<(), DirectoryError> {
    const REQUEST: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
    let failed = |cause: String| DirectoryError::Tls {
        server: server.to_owned(),
        cause,
    };
    let lost = |error: io::Error| failed(format!("the connection was lost during StartTLS ({error})"));
    stream.write_all(REQUEST).await.map_err(lost)?;
    let mut answer = Vec::new();
    let message = loop {
        match relay::next_message(&answer, 64 * 1024) {
            Ok(Some(message)) => break message,
            Ok(None) => {}
            Err(breach) => return Err(failed(format!("the server {breach}"))),
        }
        if stream.read_buf(&mut answer).await.map_err(lost)? == 0 {
            return Err(failed(
                "the server closed the connection instead of answering StartTLS".into(),
            ));
        }
    };
    if message.len() != answer.len() {
        return Err(failed(
            "the server sent more than its answer to StartTLS before the handshake".into(),
        ));
    }
    match start_tls_result(message) {
        Ok((0, _)) => Ok(()),
        Ok((code, text)) => Err(failed(format!(
            "the server refused StartTLS (result {code}: {text}); configure a certificate there, or use ldaps://"
        ))),
        Err(malformed) => Err(failed(format!(
            "the server answered StartTLS with a message that {malformed}"
        ))),
    }
}

fn start_tls_result(message: &[u8]) -> Result<(i64, String), ber::Malformed> {
    let mut parts = Reader::new(Reader::new(message).expect(ber::SEQUENCE, "is not an LDAP message")?);
    parts.expect(ber::INTEGER, "has no message id")?;
    let mut result = Reader::new(parts.expect(0x78, "is no extended response")?);
    let code = ber::integer(result.expect(ber::ENUMERATED, "has no result code")?)?;
    result.expect(ber::OCTET_STRING, "has no matched DN")?;
    let text = result.expect(ber::OCTET_STRING, "has no diagnostic message")?;
    Ok((code, foreign::shown_bytes(text)))
}

/// Makes the TLS handshake; `agreed` says that the server accepted StartTLS.
pub(crate) async fn wrap(
    server: &str,
    host: &str,
    stream: TcpStream,
    config: &Arc<rustls::ClientConfig>,
    agreed: bool,
) -> Result<TlsStream<impl AsyncRead + AsyncWrite + Unpin + use<>>, DirectoryError> {
    let failed = |cause: String| DirectoryError::Tls {
        server: server.to_owned(),
        cause,
    };
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| failed(format!("{host} is not a name that a certificate can carry")))?;
    let answered = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&answered);
    let stream = InspectReader::new(stream, move |bytes| {
        seen.fetch_or(!bytes.is_empty(), Ordering::Relaxed);
    });
    let handshake = TlsConnector::from(Arc::clone(config)).connect(name, stream).await;
    handshake.map_err(|error| {
        let progress = match answered.load(Ordering::Relaxed) {
            true => Progress::Answered,
            false if agreed => Progress::Consented,
            false => Progress::Silent,
        };
        failed(tls_cause(&error, progress))
    })
}

/// The cause of a failed handshake, with the remedy for the usual ones.
fn tls_cause(error: &io::Error, progress: Progress) -> String {
    if let Some(cause) = error.get_ref().and_then(|inner| inner.downcast_ref()) {
        return tls::explain(cause);
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            tls::broken_off(progress)
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn start_tls_answered(answer: &[u8]) -> Result<(), String> {
        let (mut ours, mut servers) = tokio::io::duplex(1024);
        servers.write_all(answer).await.unwrap();
        start_tls("ldap://test", &mut ours)
            .await
            .map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn start_tls_accepts_success_and_nothing_else() {
        assert_eq!(
            start_tls_answered(b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00").await,
            Ok(())
        );
        let refused = start_tls_answered(b"\x30\x0e\x02\x01\x01\x78\x09\x0a\x01\x02\x04\x00\x04\x02no")
            .await
            .unwrap_err();
        assert!(refused.contains("refused StartTLS (result 2: no)"), "{refused}");
        let injected = start_tls_answered(b"\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00\x30")
            .await
            .unwrap_err();
        assert!(injected.contains("more than its answer"), "{injected}");
        let other = start_tls_answered(b"HTTP/1.0 400\r\n").await.unwrap_err();
        assert!(other.contains("not an LDAP message"), "{other}");
    }
}
