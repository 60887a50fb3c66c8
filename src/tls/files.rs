//! Reads files of certificates and keys: PEM in UTF-8 or UTF-16, or DER.

use std::io;
use std::path::Path;

use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::{ClientCertificate, TlsError, unusable};
use crate::text;

/// The certificates in a CA file, at least one.
///
/// # Errors
/// [`TlsError::Unreadable`], [`TlsError::NoCertificate`], [`TlsError::Invalid`].
pub(super) fn authorities(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = std::fs::read(path).map_err(|error| TlsError::Unreadable {
        path: path.into(),
        cause: error.to_string(),
    })?;
    // A certificate in DER is a SEQUENCE of more than 127 bytes; text does not begin like that.
    if matches!(bytes.as_slice(), [0x30, length, ..] if *length >= 0x80) {
        return Ok(vec![CertificateDer::from(bytes)]);
    }
    let text = text::decode(bytes)
        .ok()
        .filter(|text| text.contains("-----BEGIN "))
        .ok_or_else(|| invalid(Some(path), "it is neither PEM nor DER"))?;
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| invalid(Some(path), damage(&error)))?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificate { path: path.into() });
    }
    Ok(certificates)
}

pub(super) fn invalid(path: Option<&Path>, cause: &str) -> TlsError {
    TlsError::Invalid {
        path: path.unwrap_or(Path::new("")).into(),
        cause: cause.into(),
    }
}

impl ClientCertificate {
    /// Reads the certificate chain and the key.
    ///
    /// # Errors
    /// [`TlsError::Client`].
    pub(super) fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem_file(&self.cert_file)?.as_bytes())
            .collect::<Result<_, _>>()
            .map_err(|error| unusable(&self.cert_file, damage(&error)))?;
        if certificates.is_empty() {
            return Err(unusable(&self.cert_file, "it holds no certificate"));
        }
        let key = pem_file(&self.key_file)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|error| {
            let cause = match error {
                pem::Error::NoItemsFound if key.contains("ENCRYPTED") => "its key has a passphrase",
                pem::Error::NoItemsFound => "it holds no key",
                error => damage(&error),
            };
            unusable(&self.key_file, cause)
        })?;
        Ok((certificates, key))
    }
}

fn pem_file(path: &Path) -> Result<String, TlsError> {
    text::read(path).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => unusable(path, "it is not PEM"),
        _ => unusable(path, error.to_string()),
    })
}

/// Describes a malformed PEM file. The library's own message would show its content.
fn damage(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "a block in it has no END line",
        pem::Error::IllegalSectionStart { .. } => "a BEGIN line in it is malformed",
        pem::Error::Base64Decode(_) => "a block in it is not base64",
        _ => "it cannot be parsed as PEM",
    }
}
