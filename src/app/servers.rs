//! The clients of Vaultwarden and of the directories, and the reload of their secrets.

use std::sync::Arc;

use super::wiring::{directory_settings, vaultwarden_settings};
use crate::config::{Config, Directory};
use crate::directory::{Bind, LdapDirectory};
use crate::vaultwarden::Vaultwarden;

/// The clients of all servers.
pub(super) struct Servers {
    pub(super) vaultwarden: Arc<Vaultwarden>,
    /// In the order of the configuration.
    pub(super) directories: Vec<Arc<LdapDirectory>>,
}

impl Servers {
    /// Uses the secrets of `config`. Its other keys must be those from which the clients were created.
    ///
    /// # Errors
    /// A secret or a TLS file cannot be used. All clients keep their old secrets.
    pub(super) fn renew(&self, config: &Config) -> anyhow::Result<()> {
        let settings = config.directories.iter().map(directory_settings);
        let settings: Vec<_> = settings.collect::<anyhow::Result<_>>()?;
        self.vaultwarden.renew(&vaultwarden_settings(config))?;
        for (directory, settings) in self.directories.iter().zip(settings) {
            directory.renew(settings);
        }
        Ok(())
    }

    /// Makes each directory read its bind password again when a server refuses it.
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
