//! The state file, which nobody but the service creates.

use std::sync::Arc;

use super::super::sessions::Sessions;
use super::{Finding, Level};
use crate::config::Config;
use crate::ledger::{LedgerError, Sqlite};

/// Whether it can be used, and where the session with Vaultwarden is kept.
pub(super) async fn check(config: &Config) -> (Finding, Sessions) {
    let (path, file) = (&config.state, config.sessions.clone());
    let finding = match Sqlite::open_shared(path).await {
        Ok(ledger) => {
            let detail = format!("{} can be used", path.display());
            let finding = Finding::new(Level::Ok, "state", detail, "");
            return (finding, Sessions::of_service(Arc::new(ledger), file));
        }
        Err(_) if !path.exists() => {
            let detail = format!("{} is not there yet, the first start creates it", path.display());
            Finding::new(Level::Ok, "state", detail, "")
        }
        Err(error @ LedgerError::Older { .. }) => {
            Finding::of_error(Level::Warn, "state", &error.to_string(), "")
        }
        Err(error) => Finding::of_error(Level::Fail, "state", &error.to_string(), ""),
    };
    (finding, Sessions::at_hand(None, file))
}
