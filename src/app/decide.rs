//! `approve`, `discard` and `retry`: what is done with actions that a limit holds back, or that Vaultwarden rejected.

use crate::model::{ActionState, Release};
use crate::store::{Decisions, Store, StoreError, TaskReport, Which};
use crate::worker::server_identity;

/// What an administrator decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    /// Carry out what is held back.
    Approve,
    /// Drop what is held back.
    Discard,
    /// Try again what Vaultwarden rejected.
    Retry,
}

impl Verb {
    /// The state of the actions that it concerns.
    pub fn state(self) -> ActionState {
        match self {
            Self::Approve | Self::Discard => ActionState::Held,
            Self::Retry => ActionState::Quarantined,
        }
    }
}

/// Does it with these actions. `repeats` says whether a retry also invites people again whose invitation is done, because
/// their accounts may be gone. Returns the number of actions.
///
/// # Errors
/// The store's.
pub async fn decide(
    store: &dyn Store,
    selected: &[TaskReport],
    repeats: bool,
    verb: Verb,
) -> Result<usize, StoreError> {
    let now = store.clock().now();
    let rows: Vec<i64> = selected.iter().map(|task| task.row).collect();
    // Invitations of people whose accounts are missing: the administrator says that this is the right Vaultwarden.
    let mut accepts_server = verb != Verb::Retry
        && selected
            .iter()
            .any(|task| task.kind.is_invite() && task.has_account);
    let count = match verb {
        Verb::Discard => store.discard(rows, now).await?,
        Verb::Approve => {
            let approved = Release::Approved;
            let released = store
                .release(&[ActionState::Held], Which::Rows(&rows), approved, now)
                .await?;
            released.len()
        }
        Verb::Retry => {
            let states: &[ActionState] = if repeats {
                &[ActionState::Quarantined, ActionState::Done]
            } else {
                &[ActionState::Quarantined]
            };
            accepts_server = repeats;
            let retried = Release::Retried;
            store
                .release(states, Which::Rows(&rows), retried, now)
                .await?
                .len()
        }
    };
    if accepts_server {
        server_identity::accept(store).await?;
    }
    Ok(count)
}
