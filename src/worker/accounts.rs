//! Compares what Vaultwarden has with what is known of the accounts in our care, at the start and at intervals.
//!
//! Streams the list of accounts once. Accounts that an administrator disabled, enabled or deleted are respected. If many
//! are missing at once, Vaultwarden is another one, was emptied, or was restored from a backup: that is reported, and their
//! invitations are held. People who have not registered are reminded.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use tokio::sync::Notify;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::actions::result_label;
use crate::clock::{Clock, Timestamp};
use crate::model::{ActionState, Source};
use crate::rules::{Book, DecisionContext, LeavePolicies, Limits, ReminderPolicy, differs, many_are_missing};
use crate::store::{ACCOUNTS_TROUBLE, Decisions, QueueStore, RowSet, Scope, Step, StoreError};
use crate::telemetry::Observer;
use crate::traces::Span;
use crate::vaultwarden::{Account, Admin, VaultwardenError};

/// The number of accounts that are compared at a time.
const PAGE: usize = 1000;
/// The number of accounts that are decided on in one transaction.
const DECISIONS: usize = 200;
/// The wait after a list that could not be read, and while there is no account in our care.
const RETRY: Duration = Duration::from_secs(60);
/// The name of the note with the time until which no reminder is sent.
const QUIET_UNTIL: &str = "reminders-not-before";
/// The name of the note with the time of the last comparison.
const LOOKED: &str = "accounts-compared";

/// Compares accounts.
#[derive(Clone)]
pub struct Accounts {
    /// What is known of the accounts.
    pub store: Arc<dyn QueueStore>,
    /// The server that has them.
    pub vaultwarden: Arc<dyn Admin>,
    /// Receives every event.
    pub observer: Observer,
    /// Wall time.
    pub clock: Clock,
    /// Wakes the worker.
    pub wake: Arc<Notify>,
    /// The configuration.
    pub settings: AccountsSettings,
}

/// Settings of [`Accounts`].
#[derive(Debug, Clone)]
pub struct AccountsSettings {
    /// The time between two comparisons.
    pub interval: Duration,
    /// The limits on invitations.
    pub limits: Limits,
    /// What happens to the accounts of leavers.
    pub leave: Arc<LeavePolicies>,
    /// When people who have not registered are reminded.
    pub reminders: ReminderPolicy,
    /// Whether a member is invited again if somebody deleted their account.
    pub invite_deleted: bool,
}

/// What a comparison found.
#[derive(Debug, Default)]
struct Found {
    /// The number of accounts that should be there.
    known: u64,
    /// The invitations of those that are missing, by directory.
    missing: BTreeMap<i64, Vec<i64>>,
    /// The invitations of people to be reminded.
    due: Vec<i64>,
}

/// Says, for people, that many accounts are missing.
pub fn describe_missing(missing: u64, known: u64) -> String {
    format!(
        "{missing} of {known} accounts in our care are missing: this is another Vaultwarden, or it was emptied or restored from a \
         backup"
    )
}

