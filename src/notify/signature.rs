//! The signature of a notification. No I/O.

use ring::hmac;
use secrecy::{ExposeSecret, SecretString};

/// Signs notifications with one secret.
pub(super) struct Signer(hmac::Key);

impl Signer {
    pub(super) fn new(secret: &SecretString) -> Self {
        Self(hmac::Key::new(
            hmac::HMAC_SHA256,
            secret.expose_secret().as_bytes(),
        ))
    }

    /// `v1=` and the HMAC-SHA256 of `timestamp`, a full stop and `body`, in lower-case hexadecimal digits.
    pub(super) fn sign(&self, timestamp: &str, body: &str) -> String {
        let tag = hmac::sign(&self.0, format!("{timestamp}.{body}").as_bytes());
        let digits: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("v1={digits}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_one_that_other_tools_compute() {
        // printf '1764240000.{"a":1}' | openssl dgst -sha256 -hmac 'a long random text'
        assert_eq!(
            Signer::new(&"a long random text".into()).sign("1764240000", r#"{"a":1}"#),
            "v1=5ae0a4f0b3c9f70f3aed67ca09daccaef6c9637269ac45b4caac82e49b215b93"
        );
    }
}
