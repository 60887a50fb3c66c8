//! Counts of members and actions, which are stored: metrics read them every few seconds, which is too often to count a
//! million rows. A transaction adds up its changes in memory and saves them once. The service counts the rows once after its
//! start.

use std::collections::BTreeMap;

use super::rows;
use crate::model::{ActionKind, ActionState, Compared, Standing};

/// Changes of the counts.
#[derive(Debug, Default)]
pub(super) struct Counts {
    members: BTreeMap<(i64, &'static str), i64>,
    actions: BTreeMap<(&'static str, &'static str, i64), i64>,
}

impl Counts {
    /// Counts a change of standing; `before` is `None` for a new member.
    pub(super) fn member(&mut self, directory: i64, before: Option<&Standing>, now: &Standing) {
        if let Some(before) = before {
            self.no_member(directory, before);
        }
        self.members_by(directory, rows::standing(now).0, 1);
    }

    /// Counts a member who is removed.
    pub(super) fn no_member(&mut self, directory: i64, was: &Standing) {
        self.members_by(directory, rows::standing(was).0, -1);
    }

    /// Adds `by` to the number of members of a directory with a standing.
    pub(super) fn members_by(&mut self, directory: i64, standing: &'static str, by: i64) {
        *self.members.entry((directory, standing)).or_default() += by;
    }

    /// Counts a change of state; `before` is `None` for a new action.
    pub(super) fn action(
        &mut self,
        kind: ActionKind,
        before: Option<(ActionState, Compared)>,
        now: (ActionState, Compared),
    ) {
        if let Some(before) = before {
            self.actions(kind, before, -1);
        }
        self.actions(kind, now, 1);
    }

    /// Adds `by` to the number of actions in a state.
    pub(super) fn actions(&mut self, kind: ActionKind, (state, compared): (ActionState, Compared), by: i64) {
        let compared = rows::compared_number(compared);
        *self
            .actions
            .entry((kind.as_str(), state.as_str(), compared))
            .or_default() += by;
    }

    /// Whether there is no change.
    pub(super) fn is_zero(&self) -> bool {
        self.changed_members().next().is_none() && self.changed_actions().next().is_none()
    }

    /// The changes of the numbers of members: directory, standing, and by how many.
    pub(super) fn changed_members(&self) -> impl Iterator<Item = (i64, &'static str, i64)> {
        let changed = self.members.iter().filter(|(_, by)| **by != 0);
        changed.map(|((directory, standing), by)| (*directory, *standing, *by))
    }

    /// The changes of the numbers of actions: kind, state, stage of the comparison, and by how many.
    pub(super) fn changed_actions(&self) -> impl Iterator<Item = (&'static str, &'static str, i64, i64)> {
        let changed = self.actions.iter().filter(|(_, by)| **by != 0);
        changed.map(|((kind, state, compared), by)| (*kind, *state, *compared, *by))
    }
}
