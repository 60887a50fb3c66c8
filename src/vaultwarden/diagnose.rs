//! Asks a Vaultwarden for its certificate, its public information and its configuration.

use reqwest::tls::TlsInfo;

use super::answer::Answer;
use super::client::{Call, Client};
use super::server_info::ServerInfo;
use super::{ClientSettings, VaultwardenError, decode};
use crate::tls::{self, Presented, TlsOptions};

/// Describes the certificate that the server presents, trusted or not. `None` if the URL uses no TLS. Sends neither the
/// token nor the configured headers, because the server may be anyone.
///
/// # Errors
/// There is no answer over TLS, or the settings cannot be used.
pub async fn presented(settings: &ClientSettings) -> Result<Option<Presented>, VaultwardenError> {
    if settings.url.scheme() != "https" {
        return Ok(None);
    }
    let unverified = ClientSettings {
        headers: None,
        tls: TlsOptions {
            verify: false,
            pins: Vec::new(),
            ..settings.tls.clone()
        },
        ..settings.clone()
    };
    let answer = Client::new(&unverified)?.send(Call::Alive, None).await?;
    Ok(Some(tls::describe(answer.certificate())))
}

/// `None` before 1.26, and if it is not a Vaultwarden.
pub(super) async fn server_info(client: &Client) -> Result<Option<ServerInfo>, VaultwardenError> {
    let mut answer = client.send(Call::Config, None).await?.checked()?;
    match answer.status {
        200 => Ok(decode::server_info(&answer.body().await?)),
        _ => Ok(None),
    }
}

impl Answer {
    /// The server's certificate, in DER.
    fn certificate(&self) -> Option<&[u8]> {
        self.extension::<TlsInfo>()?.peer_certificate()
    }
}
