//! The kinds of actions. A new kind is a file here, a variant of [`ActionKind`], and a line in [`handler`].

mod deauthorize;
mod delete;
mod disable;
mod enable;
mod invite;
mod leave;
mod resend;

use std::sync::Arc;

use futures::TryStreamExt;
use futures::future::BoxFuture;

use super::recheck::Recheck;
use crate::clock::Clock;
use crate::model::{Action, ActionKind, Outcome, Settlement};
use crate::store::QueueStore;
use crate::telemetry::Observer;
use crate::traces::{self, Span};
use crate::vaultwarden::{Account, AccountChange, Admin, Changed, VaultwardenError};

/// The result of an attempt.
pub(super) type CallFuture<'a> = BoxFuture<'a, Result<Attempted, VaultwardenError>>;

/// What an attempt led to.
#[derive(Debug)]
pub(super) enum Attempted {
    /// The action is done; the answer may have named the account.
    Done {
        outcome: Outcome,
        account: Option<String>,
    },
    /// An earlier attempt was looked up and had no effect: the store decides whether to queue the action again, because the
    /// person may have left meanwhile.
    NoEffect,
    /// Nothing was asked of Vaultwarden, and this is to be done.
    Settled(Settlement),
    /// Nothing was asked of Vaultwarden, because something else failed. Try again later.
    Failed(String),
}

/// What a handler uses.
pub(super) struct Context {
    pub(super) vaultwarden: Arc<dyn Admin>,
    pub(super) observer: Observer,
    pub(super) store: Arc<dyn QueueStore>,
    pub(super) clock: Clock,
    pub(super) recheck: Arc<Recheck>,
}

/// Carries out the actions of one kind.
pub(super) trait Handler: Send + Sync {
    /// Makes the calls.
    ///
    /// # Cancellation
    /// The call may have taken effect: the action is in doubt.
    fn attempt<'a>(&'a self, context: &'a Context, action: &'a Action) -> CallFuture<'a>;

    /// Looks up the outcome of an earlier attempt whose outcome is unknown.
    fn look_up<'a>(&'a self, context: &'a Context, action: &'a Action) -> CallFuture<'a>;
}

/// The handler of a kind.
fn handler(kind: ActionKind) -> &'static dyn Handler {
    match kind {
        ActionKind::Invite => &invite::Invite,
        ActionKind::Resend => &resend::Resend,
        ActionKind::Deauthorize => &deauthorize::Deauthorize,
        ActionKind::Disable => &disable::Disable,
        ActionKind::Delete => &delete::Delete,
        ActionKind::Enable => &enable::Enable,
    }
}

/// Attempts an action, or looks up the outcome of an earlier attempt.
pub(super) async fn carry_out(context: &Context, action: &Action) -> Result<Attempted, VaultwardenError> {
    let handler = handler(action.kind);
    let span = Span::new(action.kind.as_str())
        .of(&(action.entry, action.arrived))
        .with("ldap_usher.directory", action.directory.clone())
        .with("ldap_usher.action", action.id)
        .with("ldap_usher.attempt", i64::from(action.attempts) + 1)
        .with("ldap_usher.in_doubt", action.in_doubt.is_some());
    let attempt = async {
        let attempted = if action.in_doubt.is_some() {
            handler.look_up(context, action).await
        } else {
            handler.attempt(context, action).await
        };
        match &attempted {
            Ok(Attempted::Done { outcome, .. }) => traces::attribute("ldap_usher.outcome", outcome.as_str()),
            Ok(Attempted::Failed(_)) => traces::failed("failed"),
            _ => {}
        }
        attempted
    };
    span.attempt(|error| error.disposition().as_str(), attempt).await
}

impl From<Outcome> for Attempted {
    fn from(outcome: Outcome) -> Self {
        Self::Done {
            outcome,
            account: None,
        }
    }
}

impl Context {
    /// The account that an action concerns, by its id if that is known, otherwise by its address.
    async fn account(&self, action: &Action) -> Result<Option<Account>, VaultwardenError> {
        let account = match &action.account {
            Some(id) => self.vaultwarden.account_by_id(id).await,
            None => self.vaultwarden.account(&action.address).await,
        };
        let label = result_label(account.as_ref().map(drop));
        self.observer.vaultwarden_call("account", label);
        account
    }

    /// As [`Context::account`]. An account that is not found is searched in the list of all accounts: a Vaultwarden whose
    /// database fails answers as if the account did not exist.
    async fn account_or_none(&self, action: &Action) -> Result<Option<Account>, VaultwardenError> {
        let found = self.account(action).await?;
        if found.is_some() {
            return Ok(found);
        }
        let mut accounts = self.vaultwarden.accounts();
        while let Some(account) = accounts.try_next().await? {
            let is_it = match &action.account {
                Some(id) => account.id == *id,
                None => account.email == action.address.as_str(),
            };
            if is_it {
                return Ok(Some(account));
            }
        }
        Ok(None)
    }

    /// Changes an account.
    async fn change(
        &self,
        account: &Account,
        change: AccountChange,
        kind: ActionKind,
    ) -> Result<Outcome, VaultwardenError> {
        let changed = self.vaultwarden.change(&account.id, change).await;
        let label = result_label(changed.as_ref().map(drop));
        self.observer.vaultwarden_call(kind.as_str(), label);
        Ok(match changed? {
            Changed::Done => Outcome::CarriedOut,
            Changed::NoAccount => Outcome::NoAccount,
            Changed::AlreadyRegistered => Outcome::NotNeeded,
        })
    }
}

/// The label for the result of a call in metrics.
pub(super) fn result_label(result: Result<(), &VaultwardenError>) -> &'static str {
    match result {
        Ok(()) => "ok",
        Err(error) => error.disposition().as_str(),
    }
}
