//! [`Observer`]: turns each event into a log line, a metric and a health state.

use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::health::Health;
use super::log_limit::LogLimiter;
use super::metrics::Metrics;
use super::parts::{Liveness, Parts};
use crate::model::{Hold, Listing};
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
    /// Its name in logs, metrics and traces.
    pub fn as_str(self) -> &'static str {
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
    pub(super) liveness: Arc<Mutex<Liveness>>,
    log_limiter: Arc<Mutex<LogLimiter>>,
    pub(super) parts: Arc<Mutex<Parts>>,
}

impl Observer {
    /// Creates an observer. `grace` is usually [`GRACE`].
    pub fn new(directories: impl IntoIterator<Item = String>, grace: Duration) -> Self {
        let metrics = Metrics::new();
        let directories: Vec<String> = directories.into_iter().collect();
        for name in &directories {
            metrics.directory(name);
        }
        Self {
            metrics: Arc::new(metrics),
            health: Arc::new(Mutex::new(Health::new(directories, grace))),
            liveness: Arc::default(),
            log_limiter: Arc::default(),
            parts: Arc::default(),
        }
    }

    /// This instance, one of several that share a state, has this name.
    pub fn runs_as(&self, name: &str) {
        self.metrics.instance(name);
        info!(name, "this instance shares its state with others");
    }

    /// Whether the service is ready.
    ///
    /// # Errors
    /// One sentence for each directory that was never up to date, for each directory and Vaultwarden that have been failing
    /// for longer than the grace period, and for a store that is failing.
    pub fn ready(&self) -> Result<(), Vec<String>> {
        self.health().ready(Instant::now())
    }

    /// The directories to which another instance listens.
    pub fn standing_by(&self) -> Vec<String> {
        self.health().standing_by().map(str::to_owned).collect()
    }

    /// Each directory that has sent a message, and the time since the last one.
    pub fn silence(&self) -> Vec<(String, Duration)> {
        let health = self.health();
        let silence = health.silence(Instant::now());
        silence
            .map(|(name, silence)| (name.to_owned(), silence))
            .collect()
    }

    /// This instance begins or ceases to listen to the directory. It has no session with it either way.
    pub fn listens(&self, directory: &str, does: bool) {
        self.metrics.listens(directory, does);
        self.metrics.connected(directory, false);
        self.health().forget_signs_of_life(directory);
    }

