//! Reads a server's certificate (RFC 5280) to show it to people. `verifier` decides whether to trust it.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::SystemTime;

use super::pin::Pin;
use crate::ber::{self, Malformed, OCTET_STRING, Reader, SEQUENCE, SET};
use crate::foreign;

/// The minimum that a server must support.
pub(super) const TOO_OLD: &str =
    "too old: the minimum is TLS 1.2 with ECDHE and a certificate of version 3 with 2048 bits";

const BIT_STRING: u8 = 0x03;
/// rsaEncryption (RFC 8017, appendix C).
const RSA: &[u8] = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01";
/// The sizes of RSA keys whose signatures `ring` verifies.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
const SUBJECT_ALT_NAME: &[u8] = b"\x55\x1d\x11";
const UTC_TIME: u8 = 0x17;

/// What a server presents, trusted or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented {
    /// The certificate for people, with its pin; or that there is none.
    pub text: String,
    /// The end of its validity in seconds since 1970, if that can be read.
    pub expires: Option<i64>,
}

/// Describes a certificate in DER.
pub fn describe(der: Option<&[u8]>) -> Presented {
    let text = match der {
        Some(der) => format!("{}, {}", shown(der), Pin::of(der)),
        None => "no certificate".into(),
    };
    let expires = der.and_then(|der| Certificate::read(der).ok()?.expires);
    Presented { text, expires }
}

/// The same without the pin.
pub(super) fn shown(der: &[u8]) -> String {
    match Certificate::read(der) {
        Ok(certificate) => certificate.to_string(),
        Err(malformed) => format!("a certificate that {malformed}"),
    }
}

/// The parts of a certificate that help to see whether it is the right one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Certificate {
    version: i64,
    /// The AlgorithmIdentifier of the signature.
    pub(super) algorithm: Vec<u8>,
    /// The size of the key in bits, if it is an RSA key.
    rsa_bits: Option<usize>,
    pub(super) subject: String,
    issuer: String,
    from: String,
    until: String,
    /// The end of the validity in seconds since 1970.
    pub(super) expires: Option<i64>,
    names: Vec<String>,
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            subject,
            issuer,
            from,
            until,
            names,
            ..
        } = self;
        let names = if names.is_empty() {
            "none".into()
        } else {
            names.join(", ")
        };
        write!(
            f,
            "subject {subject}, issuer {issuer}, valid from {from} until {until}, names {names}"
        )
    }
}

impl Certificate {
    /// Reads a certificate in DER.
    pub(super) fn read(der: &[u8]) -> Result<Self, Malformed> {
        let mut certificate = Reader::new(Reader::new(der).expect(SEQUENCE, "is not a certificate")?);
        let mut parts = Reader::new(certificate.expect(SEQUENCE, "is empty")?);
        let algorithm = certificate.expect(SEQUENCE, "has no algorithm")?.to_vec();
        // Version 1 is encoded by leaving the field out; the others are encoded as version - 1.
        let version = match parts.optional(0xa0)? {
            Some(version) => ber::integer(Reader::new(version).expect(ber::INTEGER, "has no version")?)?,
            None => 0,
        };
        parts.expect(ber::INTEGER, "has no serial number")?;
        parts.expect(SEQUENCE, "has no algorithm")?;
        let issuer = name(parts.expect(SEQUENCE, "has no issuer")?)?;
        let mut validity = Reader::new(parts.expect(SEQUENCE, "has no validity")?);
        let (from, until) = (time(&mut validity)?, time(&mut validity)?);
        let subject = name(parts.expect(SEQUENCE, "has no subject")?)?;
        let rsa_bits = rsa_bits(parts.expect(SEQUENCE, "has no key")?)?;
        let mut names = Vec::new();
        while let Some((tag, contents)) = parts.next()? {
            if tag == 0xa3 {
                names = alternative_names(contents)?;
            }
        }
        Ok(Self {
            version: version.saturating_add(1),
            algorithm,
            rsa_bits,
            subject,
            issuer,
            from: day(&from),
            until: day(&until),
            expires: humantime::parse_rfc3339(&until)
                .ok()
                .and_then(|time| time.duration_since(SystemTime::UNIX_EPOCH).ok())
                .and_then(|since| i64::try_from(since.as_secs()).ok()),
            names,
        })
    }

