//! Enables the account of a person who is back. It can be repeated.

use futures::FutureExt;

use super::{Attempted, CallFuture, Context, Handler};
use crate::model::{Action, Outcome};
use crate::vaultwarden::AccountChange;

pub(super) struct Enable;

impl Handler for Enable {
    fn attempt<'a>(&'a self, context: &'a Context, action: &'a Action) -> CallFuture<'a> {
        async {
            let Some(account) = context.account_or_none(action).await? else {
                return Ok(Outcome::NoAccount.into());
            };
            if account.enabled == Some(true) {
                return Ok(if action.in_doubt.is_some() {
                    Outcome::CarriedOut.into()
                } else {
                    Outcome::NotNeeded.into()
                });
            }
            let outcome = context
                .change(&account, AccountChange::Enable, action.kind)
                .await?;
            Ok(Attempted::from(outcome))
        }
        .boxed()
    }

    fn look_up<'a>(&'a self, context: &'a Context, action: &'a Action) -> CallFuture<'a> {
        self.attempt(context, action)
    }
}
