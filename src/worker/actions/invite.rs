//! Invitations. Inviting a person who already has an account is harmless: Vaultwarden answers 409 and changes nothing.

use futures::FutureExt;

use super::{Attempted, CallFuture, Context, Handler, result_label};
use crate::model::{Action, Outcome};
use crate::vaultwarden::Account;

pub(super) struct Invite;

impl Handler for Invite {
    fn attempt<'a>(&'a self, context: &'a Context, action: &'a Action) -> CallFuture<'a> {
        async {
            let result = context.vaultwarden.invite(&action.address).await;
            let label = match &result {
                Ok(invitation) => invitation.outcome.as_str(),
                Err(error) => result_label(Err(error)),
            };
            context.observer.vaultwarden_call("invite", label);
            let invitation = result?;
            Ok(Attempted::Done {
                outcome: invitation.outcome,
                account: invitation.account,
            })
        }
        .boxed()
    }

    fn look_up<'a>(&'a self, context: &'a Context, action: &'a Action) -> CallFuture<'a> {
        async {
            let account = context.vaultwarden.account(&action.address).await;
            let label = result_label(account.as_ref().map(drop));
            context.observer.vaultwarden_call("account", label);
            Ok(match account? {
                Some(account) => Attempted::Done {
                    outcome: outcome(&account),
                    account: Some(account.id),
                },
                None => Attempted::NoEffect,
            })
        }
        .boxed()
    }
}

/// The outcome of the earlier attempt: an account that is still only invited was created by it.
fn outcome(account: &Account) -> Outcome {
    if account.invited {
        Outcome::Invited
    } else {
        Outcome::HadAccount
    }
}
