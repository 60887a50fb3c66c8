//! [`Observer`]: turns each event into a log line, a metric and a health state.

use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::health::Health;
use super::metrics::Metrics;
use super::storm::Storms;
use crate::model::Listing;
use crate::store::{ListingOutcome, Report, StoreError};

/// How long a directory or Vaultwarden may fail before `/readyz` answers 503.
pub const GRACE: Duration = Duration::from_secs(300);

/// Why a listing was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The start of a session, or one round of a `poll` stream.
    CatchUp,
    /// A check for changes that the stream did not report.
    Audit,
}

impl Purpose {
    fn as_str(self) -> &'static str {
        match self {
            Self::CatchUp => "catch-up",
            Self::Audit => "audit",
        }
    }
}

/// Receives every event. Cheap to clone; blocks only on its own short locks.
#[derive(Debug, Clone)]
pub struct Observer {
    pub(super) metrics: Arc<Metrics>,
    health: Arc<Mutex<Health>>,
    storms: Arc<Mutex<Storms>>,
}

impl Observer {
    /// Creates an observer without events. `grace` is usually [`GRACE`].
    pub fn new(directories: impl IntoIterator<Item = String>, grace: Duration) -> Self {
        let metrics = Metrics::new();
        let directories: Vec<String> = directories.into_iter().collect();
        for name in &directories {
            metrics.connected(name, false);
        }
        Self {
            metrics: Arc::new(metrics),
            health: Arc::new(Mutex::new(Health::new(directories, grace))),
            storms: Arc::default(),
        }
    }

    /// Whether the service does its work.
    ///
    /// # Errors
    /// One sentence for each directory that was never up to date, and for each directory and Vaultwarden that have
    /// been failing for longer than the grace period.
    pub fn ready(&self) -> Result<(), Vec<String>> {
        self.health().ready(Instant::now())
    }

    /// The text for one scrape; `report` has the numbers of the store, if it could be read.
    pub fn scrape(&self, report: Option<&Report>) -> String {
        // The lock also keeps two scrapes from mixing their numbers.
        let health = self.health();
        for (directory, silence) in health.silence(Instant::now()) {
            self.metrics.silence(directory, silence);
        }
        self.metrics.store(report);
        self.metrics.encode()
    }

    // -- directories --------------------------------------------------------------------------------------------

    /// A session with `server` is open, on a stream of this kind, chosen for this reason; `resumed` if it goes on
    /// from a cursor.
    pub fn connected(&self, directory: &str, server: &str, stream: &str, why: &str, resumed: bool) {
        self.metrics.connected(directory, true);
        self.health().follows(directory, stream);
        self.sign_of_life(directory);
        info!(
            directory,
            server, stream, why, resumed, "connected to the directory"
        );
    }

    /// A session failed or could not be opened. Logs a repeated error at `debug` only.
    pub fn disconnected(&self, directory: &str, error: &dyn Display, retry_in: Duration) {
        self.metrics.connected(directory, false);
        let error = error.to_string();
        let news = self.health().trouble(directory, &error, Instant::now());
        failure!(
            news,
            directory,
            error,
            retry_in_ms = ms(retry_in),
            "no session with the directory, will try again"
        );
    }

    /// The directory sent a message, possibly only the answer to a probe.
    pub fn sign_of_life(&self, directory: &str) {
        self.health().sign_of_life(directory, Instant::now());
        self.tell_storms();
    }

    /// The directory sent a change of this kind ([`crate::model::Change::kind`]).
    pub fn change(&self, directory: &str, kind: &'static str) {
        self.metrics.change(directory, kind);
        self.sign_of_life(directory);
    }

    /// A listing ended, after `seen` entries.
    pub fn listing_ended(
        &self,
        directory: &str,
        purpose: Purpose,
        end: &Listing,
        outcome: &ListingOutcome,
        seen: u64,
        took: Duration,
    ) {
        let result = match end {
            Listing::Complete => "complete",
            Listing::Changes => "changes",
            Listing::Partial(_) => "partial",
        };
        let purpose_name = purpose.as_str();
        self.metrics.listing(directory, purpose_name, result);
        let took_ms = ms(took);
        if let Listing::Partial(reason) = end {
            let news = purpose == Purpose::Audit || self.health().trouble(directory, reason, Instant::now());
            failure!(
                news,
                directory,
                purpose = purpose_name,
                seen,
                took_ms,
                reason,
                "a listing was cut short: nobody counts as having left because of it"
            );
            return;
        }
        let back = purpose == Purpose::CatchUp && self.health().caught_up(directory);
        let ListingOutcome {
            left, queued, held, ..
        } = outcome;
        // A poll lists every minute: a listing without changes is logged at `debug` only.
        let news = back || purpose == Purpose::Audit || left + queued + held > 0;
        event!(
            news,
            directory,
            purpose = purpose_name,
            result,
            seen,
            left,
            queued,
            held,
            took_ms,
            "listing ended"
        );
    }

    /// A listing would have invited more new people than `limits.invites_per_listing`.
    pub fn held(&self, directory: &str, count: u64, limit: u32) {
        warn!(
            directory,
            count,
            limit,
            "invitations are held back, because a listing may cause {limit} at most (limits.invites_per_listing); \
             `ldap-usher approve --all` shows them and asks whether to release them"
        );
    }

