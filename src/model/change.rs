//! What a directory says, whatever kind of server it is.

use super::{Entry, EntryId};

/// A resume point in the server's own form (an RFC 4533 cookie), opaque to everyone but the stream that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(pub Vec<u8>);

/// One thing that a directory says. Every kind of server is normalised to this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// What follows, until [`Change::ListingEnd`], is told at the server's own initiative to bring us up to date.
    ListingBegin,
    /// An entry that matches the filter: added, modified or listed.
    Upsert(Entry),
    /// The same, of somebody whom one change concerns together with others: a group that was put into another, or what
    /// happened while nobody listened.
    Together {
        /// The entry.
        entry: Entry,
        /// How many people the change concerns.
        among: usize,
    },
    /// Unchanged and still there (RFC 4533 present phase).
    Present(EntryId),
    /// No longer matches: deleted, moved out of scope, or out of the filter.
    Gone(EntryId),
    /// The end of what [`Change::ListingBegin`] began.
    ListingEnd(Listing),
    /// Something changed that this stream cannot show: look again.
    Doorbell(Why),
    /// A resume point, valid once everything before it is committed.
    Checkpoint(Cursor),
    /// Nothing changed, and the server was asked and answered.
    Alive,
}

impl Change {
    /// The word for this change in logs and in the metric `ldap_usher_changes_total`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::ListingBegin => "listing-begin",
            Self::Upsert(_) | Self::Together { .. } => "upsert",
            Self::Present(_) => "present",
            Self::Gone(_) => "gone",
            Self::ListingEnd(_) => "listing-end",
            Self::Doorbell(_) => "doorbell",
            Self::Checkpoint(_) => "checkpoint",
            Self::Alive => "alive",
        }
    }

    /// About how many bytes of memory it takes.
    pub fn size(&self) -> usize {
        match self {
            Self::Upsert(entry) => entry.size(),
            Self::Checkpoint(Cursor(bytes)) => bytes.len() + size_of::<Self>(),
            _ => size_of::<Self>(),
        }
    }
}

/// What a finished listing allows to conclude.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listing {
    /// The server named every entry that matches: whoever was not named has left.
    Complete,
    /// Only what changed since the cursor was named: whoever was not named is as before.
    Changes,
    /// Cut short, for the reason given: says nothing about anyone who was not named.
    Partial(String),
}

/// Why a doorbell rang.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The server's state moved on without an entry of this search (RFC 4533 `newcookie`): with a filter on
    /// `memberOf` this may have been a change of a group.
    ForeignChange,
}
