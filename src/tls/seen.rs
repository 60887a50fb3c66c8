//! The certificates that servers present, and when certificates expire.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::time::Instant;

use super::certificate::{Certificate, Presented, describe};
use crate::text;

/// How long an accepted certificate counts as that of the server. A server with which no new connection is opened may have another one
/// since.
const KNOWN: Duration = Duration::from_secs(24 * 3600);

/// What a server has presented. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Seen(Arc<Mutex<Certificates>>);

#[derive(Debug, Default)]
struct Certificates {
    /// The last one, trusted or not.
    presented: Option<Presented>,
    accepted: Option<Accepted>,
}

/// A certificate that was accepted.
#[derive(Debug, Clone, Copy)]
struct Accepted {
    expires: i64,
    at: Instant,
}

impl Seen {
    /// The certificate that the server presented last, trusted or not; `None` if it has presented none.
    pub fn presented(&self) -> Option<Presented> {
        self.certificates().presented.clone()
    }

    /// When the certificate expires that was accepted last, in seconds since 1970; `None` if none was accepted within a day that
    /// would be refused after its end.
    pub fn expires(&self) -> Option<i64> {
        let last = self.certificates().accepted;
        Some(last.filter(|last| last.at.elapsed() < KNOWN)?.expires)
    }

    /// A server has presented this certificate.
    pub(super) fn saw(&self, certificate: &[u8]) {
        self.certificates().presented = Some(describe(Some(certificate)));
    }

    /// A server has presented this certificate, and has proved that it has the key. It would be refused after its end.
    pub(super) fn accepted(&self, certificate: &[u8]) {
        let expires = Certificate::read(certificate).ok().and_then(|read| read.expires);
        let at = Instant::now();
        self.certificates().accepted = expires.map(|expires| Accepted { expires, at });
    }

    fn certificates(&self) -> MutexGuard<'_, Certificates> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
        let seen = Seen::default();
        assert_eq!(seen.expires(), None);
        for _ in 0..2 {
            seen.accepted(certificate.der());
            advance(KNOWN - Duration::from_secs(1)).await;
            assert_eq!(seen.clone().expires(), Some(2_556_144_000));
        }
        advance(Duration::from_secs(1)).await;
        assert_eq!(seen.expires(), None);
    }
}