    /// One change brought more new people than `limits.invites_per_listing`.
    pub fn held_together(&self, directory: &str, count: u64, limit: u32) {
        warn!(
            directory,
            count,
            limit,
            "invitations are held back, because people whom one change brings, such as a group that is put into another, \
             count like those of a listing, {limit} at most (limits.invites_per_listing); `ldap-usher approve --all` shows \
             them and asks whether to release them"
        );
    }

    /// Single changes brought more new people than `limits.invites_per_hour`.
    pub fn held_by_hour(&self, directory: &str, count: u64, limit: u32) {
        warn!(
            directory,
            count,
            limit,
            "invitations are held back, because changes may cause {limit} in an hour at most (limits.invites_per_hour); \
             `ldap-usher approve --all` shows them and asks whether to release them"
        );
    }

    /// A directory has another name in the configuration than before.
    pub fn directory_renamed(&self, from: &str, to: &str) {
        info!(
            from,
            to, "a directory has another name now; everything known of its people stays"
        );
    }

    /// A directory is not in the configuration any more; so many invitations that were not sent yet are cancelled.
    pub fn directory_retired(&self, directory: &str) {
        warn!(
            directory,
            "a directory is not in the configuration any more: nobody counts as having left, its people count for nothing \
             else, and what was not sent to them yet is not sent; put it back to go on with them"
        );
    }

    // -- Vaultwarden --------------------------------------------------------------------------------------------

    /// A call to Vaultwarden ended with this result.
    pub fn vaultwarden_call(&self, call: &'static str, result: &'static str) {
        self.metrics.call(call, result);
        self.tell_storms();
    }

    /// Vaultwarden as a whole fails. Logs a repeated error at `debug` only.
    pub fn vaultwarden_down(&self, error: &dyn Display, retry_in: Duration) {
        let error = error.to_string();
        let news = self.health().vaultwarden_down(&error, Instant::now());
        failure!(
            news,
            error,
            retry_in_ms = ms(retry_in),
            "Vaultwarden fails, invitations wait"
        );
    }

    /// Vaultwarden answers.
    pub fn vaultwarden_back(&self) {
        let down = self.health().vaultwarden_back(Instant::now());
        if let Some(down) = down {
            info!(down_ms = ms(down), "Vaultwarden answers again");
        }
    }

    /// The list of accounts cannot be read.
    pub fn accounts_unread(&self, error: &dyn Display, retry_in: Duration) {
        warn!(
            %error,
            retry_in_ms = ms(retry_in),
            "Vaultwarden's list of accounts cannot be read: who is due is invited all the same, and who is held back stays \
             held back until it can be"
        );
    }

    /// A reason for refusals concerns the server, not the people: their invitations are retried.
    pub fn pardoned(&self, count: usize, reason: &str) {
        warn!(
            count,
            reason,
            "one reason keeps everybody from being invited, so it is not theirs: whoever was set aside for it is tried again; \
             see Vaultwarden's mail settings and its mail server"
        );
    }

    /// Invitations leave quarantine, because their reason does not concern the person.
    pub fn released_from_quarantine(&self, count: usize) {
        info!(
            count,
            "invitations that were set aside for a reason of the server's are tried again"
        );
    }

    /// None of the accounts that were there before is there, as `trouble` says.
    pub fn another_vaultwarden(&self, trouble: &str, invited: u64) {
        warn!(
            invited,
            "{trouble}; nobody who was invited before is invited again by itself: `ldap-usher retry ADDRESS...` invites those \
             whom you name and accepts this server, a new `state` file invites everyone"
        );
    }

    /// Many of those who were invited have no account.
    pub fn accounts_missing(&self, missing: u64, invited: u64) {
        warn!(
            missing,
            invited,
            "many of those who were invited have no account: is this another Vaultwarden, or one that was restored from a \
             backup? They are not invited again by themselves; `ldap-usher retry ADDRESS...` invites those whom you name"
        );
    }

    // -- this machine -------------------------------------------------------------------------------------------

    /// The wall clock was set, forwards or backwards.
    pub fn clock_was_set(&self, by_ms: i64) {
        warn!(by_ms, "the clock was set; what is due moves with it");
    }

    /// The store cannot be read or written. Logs a repeated error at `debug` only.
    pub fn store_failed(&self, error: &StoreError) {
        let error = error.to_string();
        let news = self.health().store_failed(&error, Instant::now());
        failure!(
            news,
            error,
            "the state fails: nothing is taken from directories and nobody is invited until it works again"
        );
    }

    /// Whether the state failed when it was last written.
    pub fn store_fails(&self) -> bool {
        self.health().store_fails()
    }

    /// The state was written.
    pub fn store_works(&self) {
        let failed = self.health().store_works(Instant::now());
        if let Some(failed) = failed {
            info!(failed_ms = ms(failed), "the state works again");
        }
    }

    /// Logs the number of suppressed lines after their minute is over.
    pub(super) fn tell_storms(&self) {
        let over = self.storms().over(Instant::now());
        for rest in over {
            rest.tell();
        }
    }

    pub(super) fn storms(&self) -> MutexGuard<'_, Storms> {
        self.storms.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ignores poisoning: each change of the health state is a single assignment.
    pub(super) fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
