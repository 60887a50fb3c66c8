//! The certificates that servers present, and when certificates expire.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::certificate::{Certificate, Presented, describe};
use crate::text;

/// The certificate that a server presented last, trusted or not. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Seen(Arc<Mutex<Option<Presented>>>);

impl Seen {
    /// The certificate; `None` if no server has presented one.
    pub fn get(&self) -> Option<Presented> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A server has presented this certificate.
    pub(super) fn saw(&self, certificate: &[u8]) {
        let presented = describe(Some(certificate));
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(presented);
    }
}

// What was seen makes no difference between two settings.
impl PartialEq for Seen {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Seen {}

/// When the first certificate in a PEM file expires, in seconds since 1970; `None` if it cannot be read.
pub fn expiry_of_file(path: &Path) -> Option<i64> {
    let text = text::read(path).ok()?;
    let certificate = CertificateDer::from_pem_slice(text.as_bytes()).ok()?;
    Certificate::read(&certificate).ok()?.expires
}
