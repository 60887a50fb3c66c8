//! What a listing compares with the entries that it names.

use super::Sighting;
use crate::model::Standing;

/// How a member stands, and the digest ([`EntryFacts::digest`](super::EntryFacts::digest)) of the entry that decided it. It is `None`
/// where something else decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// How the member stands.
    pub standing: Standing,
    /// The digest of the entry.
    pub on: Option<i64>,
}

impl Decided {
    /// Whether a decision on this sighting would change nothing: a complete listing passes over such a member.
    pub fn stands(&self, sighting: &Sighting) -> bool {
        match sighting {
            Sighting::Entry(seen) => self.on == Some(seen.digest()),
            Sighting::Present(_) => self.standing != Standing::Left,
            Sighting::Gone(_) => false,
        }
    }
}