    /// Why signatures made with this certificate cannot be verified and, after a semicolon, what to do. Completes the
    /// sentence "the certificate ...".
    pub(super) fn shortcoming(&self) -> Option<String> {
        let Self {
            version, rsa_bits, ..
        } = self;
        match rsa_bits {
            _ if *version < 3 => Some(format!("is of version {version}, {TOO_OLD}; issue another one")),
            Some(bits) if bits < RSA_BITS.start() => {
                Some(format!("has a key of {bits} bits, {TOO_OLD}; issue another one"))
            }
            Some(bits) if bits > RSA_BITS.end() => Some(format!(
                "has a key of {bits} bits, and at most {} are supported; issue another one",
                RSA_BITS.end()
            )),
            _ => None,
        }
    }

    /// Describes a signature algorithm that is not supported.
    pub(super) fn signature(&self) -> &'static str {
        match Reader::new(&self.algorithm).expect(0x06, "has no algorithm") {
            // RFC 3279, 2.2
            Ok(
                b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05"
                | b"\x2a\x86\x48\xce\x3d\x04\x01"
                | b"\x2a\x86\x48\xce\x38\x04\x03",
            ) => "SHA-1, which is too old",
            Ok(b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04" | b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x02") => {
                "MD5 or MD2, which is too old"
            }
            _ => "an algorithm that is not supported",
        }
    }
}

/// The size of the key in a SubjectPublicKeyInfo in bits, if it is an RSA key.
fn rsa_bits(info: &[u8]) -> Result<Option<usize>, Malformed> {
    let mut info = Reader::new(info);
    let mut algorithm = Reader::new(info.expect(SEQUENCE, "has a key without an algorithm")?);
    if algorithm.expect(0x06, "has a key without an algorithm")? != RSA {
        return Ok(None);
    }
    let key = info.expect(BIT_STRING, "has no key")?;
    // The first byte of a BIT STRING is the number of unused bits.
    let key = Reader::new(key.get(1..).unwrap_or_default()).expect(SEQUENCE, "has no key")?;
    let modulus = Reader::new(key).expect(ber::INTEGER, "has no key")?;
    let mut digits = modulus.iter().skip_while(|digit| **digit == 0);
    Ok(digits
        .next()
        .map(|first| digits.count() * 8 + 8 - first.leading_zeros() as usize))
}

/// A name as a string (RFC 4514), with the attributes in the order of the certificate.
fn name(contents: &[u8]) -> Result<String, Malformed> {
    let mut parts = Vec::new();
    let mut sets = Reader::new(contents);
    while !sets.is_empty() {
        let mut pairs = Reader::new(sets.expect(SET, "has a malformed name")?);
        while !pairs.is_empty() {
            let mut pair = Reader::new(pairs.expect(SEQUENCE, "has a malformed name")?);
            let kind = match pair.expect(0x06, "has a name without a type")? {
                b"\x55\x04\x03" => "CN",
                b"\x55\x04\x06" => "C",
                b"\x55\x04\x07" => "L",
                b"\x55\x04\x08" => "ST",
                b"\x55\x04\x0a" => "O",
                b"\x55\x04\x0b" => "OU",
                b"\x09\x92\x26\x89\x93\xf2\x2c\x64\x01\x19" => "DC",
                _ => "..",
            };
            let (_, value) = pair.next()?.ok_or(Malformed("has a name without a value"))?;
            parts.push(format!("{kind}={}", printable(value)));
        }
    }
    Ok(if parts.is_empty() {
        "(empty)".into()
    } else {
        parts.join(",")
    })
}

