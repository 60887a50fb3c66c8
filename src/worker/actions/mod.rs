//! The kinds of actions. A new kind is a file here, a variant of [`ActionKind`], and a line in [`handler`].

mod invite;

use std::sync::Arc;

use futures::future::BoxFuture;

use crate::model::{Action, ActionKind, Disposition, Outcome};
use crate::telemetry::Observer;
use crate::vaultwarden::{Admin, VaultwardenError};

/// The result of a call to Vaultwarden.
pub(super) type CallFuture<'a, T> = BoxFuture<'a, Result<T, VaultwardenError>>;

/// What a handler uses.
pub(super) struct Context {
    pub(super) vaultwarden: Arc<dyn Admin>,
    pub(super) observer: Observer,
}

/// Carries out the actions of one kind.
pub(super) trait Handler: Send + Sync {
    /// Makes the call.
    ///
    /// # Cancellation
    /// The call may have taken effect: the action is in doubt.
    fn attempt<'a>(&'a self, context: &'a Context, action: &'a Action) -> CallFuture<'a, Outcome>;

    /// Looks up the outcome of an earlier attempt whose outcome is unknown. Returns `None` if it had no effect.
    fn look_up<'a>(&'a self, context: &'a Context, action: &'a Action) -> CallFuture<'a, Option<Outcome>>;
}

/// The handler of a kind.
pub(super) fn handler(kind: ActionKind) -> &'static dyn Handler {
    match kind {
        ActionKind::Invite => &invite::Invite,
    }
}

/// Attempts an action, or looks up the outcome of an earlier attempt. Returns `None` if that attempt had no effect: the
/// store then decides whether to queue the action again, because the person may have left meanwhile.
pub(super) async fn carry_out(
    context: &Context,
    action: &Action,
) -> Result<Option<Outcome>, VaultwardenError> {
    let handler = handler(action.kind);
    if action.in_doubt.is_some() {
        handler.look_up(context, action).await
    } else {
        handler.attempt(context, action).await.map(Some)
    }
}

/// The label for the result of a call in metrics.
pub(super) fn result_label(result: Result<(), &VaultwardenError>) -> &'static str {
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
