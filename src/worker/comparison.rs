//! Compares the backlog of invitations with the list of accounts in Vaultwarden.

use std::time::Duration;

use futures::stream::StreamExt;
use tokio::time::Instant;

use super::actions::result_label;
use super::state::{State, Worker};
use crate::model::EmailAddress;
use crate::retry::Retry;
use crate::rules::Brake;
use crate::store::{Decisions, StoreError, Unchecked};
use crate::vaultwarden::VaultwardenError;

/// From this number of unchecked invitations on, reading the list of accounts is cheaper than sending them all.
const MIN_QUEUED: u64 = 100;
/// The wait after a failed comparison. Invitations are sent meanwhile.
const RETRY: Retry = Retry {
    first: Duration::from_secs(1),
    ceiling: Duration::from_secs(600),
    floor: Duration::from_millis(200),
};
/// The number of accounts that are compared in one transaction.
const PAGE: usize = 1000;

/// Whether to compare: many invitations are unchecked, or more are held than the `held` of the last comparison. People
/// who have an account do not count towards `limits.invites_per_listing`, so that a comparison may release others.
pub(super) fn is_due(unchecked: &Unchecked, held: u64) -> bool {
    unchecked.held > 0 || unchecked.all_held > held || unchecked.queued >= MIN_QUEUED
}

impl Worker {
    /// Compares the backlog with the list of accounts once. If that fails, queued invitations are sent anyway, because
    /// Vaultwarden refuses each one that is not needed; held invitations stay held.
    pub(super) async fn compare(&self, state: &mut State<'_>) -> Result<(), StoreError> {
        self.store.begin_comparison().await?;
        let known = match self.mark_accounts().await? {
            Ok(known) => known,
            Err(error) => {
                state.comparison_failures += 1;
                let wait = RETRY.wait(state.comparison_failures, (self.jitter)());
                state.compare_at = Instant::now() + wait;
                self.observer.accounts_unread(&error, wait);
                return Ok(());
            }
        };
        state.comparison_failures = 0;
        state.tally.had_account += known;
        self.record_server(&mut state.breaker, &Ok(()), None);
        tracing::info!(known, "compared the backlog with Vaultwarden's accounts");
        let limits = self.settings.limits;
        let decide = Box::new(move |brake: &mut Brake, count| brake.admit_compared(count, &limits));
        for (directory, count) in self.store.end_comparison(decide, self.clock.now()).await? {
            self.observer
                .held(&directory, count, limits.invites_per_listing.unwrap_or(u32::MAX));
        }
        state.held = self.store.unchecked().await?.all_held;
        Ok(())
    }

    /// Marks the people who have an account and returns their number.
    async fn mark_accounts(&self) -> Result<Result<u64, VaultwardenError>, StoreError> {
        let mut accounts = self.vaultwarden.accounts().chunks(PAGE);
        let mut known = 0;
        while let Some(page) = accounts.next().await {
            let page: Result<Vec<_>, _> = page.into_iter().collect();
            self.observer
                .vaultwarden_call("accounts", result_label(page.as_ref().map(drop)));
            let addresses: Vec<EmailAddress> = match page {
                Ok(page) => page
                    .iter()
                    .filter_map(|account| EmailAddress::parse(account.email.as_bytes()).ok())
                    .collect(),
                Err(error) => return Ok(Err(error)),
            };
            known += self.store.had_accounts(addresses, self.clock.now()).await?;
        }
        Ok(Ok(known))
    }
}
