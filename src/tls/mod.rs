//! TLS for LDAP and HTTP. The only folder that selects the crypto provider and builds root stores.

mod certificate;
#[cfg(feature = "kerberos")]
mod channel_binding;
mod explain;
mod files;
mod pin;
pub mod seen;
mod verifier;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

pub use certificate::{Presented, describe};
#[cfg(feature = "kerberos")]
pub use channel_binding::server_end_point;
pub use explain::{Progress, broken_off, explain};
pub use pin::Pin;
pub use seen::Seen;
use verifier::{Authorities, Trust, Verifier};

/// How a TLS connection to one server is authenticated, in both directions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsOptions {
    /// Certificates that are trusted in addition to the system's: a PEM bundle or one DER certificate.
    pub ca_file: Option<PathBuf>,
    /// Whether the server's certificate is verified. If not, anyone on the network path can read and change the traffic.
    pub verify: bool,
    /// The name that the server's certificate must contain, if it is not the host name of the URL.
    pub server_name: Option<String>,
    /// The certificate to present when the server requests one.
    pub client: Option<ClientCertificate>,
    /// The certificates of which the server must present one. They replace all other verification but that of the proof that
    /// the server has the key.
    pub pins: Vec<Pin>,
    /// What the server has presented.
    pub seen: Seen,
}

/// A client certificate in PEM. Intermediate certificates may follow it in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientCertificate {
    /// The file of the certificate.
    pub cert_file: PathBuf,
    /// The file of its key, without a passphrase.
    pub key_file: PathBuf,
}

impl Default for TlsOptions {
    /// Verifies certificates against the system's roots.
    fn default() -> Self {
        Self {
            ca_file: None,
            verify: true,
            server_name: None,
            client: None,
            pins: Vec::new(),
            seen: Seen::default(),
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
        /// The message of the operating system.
        cause: String,
    },
    /// The CA file is PEM, but holds no certificate.
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
    /// The expected name is neither a host name nor an IP address.
    #[error("{name:?} cannot be a name in a certificate; write a host name or an IP address")]
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
    /// There are no trusted certificates at all.
    #[error(
        "this system has no trusted CA certificates{cause}; install its package ca-certificates or name a CA file"
    )]
    NoRoots {
        /// ": " and why they could not be read, or empty.
        cause: String,
    },
    /// The provider and rustls do not work together.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

/// Makes `ring` the default crypto provider of this process. Does nothing if there is one already.
pub fn install() {
    // The only error says that a provider is already installed.
    drop(ring::default_provider().install_default());
}

impl TlsOptions {
    /// The files that these options name.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        let client = self.client.iter();
        let client = client.flat_map(|client| [&client.cert_file, &client.key_file]);
        self.ca_file.iter().chain(client).map(PathBuf::as_path)
    }

    /// Builds a TLS client for TLS 1.2 and 1.3. Reads the files again at each call.
    ///
    /// # Errors
    /// A file or the name cannot be used, or there are no trusted certificates.
    pub fn client_config(&self) -> Result<ClientConfig, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Setup(error.to_string()))?;
        let trust = if !self.pins.is_empty() {
            Trust::Pinned(self.pins.clone())
        } else if self.verify {
            Trust::Authorities(self.authorities()?)
        } else {
            Trust::Anyone
        };
        let builder = builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Verifier::new(provider, trust, self.seen.clone())));
        let mut config = match &self.client {
            None => builder.with_no_client_auth(),
            Some(client) => {
                let (certificates, key) = client.read()?;
                builder
                    .with_client_auth_cert(certificates, key)
                    .map_err(|error| unusable(&client.cert_file, mismatch(&error)))?
            }
        };
        // A resumed session presents no certificate, so that one that has expired since would still be accepted.
        config.resumption = Resumption::disabled();
        Ok(config)
    }

    fn authorities(&self) -> Result<Authorities, TlsError> {
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
        Ok(Authorities { webpki, named, name })
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
