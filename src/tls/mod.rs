//! TLS for both sides, LDAP and HTTP: the only folder that picks the crypto provider and builds root stores.

mod certificate;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

pub use certificate::describe;

use crate::foreign;

/// Whom to trust when connecting to one server, and who we are to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsOptions {
    /// Certificates to trust beside the system's: a PEM bundle or one DER certificate.
    pub ca_file: Option<PathBuf>,
    /// Whether the server's certificate is checked at all. `false` protects against nobody who can reach the
    /// wire, and deserves a loud warning.
    pub verify: bool,
    /// The name that the server's certificate must carry, where it is not the one under which the server is reached.
    pub server_name: Option<String>,
    /// What we show when the server asks who we are.
    pub client: Option<ClientCertificate>,
}

/// A client certificate in PEM; certificates of authorities between it and the server's may follow it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The file of the certificate.
    pub cert_file: PathBuf,
    /// The file of its key, without a passphrase.
    pub key_file: PathBuf,
}

impl Default for TlsOptions {
    /// The system's roots, and every certificate checked.
    fn default() -> Self {
        Self {
            ca_file: None,
            verify: true,
            server_name: None,
            client: None,
        }
    }
}

/// Why there is no TLS configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The CA file cannot be read.
    #[error("the CA file {path} cannot be read: {cause}; check the path and its permissions")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's words.
        cause: String,
    },
    /// The CA file is in PEM, but holds something else.
    #[error(
        "the CA file {path} holds no certificate; it needs a block that begins with -----BEGIN CERTIFICATE-----"
    )]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The CA file is damaged, or neither PEM nor DER.
    #[error("the CA file {path} holds no valid certificate: {cause}; export the CA again as PEM or DER")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The name to expect can stand in no certificate.
    #[error("{name:?} is no name that a certificate can carry; write a host name or an IP address")]
    Name {
        /// The name.
        name: String,
    },
    /// The client certificate or its key cannot be used.
    #[error(
        "the client certificate's file {path} cannot be used: {cause}; it must be in PEM, and a key without a passphrase"
    )]
    Client {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// Nobody would be trusted.
    #[error(
        "this system has no trusted CA certificates{cause}; install its package ca-certificates or name a CA file"
    )]
    NoRoots {
        /// ": " and what went wrong while they were read, where something did.
        cause: String,
    },
    /// The provider and rustls do not fit.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

/// Why a handshake failed and, after a semicolon, what to do about it where it is one of the usual failures.
pub fn explain(error: &rustls::Error) -> String {
    use rustls::{CertificateError as Certificate, Error};
    let remedy = match error {
        Error::InvalidCertificate(Certificate::UnknownIssuer) => {
            "; name the CA that signed the server's certificate in `ca_file`"
        }
        Error::InvalidCertificate(
            Certificate::NotValidForName | Certificate::NotValidForNameContext { .. },
        ) => {
            "; use a host name that stands in the server's certificate, or name the one to expect in `tls_server_name`"
        }
        Error::InvalidCertificate(Certificate::Expired | Certificate::ExpiredContext { .. }) => {
            "; renew the server's certificate"
        }
        Error::InvalidCertificate(Certificate::NotValidYet | Certificate::NotValidYetContext { .. }) => {
            "; see whether this machine's clock is right"
        }
        Error::InvalidMessage(_) => "; is this a port without TLS?",
        _ => "",
    };
    // It may repeat names of the certificate.
    let cause = foreign::shown(&error.to_string().replace("; ", ", "));
    format!("{cause}{remedy}")
}

/// Makes `ring` the provider of everything in this process that asks rustls for its default. Does nothing if there
/// is one already.
pub fn install() {
    // The only error says that a provider was installed before, which is what is wanted.
    drop(ring::default_provider().install_default());
}

impl TlsOptions {
    /// The configuration of a TLS client that trusts as told: TLS 1.2 and 1.3. The files are read anew.
    ///
    /// # Errors
    /// A file or the name cannot be used, or nothing would be trusted.
    pub fn client_config(&self) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Setup(error.to_string()))?;
        let builder = match &self.server_name {
            _ if !self.verify => builder
                .dangerous()
                .with_custom_certificate_verifier(Arc::new(AcceptAnyCertificate(provider))),
            None => builder.with_root_certificates(self.roots()?),
            Some(name) => {
                let named =
                    ServerName::try_from(name.clone()).map_err(|_| TlsError::Name { name: name.clone() })?;
                let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(self.roots()?), provider)
                    .build()
                    .map_err(|error| TlsError::Setup(error.to_string()))?;
                builder
                    .dangerous()
                    .with_custom_certificate_verifier(Arc::new(ExpectName {
                        name: named,
                        verifier,
                    }))
            }
        };
        match &self.client {
            None => Ok(builder.with_no_client_auth()),
            Some(client) => {
                let (certificates, key) = client.read()?;
                builder
                    .with_client_auth_cert(certificates, key)
                    .map_err(|error| unusable(&client.cert_file, &error))
            }
        }
    }

    fn roots(&self) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        if let Some(path) = &self.ca_file {
            for certificate in read_certificates(path)? {
                roots.add(certificate).map_err(|error| invalid(path, &error))?;
            }
        }
        let system = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(system.certs);
        if roots.is_empty() {
            let cause = system.errors.first();
            return Err(TlsError::NoRoots {
                cause: cause.map_or_else(String::new, |error| format!(": {error}")),
            });
        }
        Ok(roots)
    }
}

impl ClientCertificate {
    fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let certificates: Vec<_> = CertificateDer::pem_file_iter(&self.cert_file)
            .and_then(Iterator::collect)
            .map_err(|error| unusable(&self.cert_file, &error))?;
        if certificates.is_empty() {
            return Err(unusable(&self.cert_file, &"there is no certificate in it"));
        }
        let key =
            PrivateKeyDer::from_pem_file(&self.key_file).map_err(|error| unusable(&self.key_file, &error))?;
        Ok((certificates, key))
    }
}

fn unusable(path: &Path, cause: &dyn std::fmt::Display) -> TlsError {
    TlsError::Client {
        path: path.into(),
        cause: cause.to_string(),
    }
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = std::fs::read(path).map_err(|error| TlsError::Unreadable {
        path: path.into(),
        cause: error.to_string(),
    })?;
    if !bytes.windows(11).any(|window| window == b"-----BEGIN ") {
        return Ok(vec![CertificateDer::from(bytes)]);
    }
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(&bytes)
        .collect::<Result<_, _>>()
        .map_err(|error| invalid(path, &error))?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate { path: path.into() });
    }
    Ok(certificates)
}

fn invalid(path: &Path, cause: &dyn std::fmt::Display) -> TlsError {
    TlsError::Invalid {
        path: path.into(),
        cause: cause.to_string(),
    }
}

/// Believes any certificate, whoever it names. The handshake is still checked: whoever answers holds its key.
#[derive(Debug)]
struct AcceptAnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Checks a certificate as usual, but for another name than that of the server.
#[derive(Debug)]
struct ExpectName {
    name: ServerName<'static>,
    verifier: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for ExpectName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.verifier
            .verify_server_cert(end_entity, intermediates, &self.name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
