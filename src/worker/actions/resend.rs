//! Reminders. Each is one more mail, so an attempt whose outcome is unknown counts as sent.

use futures::FutureExt;
use futures::future::ready;

use super::{Attempted, CallFuture, Context, Handler};
use crate::model::{Action, Outcome};
use crate::vaultwarden::AccountChange;

pub(super) struct Resend;

impl Handler for Resend {
    fn attempt<'a>(&'a self, context: &'a Context, action: &'a Action) -> CallFuture<'a> {
        async {
            let Some(account) = context.account_or_none(action).await? else {
                return Ok(Outcome::NoAccount.into());
            };
            if !account.invited || account.enabled == Some(false) {
                return Ok(Outcome::NotNeeded.into());
            }
            let outcome = context
                .change(&account, AccountChange::Resend, action.kind)
                .await?;
            Ok(Attempted::from(outcome))
        }
        .boxed()
    }

    fn look_up<'a>(&'a self, _: &'a Context, _: &'a Action) -> CallFuture<'a> {
        ready(Ok(Outcome::CarriedOut.into())).boxed()
    }
}
