//! The settings of the client.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::VaultwardenError;
use crate::http_client::CONNECT_TIMEOUT;
use crate::tls::TlsOptions;

/// How to reach one Vaultwarden.
#[derive(Clone)]
pub struct ClientSettings {
    /// Vaultwarden's `DOMAIN` with its sub-path, or another URL of the same server (the container's port).
    pub url: Url,
    /// The plain value of `ADMIN_TOKEN`, or the secret from which its hash was made.
    pub admin_token: SecretString,
    /// The secret of its one-time codes (`ADMIN_TOTP_SECRET`): base32, or an `otpauth:` URL.
    pub totp_secret: Option<SecretString>,
    /// TLS: which certificates are trusted.
    pub tls: TlsOptions,
    /// The URL of an HTTP proxy. Secret, because it may hold a password.
    pub proxy: Option<SecretString>,
    /// Headers for every request, one `Name: value` per line, for a proxy in front of Vaultwarden that requires them.
    pub headers: Option<SecretString>,
    /// The deadline of the TCP connection with its TLS handshake.
    pub connect_timeout: Duration,
    /// How long to wait for an answer to begin, and for each piece of it.
    pub timeout: Duration,
    /// How long to wait for the answer to an invitation, which waits for the mail server, and for the list of all
    /// accounts, which Vaultwarden builds completely first. At least 60 seconds make sense: after a shorter wait
    /// Vaultwarden still carries out the invitation. If six times `SMTP_TIMEOUT` is longer than this, that is the
    /// deadline of an invitation, up to four minutes.
    pub slow_timeout: Duration,
}

impl ClientSettings {
    /// ClientSettings with the default deadlines (10, 30 and 90 seconds) and the system's certificate authorities.
    pub fn new(url: Url, admin_token: SecretString) -> Self {
        Self {
            url,
            admin_token,
            totp_secret: None,
            tls: TlsOptions::default(),
            proxy: None,
            headers: None,
            connect_timeout: CONNECT_TIMEOUT,
            timeout: Duration::from_secs(30),
            slow_timeout: Duration::from_secs(90),
        }
    }

    /// The token without white space around it, as Vaultwarden compares it.
    ///
    /// # Errors
    /// The token is empty or a hash.
    pub(super) fn token(&self) -> Result<SecretString, VaultwardenError> {
        match self.admin_token.expose_secret().trim() {
            "" => Err(VaultwardenError::EmptyToken),
            hash if hash.starts_with("$argon2") => Err(VaultwardenError::HashedToken),
            token => Ok(token.into()),
        }
    }
}

/// A URL for messages: without credentials and query.
pub(super) fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    // These fail only for URLs without a host, which have no credentials.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    String::from(url).trim_end_matches('/').into()
}
