//! The store as the commands beside the service open it.

use std::path::Path;

use crate::store::{Report, Sqlite, Store, StoreError};

/// What `status` shows, and whether a service runs on the state file.
pub(super) async fn report(path: &Path) -> Result<(Report, bool), StoreError> {
    let store = Sqlite::open_read_only(path).await?;
    Ok((store.report().await?, Sqlite::is_served(path)?))
}

/// The store for a few small writes, whether or not a service runs on it.
pub(super) async fn open(path: &Path) -> Result<Sqlite, StoreError> {
    Sqlite::open_shared(path).await
}
