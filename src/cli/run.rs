//! `run`: the service.

use std::path::Path;

use super::args::Logging;
use super::exit::Exit;
use super::logging;
use crate::app;

/// Runs the service until a signal stops it, or syncs once if the configuration requests it.
pub(super) async fn run(config: Option<&Path>, logging: &Logging) -> anyhow::Result<Exit> {
    let loaded = super::load(config)?;
    let log = logging::start(logging, &loaded.log)?;
    if loaded.once {
        return super::sync::once(loaded).await;
    }
    let path = config.map(Path::to_owned);
    app::run(loaded, log, move || Ok(super::load(path.as_deref())?)).await?;
    Ok(Exit::Done)
}
