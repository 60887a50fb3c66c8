//! The channel binding `tls-server-end-point` (RFC 5929, 4): a hash of the server's certificate, by which an authentication within
//! TLS shows that nobody is in between.

use ring::digest::{SHA256, SHA384, SHA512, digest};

use super::certificate::Certificate;
use crate::ber::Reader;

/// The binding to a connection whose server has presented this certificate; `None` if it cannot be read.
pub fn server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let read = Certificate::read(certificate).ok()?;
    let signed_by = Reader::new(&read.algorithm)
        .expect(0x06, "has no algorithm")
        .ok()?;
    // MD5 and SHA-1 are replaced by SHA-256.
    let algorithm = match signed_by {
        // sha384WithRSAEncryption, ecdsa-with-SHA384
        b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c" | b"\x2a\x86\x48\xce\x3d\x04\x03\x03" => &SHA384,
        // sha512WithRSAEncryption, ecdsa-with-SHA512
        b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d" | b"\x2a\x86\x48\xce\x3d\x04\x03\x04" => &SHA512,
        _ => &SHA256,
    };
    let mut binding = b"tls-server-end-point:".to_vec();
    binding.extend_from_slice(digest(algorithm, certificate).as_ref());
    Some(binding)
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384};

    use super::*;

    #[test]
    fn the_hash_is_that_with_which_the_certificate_was_signed() {
        for (algorithm, length) in [(&PKCS_ECDSA_P256_SHA256, 32), (&PKCS_ECDSA_P384_SHA384, 48)] {
            let key = KeyPair::generate_for(algorithm).unwrap();
            let certificate = CertificateParams::default().self_signed(&key).unwrap();
            let binding = server_end_point(certificate.der()).unwrap();
            assert_eq!(binding.len(), b"tls-server-end-point:".len() + length);
        }
        assert_eq!(server_end_point(b"nothing"), None);
    }
}
