//! `run`: the service.

use std::path::Path;

use super::exit::Exit;
use crate::app;

/// Runs the service until a signal stops it, or syncs once if the configuration requests it.
pub(super) async fn run(config: Option<&Path>) -> anyhow::Result<Exit> {
    let loaded = super::load(config)?;
    if loaded.once {
        return super::sync::once(loaded).await;
    }
    let path = config.map(Path::to_owned);
    app::run(loaded, move || Ok(super::load(path.as_deref())?)).await?;
    Ok(Exit::Done)
}