/// A UTCTime or GeneralizedTime in the form of RFC 3339. Certificates have seconds and no other zone than UTC (RFC 5280, 4.1.2.5).
fn time(times: &mut Reader<'_>) -> Result<String, Malformed> {
    let (tag, time) = times.next()?.ok_or(Malformed("has no time"))?;
    let time = printable(time);
    let digits = match (tag, time.as_bytes().first()) {
        // RFC 5280, 4.1.2.5.1
        (UTC_TIME, Some(b'5'..=b'9')) => format!("19{time}"),
        (UTC_TIME, _) => format!("20{time}"),
        _ => time,
    };
    let part = |at: std::ops::Range<usize>| digits.get(at).ok_or(Malformed("has a malformed time"));
    let (year, month, day) = (part(0..4)?, part(4..6)?, part(6..8)?);
    let rest = [8..10, 10..12, 12..14].map(|at| digits.get(at).unwrap_or("00"));
    let [hour, minute, second] = rest;
    Ok(format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z"))
}

fn day(time: &str) -> String {
    time.split('T').next().unwrap_or(time).to_owned()
}

fn alternative_names(contents: &[u8]) -> Result<Vec<String>, Malformed> {
    let mut extensions = Reader::new(Reader::new(contents).expect(SEQUENCE, "has no extensions")?);
    let mut names = Vec::new();
    while !extensions.is_empty() {
        let mut extension = Reader::new(extensions.expect(SEQUENCE, "has a malformed extension")?);
        let kind = extension.expect(0x06, "has an extension without a type")?;
        extension.optional(ber::BOOLEAN)?;
        let value = extension.expect(OCTET_STRING, "has an extension without a value")?;
        if kind != SUBJECT_ALT_NAME {
            continue;
        }
        let mut all = Reader::new(Reader::new(value).expect(SEQUENCE, "has no alternative names")?);
        while let Some((tag, value)) = all.next()? {
            match (tag, <[u8; 4]>::try_from(value), <[u8; 16]>::try_from(value)) {
                (0x82, ..) => names.push(printable(value)),
                (0x87, Ok(four), _) => names.push(Ipv4Addr::from(four).to_string()),
                (0x87, _, Ok(sixteen)) => names.push(Ipv6Addr::from(sixteen).to_string()),
                _ => {}
            }
        }
    }
    Ok(names)
}

/// Without what separates cause and remedy in messages, so that no certificate names a remedy of its own.
fn printable(bytes: &[u8]) -> String {
    foreign::shown_bytes(bytes).replace("; ", ", ")
}

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

    use super::*;

    fn certificate() -> Vec<u8> {
        let mut ca = CertificateParams::default();
        ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        ca.distinguished_name.push(DnType::CommonName, "Our CA");
        let mut server = CertificateParams::new(["ldap.example.org".into(), "127.0.0.1".into()]).unwrap();
        server.distinguished_name.push(DnType::CommonName, "the server");
        server
            .distinguished_name
            .push(DnType::OrganizationName, "Example");
        server.not_before = rcgen::date_time_ymd(2024, 2, 29);
        server.not_after = rcgen::date_time_ymd(2051, 1, 1);
        let key = KeyPair::generate().unwrap();
        let issuer = Issuer::new(ca, KeyPair::generate().unwrap());
        server.signed_by(&key, &issuer).unwrap().der().to_vec()
    }

    #[test]
    fn a_description_contains_subject_issuer_validity_and_names() {
        let read = Certificate::read(&certificate()).unwrap().to_string();
        assert!(
            read.contains("CN=the server") && read.contains("O=Example"),
            "{read}"
        );
        assert!(
            read.contains("CN=Our CA")
                && read
                    .ends_with("valid from 2024-02-29 until 2051-01-01, names ldap.example.org, 127.0.0.1"),
            "{read}"
        );
    }

    #[test]
    fn the_end_of_the_validity_is_a_time() {
        let read = Certificate::read(&certificate()).unwrap();
        assert_eq!(read.expires, Some(2_556_144_000));
    }

    #[test]
    fn a_truncated_certificate_is_an_error() {
        let whole = certificate();
        for end in 0..whole.len() {
            assert!(Certificate::read(&whole[..end]).is_err(), "{end}");
        }
    }
}
