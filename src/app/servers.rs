//! The clients of Vaultwarden and of the directories, and the reload of their secrets.

use std::sync::Arc;

use crate::config::{self, Config, Directory};
use crate::directory::{Bind, LdapDirectory};
use crate::telemetry::traces::TracesSettings;
use crate::vaultwarden::{self, Vaultwarden};

/// What is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Renewed {
    /// Everything that SIGHUP reads.
    Secrets,
    /// The files of certificates alone. A directory has perhaps read a newer password by itself.
    Certificates,
}

/// The clients of all servers.
pub(super) struct Servers {
    pub(super) vaultwarden: Arc<Vaultwarden>,
    /// In the order of the configuration.
    pub(super) directories: Vec<Arc<LdapDirectory>>,
}

impl Servers {
    /// Uses the secrets of `config`, and the certificates in the files that it names. Its other keys must be those from which the
    /// clients were created.
    ///
    /// # Errors
    /// A secret or a file cannot be used. All clients stay as they are.
    pub(super) fn renew(&self, config: &Config, what: Renewed) -> anyhow::Result<()> {
        let directories = self.directories.iter().zip(&config.directories);
        let renewals = directories.map(|(directory, of)| directory.renewal(of.settings.clone()));
        let renewals: Vec<_> = renewals.collect::<Result<_, _>>()?;
        self.vaultwarden.renew(&vaultwarden_settings(config))?;
        for renewal in renewals {
            match what {
                Renewed::Secrets => renewal.apply(),
                Renewed::Certificates => renewal.apply_tls(),
            }
        }
        Ok(())
    }

    /// Makes each directory read its bind password again when a server refuses it.
    pub(super) fn reread_passwords(
        &self,
        config: &Config,
        reload: &Arc<impl Fn() -> anyhow::Result<Config> + Send + Sync + 'static>,
    ) {
        for (directory, Directory { settings, .. }) in self.directories.iter().zip(&config.directories) {
            let (reload, name) = (reload.clone(), settings.name.clone());
            directory.reread_password_from(Arc::new(move || {
                let config = reload().ok()?;
                match &config.directory(&name)?.settings.bind {
                    Bind::Simple { password, .. } => Some(password.clone()),
                    _ => None,
                }
            }));
        }
    }
}

/// Where traces go.
pub(super) fn traces_settings(config: &Config) -> Option<TracesSettings> {
    let config::Traces { url, headers, tls } = config.traces.clone()?;
    Some(TracesSettings { url, headers, tls })
}

/// The settings of the client of Vaultwarden.
pub(super) fn vaultwarden_settings(config: &Config) -> vaultwarden::ClientSettings {
    let config::Vaultwarden {
        url,
        admin_token,
        totp_secret,
        tls,
        proxy,
        headers,
        accounts_interval: _,
    } = config.vaultwarden.clone();
    vaultwarden::ClientSettings {
        totp_secret,
        tls,
        proxy,
        headers,
        ..vaultwarden::ClientSettings::new(url, admin_token)
    }
}
