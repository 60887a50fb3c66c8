//! Traces the steps of a change from the directory to Vaultwarden, for `make bench ONLY=trace`.
//!
//! Each step is an event with the target `ldap_usher::timing` at level `trace`, and its time is that of the log line. At
//! other log levels a step costs one comparison.

/// A step of a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The bytes were read from the directory's connection.
    Read,
    /// The listener received the decoded change.
    Decoded,
    /// The rules decided on it.
    Decided,
    /// The decision is stored.
    Committed,
    /// The worker claimed the resulting action.
    Claimed,
    /// Vaultwarden answered.
    Called,
    /// The outcome is stored.
    Settled,
}

impl Step {
    fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Decoded => "decoded",
            Self::Decided => "decided",
            Self::Committed => "committed",
            Self::Claimed => "claimed",
            Self::Called => "called",
            Self::Settled => "settled",
        }
    }
}

/// Records that a change reached this step.
pub(crate) fn reached(step: Step) {
    tracing::trace!(target: "ldap_usher::timing", step = step.as_str(), "reached");
}
