//! `sync --person` and `invite`: everything for one person now, each step on a line.

use std::io;
use std::path::Path;

use super::exit::Exit;
use super::explain;
use super::palette::Palette;
use crate::app::{self, Progress};
use crate::clock::Clock;
use crate::foreign::printable;
use crate::model::ActionState;
use crate::store::PersonReport;

/// Does what `sync` does, for one person.
pub(super) async fn sync(config: Option<&Path>, who: &str) -> anyhow::Result<Exit> {
    let config = super::load(config)?;
    let people = app::sync_person(&config, who, &mut say).await?;
    finish(&config, &people).await
}

/// Invites one person.
pub(super) async fn invite(config: Option<&Path>, address: &str) -> anyhow::Result<Exit> {
    let config = super::load(config)?;
    let people = app::invite_person(&config, &super::address(address)?, &mut say).await?;
    finish(&config, &people).await
}

/// Prints one step. What cannot be printed is done nevertheless.
fn say(step: Progress<'_>) {
    let line = match step {
        Progress::Told(text) => text,
        Progress::Happened(event) => {
            let address = event.address.as_ref().map(|address| format!("{address}: "));
            format!("{}{}", address.unwrap_or_default(), event.what)
        }
    };
    let _ = super::print(&format!("{}\n", printable(&line)));
}

/// Prints what is so now and what happens next.
async fn finish(config: &crate::config::Config, people: &[PersonReport]) -> anyhow::Result<Exit> {
    let now = Clock::system().now();
    for person in people {
        let id = person.member.id.to_string();
        let explained = app::explain(config, &id).await?;
        let same = explained
            .iter()
            .filter(|explained| explained.person.member.row == person.member.row);
        for explained in same {
            let dn = printable(&explained.person.member.dn);
            super::print(&format!("\n{dn}  (directory {})\n", explained.person.directory))?;
            super::print(&explain::present(explained, now, Palette::of(&io::stdout())))?;
        }
    }
    Ok(if people.iter().any(is_open) {
        Exit::Undelivered
    } else {
        Exit::Done
    })
}

/// Whether something is left to do that does not only wait for its time.
fn is_open(person: &PersonReport) -> bool {
    person.actions.iter().any(|action| match action.state {
        ActionState::Held | ActionState::Quarantined => true,
        ActionState::Queued => !action.kind.is_leave(),
        ActionState::Done | ActionState::Cancelled => false,
    })
}
