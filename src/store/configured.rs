//! Compares the configured directories with the stored ones.

use super::Configured;

/// A stored directory.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) scope: String,
    pub(super) retired: bool,
}

/// What is to be changed.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// The numbers of directories that are renamed, each with its new name.
    pub(super) rename: Vec<(i64, String)>,
    /// The numbers of directories that are retired.
    pub(super) retire: Vec<i64>,
    /// The same by name.
    pub(super) configured: Configured,
}

/// Compares. A stored directory that is not configured is renamed if its scope (base and filter) is that of a new one, and
/// retired otherwise. `configured` has names and scopes.
pub(super) fn compare(stored: &[Stored], configured: &[(String, String)]) -> Changes {
    let mut changes = Changes::default();
    let is_stored = |name: &str| stored.iter().any(|stored| stored.name == name);
    let mut new: Vec<&(String, String)> = configured.iter().filter(|(name, _)| !is_stored(name)).collect();
    for directory in stored {
        if configured.iter().any(|(name, _)| *name == directory.name) {
            continue;
        }
        if let Some(renamed) = new.iter().position(|(_, scope)| *scope == directory.scope) {
            let (name, _) = new.remove(renamed);
            changes.rename.push((directory.id, name.clone()));
            changes
                .configured
                .renamed
                .push((directory.name.clone(), name.clone()));
        } else if !directory.retired {
            changes.retire.push(directory.id);
            changes.configured.retired.push(directory.name.clone());
        }
    }
    changes
}
