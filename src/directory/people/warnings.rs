//! Warnings of searches that succeed: some people are not found, or the search is slower than necessary.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use crate::directory::ldap::references::References;

/// The topic of a warning. There is at most one warning about each.
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
    /// Sets the warning "cause; remedy" about a topic, or removes it.
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

    /// All current warnings.
    pub(crate) fn all(&self) -> Vec<String> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .values()
            .cloned()
            .collect()
    }
}

/// The warning about references in a search for people.
pub(crate) fn references_warning(server: &str, references: &References) -> Option<String> {
    let first = references.first.as_ref()?;
    let (count, noun) = match references.count {
        1 => ("1 reference".to_owned(), "was"),
        count => (format!("{count} references"), "were"),
    };
    Some(format!(
        "{server}: {count} to other servers {noun} not followed, the first to {first}, and people there are not found; \
         make each of those servers a [[directory]] of its own, with the base that stands in the reference"
    ))
}
