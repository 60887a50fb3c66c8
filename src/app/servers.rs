//! The servers that the service talks to, and the secrets by which it is let in.

use std::sync::Arc;

use super::run::{directory_settings, vaultwarden_settings};
use crate::config::{Config, Directory};
use crate::directory::{Bind, LdapDirectory};
use crate::vaultwarden::Vaultwarden;

/// Those whom the service talks to.
pub(super) struct Servers {
    pub(super) vaultwarden: Arc<Vaultwarden>,
    /// As in the configuration.
    pub(super) directories: Vec<Arc<LdapDirectory>>,
}

impl Servers {
    /// Takes the secrets of a configuration that is otherwise the one from which these were made. Where one of them
    /// cannot be used, all stay as they were.
    pub(super) fn renew(&self, config: &Config) -> anyhow::Result<()> {
        let settings = config.directories.iter().map(directory_settings);
        let settings: Vec<_> = settings.collect::<anyhow::Result<_>>()?;
        self.vaultwarden.renew(&vaultwarden_settings(config))?;
        for (directory, settings) in self.directories.iter().zip(settings) {
            directory.renew(settings);
        }
        Ok(())
    }

    /// Has the bind password of each directory read again where a server refuses it.
    pub(super) fn reread_passwords(
        &self,
        config: &Config,
        reload: &Arc<impl Fn() -> anyhow::Result<Config> + Send + Sync + 'static>,
    ) {
        for (directory, Directory { name, .. }) in self.directories.iter().zip(&config.directories) {
            let (reload, name) = (reload.clone(), name.clone());
            directory.reread_password_from(Arc::new(move || {
                let config = reload().ok()?;
                let directory = config.directories.into_iter().find(|other| other.name == name)?;
                match directory.bind {
                    Bind::Simple { password, .. } => Some(password),
                    _ => None,
                }
            }));
        }
    }
}
