//! What is stored of the session between runs, and shared by processes.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};

use super::budget::{LoginBudget, LoginLimits};
use crate::clock::Timestamp;

/// How long other processes wait for a login of one that does not say how it ended.
pub(super) const LOGIN: Duration = Duration::from_secs(15);

/// How long nobody logs in with a token that Vaultwarden has refused. The logins that the rate limit still allows are kept
/// for a restart with the right token.
const AFTER_WRONG_TOKEN: Duration = Duration::from_secs(300);

/// What is stored between runs. It is valid for one URL only.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Note {
    pub(super) url: String,
    /// The [`check_value`] of the token that opened the session.
    #[serde(default)]
    pub(super) token: u16,
    pub(super) cookie: Option<String>,
    /// When the cookie expires, in milliseconds since 1970.
    pub(super) expires: i64,
    /// [`LoginBudget::whole_at`], in milliseconds since 1970.
    pub(super) logins_whole_at: i64,
    /// The login that a process makes now, and for which others wait.
    #[serde(default)]
    pub(super) login: Option<Login>,
    /// The last step whose one-time code was sent: Vaultwarden accepts each only once.
    #[serde(default)]
    pub(super) totp_step: i64,
    /// Whether the last login was refused, and had a one-time code, which somebody else may have used before.
    #[serde(default)]
    pub(super) code_refused: bool,
    /// When Vaultwarden refused the token, if that was the end of the last login; in milliseconds since 1970.
    #[serde(default)]
    pub(super) refused: i64,
    #[serde(default, rename = "measures")]
    pub(super) server_limits: ServerLimits,
}

/// A login that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Login {
    /// A random number of the process.
    pub(super) process: u64,
    /// When it counts as abandoned, in milliseconds since 1970.
    pub(super) until: i64,
}

/// The part of Vaultwarden's configuration that matters for calls.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct ServerLimits {
    pub(super) login_burst: Option<u32>,
    pub(super) login_period: Option<Duration>,
    pub(super) smtp_timeout: Option<Duration>,
}

impl Note {
    /// Interprets the stored note for this URL. The session in it is used only with the token that opened it.
    pub(super) fn parse(stored: Option<&[u8]>, url: &str, token: &SecretString) -> Self {
        let token = check_value(token);
        let stored = stored
            .and_then(|note| serde_json::from_slice(note).ok())
            .filter(|note: &Self| note.url == url);
        match stored {
            Some(note) if note.token == token => note,
            other => Self {
                url: url.into(),
                token,
                cookie: None,
                expires: 0,
                logins_whole_at: other
                    .as_ref()
                    .map_or(LoginBudget::UNTOUCHED.whole_at.0, |note| note.logins_whole_at),
                login: None,
                totp_step: other.as_ref().map_or(0, |note| note.totp_step),
                code_refused: false,
                refused: 0,
                server_limits: other.map(|note| note.server_limits).unwrap_or_default(),
            },
        }
    }

    /// As it is stored.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // Serialising strings and numbers cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The cookie of the session, unless it has expired.
    pub(super) fn session(&self, now: Timestamp) -> Option<&str> {
        self.cookie.as_deref().filter(|_| now.0 < self.expires)
    }

    /// The login that another process makes now. One of this process is none: it was dropped.
    pub(super) fn login_of_another(&self, process: u64, now: Timestamp) -> Option<Login> {
        self.login
            .filter(|login| login.process != process && now.0 < login.until)
    }

    /// Whether Vaultwarden has refused the token so recently that nobody logs in. A time far in the future was stored before
    /// the clock was set back.
    pub(super) fn is_refused(&self, now: Timestamp) -> bool {
        self.refused != 0 && now.0.abs_diff(self.refused) < AFTER_WRONG_TOKEN.as_millis() as u64
    }

    /// Counts a login of this process, which begins now.
    ///
    /// # Errors
    /// The rate limit does not allow it yet; how long to wait.
    pub(super) fn begin_login(&mut self, process: u64, now: Timestamp) -> Result<(), Duration> {
        let budget = LoginBudget {
            whole_at: Timestamp(self.logins_whole_at),
        };
        self.logins_whole_at = budget.spend(self.limits(), now)?.whole_at.0;
        self.cookie = None;
        self.refused = 0;
        let until = (now + LOGIN).0;
        self.login = Some(Login { process, until });
        Ok(())
    }

    /// Vaultwarden's rate limit, as far as it is known.
    pub(super) fn limits(&self) -> LoginLimits {
        LoginLimits::new(self.server_limits.login_burst, self.server_limits.login_period)
    }
}

/// A 16-bit hash of the token: enough to detect another token, too little to guess it. It is stored, so it must be the same
/// in every version of this program: FNV-1a of 32 bits, XOR-folded.
fn check_value(token: &SecretString) -> u16 {
    let hash = token.expose_secret().bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let [a, b, c, d] = hash.to_be_bytes();
    u16::from_be_bytes([a ^ c, b ^ d])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_a_token_is_the_published_one_of_fnv_1a() {
        // 0x811c9dc5 and 0xbf9cf968 by the test vectors of FNV-1a.
        assert_eq!(check_value(&"".into()), 0x811c ^ 0x9dc5);
        assert_eq!(check_value(&"foobar".into()), 0xbf9c ^ 0xf968);
    }
}
