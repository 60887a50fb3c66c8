//! `config migrate`: from the format of vaultwarden_ldap to ours.

use std::path::Path;

use anyhow::Context;

use super::exit::Exit;
use crate::config;

/// Prints the configuration in the native form, without secrets.
pub(super) fn config_migrate(path: Option<&Path>) -> anyhow::Result<Exit> {
    let migrated = config::load(path)?
        .migrated()
        .context("the configuration is not one of vaultwarden_ldap: there is nothing to migrate")?;
    super::print(&migrated)?;
    Ok(Exit::Done)
}
