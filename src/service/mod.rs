//! (in progress)

use crate::config::Config;

/// What one `sync` did and left open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SyncSummary {
    /// People invited by this run.
    pub invited: u64,
    /// People who turned out to have an account.
    pub had_account: u64,
    /// Invitations still to be delivered.
    pub queued: u64,
    /// Invitations held back.
    pub held: u64,
    /// Invitations in quarantine.
    pub quarantined: u64,
}

/// Placeholder.
///
/// # Errors
/// Always.
pub async fn run(_config: Config) -> anyhow::Result<()> {
    anyhow::bail!("not built yet")
}

/// Placeholder.
///
/// # Errors
/// Always.
pub async fn sync(_config: Config) -> anyhow::Result<SyncSummary> {
    anyhow::bail!("not built yet")
}
