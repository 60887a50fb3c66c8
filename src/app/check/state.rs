//! Checks the state file. Only the service creates it.

use std::sync::Arc;

use super::super::sessions::Sessions;
use super::{Finding, Severity};
use crate::config::Config;
use crate::store::{self, Store, StoreError};
use crate::vaultwarden::Identity;
use crate::worker::server_identity;

/// Returns whether the state file can be used, the store of the session with Vaultwarden, the stored identity of
/// Vaultwarden, and the state.
pub(super) async fn check(config: &Config) -> (Finding, Sessions, Identity, Option<Arc<dyn Store>>) {
    let (at, file) = (&config.state, config.sessions.clone());
    let finding = match store::open_shared(at).await {
        Ok(store) => {
            let detail = format!("{at} can be used");
            let finding = Finding::new(Severity::Ok, "state", detail, "");
            let known = server_identity::stored(&*store).await.unwrap_or_default();
            return (
                finding,
                Sessions::of_service(store.clone(), file),
                known,
                Some(store),
            );
        }
        Err(_) if !at.exists() => {
            let detail = format!("{at} does not exist yet, the first start creates it");
            Finding::new(Severity::Ok, "state", detail, "")
        }
        Err(error @ StoreError::Older { .. }) => {
            Finding::of_error(Severity::Warn, "state", &error.to_string(), "")
        }
        Err(error) => Finding::of_error(Severity::Fail, "state", &error.to_string(), ""),
    };
    (
        finding,
        Sessions::of_command(None, file),
        Identity::default(),
        None,
    )
}
