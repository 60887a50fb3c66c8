//! What can go wrong with a directory, and what to do about it.

use crate::model::Disposition;

/// Why a session with a directory failed. The text names the server, the cause and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Placeholder.
    #[error("{0}")]
    Other(String),
}

impl DirectoryError {
    /// What to do about it.
    pub fn disposition(&self) -> Disposition {
        Disposition::Outage
    }
}
