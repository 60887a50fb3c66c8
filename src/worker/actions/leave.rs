//! What the actions for leavers have in common: nobody is touched who is in the directory, who is protected, or whose grace
//! has not passed.

use std::time::Duration;

use super::{Attempted, Context};
use crate::model::{Action, Outcome, Settlement};
use crate::vaultwarden::{Account, AccountChange, VaultwardenError};
use crate::worker::recheck::Presence;

/// How often to see whether a directory that was removed from the configuration is back.
const RETIRED: Duration = Duration::from_secs(3600);

/// Carries out a change of a leaver's account, if all conditions are met. `is_done` says whether an account is already as
/// the change would leave it.
pub(super) async fn carry_out(
    context: &Context,
    action: &Action,
    change: AccountChange,
    is_done: fn(&Account) -> bool,
) -> Result<Attempted, VaultwardenError> {
    let now = context.clock.now();
    if !action.configured && !action.forgotten {
        let why = "the directory is not in the configuration; `ldap-usher forget --directory` makes its people leavers";
        return Ok(wait(action, now + RETIRED, why));
    }
    let policy = context.recheck.leave.of(&action.directory);
    if policy.action != Some(action.kind) {
        let reason = "the configuration does not ask for it any more (leave.action)";
        return Ok(Attempted::Settled(Settlement::Cancel(reason.into())));
    }
    if let Some(reason) = context.recheck.leave.protect.reason(&action.address) {
        let reason = format!("the account {reason}");
        return Ok(Attempted::Settled(Settlement::Cancel(reason)));
    }
    if action.configured {
        let Context {
            recheck,
            store,
            observer,
            clock,
            ..
        } = context;
        match recheck.look(action, &**store, observer, clock).await {
            Ok(Presence::Gone) => {}
            Ok(Presence::Present) => return found_again(context, action, is_done).await,
            Err(error) => {
                return Ok(Attempted::Failed(format!(
                    "it is not certain that the person left: {error}"
                )));
            }
        }
    }
    let due = action.arrived + policy.grace;
    if now < due {
        return Ok(wait(action, due, ""));
    }
    let Some(account) = context.account_or_none(action).await? else {
        return Ok(Outcome::NoAccount.into());
    };
    if is_done(&account) {
        // If an attempt is in doubt, it was that one.
        return Ok(if action.in_doubt.is_some() {
            Outcome::CarriedOut.into()
        } else {
            Outcome::NotNeeded.into()
        });
    }
    let outcome = context.change(&account, change, action.kind).await?;
    Ok(Attempted::Done {
        outcome,
        account: Some(account.id),
    })
}

/// The person is in the directory after all. An attempt in doubt that has changed the account counts as carried out, and is
/// undone. As long as it may still take effect, the account is looked up again: nobody would undo it later.
async fn found_again(
    context: &Context,
    action: &Action,
    is_done: fn(&Account) -> bool,
) -> Result<Attempted, VaultwardenError> {
    if action.in_doubt.is_none() {
        let reason = "the person is in the directory".into();
        return Ok(Attempted::Settled(Settlement::Cancel(reason)));
    }
    let account = context.account(action).await?;
    Ok(if account.is_none_or(|account| is_done(&account)) {
        Outcome::CarriedOut.into()
    } else {
        Attempted::NoEffect
    })
}

fn wait(action: &Action, at: crate::clock::Timestamp, why: &str) -> Attempted {
    Attempted::Settled(Settlement::RetryAt {
        at,
        failed: false,
        in_doubt: action.in_doubt.is_some(),
        error: why.into(),
    })
}
