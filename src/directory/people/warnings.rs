//! What searches notice that is no failure, and yet keeps people from being found or costs more than it should.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::directory::ldap::references::References;

/// What a warning is about: there is one of each kind at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Topic {
    /// Pages that are refused.
    Pages,
    /// References that are not followed.
    References,
    /// A group whose `gidNumber` cannot be read.
    PrimaryGroup,
}

/// The warnings of one directory. Each goes to the log once, and again when its text changes.
#[derive(Debug, Default)]
pub(crate) struct Warnings(Mutex<BTreeMap<Topic, String>>);

impl Warnings {
    /// Takes a warning, whose text is "cause; remedy"; `None` takes the last one back.
    pub(crate) fn set(&self, directory: &str, topic: Topic, warning: Option<String>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(warning) = warning else {
            known.remove(&topic);
            return;
        };
        if known.get(&topic) != Some(&warning) {
            tracing::warn!(directory, "{warning}");
            known.insert(topic, warning);
        }
    }

    /// All warnings that stand.
    pub(crate) fn all(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }
}

/// What an administrator should know of references that a search for people met.
pub(crate) fn references_warning(server: &str, references: &References) -> Option<String> {
    let first = references.first.as_ref()?;
    let (count, noun) = match references.count {
        1 => ("1 reference".to_owned(), "was"),
        count => (format!("{count} references"), "were"),
    };
    Some(format!(
        "{server}: {count} to other servers {noun} not followed, the first to {first}, and whoever is there is not found; \
         make each of those servers a [[directory]] of its own, with the base that stands in the reference"
    ))
}
