//! Sets up the log of `run` and `sync`: the command line decides before `$RUST_LOG`, and that before the configuration.

use std::env::VarError;

use super::args::{LogFormat, Logging};
use crate::config::{self, Log};
use crate::panics;
use crate::telemetry::log::{self, Format, LogHandle};

/// Starts the log.
///
/// # Errors
/// The level of the configuration is not understood.
pub(super) fn start(chosen: &Logging, configured: &Log) -> anyhow::Result<LogHandle> {
    let format = match chosen.log_format {
        Some(LogFormat::Text) => Format::Text,
        Some(LogFormat::Json) => Format::Json,
        None => match configured.format {
            config::Format::Text => Format::Text,
            config::Format::Json => Format::Json,
        },
    };
    let (variable, refused) = match chosen.log_level {
        Some(_) => (None, None),
        None => variable(),
    };
    let fixed = chosen.log_level.clone().or(variable);
    let log = log::init(format, fixed.as_deref(), configured.level.as_str())?;
    panics::report();
    if let Some(refused) = refused {
        tracing::warn!("RUST_LOG is ignored: {refused}");
    }
    Ok(log)
}

/// The level in `$RUST_LOG`, or why it cannot be used.
fn variable() -> (Option<String>, Option<String>) {
    #[expect(clippy::disallowed_methods, reason = "the command line reads the environment")]
    match std::env::var("RUST_LOG") {
        Ok(level) if level.trim().is_empty() => (None, None),
        Ok(level) => match log::parse_level(&level) {
            Ok(level) => (Some(level), None),
            Err(error) => (None, Some(error.to_string())),
        },
        Err(VarError::NotPresent) => (None, None),
        Err(VarError::NotUnicode(_)) => (None, Some("it is not UTF-8".into())),
    }
}
