//! Disables the account of a leaver. It can be repeated.

use futures::FutureExt;

use super::{CallFuture, Context, Handler, leave};
use crate::model::Action;
use crate::vaultwarden::AccountChange;

pub(super) struct Disable;

impl Handler for Disable {
    fn attempt<'a>(&'a self, context: &'a Context, action: &'a Action) -> CallFuture<'a> {
        leave::carry_out(context, action, AccountChange::Disable, |account| {
            account.enabled == Some(false)
        })
        .boxed()
    }

    fn look_up<'a>(&'a self, context: &'a Context, action: &'a Action) -> CallFuture<'a> {
        self.attempt(context, action)
    }
}
