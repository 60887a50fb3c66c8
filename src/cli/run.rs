//! `run`: the service.

use std::path::Path;

use super::exit::Exit;
use crate::service;

/// Runs the service until it is told to stop, or does one pass where the configuration says so.
pub(super) async fn run(config: Option<&Path>) -> anyhow::Result<Exit> {
    let loaded = super::load(config)?;
    if loaded.once {
        return super::sync::once(loaded).await;
    }
    service::run(loaded, || Ok(super::load(config)?)).await?;
    Ok(Exit::Done)
}
