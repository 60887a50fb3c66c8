//! Pins: a certificate, or the key in it, that a server must present, by its SHA-256 hash.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::digest::{SHA256, SHA256_OUTPUT_LEN, digest};
use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

type Hash = [u8; SHA256_OUTPUT_LEN];

/// What the certificate of a server must be, whoever has issued it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// This certificate: the hash of its DER.
    Certificate(Hash),
    /// One with this key: the hash of its SubjectPublicKeyInfo (RFC 7469, 2.4).
    Key(Hash),
}

impl Pin {
    /// The pin of a certificate.
    pub(super) fn of(certificate: &[u8]) -> Self {
        Self::Certificate(sha256(certificate))
    }

    /// Whether a certificate is the pinned one, or has the pinned key.
    pub(super) fn matches(&self, certificate: &CertificateDer<'_>) -> bool {
        match self {
            Self::Certificate(hash) => sha256(certificate) == *hash,
            Self::Key(hash) => EndEntityCert::try_from(certificate)
                .is_ok_and(|read| sha256(&read.subject_public_key_info()) == *hash),
        }
    }
}

impl FromStr for Pin {
    type Err = &'static str;

    /// Reads what other programs print: the fingerprint of `openssl x509 -fingerprint -sha256`, with or without its colons and
    /// what stands before it, or the form of `curl --pinnedpubkey`, `sha256//` and base64.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        if let Some(key) = text.strip_prefix("sha256//") {
            let hash = STANDARD.decode(key).ok().and_then(|hash| hash.try_into().ok());
            return hash
                .map(Self::Key)
                .ok_or("is not \"sha256//\" and the base64 of 32 bytes");
        }
        let digits = match text.rsplit_once('=') {
            Some((_, digits)) => digits,
            None => text.strip_prefix("sha256:").unwrap_or(text),
        };
        let digits: Vec<u32> = digits
            .chars()
            .filter(|digit| !matches!(digit, ':' | ' '))
            .map(|digit| digit.to_digit(16))
            .collect::<Option<_>>()
            .ok_or("is not a hash in hexadecimal digits, as `openssl x509 -fingerprint -sha256` prints it")?;
        let bytes: Vec<u8> = digits
            .chunks(2)
            .filter_map(|pair| u8::try_from(pair.iter().fold(0, |sum, digit| sum * 16 + digit)).ok())
            .collect();
        match bytes.try_into() {
            Ok(hash) if digits.len() == 2 * SHA256_OUTPUT_LEN => Ok(Self::Certificate(hash)),
            _ => Err(
                "is not a SHA-256 hash, which has 64 hexadecimal digits; use `openssl x509 -fingerprint -sha256`",
            ),
        }
    }
}

impl fmt::Display for Pin {
    /// As `tls_pin` has it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Certificate(hash) => {
                f.write_str("sha256:")?;
                hash.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
            Self::Key(hash) => write!(f, "sha256//{}", STANDARD.encode(hash)),
        }
    }
}

fn sha256(bytes: &[u8]) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    #[test]
    fn a_fingerprint_is_read_as_programs_print_it() {
        let hash = sha256(b"a certificate");
        let plain: String = hash.iter().map(|byte| format!("{byte:02X}")).collect();
        let colons = plain
            .as_bytes()
            .chunks(2)
            .map(|pair| std::str::from_utf8(pair).unwrap());
        let colons = colons.collect::<Vec<_>>().join(":");
        for text in [
            plain.to_lowercase(),
            colons.clone(),
            format!("sha256:{plain}"),
            format!("sha256 Fingerprint={colons}\n"),
            format!("SHA256 Fingerprint={colons}"),
        ] {
            assert_eq!(text.parse(), Ok(Pin::Certificate(hash)), "{text}");
        }
        let shown = Pin::Certificate(hash).to_string();
        assert_eq!(shown.parse(), Ok(Pin::Certificate(hash)));
    }

    #[test]
    fn what_is_no_hash_is_refused() {
        let sha1 = "da:39:a3:ee:5e:6b:4b:0d:32:55:bf:ef:95:60:18:90:af:d8:07:09";
        for text in [
            "",
            "sha256:",
            "sha256//",
            "sha256//AAAA",
            "ldap.example.org",
            sha1,
            &"é".repeat(64),
        ] {
            assert!(text.parse::<Pin>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_certificate_is_recognised_by_itself_and_by_its_key() {
        let key = KeyPair::generate().unwrap();
        let issue = |name: &str| {
            let parameters = CertificateParams::new([name.to_owned()]).unwrap();
            parameters.self_signed(&key).unwrap().der().clone()
        };
        let (first, second) = (issue("a.example.org"), issue("b.example.org"));
        let certificate = Pin::of(&first);
        assert!(certificate.matches(&first) && !certificate.matches(&second));
        let read = EndEntityCert::try_from(&first).unwrap();
        let key = Pin::Key(sha256(&read.subject_public_key_info()));
        assert_eq!(key.to_string().parse(), Ok(key.clone()));
        assert!(key.matches(&first) && key.matches(&second));
        let other = KeyPair::generate().unwrap();
        let other = CertificateParams::default().self_signed(&other).unwrap();
        assert!(!key.matches(other.der()));
    }
}
