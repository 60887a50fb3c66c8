//! The Vaultwarden of the demo: a stand-in, or a real one.

use std::time::Instant;

use anyhow::{Context, bail};

use crate::support::stand_in::StandIn;

/// Where the invitations go.
pub(crate) enum Vault {
    /// Speaks Vaultwarden's admin API and tells when it was called.
    StandIn(StandIn),
    /// The one that the environment names.
    Real { url: String, token: String },
}

impl Vault {
    /// The real one where both variables are set, the stand-in where neither is.
    pub(crate) fn from_environment() -> anyhow::Result<Self> {
        match (variable("VAULTWARDEN_URL")?, variable("ADMIN_TOKEN")?) {
            (Some(url), Some(token)) => Ok(Self::Real { url, token }),
            (None, None) => Ok(Self::StandIn(StandIn::start())),
            (Some(_), None) => bail!("VAULTWARDEN_URL is set; set ADMIN_TOKEN, too, or neither of them"),
            (None, Some(_)) => bail!("ADMIN_TOKEN is set; set VAULTWARDEN_URL, too, or neither of them"),
        }
    }

    /// Where it is.
    pub(crate) fn url(&self) -> String {
        match self {
            Self::StandIn(stand_in) => stand_in.url(),
            Self::Real { url, .. } => url.clone(),
        }
    }

    /// What it takes to be its administrator.
    pub(crate) fn token(&self) -> &str {
        match self {
            Self::StandIn(_) => "sesame",
            Self::Real { token, .. } => token,
        }
    }

    /// When the invitation of this address came in, if this Vaultwarden tells.
    pub(crate) fn received(&self, address: &str) -> Option<Instant> {
        let Self::StandIn(stand_in) = self else {
            return None;
        };
        let calls = stand_in.calls();
        let invitation = calls
            .iter()
            .find(|call| call.what == "POST /admin/invite" && call.address.as_deref() == Some(address));
        invitation.map(|call| call.at)
    }
}

fn variable(name: &str) -> anyhow::Result<Option<String>> {
    match std::env::var_os(name).filter(|value| !value.is_empty()) {
        None => Ok(None),
        Some(value) => {
            let value = value.into_string().ok();
            Ok(Some(value.with_context(|| format!("{name} is not valid UTF-8"))?))
        }
    }
}
