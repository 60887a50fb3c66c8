//! The command line: parses arguments, runs a command, prints its output and returns an exit code.
//!
//! There is one file per command. Output goes to standard output, warnings and errors go to standard error.

mod adopt;
mod approve;
mod args;
mod check;
mod config_migrate;
mod config_show;
pub mod exit;
mod explain;
mod forget;
mod healthcheck;
mod journal;
mod logging;
mod manual;
mod notify;
mod palette;
mod person;
mod plan;
mod proposal;
mod run;
mod state;
mod state_backup;
mod state_migrate;
mod status;
mod sync;
mod watch;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub use args::Args;
use args::{Command, ConfigCommand, StateCommand};
use exit::Exit;

use crate::app::Verb;
use crate::config::{self, Config, ConfigError};
use crate::foreign::printable;
use crate::model::EmailAddress;

/// Runs the command. Prints an error with its causes.
pub async fn main(args: Args) -> Exit {
    let config = args.config.or_else(config_path_variable);
    let config = config.as_deref();
    let done = match args.command {
        Command::Run(logging) => run::run(config, &logging).await,
        Command::Sync {
            person: None,
            logging,
        } => sync::sync(config, &logging).await,
        Command::Sync {
            person: Some(who), ..
        } => person::sync(config, &who).await,
        Command::Invite { address } => person::invite(config, &address).await,
        Command::Adopt { plan, yes, json } => adopt::adopt(config, plan, yes, json).await,
        Command::Forget(what) => forget::forget(config, &what).await,
        Command::Plan { json } => plan::plan(config, json).await,
        Command::Check { json } => check::check(config, json).await,
        Command::Watch { json, all } => watch::watch(config, json, all).await,
        Command::Status { json, stale: true } => status::stale(config, json).await,
        Command::Status { json, stale: false } => status::status(config, json).await,
        Command::Healthcheck { ready, timeout, json } => {
            healthcheck::healthcheck(config, ready, timeout, json).await
        }
        Command::Explain { who, json } => explain::explain(config, &who, json).await,
        Command::Journal { since, person, json } => {
            journal::journal(config, since, person.as_deref(), json).await
        }
        Command::Notify { test: _ } => notify::test(config).await,
        Command::Config {
            command: ConfigCommand::Show,
        } => config_show::config_show(config),
        Command::Config {
            command: ConfigCommand::Migrate,
        } => config_migrate::config_migrate(config),
        Command::State {
            command: StateCommand::Backup { file, json },
        } => state_backup::backup(config, &file, json).await,
        Command::State {
            command: StateCommand::Migrate { from, to },
        } => state_migrate::migrate(config, from.as_deref(), to.as_deref()).await,
        Command::Approve(held) => {
            approve::decide(config, &held.people, held.group.as_deref(), Verb::Approve).await
        }
        Command::Discard(held) => {
            approve::decide(config, &held.people, held.group.as_deref(), Verb::Discard).await
        }
        Command::Retry(people) => approve::decide(config, &people, None, Verb::Retry).await,
        Command::Completions { shell } => manual::completions(shell),
        Command::Man { out } => manual::man(out.as_deref()),
    };
    done.unwrap_or_else(|error| {
        print_error("error", &format!("{error:#}"));
        Exit::of(&error)
    })
}

/// `$CONFIG_PATH`, unless it is empty.
fn config_path_variable() -> Option<PathBuf> {
    let path = std::env::var_os("CONFIG_PATH").filter(|path| !path.is_empty());
    path.map(PathBuf::from)
}

fn load(path: Option<&Path>) -> Result<Config, ConfigError> {
    config::load(path).map(|loaded| loaded.config)
}

/// Parses an address on the command line.
fn address(text: &str) -> anyhow::Result<EmailAddress> {
    EmailAddress::parse(text.as_bytes()).map_err(|problem| anyhow::anyhow!("{text:?} {problem}"))
}

/// Prints to standard output. A closed pipe (`| head`) is not an error.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("standard output cannot be written"))
        }
        _ => Ok(()),
    }
}

/// Prints to standard error. Ignores failures, because there is no other place to report them.
fn print_error(what: &str, text: &str) {
    let text: Vec<String> = text.lines().map(printable).collect();
    let _ = writeln!(io::stderr().lock(), "{what}: {}", text.join("\n"));
}
