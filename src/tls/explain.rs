//! What rustls refuses, in words for people: the cause and, after a semicolon, what to do about it.

use std::time::{Duration, UNIX_EPOCH};

use rustls::pki_types::UnixTime;
use rustls::{
    AlertDescription as Alert, CertificateError as Certificate, Error, InvalidMessage, PeerIncompatible,
    PeerMisbehaved,
};

use super::verifier::Refused;
use crate::foreign;

/// What a server must be able to do at least.
pub(super) const LEAST: &str =
    "too old: TLS 1.2 with ECDHE and a certificate of version 3 with 2048 bits are the least";

/// Why a handshake failed and, after a semicolon, what to do about it where it is one of the usual failures. Code words
/// in parentheses are those of rustls or of the alert (RFC 8446, 6.2), to search for.
pub fn explain(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(why) => certificate(why),
        Error::AlertReceived(alert) => self::alert(*alert),
        Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => "what answers there is not TLS; is this a port without TLS?".into(),
        Error::InvalidMessage(why) => format!("the server sent a TLS message that cannot be read ({why:?})"),
        Error::PeerIncompatible(
            PeerIncompatible::ServerDoesNotSupportTls12Or13
            | PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ) => format!("the server speaks TLS, but no version from 1.2 on; it is {LEAST}"),
        Error::PeerIncompatible(why) => {
            format!("the server speaks TLS, but in a way that is not supported ({why:?})")
        }
        Error::PeerMisbehaved(
            PeerMisbehaved::SelectedUnofferedCipherSuite | PeerMisbehaved::SelectedUnofferedKxGroup,
        ) => format!("the server chose a cipher suite or a key exchange that was not offered; it is {LEAST}"),
        Error::PeerMisbehaved(why) => {
            format!("the server does not keep to the rules of TLS ({why:?}); see its log")
        }
        Error::NoCertificatesPresented => "the server presents no certificate; configure one there".into(),
        other => foreign::shown(&other.to_string().replace("; ", ", ")),
    }
}

/// How far a server had gone when it ended a handshake without a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// That is not known.
    Unknown,
    /// It had not answered yet.
    Silent,
    /// It had consented to TLS (RFC 4511, 4.14), and not answered in it yet.
    Consented,
    /// It had begun to answer in TLS.
    Answered,
}

/// Why a handshake failed that the server ended without a word; nothing is guessed that its progress contradicts.
pub fn broken_off(progress: Progress) -> String {
    let (when, remedy) = match progress {
        Progress::Unknown => (
            "during the TLS handshake",
            "is this a port without TLS? If it speaks TLS, it may want a client certificate (`client_cert_file`), or be",
        ),
        Progress::Silent => (
            "in place of answering the TLS handshake",
            "is this a port without TLS? If it speaks TLS, it may be",
        ),
        Progress::Consented => (
            "in place of answering the TLS handshake",
            "its log tells why: it may have no certificate, or be",
        ),
        Progress::Answered => (
            "during the TLS handshake",
            "its log tells why: it may want a client certificate (`client_cert_file`), or be",
        ),
    };
    format!("the server closed the connection {when}; {remedy} {LEAST}")
}

fn certificate(why: &Certificate) -> String {
    match why {
        Certificate::UnknownIssuer => {
            "nobody who is trusted signed the server's certificate (UnknownIssuer); name the CA that signed it in \
             `ca_file`, or the certificate itself where it is self-signed"
                .into()
        }
        Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
            let cause = why.to_string().replace("; ", ", ");
            format!(
                "{cause}; use a host name that stands in the server's certificate, or name the one to expect in `tls_server_name`"
            )
        }
        Certificate::ExpiredContext { time, not_after } => format!(
            "the server's certificate expired at {}, and it is {} here; renew the certificate",
            date(*not_after),
            date(*time)
        ),
        Certificate::Expired => {
            "the server's certificate ends before it begins to be valid; renew the certificate".into()
        }
        Certificate::NotValidYetContext { time, not_before } => format!(
            "the server's certificate is valid from {} on, and it is {} here; see whether this machine's clock is right",
            date(*not_before),
            date(*time)
        ),
        Certificate::NotValidYet => {
            "the server's certificate is not valid yet; see whether this machine's clock is right".into()
        }
        Certificate::Revoked => "the server's certificate was revoked; renew it".into(),
        Certificate::BadEncoding => "the server's certificate is malformed; issue another one".into(),
        Certificate::BadSignature => {
            "a signature by or in the server's certificates does not fit (BadSignature); issue another certificate"
                .into()
        }
        Certificate::InvalidPurpose | Certificate::InvalidPurposeContext { .. } => {
            "the server's certificate is not for servers; issue one with the extended key usage serverAuth".into()
        }
        Certificate::Other(other) => match (other.0.downcast_ref::<Refused>(), other.0.downcast_ref()) {
            (Some(refused), _) => refused.to_string(),
            (None, Some(webpki::Error::CaUsedAsEndEntity)) => {
                "the certificate that the server presents as its own is that of an authority (CA:TRUE); issue one with CA:FALSE for it, \
                 or name this very certificate in `ca_file`"
                    .into()
            }
            (None, Some(why)) => not_accepted(why),
            (None, None) => not_accepted(why),
        },
        why => not_accepted(why),
    }
}

fn not_accepted(why: &dyn std::fmt::Debug) -> String {
    // The name of the variant, without what it holds.
    let name = format!("{why:?}");
    let name = name
        .split(|c: char| !c.is_ascii_alphanumeric())
        .next()
        .unwrap_or_default();
    format!("the server's certificate does not hold what RFC 5280 demands ({name}); issue another one")
}

fn alert(alert: Alert) -> String {
    let name = format!("{alert:?}");
    match alert {
        Alert::ProtocolVersion | Alert::InappropriateFallback => {
            format!(
                "the server speaks TLS, but no version that is offered to it (alert {name}); it is {LEAST}"
            )
        }
        Alert::HandshakeFailure | Alert::InsufficientSecurity => format!(
            "the server speaks TLS and broke off the handshake (alert {name}); it finds nothing in common and is {LEAST}, \
             or it wants another client certificate than it got (`client_cert_file`): its log tells"
        ),
        Alert::CertificateRequired | Alert::NoCertificate => {
            format!("the server wants a client certificate (alert {name}); name one as `client_cert_file`")
        }
        Alert::BadCertificate
        | Alert::UnsupportedCertificate
        | Alert::CertificateRevoked
        | Alert::CertificateExpired
        | Alert::CertificateUnknown
        | Alert::UnknownCA
        | Alert::AccessDenied => format!(
            "the server does not accept the client certificate that it got, or that it got none (alert {name}); see `client_cert_file` and the server's log"
        ),
        Alert::UnrecognisedName => format!(
            "the server does not know the host name by which it is reached (alert {name}); use the name that it has"
        ),
        _ => format!("the server speaks TLS and broke off the handshake (alert {name}); see its log"),
    }
}

fn date(time: UnixTime) -> String {
    // Of what a certificate can say (until the year 9999) nothing overflows.
    UNIX_EPOCH
        .checked_add(Duration::from_secs(time.as_secs()))
        .map_or_else(String::new, |time| {
            humantime::format_rfc3339_seconds(time).to_string()
        })
}
