//! The state file, which nobody but the service creates.

use std::path::Path;
use std::sync::Arc;

use super::super::run::LedgerNote;
use super::{Finding, Level};
use crate::ledger::{LedgerError, Sqlite};
use crate::vaultwarden::{InMemory, SessionStore};

/// Whether it can be used, and where the session with Vaultwarden is kept.
pub(super) async fn check(path: &Path) -> (Finding, Arc<dyn SessionStore>) {
    let finding = match Sqlite::open_shared(path).await {
        Ok(ledger) => {
            let detail = format!("{} can be used", path.display());
            let finding = Finding::new(Level::Ok, "state", detail, "");
            return (finding, Arc::new(LedgerNote(Arc::new(ledger))));
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
    (finding, Arc::new(InMemory::default()))
}
