//! When certificates expire.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::time::Instant;

use super::certificate::Certificate;
use crate::text;

/// How long a certificate counts as that of the server. A server with which no new connection is opened may have another one since.
const KNOWN: Duration = Duration::from_secs(24 * 3600);

/// When the certificate of a server expires. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Expiry(Arc<Mutex<Option<Accepted>>>);

/// A certificate that was accepted.
#[derive(Debug, Clone, Copy)]
struct Accepted {
    expires: i64,
    at: Instant,
}

impl Expiry {
    /// The end of its validity in seconds since 1970; `None` if none was accepted within a day, or it cannot be read.
    pub fn get(&self) -> Option<i64> {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Some(last.filter(|last| last.at.elapsed() < KNOWN)?.expires)
    }

    /// A server has presented this certificate, and has proved that it has the key. It would be refused after its end.
    pub(super) fn accepted(&self, certificate: &[u8]) {
        let expires = Certificate::read(certificate).ok().and_then(|read| read.expires);
        let at = Instant::now();
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            expires.map(|expires| Accepted { expires, at });
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

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_certificate_is_forgotten_after_a_day_without_a_connection() {
        let mut soon = CertificateParams::new(["ldap.example.org".into()]).unwrap();
        soon.not_after = date_time_ymd(2051, 1, 1);
        let certificate = soon.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let expiry = Expiry::default();
        assert_eq!(expiry.get(), None);
        for _ in 0..2 {
            expiry.accepted(certificate.der());
            advance(KNOWN - Duration::from_secs(1)).await;
            assert_eq!(expiry.clone().get(), Some(2_556_144_000));
        }
        advance(Duration::from_secs(1)).await;
        assert_eq!(expiry.get(), None);
    }
}
