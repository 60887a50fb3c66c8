//! TLS for both sides, LDAP and HTTP: the only folder that picks the crypto provider and builds root stores.

mod certificate;
mod explain;
mod files;
mod verifier;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

pub use certificate::describe;
pub use explain::{Progress, broken_off, explain};
use verifier::{Trust, Verifier};

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
        let trust = if self.verify { Some(self.trust()?) } else { None };
        let builder = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier::new(provider, trust)));
        let mut config = match &self.client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let (certificates, key) = client.read()?;
                builder
                    .with_client_auth_cert(certificates, key)
                    .map_err(|error| unusable(&client.cert_file, mismatch(&error)))?
            }
        };
        // A resumed session shows no certificate, so that one that has expired since would still be believed.
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    fn trust(&self) -> Result<Trust, TlsError> {
        let name = match &self.server_name {
            Some(name) => {
                let parsed = ServerName::try_from(name.clone());
                Some(parsed.map_err(|_| TlsError::Name { name: name.clone() })?)
            }
            None => None,
        };
        let named = match &self.ca_file {
            Some(path) => files::authorities(path)?,
            None => Vec::new(),
        };
        let provider = Arc::new(ring::default_provider());
        let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(self.roots(&named)?), provider)
            .build()
            .map_err(|error| TlsError::Setup(error.to_string()))?;
        Ok(Trust { webpki, named, name })
    }

    fn roots(&self, named: &[CertificateDer<'static>]) -> Result<RootCertStore, TlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in named {
            roots.add(certificate.clone()).map_err(|_| {
                files::invalid(self.ca_file.as_deref(), "one of its certificates is malformed")
            })?;
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

fn unusable(path: &Path, cause: impl Into<String>) -> TlsError {
    TlsError::Client {
        path: path.into(),
        cause: cause.into(),
    }
}

fn mismatch(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InconsistentKeys(_) => "the key does not belong to it".into(),
        other => explain(other),
    }
}
