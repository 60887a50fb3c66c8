//! `adopt`: takes existing accounts of members into care.

use std::path::Path;

use anyhow::bail;
use serde_json::json;

use super::exit::Exit;
use super::proposal::confirmed;
use crate::app;
use crate::foreign::printable;
use crate::model::Event;

/// The number of accounts that are shown by name; the others are counted.
const NAMED: u64 = 20;

/// Shows whom it concerns, asks, and adopts.
pub(super) async fn adopt(
    config: Option<&Path>,
    only_plan: bool,
    yes: bool,
    as_json: bool,
) -> anyhow::Result<Exit> {
    let config = super::load(config)?;
    if as_json {
        if !only_plan && !yes {
            bail!("--json cannot ask for confirmation; add --plan to change nothing, or --yes");
        }
        let mut separator = "[\n";
        app::adopt(&config, only_plan, &mut |event| {
            super::print(separator)?;
            separator = ",\n";
            super::print(&json(event))
        })
        .await?;
        super::print(if separator == "[\n" { "[]\n" } else { "\n]\n" })?;
        return Ok(Exit::Done);
    }
    let mut count = 0;
    let mut named = String::new();
    app::adopt(&config, true, &mut |event| {
        count += 1;
        if count <= NAMED {
            named.push_str(&line(event));
        }
        Ok(())
    })
    .await?;
    super::print(&list(count, &named))?;
    if only_plan || count == 0 {
        return Ok(Exit::Done);
    }
    if !yes && !confirmed("Take them into care? Nobody gets a mail.")? {
        super::print("none was adopted\n")?;
        return Ok(Exit::Failed);
    }
    let mut adopted: u64 = 0;
    app::adopt(&config, false, &mut |_| {
        adopted += 1;
        Ok(())
    })
    .await?;
    super::print(&format!("{adopted} adopted\n"))?;
    Ok(Exit::Done)
}

fn list(count: u64, named: &str) -> String {
    match count {
        0 => "every account of a member is in our care already\n".into(),
        count => {
            let mut text = format!("{count} accounts of members that this service did not create:\n{named}");
            if count > NAMED {
                text.push_str(&format!("  and {} more\n", count - NAMED));
            }
            text
        }
    }
}

fn line(event: &Event) -> String {
    let address = event
        .address
        .as_ref()
        .map(ToString::to_string)
        .unwrap_or_default();
    format!("  {address}  {}  ({})\n", printable(&event.dn), event.directory)
}

fn json(event: &Event) -> String {
    json!({
        "address": event.address.as_ref().map(ToString::to_string),
        "dn": event.dn,
        "directory": event.directory,
    })
    .to_string()
}