impl Accounts {
    /// Compares at once and then at intervals, until `stop` is cancelled.
    ///
    /// # Errors
    /// The store failed.
    pub async fn run(&self, stop: &CancellationToken) -> Result<(), StoreError> {
        loop {
            let wait = tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                looked = self.look() => match looked? {
                    true => self.settings.interval,
                    false => RETRY.min(self.settings.interval),
                },
            };
            tokio::select! {
                biased;
                () = stop.cancelled() => return Ok(()),
                () = sleep(wait) => {}
            }
        }
    }

    /// Compares once. Returns whether there was something to compare, and Vaultwarden answered.
    ///
    /// # Errors
    /// The store failed.
    pub async fn look(&self) -> Result<bool, StoreError> {
        let span = Span::new("compare accounts");
        span.attempt(|error| error.disposition().as_str(), self.compare())
            .await
    }

    async fn compare(&self) -> Result<bool, StoreError> {
        // An invitation that is held is not needed if there is an account.
        let is_held = self.store.report().await?.count(ActionState::Held) > 0;
        if !is_held && self.store.managed(0, 1).await?.is_empty() {
            return Ok(false);
        }
        let began = self.clock.now();
        let seen = match self.read_list(began).await? {
            Ok(seen) => seen,
            Err(error) => {
                // Invitations fail for the same reason, and those failures are logged.
                tracing::debug!(%error, "Vaultwarden's accounts cannot be compared");
                return Ok(false);
            }
        };
        let found = self.search_missing(&seen, began).await?;
        let missing = found.missing.values().map(|rows| rows.len() as u64).sum();
        let many = many_are_missing(missing, found.known);
        self.note_trouble(if many { Some((missing, found.known)) } else { None })
            .await?;
        for (directory, rows) in &found.missing {
            for page in rows.chunks(DECISIONS) {
                self.decide_missing(*directory, page.to_vec(), began, many)
                    .await?;
            }
        }
        self.remind(found.due).await?;
        self.set_time(LOOKED, began).await?;
        self.wake.notify_one();
        Ok(true)
    }

    /// Reads the list of accounts and updates what is known. Returns the invitations whose account is there.
    async fn read_list(&self, began: Timestamp) -> Result<Result<RowSet, VaultwardenError>, StoreError> {
        let mut seen = RowSet::default();
        let mut accounts = self.vaultwarden.accounts().chunks(PAGE);
        while let Some(page) = accounts.next().await {
            let page: Result<Vec<_>, _> = page.into_iter().collect();
            self.observer
                .vaultwarden_call("accounts", result_label(page.as_ref().map(drop)));
            let page = match page {
                Ok(page) => page,
                Err(error) => return Ok(Err(error)),
            };
            let listed = page.into_iter().filter_map(Account::listed);
            let mut changed = Vec::new();
            for matched in self.store.matched(listed.collect()).await? {
                if matched.is_known() {
                    seen.insert(matched.row);
                }
                let known = matched.known.as_ref();
                let is_changed = match known {
                    Some(known) => differs(known, matched.waits, &matched.listed),
                    None => matched.waits,
                };
                if is_changed {
                    changed.push((matched.row, matched.listed));
                }
            }
            for page in changed.chunks(DECISIONS) {
                let page = page.to_vec();
                let rows = page.iter().map(|(row, _)| *row).collect();
                self.decide(0, rows, move |book, context| {
                    for (row, listed) in &page {
                        book.observe_account(*row, listed, began, context);
                    }
                })
                .await?;
            }
        }
        Ok(Ok(seen))
    }

    /// Goes through the accounts in our care.
    async fn search_missing(&self, seen: &RowSet, began: Timestamp) -> Result<Found, StoreError> {
        let mut found = Found::default();
        let mut after = 0;
        let limit = u32::try_from(PAGE).unwrap_or(u32::MAX);
        loop {
            let page = self.store.managed(after, limit).await?;
            let Some(last) = page.last() else {
                return Ok(found);
            };
            after = last.row;
            for managed in page {
                // Whoever was invited since the list began need not be in it.
                if managed.account.since >= began {
                    continue;
                }
                found.known += 1;
                if !seen.contains(managed.row) {
                    found
                        .missing
                        .entry(managed.directory)
                        .or_default()
                        .push(managed.row);
                } else if self.settings.reminders.is_due(&managed.account, began) {
                    found.due.push(managed.row);
                }
            }
        }
    }

    async fn decide_missing(
        &self,
        directory: i64,
        rows: Vec<i64>,
        began: Timestamp,
        many: bool,
    ) -> Result<(), StoreError> {
        let invite = self.settings.invite_deleted;
        let missing = rows.clone();
        self.decide(directory, rows, move |book, context| {
            for &row in &missing {
                if many {
                    book.hold_missing(row, began, context);
                } else {
                    book.account_missing(row, began, invite, context);
                }
            }
        })
        .await
    }

    /// Reminds people who have not registered, at most as many as may be invited in an hour.
    async fn remind(&self, mut due: Vec<i64>) -> Result<(), StoreError> {
        let now = self.clock.now();
        let after = self.settings.reminders.after;
        if due.is_empty() {
            return Ok(());
        }
        // Somebody may have been reminded since the backup was made. After a long pause this may be a backup as well.
        let looked = self.time(LOOKED).await?;
        let was_long = looked.is_some_and(|looked| looked > now || now.since(looked) > after / 2);
        if !self.store.renew_mark().await? || was_long {
            self.set_time(QUIET_UNTIL, now + after).await?;
        }
        let is_quiet = self
            .time(QUIET_UNTIL)
            .await?
            .is_some_and(|until| now < until && until.since(now) <= after);
        if is_quiet || self.vaultwarden.sends_mail().await.ok().flatten() != Some(true) {
            return Ok(());
        }
        due.truncate(
            self.settings
                .limits
                .invites_per_hour
                .map_or(usize::MAX, |limit| limit as usize),
        );
        let policy = self.settings.reminders;
        for page in due.chunks(DECISIONS) {
            let rows = page.to_vec();
            self.decide(0, page.to_vec(), move |book, context| {
                for &row in &rows {
                    book.remind(row, &policy, context);
                }
            })
            .await?;
        }
        Ok(())
    }

    async fn decide(
        &self,
        directory: i64,
        invitations: Vec<i64>,
        mut rule: impl FnMut(&mut Book, &DecisionContext<'_>) + Send + 'static,
    ) -> Result<(), StoreError> {
        let scope = Scope {
            directory,
            tasks: invitations,
            ..Scope::default()
        };
        let (limits, leave, now) = (
            self.settings.limits,
            self.settings.leave.clone(),
            self.clock.now(),
        );
        let events = self
            .store
            .decide(scope, move |book| {
                let context = DecisionContext::single(Source::Vaultwarden, now, now, &limits, &leave);
                rule(book, &context);
                Step::Done(
                    book.events
                        .iter()
                        .map(|noted| noted.event.clone())
                        .collect::<Vec<_>>(),
                )
            })
            .await?;
        self.observer.record(&events);
        Ok(())
    }

    /// Stores and reports that many accounts are missing, or that none are.
    async fn note_trouble(&self, missing: Option<(u64, u64)>) -> Result<(), StoreError> {
        let text = missing.map_or_else(String::new, |(missing, known)| describe_missing(missing, known));
        let before = self.store.get_note(ACCOUNTS_TROUBLE).await?.unwrap_or_default();
        if before != text.as_bytes() {
            self.store.set_note(ACCOUNTS_TROUBLE, text.as_bytes()).await?;
            if missing.is_some() {
                self.observer.many_accounts_missing(&text);
            }
        }
        Ok(())
    }

    async fn time(&self, note: &str) -> Result<Option<Timestamp>, StoreError> {
        let note = self.store.get_note(note).await?;
        let text = note.and_then(|note| String::from_utf8(note).ok());
        Ok(text.and_then(|text| text.parse().ok()).map(Timestamp))
    }

    async fn set_time(&self, note: &str, at: Timestamp) -> Result<(), StoreError> {
        self.store.set_note(note, at.0.to_string().as_bytes()).await
    }
}
