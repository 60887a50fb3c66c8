//! The ledger as the commands beside the service open it.

use std::path::Path;

use crate::ledger::{Ledger, LedgerError, Report};

/// What `status` shows, and whether a service runs on the state file.
pub(super) async fn report(path: &Path) -> Result<(Report, bool), LedgerError> {
    // let ledger = Sqlite::open_read_only(path).await?;
    // Ok((ledger.report().await?, Sqlite::is_served(path)?))
    Err(LedgerError::Open {
        path: path.display().to_string(),
        cause: "not joined yet".into(),
    })
}

/// The ledger for a few small writes, whether or not a service runs on it.
pub(super) async fn open(path: &Path) -> Result<Box<dyn Ledger>, LedgerError> {
    // Ok(Box::new(Sqlite::open_shared(path).await?))
    Err(LedgerError::Open {
        path: path.display().to_string(),
        cause: "not joined yet".into(),
    })
}
