//! `state migrate`: copies the state from one store into another.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use super::exit::Exit;
use crate::config;
use crate::store::{self, Location};

/// Copies, and says what was copied. Without a place, that is the configured one.
pub(super) async fn migrate(
    config: Option<&Path>,
    from: Option<&str>,
    to: Option<&str>,
) -> anyhow::Result<Exit> {
    let place = |named: Option<&str>| match named {
        Some(text) => config::place(config, text),
        None => config::state(config),
    };
    let (source, target) = (place(from)?, place(to)?);
    for (named, place) in [(from, &source), (to, &target)] {
        if named.is_some()
            && let Location::Postgres(server) = place
            && server.has_password()
        {
            super::print_error(
                "warning",
                "everyone on this machine can read the password in the list of processes; set `state_file` and leave the \
                 option out",
            );
        }
    }
    let is_terminal = io::stderr().is_terminal();
    let progress = move |table: &'static str, rows: u64| {
        if is_terminal {
            // Whoever looks on sees the copy itself.
            let _ = write!(io::stderr().lock(), "\r\x1b[K{table}: {rows}");
        }
    };
    let copied = store::migrate(&source, &target, progress).await;
    if is_terminal {
        let _ = write!(io::stderr().lock(), "\r\x1b[K");
    }
    let mut text = String::new();
    for (table, rows) in copied? {
        text.push_str(&format!("{table:<10} {rows}\n"));
    }
    let next = match to {
        Some(_) => "let `state` name the new one, and start the service",
        None => "start the service",
    };
    super::print(&format!(
        "{text}{source} is copied to {target}, and both are identical; {next}\n"
    ))?;
    Ok(Exit::Done)
}
