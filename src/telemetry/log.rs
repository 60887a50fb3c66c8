//! Sets up the log: standard error, as text for people or JSON for machines.

use std::io::{self, IsTerminal};

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// One line of text, in colour on a terminal.
    Text,
    /// One JSON object per line, with fields at its top level.
    Json,
}

/// Why logging cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The level is neither a level nor a list of directives.
    #[error(
        "the log level {level:?} is not understood ({cause}); use error, warn, info, debug or trace, or directives such as \"info,ldap_usher::listener=debug\""
    )]
    Level {
        /// The requested level.
        level: String,
        /// What is wrong with it.
        cause: String,
    },
    /// Logging is already set up in this process.
    #[error("the log is set up already")]
    Twice,
}

/// Changes the level of a running log.
#[derive(Debug, Clone)]
pub struct LogHandle {
    filter: reload::Handle<EnvFilter, Registry>,
    is_fixed: bool,
}

impl LogHandle {
    /// Changes the level, unless it is fixed; the format is that of [`init`].
    ///
    /// # Errors
    /// [`LogError::Level`]; the level does not change.
    pub fn set_level(&self, level: &str) -> Result<(), LogError> {
        let filter = filter(level)?;
        if self.is_fixed {
            return Ok(());
        }
        self.filter.reload(filter).map_err(|_| LogError::Twice)
    }
}

/// Sends all log lines of this process to standard error.
///
/// `fixed` is a level that stays, whatever [`LogHandle::set_level`] asks for; without it, `level` is used. Each is a level for
/// this program (libraries stay at `warn`), or directives as `RUST_LOG` takes them.
///
/// # Errors
/// [`LogError`].
pub fn init(format: Format, fixed: Option<&str>, level: &str) -> Result<LogHandle, LogError> {
    let (filter, handle) = reload::Layer::new(filter(fixed.unwrap_or(level))?);
    // If standard error is closed, reporting that there would panic.
    let layer = fmt::layer()
        .with_writer(io::stderr)
        .with_target(false)
        .log_internal_errors(false);
    let layer = if io::stderr().is_terminal() {
        layer
    } else {
        layer.with_ansi(false)
    };
    let layer = match format {
        Format::Text => layer.boxed(),
        Format::Json => layer
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .boxed(),
    };
    let registry = tracing_subscriber::registry().with(filter).with(layer);
    registry.try_init().map_err(|_| LogError::Twice)?;
    Ok(LogHandle {
        filter: handle,
        is_fixed: fixed.is_some(),
    })
}

/// Checks a level or directives.
///
/// # Errors
/// [`LogError::Level`].
pub fn parse_level(level: &str) -> Result<String, LogError> {
    filter(level)?;
    Ok(level.trim().to_owned())
}

/// The levels of libraries. Those of LDAP and PostgreSQL log the errors that they return. A name stands for all that begin with it.
const LIBRARIES: &str = "warn,ldap3=off,deadpool=off,tokio_postgres=off";

/// The filter for a level, or for directives.
fn filter(level: &str) -> Result<EnvFilter, LogError> {
    let level = level.trim();
    let directives = match level.parse::<tracing::level_filters::LevelFilter>() {
        Ok(level) => format!("{LIBRARIES},ldap_usher={level}"),
        Err(_) => format!("{LIBRARIES},{level}"),
    };
    EnvFilter::builder()
        .parse(directives)
        .map_err(|cause| LogError::Level {
            level: level.to_owned(),
            cause: cause.to_string(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn directives(level: &str) -> String {
        let text = filter(level).unwrap().to_string();
        let mut parts: Vec<&str> = text.split(',').collect();
        parts.sort_unstable();
        parts.join(",")
    }

    #[test]
    fn a_plain_level_is_for_this_program_and_libraries_stay_at_warn() {
        assert_eq!(
            directives("debug"),
            "deadpool=off,ldap3=off,ldap_usher=debug,tokio_postgres=off,warn"
        );
        assert_eq!(
            directives(" INFO "),
            "deadpool=off,ldap3=off,ldap_usher=info,tokio_postgres=off,warn"
        );
    }

    #[test]
    fn directives_override_what_they_name_and_nothing_else() {
        assert_eq!(
            directives("info,ldap3=trace,ldap_usher::listener=debug"),
            "deadpool=off,info,ldap3=trace,ldap_usher::listener=debug,tokio_postgres=off"
        );
    }

    #[test]
    fn a_level_that_does_not_exist_is_an_error_that_names_the_choices() {
        let error = filter("ldap_usher=loud").unwrap_err().to_string();
        assert!(
            error.contains("ldap_usher=loud") && error.contains("debug or trace"),
            "{error}"
        );
    }
}
