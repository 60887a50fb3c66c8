//! Checks the state file. Only the service creates it.

use std::sync::Arc;

use super::super::sessions::Sessions;
use super::{Finding, Severity};
use crate::config::Config;
use crate::store::{Sqlite, StoreError};
use crate::vaultwarden::Identity;
use crate::worker::server_identity;

/// Returns whether the state file can be used, the store of the session with Vaultwarden, and the stored identity of
/// Vaultwarden.
pub(super) async fn check(config: &Config) -> (Finding, Sessions, Identity) {
    let (path, file) = (&config.state, config.sessions.clone());
    let finding = match Sqlite::open_shared(path).await {
        Ok(store) => {
            let detail = format!("{} can be used", path.display());
            let finding = Finding::new(Severity::Ok, "state", detail, "");
            let known = server_identity::stored(&store).await.unwrap_or_default();
            return (finding, Sessions::of_service(Arc::new(store), file), known);
        }
        Err(_) if !path.exists() => {
            let detail = format!(
                "{} does not exist yet, the first start creates it",
                path.display()
            );
            Finding::new(Severity::Ok, "state", detail, "")
        }
        Err(error @ StoreError::Older { .. }) => {
            Finding::of_error(Severity::Warn, "state", &error.to_string(), "")
        }
        Err(error) => Finding::of_error(Severity::Fail, "state", &error.to_string(), ""),
    };
    (finding, Sessions::of_command(None, file), Identity::default())
}
