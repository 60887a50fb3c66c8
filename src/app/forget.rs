//! Declares that the people of a directory that is no longer configured have left.

use std::sync::Arc;

use anyhow::bail;

use super::policies::{leave, limits};
use crate::clock::Clock;
use crate::config::Config;
use crate::model::{ActionKind, Source};
use crate::rules::DecisionContext;
use crate::store::{Decisions, Scope, Step, Store};

/// The number of people that are decided on in one transaction.
const PAGE: u32 = 500;

/// A directory that is no longer configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forgotten {
    /// Its number in the store.
    pub directory: i64,
    /// The number of its people who have not left.
    pub people: u64,
    /// What would be done to their accounts by `[leave]`, if anything.
    pub action: Option<ActionKind>,
    /// How long after.
    pub grace: std::time::Duration,
}

/// Finds the directory with this name.
///
/// # Errors
/// There is none, it is configured, or the state cannot be read.
pub async fn retired_directory(config: &Config, store: &dyn Store, name: &str) -> anyhow::Result<Forgotten> {
    if config.directory(name).is_some() {
        bail!("the directory {name} is in the configuration; remove it from there first");
    }
    let report = store.report().await?;
    let Some(found) = report.directories.iter().find(|directory| directory.name == name) else {
        let retired = report.directories.iter().filter(|directory| directory.retired);
        let names: Vec<&str> = retired.map(|directory| directory.name.as_str()).collect();
        let known = match names.as_slice() {
            [] => "no directory that was removed from the configuration has people".to_owned(),
            names => format!("removed from the configuration: {}", names.join(", ")),
        };
        bail!("no directory {name} is known; {known}");
    };
    if !found.retired {
        bail!(
            "the service has not noticed yet that the directory {name} was removed from the configuration; restart it first"
        );
    }
    let Some(directory) = store.directory(name).await? else {
        bail!("no directory {name} is known");
    };
    let policy = leave(config).forgotten;
    Ok(Forgotten {
        directory,
        people: found.members + found.without_address,
        action: policy.action,
        grace: policy.grace,
    })
}

/// Makes everyone in it a leaver. Returns their number.
///
/// # Errors
/// The store failed. What is not done yet is done if the command is repeated.
pub async fn forget_directory(config: &Config, store: &dyn Store, directory: i64) -> anyhow::Result<usize> {
    let (limits, leave, clock) = (limits(config), Arc::new(leave(config)), Clock::system());
    // Before the first of its people leaves, so that no action waits for the directory to come back.
    store.declare_left(directory).await?;
    let mut count = 0;
    loop {
        let people = store.present(directory, PAGE).await?;
        if people.is_empty() {
            return Ok(count);
        }
        let scope = Scope {
            directory,
            with_invitations: people,
            ..Scope::default()
        };
        let (leave, now) = (leave.clone(), clock.now());
        let left = store
            .decide(scope, move |book| {
                let context = DecisionContext::single(Source::Administrator, now, now, &limits, &leave);
                Step::Done(book.forget_directory(&context))
            })
            .await?;
        if left == 0 {
            bail!("people of the directory cannot be marked as having left, which is a bug of this program");
        }
        count += left;
    }
}
