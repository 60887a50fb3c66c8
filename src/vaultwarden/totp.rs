//! The one-time code of Vaultwarden's admin page (`ADMIN_TOTP_SECRET`): TOTP (RFC 6238) with SHA-1, six digits and steps of 30
//! seconds.

use std::time::Duration;

use data_encoding::BASE32_NOPAD;
use ring::hmac::{HMAC_SHA1_FOR_LEGACY_USE_ONLY, Key, sign};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use crate::clock::Timestamp;

/// The length of a step in milliseconds.
const STEP: i64 = 30_000;

/// A secret that makes codes.
#[derive(Clone)]
pub(super) struct Totp(Key);

/// Checks that a secret can be used.
///
/// # Errors
/// What is wrong with it. The secret is not repeated.
pub fn check_totp(secret: &SecretString) -> Result<(), &'static str> {
    Totp::parse(secret).map(drop)
}

impl Totp {
    /// Reads a secret in base32, as programs show it for people (in any case, with blanks or hyphens), or an `otpauth:` URL.
    ///
    /// # Errors
    /// What is wrong with it. The secret is not repeated.
    pub(super) fn parse(secret: &SecretString) -> Result<Self, &'static str> {
        let text = secret.expose_secret().trim();
        let in_url = match text.starts_with("otpauth:") {
            true => Some(of_url(text)?),
            false => None,
        };
        let base32: String = in_url
            .as_deref()
            .unwrap_or(text)
            .chars()
            .filter(|c| !matches!(c, ' ' | '-' | '='))
            .map(|c| c.to_ascii_uppercase())
            .collect();
        match BASE32_NOPAD.decode(base32.as_bytes()) {
            Ok(key) if !key.is_empty() => Ok(Self(Key::new(HMAC_SHA1_FOR_LEGACY_USE_ONLY, &key))),
            _ => Err("is not a secret in base32 (the letters A to Z and the digits 2 to 7)"),
        }
    }

    /// The code of a step (RFC 4226, 5.3).
    pub(super) fn code(&self, step: i64) -> SecretString {
        let hash = sign(&self.0, &step.to_be_bytes());
        let hash = hash.as_ref();
        let offset = usize::from(hash.last().copied().unwrap_or_default() & 0xf);
        let four = hash.iter().skip(offset).take(4);
        let number = four.fold(0_u32, |number, byte| number << 8 | u32::from(*byte));
        format!("{:06}", (number & 0x7fff_ffff) % 1_000_000).into()
    }
}

/// The step of a time.
pub(super) fn step(now: Timestamp) -> i64 {
    now.0.div_euclid(STEP)
}

/// How long to wait until a step that comes after `used`, because Vaultwarden accepts each step once. A step in the far
/// future was stored before the clock was set back.
pub(super) fn wait(used: i64, now: Timestamp) -> Option<Duration> {
    let ahead = used - step(now);
    let next = (0..=2).contains(&ahead).then_some((used + 1) * STEP - now.0)?;
    u64::try_from(next).ok().map(Duration::from_millis)
}

/// The secret in an `otpauth:` URL, as authenticators read it from a picture.
fn of_url(text: &str) -> Result<String, &'static str> {
    let url = Url::parse(text).map_err(|_| "is not an otpauth: URL")?;
    let mut secret = None;
    for (name, value) in url.query_pairs() {
        match (&*name, &*value) {
            ("secret", secret_in_url) => secret = Some(secret_in_url.to_owned()),
            ("digits", "6") | ("period", "30") => {}
            ("algorithm", algorithm) if algorithm.eq_ignore_ascii_case("SHA1") => {}
            ("digits" | "period" | "algorithm", _) => {
                return Err(
                    "asks for other codes than Vaultwarden's, which have six digits, SHA-1 and 30 seconds",
                );
            }
            _ => {}
        }
    }
    secret.ok_or("is an otpauth: URL without a secret")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn totp(secret: &str) -> Result<Totp, &'static str> {
        Totp::parse(&secret.into())
    }

    #[test]
    fn codes_are_those_of_the_rfc() {
        // RFC 6238, appendix B, with six digits; the key is "12345678901234567890".
        let totp = totp("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ").unwrap();
        for (seconds, code) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            let step = step(Timestamp(seconds * 1000));
            assert_eq!(totp.code(step).expose_secret(), code);
        }
    }

    #[test]
    fn a_secret_is_read_as_people_have_it() {
        let expected = totp("GEZDGNBVGY3TQOJQ").unwrap();
        for secret in [
            "gezd gnbv gy3t qojq\n",
            "GEZD-GNBV-GY3T-QOJQ",
            "GEZDGNBVGY3TQOJQ======",
            "otpauth://totp/Vaultwarden:admin?secret=GEZDGNBVGY3TQOJQ&issuer=Vaultwarden&digits=6&period=30&algorithm=SHA1",
        ] {
            let read = totp(secret).unwrap_or_else(|error| panic!("{secret}: {error}"));
            assert_eq!(read.code(7).expose_secret(), expected.code(7).expose_secret());
        }
        for secret in [
            "",
            "0189",
            "a long secret!",
            "otpauth://totp/x",
            "otpauth://totp/x?secret=GEZDGNBVGY3TQOJQ&digits=8",
        ] {
            assert!(totp(secret).is_err(), "{secret}");
        }
    }

    #[test]
    fn a_step_is_used_once_and_a_clock_that_was_set_back_costs_nothing() {
        let now = Timestamp(1_000_000 * STEP + 10_000);
        assert_eq!(wait(999_999, now), None);
        assert_eq!(wait(1_000_000, now), Some(Duration::from_secs(20)));
        assert_eq!(wait(1_000_001, now), Some(Duration::from_secs(50)));
        assert_eq!(wait(2_000_000, now), None);
    }
}
