//! What a program does about an error.

use std::time::Duration;

/// What the caller of a failed I/O operation does next. Every I/O error of this crate has `disposition()`, so that
/// callers need not inspect messages or status codes of another module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    /// This one call failed and may succeed later; others are not affected.
    Retry,
    /// The whole server fails: other calls would fail as well.
    Outage,
    /// The server allows no call for this long.
    RetryAfter(Duration),
    /// The call may have taken effect: look it up before repeating it.
    Ambiguous,
    /// The server refused the resume point: discard it and list everything.
    Relist,
    /// The call will never succeed for this person.
    Reject(Rejection),
    /// An administrator must change something first (a password, a right, a limit). Keep trying, at long intervals, and
    /// log it as an error.
    Operator,
}

impl Disposition {
    /// The name in metrics and traces.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Reject(_) => "rejected",
            Self::Ambiguous => "unknown-outcome",
            Self::RetryAfter(_) => "rate-limited",
            Self::Operator => "misconfigured",
            Self::Outage => "outage",
            Self::Retry | Self::Relist => "failed",
        }
    }
}

/// Why a call will never succeed for one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The server's message.
    pub reason: String,
    /// `None` if the reason can concern only this person. Otherwise the message without all parts that belong to one
    /// person or one attempt: if other people are rejected with the same key, the reason concerns the server. It is
    /// stored, and must stay equal for equal messages.
    pub key: Option<String>,
}

impl From<&str> for Rejection {
    /// A rejection that concerns only this person.
    fn from(reason: &str) -> Self {
        Self {
            reason: reason.into(),
            key: None,
        }
    }
}
