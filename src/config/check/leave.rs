//! Checks `[leave]`, and what a directory has instead of it.

use super::super::choices::LeaveAction;
use super::super::problem::{KeyPath, Problems};
use super::super::schema::{DirectoryTable, File, Leave};

/// Reads `[leave]`.
pub(super) fn leave(file: &File, problems: &mut Problems<'_>) -> Leave {
    let at = KeyPath::root().key("leave");
    warn_of_deletion(file.leave.action, &at.key("action"), problems);
    file.leave
}

/// The `[leave]` of one directory: its own keys, or those of `general`.
pub(super) fn of_directory(
    table: &DirectoryTable,
    general: Leave,
    at: &KeyPath,
    problems: &mut Problems<'_>,
) -> Leave {
    if let Some(action) = table.leave_action {
        warn_of_deletion(action, &at.key("leave_action"), problems);
    }
    Leave {
        action: table.leave_action.unwrap_or(general.action),
        grace: table.leave_grace.unwrap_or(general.grace),
    }
}

fn warn_of_deletion(action: LeaveAction, at: &KeyPath, problems: &mut Problems<'_>) {
    if action == LeaveAction::Delete {
        problems.warning(
            at,
            "deletes the vaults of people who leave, and a deleted vault cannot be restored; \"disable\" is reversible",
        );
    }
}
