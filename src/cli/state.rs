//! Opens the store for commands that run beside the service.

use std::path::Path;

use crate::store::{Report, Sqlite, Store, StoreError};

/// The report that `status` shows, and whether a service is using the state file.
pub(super) async fn report(path: &Path) -> Result<(Report, bool), StoreError> {
    let store = Sqlite::open_read_only(path).await?;
    Ok((store.report().await?, Sqlite::is_served(path)?))
}

/// Opens the store for a few small writes, whether or not a service uses it.
pub(super) async fn open(path: &Path) -> Result<Sqlite, StoreError> {
    Sqlite::open_shared(path).await
}
