//! Whether the links in Vaultwarden's invitations still work.

use std::sync::Arc;
use std::time::Duration;

use super::servers::vaultwarden_settings;
use super::sessions::Sessions;
use crate::clock::{Clock, Timestamp};
use crate::config::Config;
use crate::model::ManagedAccount;
use crate::store::Store;
use crate::vaultwarden::Vaultwarden;

/// How long the links in invitations work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// Vaultwarden sends no mail, so there are none.
    None,
    /// So long.
    Work(Duration),
    /// Vaultwarden cannot be asked, or does not say.
    Unknown,
}

/// The link in the last mail to a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// There is none.
    None,
    /// It works until this time.
    Works(Timestamp),
    /// It has not worked since this time.
    Expired(Timestamp),
    /// Nobody knows.
    Unknown,
}

impl Links {
    /// Asks Vaultwarden for its configuration, which may take a login.
    pub async fn ask(config: &Config, store: Arc<dyn Store>) -> Self {
        let sessions = Sessions::of_command(Some(store), config.sessions.clone());
        let client = Vaultwarden::new(&vaultwarden_settings(config), Arc::new(sessions), Clock::system());
        let Ok(vaultwarden) = client else {
            return Self::Unknown;
        };
        match vaultwarden.configuration().await {
            Ok(Some(configuration)) if configuration.mail == Some(false) => Self::None,
            Ok(Some(configuration)) => configuration.link_lifetime.map_or(Self::Unknown, Self::Work),
            _ => Self::Unknown,
        }
    }

    /// The link in the last mail to the person of this account.
    pub fn of(self, account: &ManagedAccount, now: Timestamp) -> Link {
        match self {
            Self::None => Link::None,
            Self::Unknown => Link::Unknown,
            Self::Work(lifetime) => {
                let end = account.reminded.unwrap_or(account.since) + lifetime;
                if now < end {
                    Link::Works(end)
                } else {
                    Link::Expired(end)
                }
            }
        }
    }
}
