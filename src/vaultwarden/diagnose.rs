//! What `check` asks and the service does not: the certificate, and what Vaultwarden tells everyone of itself.

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
