//! A Vaultwarden for dry runs.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};

use crate::model::{EmailAddress, Outcome};
use crate::vaultwarden::{
    Account, AccountChange, Admin, Changed, Identity, Invitation, Recognition, Reply, VaultwardenError,
};

/// The people whom a [`DryRun`] would have invited.
#[derive(Debug, Default)]
pub struct Invited {
    people: Mutex<HashSet<EmailAddress>>,
    /// The error of the last call to Vaultwarden, if it failed.
    failure: Mutex<Option<VaultwardenError>>,
}

impl Invited {
    pub(super) fn all(&self) -> MutexGuard<'_, HashSet<EmailAddress>> {
        self.people.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn failure(&self) -> MutexGuard<'_, Option<VaultwardenError>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record<T>(&self, answer: &Result<T, VaultwardenError>) {
        *self.failure() = answer.as_ref().err().cloned();
    }
}

/// A client that never changes Vaultwarden: instead of inviting a person or changing an account, it looks the account up.
/// For invitations it uses the list of accounts if that was read, and single look-ups otherwise.
pub struct DryRun {
    vaultwarden: Arc<dyn Admin>,
    invited: Arc<Invited>,
    is_listed: AtomicBool,
    /// The addresses in the list of accounts.
    accounts: Mutex<HashSet<EmailAddress>>,
}

impl DryRun {
    /// Reads from `vaultwarden`, and records in `invited` who would have been invited.
    pub fn new(vaultwarden: Arc<dyn Admin>, invited: Arc<Invited>) -> Self {
        Self {
            vaultwarden,
            invited,
            is_listed: AtomicBool::new(false),
            accounts: Mutex::default(),
        }
    }

    fn listed(&self) -> MutexGuard<'_, HashSet<EmailAddress>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl DryRun {
    async fn has_account(&self, address: &EmailAddress) -> Result<bool, VaultwardenError> {
        if self.is_listed.load(Ordering::Relaxed) {
            return Ok(self.listed().contains(address));
        }
        Ok(self.account(address).await?.is_some())
    }
}

impl Admin for DryRun {
    fn invite<'a>(&'a self, address: &'a EmailAddress) -> Reply<'a, Invitation> {
        async move {
            let outcome = if self.has_account(address).await? {
                Outcome::HadAccount
            } else {
                self.invited.all().insert(address.clone());
                Outcome::Invited
            };
            Ok(Invitation {
                outcome,
                account: None,
            })
        }
        .boxed()
    }

    fn change<'a>(&'a self, account: &'a str, change: AccountChange) -> Reply<'a, Changed> {
        async move {
            Ok(match self.account_by_id(account).await? {
                None => Changed::NoAccount,
                Some(account) if change == AccountChange::Resend && !account.invited => {
                    Changed::AlreadyRegistered
                }
                Some(_) => Changed::Done,
            })
        }
        .boxed()
    }

    fn account<'a>(&'a self, address: &'a EmailAddress) -> Reply<'a, Option<Account>> {
        let answer = self.vaultwarden.account(address);
        answer.inspect(|answer| self.invited.record(answer)).boxed()
    }

    fn account_by_id<'a>(&'a self, id: &'a str) -> Reply<'a, Option<Account>> {
        let answer = self.vaultwarden.account_by_id(id);
        answer.inspect(|answer| self.invited.record(answer)).boxed()
    }

    fn accounts(&self) -> BoxStream<'_, Result<Account, VaultwardenError>> {
        // No one is invited meanwhile, so an address that is not in the list has no account.
        self.is_listed.store(true, Ordering::Relaxed);
        let accounts = self.vaultwarden.accounts();
        accounts
            .inspect(|account| {
                self.invited.record(account);
                match account {
                    Ok(account) => self
                        .listed()
                        .extend(EmailAddress::parse(account.email.as_bytes())),
                    Err(_) => self.is_listed.store(false, Ordering::Relaxed),
                }
            })
            .boxed()
    }

    fn sends_mail(&self) -> Reply<'_, Option<bool>> {
        self.vaultwarden.sends_mail()
    }

    fn alive(&self) -> Reply<'_, ()> {
        self.vaultwarden.alive()
    }

    fn recognise<'a>(&'a self, known: &'a Identity) -> Reply<'a, Recognition> {
        self.vaultwarden.recognise(known)
    }
}
