//! The steps on the way of one change, for `make bench ONLY=trace`.
//!
//! Each step is an event of the target `ldap_usher::timing` at level `trace`. Its time is that of the log line. At any
//! other log level it costs one comparison.

/// A step that a change has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// The directory's bytes are in this process.
    Read,
    /// The listener has the change that they tell of.
    Decoded,
    /// The rules have said what follows.
    Decided,
    /// It is stored.
    Committed,
    /// The worker has the action.
    Claimed,
    /// Vaultwarden has answered.
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

/// Something has come to this step.
pub(crate) fn reached(step: Step) {
    tracing::trace!(target: "ldap_usher::timing", step = step.as_str(), "reached");
}
