//! Which actions a method concerns.

use super::Which;
use super::rows::INVITE;
use crate::model::{ActionState, EmailAddress};

/// The states of actions that a comparison with Vaultwarden's accounts concerns.
pub(super) const WAITING: [ActionState; 2] = [ActionState::Queued, ActionState::Held];

/// The condition for actions (`a`) in a state from which they may be released.
pub(super) fn releasable(state: ActionState) -> String {
    match state {
        // Only an invitation is repeated after it was carried out.
        ActionState::Done => format!("a.state = 'done' and a.kind = '{INVITE}'"),
        state => format!("a.state = '{}'", state.as_str()),
    }
}

/// As [`Which`], for a transaction that outlives its caller.
#[derive(Debug)]
pub(super) enum Selection {
    All,
    To(Vec<EmailAddress>),
    Rows(Vec<i64>),
}

impl From<Which<'_>> for Selection {
    fn from(which: Which<'_>) -> Self {
        match which {
            Which::All => Self::All,
            Which::To(addresses) => Self::To(addresses.to_vec()),
            Which::Rows(rows) => Self::Rows(rows.to_vec()),
        }
    }
}
