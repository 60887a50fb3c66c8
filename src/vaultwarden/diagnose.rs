//! What people want to know of a Vaultwarden: its certificate, what it tells everyone of itself, and its configuration.

use std::time::Duration;

use reqwest::tls::TlsInfo;

use super::answer::Answer;
use super::client::{Call, Client};
use super::{Settings, VaultwardenError, decode};
use crate::tls::{self, TlsOptions};

/// What `/api/config` tells, from 1.26 on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Portal {
    /// The name of the server, `Vaultwarden`.
    pub server: Option<String>,
    /// Its `DOMAIN`, with which the links in its mails begin.
    pub domain: Option<String>,
    /// Whether its login page offers no registration.
    pub sign_up_hidden: bool,
}

/// What `/admin/diagnostics/config` tells, from 1.19 on. What a version does not tell is `None`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Configuration {
    /// Whether it sends mail (`SMTP_HOST` or `USE_SENDMAIL`, and `_ENABLE_SMTP`).
    pub mail: Option<bool>,
    /// `SMTP_TIMEOUT`: how long it waits for a connection to the mail server. Nothing bounds what comes after.
    pub smtp_timeout: Option<Duration>,
    /// `INVITATION_EXPIRATION_HOURS`: how long the link in an invitation is good for (from 1.26 on; 120 hours before).
    pub link_lifetime: Option<Duration>,
    /// `ADMIN_RATELIMIT_MAX_BURST`: so many logins may follow each other (from 1.24 on; without limit before).
    pub login_burst: Option<u32>,
    /// `ADMIN_RATELIMIT_SECONDS`: and one more each time this has passed.
    pub login_period: Option<Duration>,
    /// `ADMIN_SESSION_LIFETIME` (from 1.28 on; 20 minutes before).
    pub session_lifetime: Option<Duration>,
    /// `INVITATIONS_ALLOWED`: whether the administrators of organizations may invite.
    pub invitations_allowed: Option<bool>,
    /// Whether people may register uninvited: `SIGNUPS_ALLOWED`, or an address in `SIGNUPS_DOMAINS_WHITELIST`.
    pub sign_ups: Option<SignUps>,
    /// `SSO_ENABLED` and `SSO_ONLY` (from 1.35 on).
    pub single_sign_on: Option<SingleSignOn>,
}

/// Who may register uninvited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignUps {
    /// Nobody.
    Closed,
    /// People of certain mail domains.
    ForDomains,
    /// Everyone.
    Open,
}

/// How people log in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SingleSignOn {
    /// With their master password.
    Off,
    /// As they like.
    Offered,
    /// By single sign-on.
    Only,
}

/// The certificate that the server presents, for people and whoever signed it; `None` where the URL asks for no TLS.
/// As the server may be anyone, it is sent neither the token nor the configured headers.
///
/// # Errors
/// No answer over TLS, or settings that cannot be used.
pub async fn presented(settings: &Settings) -> Result<Option<String>, VaultwardenError> {
    if settings.url.scheme() != "https" {
        return Ok(None);
    }
    let believing = Settings {
        headers: None,
        tls: TlsOptions {
            verify: false,
            ..settings.tls.clone()
        },
        ..settings.clone()
    };
    let answer = Client::new(&believing)?.send(Call::Alive, None).await?;
    Ok(Some(tls::describe(answer.certificate())))
}

/// `None` where the answer is not Vaultwarden's, or of a version before 1.26.
pub(super) async fn portal(client: &Client) -> Result<Option<Portal>, VaultwardenError> {
    let mut answer = client.send(Call::Config, None).await?.checked()?;
    match answer.status {
        200 => Ok(decode::portal(&answer.body().await?)),
        _ => Ok(None),
    }
}

impl Answer {
    /// The certificate of the server that gave it, in DER.
    fn certificate(&self) -> Option<&[u8]> {
        self.extension::<TlsInfo>()?.peer_certificate()
    }
}
