//! Invitations. Whoever has an account is done: Vaultwarden answers 409 and changes nothing.

use futures::FutureExt;

use super::{Context, Handler, Reply, word};
use crate::model::{Action, Outcome};
use crate::vaultwarden::Account;

pub(super) struct Invite;

impl Handler for Invite {
    fn attempt<'a>(&'a self, context: &'a Context, action: &'a Action) -> Reply<'a, Outcome> {
        async {
            let result = context.vaultwarden.invite(&action.address).await;
            let word = match &result {
                Ok(outcome) => outcome.as_str(),
                Err(error) => word(Err(error)),
            };
            context.observer.vaultwarden_call("invite", word);
            result
        }
        .boxed()
    }

    fn settle_doubt<'a>(&'a self, context: &'a Context, action: &'a Action) -> Reply<'a, Option<Outcome>> {
        async {
            let account = context.vaultwarden.account(&action.address).await;
            let word = word(account.as_ref().map(drop));
            context.observer.vaultwarden_call("account", word);
            Ok(account?.as_ref().map(outcome))
        }
        .boxed()
    }
}

/// An account that was not used yet is what the earlier attempt made.
fn outcome(account: &Account) -> Outcome {
    if account.invited {
        Outcome::Invited
    } else {
        Outcome::HadAccount
    }
}
