//! `status`: shows members, invitations and directories, as text or as JSON.

mod json;
mod stale;
mod text;

use std::io;
use std::path::Path;

pub(super) use stale::stale;

use super::exit::Exit;
use super::palette::Palette;
use super::state;
use crate::clock::Clock;

/// Prints the status, whether or not the service runs.
pub(super) async fn status(config: Option<&Path>, as_json: bool) -> anyhow::Result<Exit> {
    let (report, running) = state::report(config).await?;
    let now = Clock::system().now();
    if as_json {
        super::print(&format!("{:#}\n", json::json(&report, running, now)))?;
    } else {
        let palette = Palette::of(&io::stdout());
        super::print(&text::text(&report, running, now, palette))?;
    }
    Ok(Exit::Done)
}
