//! The state file, which nobody but the service creates.

use std::sync::Arc;

use super::super::sessions::Sessions;
use super::{Finding, Level};
use crate::config::Config;
use crate::store::{Sqlite, StoreError};
use crate::vaultwarden::Identity;
use crate::worker::server_identity;

/// Whether it can be used, where the session with Vaultwarden is kept, and by what Vaultwarden is known.
pub(super) async fn check(config: &Config) -> (Finding, Sessions, Identity) {
    let (path, file) = (&config.state, config.sessions.clone());
    let finding = match Sqlite::open_shared(path).await {
        Ok(store) => {
            let detail = format!("{} can be used", path.display());
            let finding = Finding::new(Level::Ok, "state", detail, "");
            let known = server_identity::noted(&store).await.unwrap_or_default();
            return (finding, Sessions::of_service(Arc::new(store), file), known);
        }
        Err(_) if !path.exists() => {
            let detail = format!("{} is not there yet, the first start creates it", path.display());
            Finding::new(Level::Ok, "state", detail, "")
        }
        Err(error @ StoreError::Older { .. }) => {
            Finding::of_error(Level::Warn, "state", &error.to_string(), "")
        }
        Err(error) => Finding::of_error(Level::Fail, "state", &error.to_string(), ""),
    };
    (finding, Sessions::at_hand(None, file), Identity::default())
}
