//! `config migrate`: translates a configuration of vaultwarden_ldap.

use std::path::Path;

use anyhow::Context;

use super::exit::Exit;
use crate::config;

/// Prints the configuration in the native format, without secrets.
pub(super) fn config_migrate(path: Option<&Path>) -> anyhow::Result<Exit> {
    let migrated = config::load(path)?
        .migrated()
        .context("the configuration is not one of vaultwarden_ldap: there is nothing to migrate")?;
    super::print(&migrated)?;
    Ok(Exit::Done)
}
