//! Explains TLS failures to people: the cause and, after a semicolon, the remedy.

use std::time::{Duration, UNIX_EPOCH};

use rustls::pki_types::UnixTime;
use rustls::{
    AlertDescription as Alert, CertificateError as Certificate, Error, InvalidMessage, PeerIncompatible,
    PeerMisbehaved,
};

use super::certificate::TOO_OLD;
use super::verifier::Refused;
use crate::foreign;

/// Why a handshake failed and, after a semicolon, the remedy for common failures. Names in parentheses are those of
/// rustls or of the alert (RFC 8446, 6.2), for searching.
pub fn explain(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(why) => certificate(why),
        Error::AlertReceived(alert) => self::alert(*alert),
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => "the server does not answer with TLS; is this a port without TLS?".into(),
        Error::InvalidMessage(why) => format!("the server sent a TLS message that cannot be read ({why:?})"),
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => format!("the server supports TLS, but no version from 1.2 on; it is {TOO_OLD}"),
        Error::PeerIncompatible(why) => {
            format!("the server supports TLS, but only in a way that is not supported here ({why:?})")
        }
        Error::PeerMisbehaved(
            PeerMisbehaved::SelectedUnofferedCipherSuite | PeerMisbehaved::SelectedUnofferedKxGroup,
        ) => {
            format!("the server chose a cipher suite or a key exchange that was not offered; it is {TOO_OLD}")
        }
        Error::PeerMisbehaved(why) => {
            format!("the server violates the TLS protocol ({why:?}); see its log")
        }
        Error::NoCertificatesPresented => "the server presents no certificate; configure one there".into(),
        other => foreign::shown(&other.to_string().replace("; ", ", ")),
    }
}

/// How far the handshake was when the server closed the connection without an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// Not known.
    Unknown,
    /// The server had not answered.
    Silent,
    /// The server had accepted StartTLS (RFC 4511, 4.14) and had not answered in TLS.
    Consented,
    /// The server had begun to answer in TLS.
    Answered,
}

/// Explains a handshake that the server ended by closing the connection without an alert. Suggests only causes that
/// agree with `progress`.
pub fn broken_off(progress: Progress) -> String {
    let (when, remedy) = match progress {
        Progress::Unknown => (
            "during the TLS handshake",
            "is this a port without TLS? If it supports TLS, it may require a client certificate (`client_cert_file`), or be",
        ),
        Progress::Silent => (
            "instead of answering the TLS handshake",
            "is this a port without TLS? If it supports TLS, it may be",
        ),
        Progress::Consented => (
            "instead of answering the TLS handshake",
            "see its log: it may have no certificate, or be",
        ),
        Progress::Answered => (
            "during the TLS handshake",
            "see its log: it may require a client certificate (`client_cert_file`), or be",
        ),
    };
    format!("the server closed the connection {when}; {remedy} {TOO_OLD}")
}

fn certificate(why: &Certificate) -> String {
    match why {
        Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
            let cause = why.to_string().replace("; ", ", ");
            format!(
                "{cause}; use a host name that is in the server's certificate, or write such a name into `tls_server_name`"
            )
        }
        Certificate::ExpiredContext { time, not_after } => format!(
            "the server's certificate expired at {}, and it is {} here; renew the certificate",
            date(*not_after),
            date(*time)
        ),
        Certificate::Expired => {
            "the server's certificate has expired; renew the certificate".into()
        }
        Certificate::NotValidYetContext { time, not_before } => format!(
            "the server's certificate is valid from {} on, and it is {} here; check this machine's clock",
            date(*not_before),
            date(*time)
        ),
        Certificate::NotValidYet => {
            "the server's certificate is not valid yet; check this machine's clock".into()
        }
        Certificate::Revoked => "the server's certificate was revoked; renew it".into(),
        Certificate::BadEncoding => "the server's certificate is malformed; issue another one".into(),
        Certificate::BadSignature => {
            "a signature by or in the server's certificates is not valid (BadSignature); issue another certificate"
                .into()
        }
        Certificate::InvalidPurpose | Certificate::InvalidPurposeContext { .. } => {
            "the server's certificate is not for servers; issue one with the extended key usage serverAuth".into()
        }
        Certificate::Other(other) => {
            let refused = other.0.downcast_ref::<Refused>().map(Refused::to_string);
            let invalid = other.0.downcast_ref::<webpki::Error>();
            refused.unwrap_or_else(|| invalid.map_or_else(|| not_accepted(why), |why| not_accepted(why)))
        }
        why => not_accepted(why),
    }
}

fn not_accepted(why: &dyn std::fmt::Debug) -> String {
    // The name of the variant, without its fields.
    let name = format!("{why:?}");
    let name = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .next()
        .unwrap_or_default();
    format!("the server's certificate does not conform to RFC 5280 ({name}); issue another one")
}

fn alert(alert: Alert) -> String {
    let name = format!("{alert:?}");
    match alert {
        Alert::ProtocolVersion | Alert::InappropriateFallback => {
            format!(
                "the server supports TLS, but no version that is offered to it (alert {name}); it is {TOO_OLD}"
            )
        }
        Alert::HandshakeFailure | Alert::InsufficientSecurity => format!(
            "the server speaks TLS and aborted the handshake (alert {name}); see its log: it is {TOO_OLD}, \
             or it requires another client certificate (`client_cert_file`)"
        ),
        Alert::CertificateRequired | Alert::NoCertificate => {
            format!("the server requires a client certificate (alert {name}); name one in `client_cert_file`")
        }
        Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateRevoked
        | Alert::CertificateExpired
        | Alert::CertificateUnknown
        | Alert::UnknownCA
        | Alert::AccessDenied => format!(
            "the server does not accept the client certificate, or requires one (alert {name}); see `client_cert_file` and the server's log"
        ),
        Alert::UnrecognisedName => format!(
            "the server does not know the host name in the URL (alert {name}); use the name that it knows"
        ),
        _ => format!("the server speaks TLS and aborted the handshake (alert {name}); see its log"),
    }
}

fn date(time: UnixTime) -> String {
    // Dates in a certificate end with the year 9999 and do not overflow.
    UNIX_EPOCH
        .checked_add(Duration::from_secs(time.as_secs()))
        .map_or_else(String::new, |time| {
            humantime::format_rfc3339_seconds(time).to_string()
        })
}
