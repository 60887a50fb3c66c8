//! The comparison of what waits with the list of all accounts.

use std::time::Duration;

use futures::stream::StreamExt;
use tokio::time::Instant;

use super::actions::word;
use super::queue::{State, Worker};
use crate::model::{ActionState, EmailAddress};
use crate::retry::Retry;
use crate::rules::Brake;
use crate::store::{Decisions, StoreError, Unchecked};
use crate::vaultwarden::VaultwardenError;

/// From this many unknown addresses on, one list of all accounts is cheaper than as many refusals.
const WORTH_A_LIST: u64 = 100;
/// The wait after a comparison that failed; invitations go on meanwhile.
const AGAIN: Retry = Retry {
    first: Duration::from_secs(1),
    ceiling: Duration::from_secs(600),
    floor: Duration::from_millis(200),
};
/// The share of those invited, one in so many, whose accounts may be missing before that is worth a warning ..
const MISSING_SHARE: u64 = 10;
/// .. and the number.
const MISSING: u64 = 5;
/// Addresses of accounts that are compared at a time.
const PAGE: usize = 1000;

/// Whether so many addresses are unknown that one list of all accounts is worth it, or there are more who are held than
/// the `held` of the last comparison: who has an account does not count towards `limits.invites_per_listing`.
pub(super) fn is_due(unchecked: &Unchecked, held: u64) -> bool {
    unchecked.held > 0 || unchecked.all_held > held || unchecked.queued >= WORTH_A_LIST
}

impl Worker {
    /// Compares the backlog with the list of all accounts, once. Where that fails, what is queued goes out all the same,
    /// since Vaultwarden answers the same question to each invitation; what is held stays held.
    pub(super) async fn compare(&self, state: &mut State<'_>) -> Result<(), StoreError> {
        self.store.begin_comparison().await?;
        let known = match self.count_accounts().await? {
            Ok(known) => known,
            Err(error) => {
                state.comparison_failures += 1;
                let wait = AGAIN.wait(state.comparison_failures, (self.jitter)());
                state.compare_at = Instant::now() + wait;
                self.observer.accounts_unread(&error, wait);
                return Ok(());
            }
        };
        state.comparison_failures = 0;
        state.tally.had_account += known;
        self.judge_server(&mut state.breaker, &Ok(()), None);
        tracing::info!(known, "compared the backlog with Vaultwarden's accounts");
        let limits = self.settings.limits;
        let judge = Box::new(move |brake: &mut Brake, count| brake.compared(count, &limits));
        for (directory, count) in self.store.end_comparison(judge, self.clock.now()).await? {
            self.observer
                .held(&directory, count, limits.invites_per_listing.unwrap_or(u32::MAX));
        }
        state.held = self.store.unchecked().await?.all_held;
        Ok(())
    }

    /// Marks whoever has an account, and looks how many of those who were invited have none.
    async fn count_accounts(&self) -> Result<Result<u64, VaultwardenError>, StoreError> {
        let before = self.store.report().await?;
        let mut accounts = self.vaultwarden.accounts().chunks(PAGE);
        let (mut known, mut found) = (0, 0);
        while let Some(page) = accounts.next().await {
            let page: Result<Vec<_>, _> = page.into_iter().collect();
            self.observer
                .vaultwarden_call("accounts", word(page.as_ref().map(drop)));
            let addresses: Vec<EmailAddress> = match page {
                Ok(page) => page
                    .iter()
                    .filter_map(|account| EmailAddress::parse(account.email.as_bytes()).ok())
                    .collect(),
                Err(error) => return Ok(Err(error)),
            };
            found += self.store.invited(&addresses).await?;
            known += self.store.had_accounts(addresses, self.clock.now()).await?;
        }
        let invited = before.count(ActionState::Done);
        let missing = invited.saturating_sub(found);
        if missing > MISSING && missing > invited / MISSING_SHARE {
            self.observer.accounts_missing(missing, invited);
        }
        Ok(Ok(known))
    }
}
