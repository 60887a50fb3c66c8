//! Changes in a directory, independent of the kind of server.

use super::{Entry, EntryId};

/// A resume point in the server's own format (such as an RFC 4533 cookie); opaque except to the stream that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(pub Vec<u8>);

/// One message of a directory's stream. Every kind of server is normalised to this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The start of a listing, which ends with [`Change::ListingEnd`]. It brings the client up to date.
    ListingBegin,
    /// An entry that matches the filter: added, modified or listed.
    Upsert(Entry),
    /// As [`Change::Upsert`], if one change concerns several people at once: a group became a member of another, or
    /// changes from an interruption arrive together.
    Together {
        /// The entry.
        entry: Entry,
        /// The number of people whom the change concerns.
        among: usize,
    },
    /// An entry that exists and is unchanged (RFC 4533, present phase).
    Present(EntryId),
    /// An entry that no longer matches: it was deleted, moved out of the base, or changed.
    Gone(EntryId),
    /// The end of a listing.
    ListingEnd(Listing),
    /// A resume point, valid once everything before it is committed.
    Checkpoint(Cursor),
    /// The server answered a probe; nothing changed.
    Alive,
}

impl Change {
    /// All that [`Change::kind`] returns.
    pub const KINDS: [&'static str; 7] = [
        "listing-begin",
        "upsert",
        "present",
        "gone",
        "listing-end",
        "checkpoint",
        "alive",
    ];

    /// The name of this change in logs and in the metric `ldap_usher_changes_total`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ListingBegin => "listing-begin",
            Self::Upsert(_) | Self::Together { .. } => "upsert",
            Self::Present(_) => "present",
            Self::Gone(_) => "gone",
            Self::ListingEnd(_) => "listing-end",
            Self::Checkpoint(_) => "checkpoint",
            Self::Alive => "alive",
        }
    }

    /// The approximate size in memory, in bytes.
    pub fn size(&self) -> usize {
        match self {
            Self::Upsert(entry) => entry.size(),
            Self::Checkpoint(Cursor(bytes)) => bytes.len() + size_of::<Self>(),
            _ => size_of::<Self>(),
        }
    }
}

/// What a finished listing says about people who are not in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listing {
    /// The server returned every entry that matches: people who are not in it have left.
    Complete,
    /// The server returned only changes since the cursor: people who are not in it are unchanged.
    Changes,
    /// The listing was cut short, for the given reason: it says nothing about people who are not in it.
    Partial(String),
}

impl Listing {
    /// Whether the server may know of more people than it returned.
    pub fn is_cut_short(&self) -> bool {
        matches!(self, Self::Partial(_))
    }
}
