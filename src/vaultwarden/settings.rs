//! What the client has to be told.

use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::VaultwardenError;
use crate::tls::TlsOptions;

/// How to reach one Vaultwarden.
#[derive(Clone)]
pub struct Settings {
    /// Vaultwarden's `DOMAIN`, sub-path included, or another way to the same server (the container's port).
    pub url: Url,
    /// The plain value of `ADMIN_TOKEN`, or the secret from which the hash in it was made.
    pub admin_token: SecretString,
    /// Whom to trust.
    pub tls: TlsOptions,
    /// How long a TCP connection and its TLS handshake may take.
    pub connect_timeout: Duration,
    /// How long Vaultwarden may stay silent.
    pub timeout: Duration,
    /// How long it may stay silent after an invitation, which waits for the mail server, and before the list of all
    /// accounts, which it makes up as a whole. An invitation that is given up sooner than Vaultwarden does is
    /// carried out behind our back: 60 seconds is the least that makes sense.
    pub slow_timeout: Duration,
}

impl Settings {
    /// Settings with the usual deadlines (10, 30 and 90 seconds) and the system's trust.
    pub fn new(url: Url, admin_token: SecretString) -> Self {
        Self {
            url,
            admin_token,
            tls: TlsOptions::default(),
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
