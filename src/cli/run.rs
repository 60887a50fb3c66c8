//! `run`: the service.

use std::path::Path;

use super::exit::Exit;
use crate::service;

/// Runs the service until it is told to stop.
pub(super) async fn run(config: Option<&Path>) -> anyhow::Result<Exit> {
    service::run(super::load(config)?, || Ok(super::load(config)?)).await?;
    Ok(Exit::Done)
}
