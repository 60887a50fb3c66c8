//! What can go wrong with Vaultwarden, and what to do about it.

use crate::model::Disposition;

/// Why a call to Vaultwarden failed. The text names the URL, the cause and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum VaultwardenError {
    /// Placeholder.
    #[error("{0}")]
    Other(String),
}

impl VaultwardenError {
    /// What to do about it.
    pub fn disposition(&self) -> Disposition {
        Disposition::Outage
    }
}
