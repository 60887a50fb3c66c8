//! Opens the store for commands that run beside the service.

use std::path::Path;
use std::sync::Arc;

use crate::config;
use crate::store::{self, Report, Store};

/// The report that `status` shows, and whether a service uses the state.
pub(super) async fn report(config: Option<&Path>) -> anyhow::Result<(Report, bool)> {
    let at = config::state(config)?;
    let store = store::open_read_only(&at).await?;
    Ok((store.report().await?, store::is_served(&at).await?))
}

/// Opens the store for a few small writes, whether or not a service uses it.
pub(super) async fn open(config: Option<&Path>) -> anyhow::Result<Arc<dyn Store>> {
    Ok(store::open_shared(&config::state(config)?).await?)
}
