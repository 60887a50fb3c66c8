//! When certificates expire.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::certificate::Certificate;
use crate::text;

/// No certificate was seen yet.
const NONE: i64 = i64::MIN;

/// When the certificate expires that a server presented last. Clones share it.
#[derive(Debug, Clone)]
pub struct Expiry(Arc<AtomicI64>);

impl Default for Expiry {
    fn default() -> Self {
        Self(Arc::new(AtomicI64::new(NONE)))
    }
}

impl Expiry {
    /// The end of its validity in seconds since 1970; `None` if no server has presented one, or it cannot be read.
    pub fn get(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|at| *at != NONE)
    }

    /// A server has presented this certificate.
    pub(super) fn saw(&self, certificate: &[u8]) {
        let until = Certificate::read(certificate).ok().and_then(|read| read.expires);
        self.0.store(until.unwrap_or(NONE), Ordering::Relaxed);
    }
}

// What was seen makes no difference between two settings.
impl PartialEq for Expiry {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Expiry {}

/// When the first certificate in a PEM file expires, in seconds since 1970; `None` if it cannot be read.
pub fn of_file(path: &Path) -> Option<i64> {
    let text = text::read(path).ok()?;
    let certificate = CertificateDer::from_pem_slice(text.as_bytes()).ok()?;
    Certificate::read(&certificate).ok()?.expires
}
