//! Compares the accounts in our care with those that Vaultwarden lists.

use std::sync::Arc;

use futures::StreamExt;

use super::{Severity, Steps};
use crate::rules::many_are_missing;
use crate::store::{RowSet, Store, StoreError};
use crate::vaultwarden::{Account, Admin, Vaultwarden, VaultwardenError};
use crate::worker::describe_missing;

/// The number of accounts that are compared at a time.
const PAGE: usize = 1000;

/// Warns if many accounts are missing.
pub(super) async fn check(steps: &mut Steps<'_>, vaultwarden: &Vaultwarden, store: &Arc<dyn Store>) {
    match missing(vaultwarden, &**store).await {
        Ok(Ok((missing, known))) if many_are_missing(missing, known) => {
            let detail = describe_missing(missing, known);
            let remedy = "correct `url`, or restore Vaultwarden; if it is the right one, `ldap-usher approve --all` shows who would be invited again";
            steps.say(Severity::Warn, "accounts in our care", detail, remedy);
        }
        Ok(Ok((missing, known))) if known > 0 => {
            let detail = format!("{} of {known} are there", known - missing);
            steps.say(Severity::Ok, "accounts in our care", detail, "");
        }
        Ok(Ok(_)) => {}
        Ok(Err(error)) => steps.say(Severity::Warn, "accounts in our care", error.to_string(), ""),
        Err(error) => steps.say(Severity::Warn, "accounts in our care", error.to_string(), ""),
    }
}

/// The number of accounts in our care that are missing, and of all of them.
async fn missing(
    vaultwarden: &Vaultwarden,
    store: &dyn Store,
) -> Result<Result<(u64, u64), VaultwardenError>, StoreError> {
    let mut seen = RowSet::default();
    let mut accounts = vaultwarden.accounts().chunks(PAGE);
    while let Some(page) = accounts.next().await {
        let page: Result<Vec<Account>, _> = page.into_iter().collect();
        let page = match page {
            Ok(page) => page,
            Err(error) => return Ok(Err(error)),
        };
        for matched in store
            .matched(page.into_iter().filter_map(Account::listed).collect())
            .await?
        {
            if matched.is_known() {
                seen.insert(matched.row);
            }
        }
    }
    let (mut missing, mut known, mut after) = (0, 0, 0);
    loop {
        let page = store
            .managed(after, u32::try_from(PAGE).unwrap_or(u32::MAX))
            .await?;
        let Some(last) = page.last() else {
            return Ok(Ok((missing, known)));
        };
        after = last.row;
        known += page.len() as u64;
        missing += page.iter().filter(|managed| !seen.contains(managed.row)).count() as u64;
    }
}
