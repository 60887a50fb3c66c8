//! `sync`: lists every directory once and delivers what is due.

use std::path::Path;

use anyhow::bail;

use super::args::Logging;
use super::exit::Exit;
use super::logging;
use crate::app::{self, SyncSummary};
use crate::config::Config;

/// Syncs once and prints a summary.
pub(super) async fn sync(config: Option<&Path>, logging: &Logging) -> anyhow::Result<Exit> {
    let loaded = super::load(config)?;
    logging::start(logging, &loaded.log)?;
    once(loaded).await
}

/// Syncs once with a configuration that is already loaded, after the log was set up.
pub(super) async fn once(config: Config) -> anyhow::Result<Exit> {
    let summary = app::sync(config).await?;
    super::print(&text(&summary))?;
    if !summary.failures.is_empty() {
        bail!("{}", summary.failures.join("\n"));
    }
    Ok(exit(&summary))
}

fn exit(summary: &SyncSummary) -> Exit {
    if summary.queued + summary.held + summary.quarantined + summary.leavers_held == 0 {
        Exit::Done
    } else {
        Exit::Undelivered
    }
}

fn text(summary: &SyncSummary) -> String {
    let SyncSummary {
        invited,
        had_account,
        changed,
        leaving,
        leavers_held,
        queued,
        held,
        quarantined,
        failures: _,
    } = summary;
    let mut text = format!("{invited} invited, {had_account} had an account\n");
    for (count, what) in [
        (
            changed,
            "accounts changed: of leavers, of people who are back, or by a reminder",
        ),
        (leaving, "left and are within their grace, or are tried again"),
        (
            leavers_held,
            "leavers held back by a limit; `ldap-usher approve --all` shows them and asks",
        ),
        (queued, "could not be delivered yet; the next run tries again"),
        (
            held,
            "held back by a limit; `ldap-usher approve --all` shows and releases them",
        ),
        (
            quarantined,
            "in quarantine; `ldap-usher status` shows why, `ldap-usher retry` tries again",
        ),
    ] {
        if *count > 0 {
            text.push_str(&format!("{count} {what}\n"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_that_leaves_nothing_open_is_done() {
        let summary = SyncSummary {
            invited: 3,
            had_account: 2,
            ..SyncSummary::default()
        };
        assert_eq!(exit(&summary), Exit::Done);
        assert_eq!(text(&summary), "3 invited, 2 had an account\n");
    }

    #[test]
    fn what_is_left_open_is_named_and_changes_the_exit_code() {
        let summary = SyncSummary {
            invited: 3,
            queued: 1,
            held: 600,
            quarantined: 2,
            ..SyncSummary::default()
        };
        assert_eq!(exit(&summary), Exit::Undelivered);
        insta::assert_snapshot!(text(&summary), @r"
            3 invited, 0 had an account
            1 could not be delivered yet; the next run tries again
            600 held back by a limit; `ldap-usher approve --all` shows and releases them
            2 in quarantine; `ldap-usher status` shows why, `ldap-usher retry` tries again
            ");
        for open in [
            SyncSummary {
                queued: 1,
                ..SyncSummary::default()
            },
            SyncSummary {
                held: 1,
                ..SyncSummary::default()
            },
            SyncSummary {
                quarantined: 1,
                ..SyncSummary::default()
            },
        ] {
            assert_eq!(exit(&open), Exit::Undelivered, "{open:?}");
        }
    }
}
