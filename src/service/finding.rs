//! What a diagnosis is made of.

use std::fmt;

use serde::Serialize;

/// One line of the diagnosis. It stands alone when it is pasted elsewhere, and holds no secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How it stands.
    pub level: Level,
    /// What was looked at.
    pub subject: String,
    /// What was found.
    pub detail: String,
    /// What to do about it; empty where there is nothing to do.
    pub remedy: String,
}

/// How something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// It works.
    Ok,
    /// It works, but deserves a look.
    Warn,
    /// It does not work.
    Fail,
    /// It was not tried, because it depends on something that failed.
    Skip,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
            Self::Skip => "skip",
        })
    }
}

impl Finding {
    /// A finding.
    pub fn new(level: Level, subject: impl Into<String>, detail: impl Into<String>, remedy: &str) -> Self {
        Self {
            level,
            subject: subject.into(),
            detail: detail.into(),
            remedy: remedy.into(),
        }
    }

    /// What an error says, whose text is "cause; remedy" wherever a remedy is known.
    pub fn of_error(level: Level, subject: impl Into<String>, error: &str, otherwise: &str) -> Self {
        let (detail, remedy) = error.split_once("; ").unwrap_or((error, otherwise));
        Self::new(level, subject, detail, remedy)
    }
}
