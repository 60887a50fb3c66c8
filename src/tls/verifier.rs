//! Verifies the server's certificate: like rustls, but with more precise errors, and it accepts a certificate that the
//! administrator named in `ca_file` as the server's own, or pinned.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};

use super::certificate::{self, Certificate};
use super::{Pin, Seen};

/// Why a certificate is refused: the cause and, after a semicolon, the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Refused(String);

/// Verifies the certificate of a server, and the signature that proves that the server has its key.
#[derive(Debug)]
pub(super) struct Verifier {
    provider: Arc<CryptoProvider>,
    trust: Trust,
    seen: Seen,
}

/// Which certificates are trusted. The signature is always verified.
#[derive(Debug)]
pub(super) enum Trust {
    /// Any, for any name.
    Anyone,
    /// These, for any name and at any time.
    Pinned(Vec<Pin>),
    /// Those that an authority has issued for the name.
    Authorities(Authorities),
}

/// The authorities that are trusted.
#[derive(Debug)]
pub(super) struct Authorities {
    /// The standard verifier, with all roots.
    pub(super) webpki: Arc<WebPkiServerVerifier>,
    /// The certificates in `ca_file`. A server may present one of them as its own certificate, even if it is marked as
    /// one of a CA.
    pub(super) named: Vec<CertificateDer<'static>>,
    /// The name that the certificate must contain, if it is not the host name of the URL.
    pub(super) name: Option<ServerName<'static>>,
}

impl Verifier {
    pub(super) fn new(provider: Arc<CryptoProvider>, trust: Trust, seen: Seen) -> Self {
        Self {
            provider,
            trust,
            seen,
        }
    }

    /// Ends the verification with the outcome of the check of the server's signature. An error is replaced by the shortcoming of
    /// the certificate, if it has one.
    fn conclude<T>(&self, certificate: &CertificateDer<'_>, outcome: Result<T, Error>) -> Result<T, Error> {
        // Others are accepted whether they have expired or not.
        if outcome.is_ok() && matches!(self.trust, Trust::Authorities(_)) {
            self.seen.accepted(certificate);
        }
        outcome.map_err(|error| match shortcoming([certificate]) {
            Some(refused) => refused.into(),
            None => error,
        })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.seen.saw(end_entity);
        let pin_it = || {
            format!(
                "if its administrator confirms that this is the right one, write `tls_pin = \"{}\"`",
                Pin::of(end_entity)
            )
        };
        let trust = match &self.trust {
            Trust::Anyone => return Ok(ServerCertVerified::assertion()),
            Trust::Pinned(pins) if pins.iter().any(|pin| pin.matches(end_entity)) => {
                return Ok(ServerCertVerified::assertion());
            }
            Trust::Pinned(_) => {
                return Err(Refused(format!(
                    "the server presents another certificate than the one in `tls_pin`: {}; {}",
                    certificate::shown(end_entity),
                    pin_it(),
                ))
                .into());
            }
            Trust::Authorities(authorities) => authorities,
        };
        let name = trust.name.as_ref().unwrap_or(server_name);
        let checked = trust
            .webpki
            .verify_server_cert(end_entity, intermediates, name, ocsp_response, now);
        let Err(Error::InvalidCertificate(why)) = checked else {
            return checked;
        };
        // webpki reports this after it has checked the dates and before it looks for the issuer.
        if is_ca(&why) && trust.named.iter().any(|named| named == end_entity) {
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, name)?;
            return Ok(ServerCertVerified::assertion());
        }
        let presented = || std::iter::once(end_entity).chain(intermediates);
        let refused = match &why {
            CertificateError::UnknownIssuer => Some(Refused(format!(
                "the server's certificate is not signed by a trusted CA (UnknownIssuer); name the CA that signed it in \
                 `ca_file`, or, {} instead",
                pin_it()
            ))),
            why if is_ca(why) => Some(Refused(format!(
                "the server presents the certificate of an authority (CA:TRUE) as its own; issue one with CA:FALSE for it, \
                 name this same certificate in `ca_file`, or, {} instead",
                pin_it()
            ))),
            CertificateError::UnsupportedSignatureAlgorithmContext {
                signature_algorithm_id: id,
                ..
            }
            | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext {
                signature_algorithm_id: id,
                ..
            } => Some(unsupported(presented(), id)),
            CertificateError::BadSignature => shortcoming(presented().chain(&trust.named)),
            CertificateError::Other(_) | CertificateError::BadEncoding => shortcoming(presented()),
            _ => None,
        };
        Err(refused.map_or(Error::InvalidCertificate(why), Error::from))
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        self.conclude(
            cert,
            rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms),
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        self.conclude(
            cert,
            rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms),
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        CertificateError::Other(OtherError(Arc::new(refused))).into()
    }
}

fn is_ca(why: &CertificateError) -> bool {
    let CertificateError::Other(other) = why else {
        return false;
    };
    matches!(other.0.downcast_ref(), Some(webpki::Error::CaUsedAsEndEntity))
}

/// The shortcoming of the first certificate that has one.
fn shortcoming<'a>(all: impl IntoIterator<Item = &'a CertificateDer<'a>>) -> Option<Refused> {
    all.into_iter().find_map(|der| {
        let certificate = Certificate::read(der).ok()?;
        let shortcoming = certificate.shortcoming()?;
        Some(Refused(format!(
            "the certificate of {} {shortcoming}",
            certificate.subject
        )))
    })
}

/// The error for an unsupported signature algorithm. Names the certificate that uses it.
fn unsupported<'a>(all: impl IntoIterator<Item = &'a CertificateDer<'a>>, algorithm: &[u8]) -> Refused {
    let signed =
        |der: &&CertificateDer<'_>| Certificate::read(der).is_ok_and(|read| read.algorithm == algorithm);
    let found = all
        .into_iter()
        .find(signed)
        .and_then(|der| Certificate::read(der).ok());
    let (whose, how) = match &found {
        Some(certificate) => (certificate.subject.as_str(), certificate.signature()),
        None => ("the server", "an algorithm that is not supported"),
    };
    Refused(format!(
        "the certificate of {whose} is signed with {how}; issue another one, signed with SHA-256 or better"
    ))
}
