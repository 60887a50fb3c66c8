//! What the client has to be told.

use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::VaultwardenError;
use crate::tls::TlsOptions;

/// Whether headers can be sent as they are written.
///
/// # Errors
/// Which line cannot, without repeating it.
pub fn check_headers(text: &SecretString) -> Result<(), String> {
    read_headers(text).map(drop)
}

/// Headers from lines of `Name: value`; empty lines do not count.
pub(super) fn read_headers(text: &SecretString) -> Result<HeaderMap, String> {
    let lines = text.expose_secret().lines().enumerate();
    let written = lines.filter(|(_, line)| !line.trim().is_empty());
    let mut headers = HeaderMap::new();
    for (i, line) in written {
        let header = line.split_once(':').and_then(|(name, value)| {
            let mut value = HeaderValue::from_str(value.trim()).ok()?;
            value.set_sensitive(true);
            Some((name.trim().parse::<HeaderName>().ok()?, value))
        });
        let Some((name, value)) = header else {
            return Err(format!(
                "its line {} is not a header; write each as Name: value",
                i + 1
            ));
        };
        headers.append(name, value);
    }
    Ok(headers)
}

/// How to reach one Vaultwarden.
#[derive(Clone)]
pub struct Settings {
    /// Vaultwarden's `DOMAIN`, sub-path included, or another way to the same server (the container's port).
    pub url: Url,
    /// The plain value of `ADMIN_TOKEN`, or the secret from which the hash in it was made.
    pub admin_token: SecretString,
    /// Whom to trust.
    pub tls: TlsOptions,
    /// The URL of an HTTP proxy on the way, which may hold a user and a password.
    pub proxy: Option<SecretString>,
    /// Headers for every request, one `Name: value` a line: what a guard in front of Vaultwarden wants to see.
    pub headers: Option<SecretString>,
    /// How long a TCP connection and its TLS handshake may take.
    pub connect_timeout: Duration,
    /// How long Vaultwarden may stay silent.
    pub timeout: Duration,
    /// How long it may stay silent after an invitation, which waits for the mail server, and before the list of all
    /// accounts, which it makes up as a whole. An invitation that is given up sooner than Vaultwarden does is
    /// carried out behind our back: 60 seconds is the least that makes sense. A Vaultwarden whose `SMTP_TIMEOUT` is
    /// longer than a sixth of this is waited for longer, up to four minutes.
    pub slow_timeout: Duration,
}

impl Settings {
    /// Settings with the usual deadlines (10, 30 and 90 seconds) and the system's trust.
    pub fn new(url: Url, admin_token: SecretString) -> Self {
        Self {
            url,
            admin_token,
            tls: TlsOptions::default(),
            proxy: None,
            headers: None,
            connect_timeout: Duration::from_secs(10),
            timeout: Duration::from_secs(30),
            slow_timeout: Duration::from_secs(90),
        }
    }

    /// The token as Vaultwarden compares it, without white space around it.
    ///
    /// # Errors
    /// It is empty, or a hash.
    pub(super) fn token(&self) -> Result<SecretString, VaultwardenError> {
        match self.admin_token.expose_secret().trim() {
            "" => Err(VaultwardenError::EmptyToken),
            hash if hash.starts_with("$argon2") => Err(VaultwardenError::HashedToken),
            token => Ok(token.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_lines_and_a_wrong_one_is_named_by_its_number_alone() {
        let read = |text: &str| read_headers(&text.into());
        let headers = read("X-A: b: c\n\n x-d : e \r\n").unwrap();
        assert_eq!(
            (headers.len(), &headers["x-a"], &headers["x-d"]),
            (
                2,
                &HeaderValue::from_static("b: c"),
                &HeaderValue::from_static("e")
            )
        );
        assert!(headers.values().all(HeaderValue::is_sensitive));
        for wrong in ["X-A: b\nhidden", "X-A: b\nhid den: x", "X-A: b\nhidden: \u{1}"] {
            let problem = read(wrong).unwrap_err();
            assert!(
                problem.contains("line 2") && !problem.contains("hid"),
                "{problem}"
            );
        }
    }
}