    /// The certificates of these peers expire then, in seconds since 1970. Nothing is known of any other peer.
    pub fn certificates<'a>(&self, expiries: impl IntoIterator<Item = (&'a str, i64)>) {
        self.metrics.certificates(expiries);
    }

    /// How long no session with the directory could be opened; `None` if one is open.
    pub fn unreachable(&self, directory: &str) -> Option<Duration> {
        self.health().unreachable(directory, Instant::now())
    }

    /// This instance does not reach the directory, and leaves it to another one.
    pub fn leaves(&self, directory: &str) {
        warn!(
            directory,
            "the directory cannot be reached from here; another instance may listen to it"
        );
    }

    /// Another instance listens to the directory, or this one does again.
    pub fn stands_by(&self, directory: &str, does: bool) {
        self.health().stands_by(directory, does);
        if does {
            info!(
                directory,
                "another instance listens to the directory; this one stands by"
            );
        } else {
            info!(directory, "this instance listens to the directory now");
        }
    }

    /// The text for one scrape; `report` has the numbers of the store, if it could be read.
    pub fn scrape(&self, report: Option<&Report>) -> String {
        // The lock also keeps two scrapes from mixing their numbers.
        let health = self.health();
        self.metrics.silence(health.silence(Instant::now()));
        for (receiver, age) in health.notification_ages(Instant::now()) {
            self.metrics.notification_lag(receiver, age);
        }
        let is_ready = health.ready(Instant::now()).is_ok();
        self.metrics.up(
            is_ready,
            !health.vaultwarden_fails(),
            !health.store_fails() && report.is_some(),
        );
        self.metrics.store(report);
        self.metrics.encode()
    }

    // -- directories --------------------------------------------------------------------------------------------

    /// A session with `server` is open. It uses this kind of `stream`, for the reason `why`, and continues from a cursor if
    /// `resumed`.
    pub fn connected(&self, directory: &str, server: &str, stream: &str, why: &str, resumed: bool) {
        self.metrics.connected(directory, true);
        self.health().connected(directory, stream);
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
        let is_new = self.health().failed(directory, &error, Instant::now());
        failure!(
            is_new,
            directory,
            error,
            retry_in_ms = ms(retry_in),
            "no session with the directory, will try again"
        );
    }

    /// The directory sent a message, possibly only the answer to a probe.
    pub fn sign_of_life(&self, directory: &str) {
        self.health().sign_of_life(directory, Instant::now());
        self.log_suppressed();
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
            let is_new = purpose == Purpose::Audit || self.health().failed(directory, reason, Instant::now());
            failure!(
                is_new,
                directory,
                purpose = purpose_name,
                seen,
                took_ms,
                reason,
                "a listing was cut short: it makes no one a leaver"
            );
            return;
        }
        let back = purpose == Purpose::CatchUp && self.health().caught_up(directory);
        let ListingOutcome {
            left, queued, held, ..
        } = outcome;
        // A poll lists every minute: a listing without changes is logged at `debug` only.
        let is_new = back || purpose == Purpose::Audit || left + queued + held > 0;
        event!(
            is_new,
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
            "invitations are held back: a listing may cause at most {limit} (limits.invites_per_listing); \
             `ldap-usher approve --all` shows them and asks whether to release them"
        );
    }

    /// One change would have invited more new people than `limits.invites_per_listing`.
    pub fn held_together(&self, directory: &str, count: u64, limit: u32) {
        warn!(
            directory,
            count,
            limit,
            "invitations are held back: one change, such as a group that is added to another, may cause at most {limit} \
             (limits.invites_per_listing); `ldap-usher approve --all` shows them and asks whether to release them"
        );
    }

    /// Single changes would have invited more new people than `limits.invites_per_hour`.
    pub fn held_by_hour(&self, directory: &str, count: u64, limit: u32) {
        warn!(
            directory,
            count,
            limit,
            "invitations are held back: changes may cause at most {limit} per hour (limits.invites_per_hour); \
             `ldap-usher approve --all` shows them and asks whether to release them"
        );
    }

    /// More people left than one of the limits allows.
    pub fn leavers_held(&self, directory: &str, count: u64, by: Hold) {
        let is_new = self.health().holds_leavers(directory, Instant::now());
        failure!(
            is_new,
            directory,
            count,
            "leavers are held, and their accounts are left alone: {by}; if this is right, `ldap-usher approve` shows them and \
             asks, otherwise `ldap-usher discard` drops them; whoever comes back is dropped by itself"
        );
    }

    /// A directory has a new name in the configuration.
    pub fn directory_renamed(&self, from: &str, to: &str) {
        info!(
            from,
            to, "a directory was renamed in the configuration; its people are kept"
        );
    }

    /// A directory was removed from the configuration.
    pub fn directory_retired(&self, directory: &str) {
        warn!(
            directory,
            "a directory was removed from the configuration: no one is treated as having left, but its people are ignored \
             from now on and pending invitations are not sent; add it again to continue with them"
        );
    }

    // -- Vaultwarden --------------------------------------------------------------------------------------------

    /// A call to Vaultwarden ended with this result.
    pub fn vaultwarden_call(&self, call: &'static str, result: &'static str) {
        self.metrics.call(call, result);
        self.log_suppressed();
    }

    /// Vaultwarden as a whole fails. Logs a repeated error at `debug` only.
    pub fn vaultwarden_down(&self, error: &dyn Display, retry_in: Duration) {
        let error = error.to_string();
        let is_new = self.health().vaultwarden_down(&error, Instant::now());
        failure!(
            is_new,
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
            "Vaultwarden's list of accounts cannot be read: due invitations are sent anyway, and held ones stay held until \
             it can be read"
        );
    }

    /// A reason for rejections turned out to concern the server, not the people: `count` invitations leave quarantine.
    pub fn server_fault(&self, count: usize, reason: &str) {
        warn!(
            count,
            reason,
            "Vaultwarden rejects everyone for the same reason, so the fault is not theirs: their invitations leave quarantine \
             and are retried; check Vaultwarden's mail settings and its mail server"
        );
    }

    /// Invitations leave quarantine, because this version attributes their rejection to the server.
    pub fn released_from_quarantine(&self, count: usize) {
        info!(
            count,
            "invitations leave quarantine and are retried: the server was at fault"
        );
    }

    /// None of the accounts that existed before exists now; `difference` describes it.
    pub fn another_vaultwarden(&self, difference: &str, invited: u64) {
        warn!(
            invited,
            "{difference}; no one who was invited before is invited again automatically: `ldap-usher retry ADDRESS...` invites \
             the people you name and accepts this server, a new `state` file invites everyone"
        );
    }

    /// Many accounts in our care are missing, as `text` says.
    pub fn many_accounts_missing(&self, text: &str) {
        warn!(
            "{text}; no one is invited again automatically: `ldap-usher approve --all` shows the people and invites them, if this \
             is the right server"
        );
    }

    // -- this machine -------------------------------------------------------------------------------------------

    /// The wall clock was set, forwards or backwards.
    pub fn clock_was_set(&self, by_ms: i64) {
        warn!(by_ms, "the clock was set; due times move with it");
    }

    /// The store cannot be read or written. Logs a repeated error at `debug` only. A duty that another instance has taken over is
    /// no failure.
    pub fn store_failed(&self, error: &StoreError) {
        if matches!(error, StoreError::Superseded { .. }) {
            return;
        }
        let (cause, error) = (error.cause(), error.to_string());
        let is_new = self.health().store_failed(&error, &cause, Instant::now());
        failure!(
            is_new,
            error,
            "the state fails: changes are not processed and no one is invited until it works again"
        );
    }

    /// Whether the store is failing.
    pub fn store_fails(&self) -> bool {
        self.health().store_fails()
    }

    /// The store was written successfully.
    pub fn store_works(&self) {
        let failed = self.health().store_works(Instant::now());
        if let Some(failed) = failed {
            info!(failed_ms = ms(failed), "the state works again");
        }
    }

    /// Logs the numbers of lines that were suppressed in a minute that is over.
    pub(super) fn log_suppressed(&self) {
        let suppressed = self.log_limiter().expired(Instant::now());
        for line in suppressed {
            line.log();
        }
    }

    pub(super) fn log_limiter(&self) -> MutexGuard<'_, LogLimiter> {
        self.log_limiter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ignores poisoning: each change of the health state is a single assignment.
    pub(super) fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

pub(super) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
