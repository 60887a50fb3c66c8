//! `config show`: prints the effective configuration.

use std::path::Path;

use super::exit::Exit;
use crate::config;

/// Prints the effective configuration; its warnings go to standard error.
pub(super) fn config_show(path: Option<&Path>) -> anyhow::Result<Exit> {
    let loaded = config::load(path)?;
    for warning in &loaded.config.warnings {
        super::print_error("warning", warning);
    }
    super::print(&loaded.to_toml()?)?;
    Ok(Exit::Done)
}
