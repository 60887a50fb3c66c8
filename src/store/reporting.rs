//! Puts a [`Report`] together from what a database returns.

use super::{DirectoryReport, InstanceReport, Report, TaskReport};
use crate::model::{ActionKind, ActionState};

/// What a database returns for a [`Report`].
pub(super) struct Parts {
    pub(super) directories: Vec<DirectoryReport>,
    pub(super) instances: Vec<InstanceReport>,
    /// The number of actions of each kind in each state.
    pub(super) counts: Vec<(ActionKind, ActionState, u64)>,
    pub(super) unregistered: u64,
    /// What is wrong with the present Vaultwarden, and with the accounts in our care; empty if nothing is.
    pub(super) troubles: [Option<Vec<u8>>; 2],
    pub(super) quarantined: Vec<TaskReport>,
    pub(super) held: Vec<TaskReport>,
    pub(super) failing: Vec<TaskReport>,
}

impl Parts {
    pub(super) fn report(self) -> Report {
        let configured = || self.directories.iter().filter(|directory| !directory.retired);
        let troubles = self.troubles.into_iter().flatten();
        let mut troubles = troubles.filter_map(|note| String::from_utf8(note).ok());
        Report {
            members: configured().map(|directory| directory.members).sum(),
            without_address: configured().map(|directory| directory.without_address).sum(),
            tasks: by_state(&self.counts, |kind| kind.is_invite()),
            leavers: by_state(&self.counts, ActionKind::is_leave),
            unregistered: self.unregistered,
            vaultwarden_trouble: troubles.find(|trouble| !trouble.is_empty()),
            quarantined: self.quarantined,
            held: self.held,
            failing: self.failing,
            directories: self.directories,
            instances: self.instances,
        }
    }
}

/// The number of actions of some kinds in each state.
fn by_state(
    counts: &[(ActionKind, ActionState, u64)],
    of: impl Fn(ActionKind) -> bool,
) -> Vec<(&'static str, u64)> {
    let count = |state: ActionState| {
        let counts = counts
            .iter()
            .filter(|(kind, of_state, _)| of(*kind) && *of_state == state);
        counts.map(|(_, _, count)| count).sum()
    };
    ActionState::ALL
        .map(|state| (state.as_str(), count(state)))
        .into()
}

/// Sorts tasks by their arrival.
pub(super) fn by_arrival(mut tasks: Vec<TaskReport>) -> Vec<TaskReport> {
    tasks.sort_by_key(|task| (task.arrived, task.row));
    tasks
}
