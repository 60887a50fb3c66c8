//! The kinds of actions. A new kind is a file here, a variant of [`ActionKind`], and a line in [`handler`].

mod invite;

use std::sync::Arc;

use futures::future::BoxFuture;

use crate::model::{Action, ActionKind, Disposition, Outcome};
use crate::telemetry::Observer;
use crate::vaultwarden::{Admin, VaultwardenError};

/// What an attempt comes to.
pub(super) type Reply<'a, T> = BoxFuture<'a, Result<T, VaultwardenError>>;

/// What actions are carried out with.
pub(super) struct Context {
    pub(super) vaultwarden: Arc<dyn Admin>,
    pub(super) observer: Observer,
}

/// How actions of one kind are carried out.
pub(super) trait Handler: Send + Sync {
    /// Makes the call.
    ///
    /// # Cancellation
    /// The call may have been carried out: the action is in doubt.
    fn attempt<'a>(&'a self, context: &'a Context, action: &'a Action) -> Reply<'a, Outcome>;

    /// Finds out what became of an earlier attempt whose outcome is unknown; `None` where it had no effect.
    fn settle_doubt<'a>(&'a self, context: &'a Context, action: &'a Action) -> Reply<'a, Option<Outcome>>;
}

/// Carries out the actions of a kind.
pub(super) fn handler(kind: ActionKind) -> &'static dyn Handler {
    match kind {
        ActionKind::Invite => &invite::Invite,
    }
}

/// Attempts an action, or looks up what became of an earlier attempt. `None` where that had no effect: then the store
/// decides anew, since the person may have left meanwhile.
pub(super) async fn carry_out(
    context: &Context,
    action: &Action,
) -> Result<Option<Outcome>, VaultwardenError> {
    let handler = handler(action.kind);
    if action.in_doubt.is_some() {
        handler.settle_doubt(context, action).await
    } else {
        handler.attempt(context, action).await.map(Some)
    }
}

/// The word for a call's result in metrics.
pub(super) fn word(result: Result<(), &VaultwardenError>) -> &'static str {
    match result.map_err(VaultwardenError::disposition) {
        Ok(()) => "ok",
        Err(Disposition::Reject(_)) => "rejected",
        Err(Disposition::Ambiguous) => "unknown-outcome",
        Err(Disposition::RetryAfter(_)) => "rate-limited",
        Err(Disposition::Operator) => "misconfigured",
        Err(Disposition::Outage) => "outage",
        Err(Disposition::Retry | Disposition::Relist) => "failed",
    }
}
