//! `healthcheck`: for containers and scripts.

use std::path::Path;
use std::time::Duration;

use serde_json::json;

use super::exit::Exit;
use crate::app;
use crate::config;

/// Prints one line, or JSON. The exit code is 0 or 1 only: others have another meaning for containers.
pub(super) async fn healthcheck(
    config: Option<&Path>,
    ready: bool,
    timeout: Duration,
    as_json: bool,
) -> anyhow::Result<Exit> {
    let health = match config::service(config) {
        Ok(service) => app::healthcheck(&service, ready, timeout).await,
        Err(error) => app::Health {
            healthy: false,
            asked: "the configuration".into(),
            detail: vec![error.to_string()],
        },
    };
    if as_json {
        let health = json!({ "healthy": health.healthy, "asked": health.asked, "detail": health.detail });
        super::print(&format!("{health}\n"))?;
    } else if health.healthy {
        super::print(&format!("{}\n", health.detail.join("; ")))?;
    } else {
        super::print_error(
            "unhealthy",
            &format!("{}: {}", health.asked, health.detail.join("; ")),
        );
    }
    Ok(if health.healthy { Exit::Done } else { Exit::Failed })
}
