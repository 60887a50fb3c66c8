//! Exit codes. They are stable, because scripts and service managers depend on them.

use std::process::{ExitCode, Termination};

use crate::config::ConfigError;
use crate::store::StoreError;

/// The exit code of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// The command is done.
    Done = 0,
    /// Something failed.
    Failed = 1,
    /// The command line or the configuration cannot be used; a restart does not help.
    Misconfigured = 2,
    /// Another process uses the state file.
    InUse = 3,
    /// `sync` finished, but something is left to do that needs an administrator or another run.
    Undelivered = 4,
}

impl Exit {
    const MEANINGS: [(Self, &str); 5] = [
        (Self::Done, "done"),
        (Self::Failed, "failed"),
        (
            Self::Misconfigured,
            "the command line or the configuration cannot be used",
        ),
        (Self::InUse, "another process uses the state file"),
        (
            Self::Undelivered,
            "sync: something is held, quarantined or still to be delivered",
        ),
    ];

    /// The exit code for an error.
    pub fn of(error: &anyhow::Error) -> Self {
        let is_config = error.chain().any(|cause| cause.is::<ConfigError>());
        let in_use = error
            .chain()
            .any(|cause| matches!(cause.downcast_ref(), Some(StoreError::InUse { .. })));
        match (is_config, in_use) {
            (true, _) => Self::Misconfigured,
            (_, true) => Self::InUse,
            _ => Self::Failed,
        }
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self as u8)
    }
}

/// The list of exit codes for `--help`.
pub(super) fn help() -> String {
    let lines = Exit::MEANINGS.map(|(exit, meaning)| format!("\n  {}  {meaning}", exit as u8));
    format!("Exit codes:{}", lines.concat())
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    use super::*;

    #[test]
    fn the_cause_decides_the_code_regardless_of_its_context() {
        let in_use = || StoreError::InUse {
            store: "state file state.db".into(),
            pid: String::new(),
        };
        let config: Result<(), _> = Err(ConfigError::NotFound).context("outer");
        let state: Result<(), _> = Err(in_use()).context("inner").context("outer");
        assert_eq!(Exit::of(&config.unwrap_err()), Exit::Misconfigured);
        assert_eq!(Exit::of(&state.unwrap_err()), Exit::InUse);
        assert_eq!(Exit::of(&in_use().into()), Exit::InUse);
        assert_eq!(Exit::of(&anyhow::anyhow!("something else")), Exit::Failed);
    }

    #[test]
    fn the_help_names_each_code_in_order() {
        let codes: Vec<u8> = Exit::MEANINGS.iter().map(|(exit, _)| *exit as u8).collect();
        assert_eq!(codes, [0, 1, 2, 3, 4]);
        assert!(help().contains("\n  3  another process uses the state file\n"));
    }
}
