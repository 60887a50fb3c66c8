//! `state backup`: copies the state file while the service may run.

use std::path::Path;

use serde_json::json;

use super::exit::Exit;
use crate::config;
use crate::store;

/// Writes the backup and says where it is.
pub(super) async fn backup(config: Option<&Path>, file: &Path, as_json: bool) -> anyhow::Result<Exit> {
    let at = config::state(config)?;
    let size = store::backup(&at, file).await?;
    if as_json {
        let done = json!({ "state": at.to_string(), "file": file.display().to_string(), "bytes": size });
        super::print(&format!("{done}\n"))?;
        return Ok(Exit::Done);
    }
    super::print(&format!(
        "{at} is backed up in {} ({} KiB); it contains addresses and a session with Vaultwarden, so keep it as safe as the state\n",
        file.display(),
        size.div_ceil(1024)
    ))?;
    Ok(Exit::Done)
}
