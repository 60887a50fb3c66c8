//! The ledger as the commands beside the service open it.

use std::path::Path;

use crate::ledger::{Ledger, LedgerError, Report, Sqlite};

/// What `status` shows, and whether a service runs on the state file.
pub(super) async fn report(path: &Path) -> Result<(Report, bool), LedgerError> {
    let ledger = Sqlite::open_read_only(path).await?;
    Ok((ledger.report().await?, Sqlite::is_served(path)?))
}

/// The ledger for a few small writes, whether or not a service runs on it.
pub(super) async fn open(path: &Path) -> Result<Sqlite, LedgerError> {
    Sqlite::open_shared(path).await
}
