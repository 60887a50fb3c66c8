//! What to do about an error.

use std::time::Duration;

/// What the caller of a failed I/O operation does next. Every I/O error of this crate answers `disposition()`;
/// nobody looks at its message or at a status code outside the module that owns it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Disposition {
    /// This one call failed and may succeed later; others are not affected.
    Retry,
    /// The whole server is in trouble: no other call would fare better now.
    Outage,
    /// The whole server asks to be left alone for this long.
    RetryAfter(Duration),
    /// The call may or may not have taken effect: look before repeating it.
    Ambiguous,
    /// The resume point was refused: forget it and list everything.
    Relist,
    /// It will never succeed for this person.
    Reject(Rejection),
    /// A human has to change something first (a password, a right, a limit); keep trying, slowly and loudly.
    Operator,
}

/// Why something will never succeed for one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The server's words, for people.
    pub reason: String,
    /// `None` where the reason can be nobody's but this person's. Otherwise the words with everything left out that
    /// belongs to one person or one attempt: when other people are rejected with the same key, the reason is the
    /// server's. It is stored, so it is as stable as the server's words.
    pub key: Option<String>,
}

impl From<&str> for Rejection {
    /// One that is the person's own.
    fn from(reason: &str) -> Self {
        Self {
            reason: reason.into(),
            key: None,
        }
    }
}
