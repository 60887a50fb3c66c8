//! Events about people. Thousands can occur at once: metrics count all of them, and the log has a limited number of lines
//! per minute for each kind.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{Level, debug, info, warn};

use super::event::{Observer, ms};
use crate::foreign::shown;
use crate::model::{EmailAddress, Task};
use crate::rules::{Duplicate, Origin};

impl Observer {
    /// Somebody became a member.
    pub fn joined(&self, directory: &str, dn: &str, address: &EmailAddress, origin: Origin) {
        self.metrics.person(directory, "joined");
        let news = self.admits_of(origin, directory, "joined");
        event!(news, directory, dn = shown(dn), %address, "joined");
    }

    /// Somebody who had left is a member again.
    pub fn rejoined(&self, directory: &str, dn: &str, address: &EmailAddress, origin: Origin) {
        self.metrics.person(directory, "rejoined");
        let news = self.admits_of(origin, directory, "rejoined");
        event!(news, directory, dn = shown(dn), %address, "joined again");
    }

    /// Somebody matches but cannot be invited, for this reason: no usable address, or a disabled account.
    pub fn without_address(&self, directory: &str, dn: &str, reason: &str) {
        self.metrics.person(directory, "without-address");
        let news = self.admits(directory, "without-address", Level::INFO);
        event!(
            news,
            directory,
            dn = shown(dn),
            reason = shown(reason),
            "cannot be invited"
        );
    }

    /// Somebody's address changed; `invite` if the new one is invited though the old one was.
    pub fn address_changed(
        &self,
        directory: &str,
        dn: &str,
        from: &EmailAddress,
        to: &EmailAddress,
        invite: bool,
    ) {
        self.metrics.person(directory, "address-changed");
        let news = self.admits(directory, "address-changed", Level::INFO);
        event!(news, directory, dn = shown(dn), %from, %to, invite, "the address changed");
    }

    /// An entry was renamed or moved within the search base.
    pub fn moved(&self, directory: &str, from: &str, to: &str, origin: Origin) {
        self.metrics.person(directory, "moved");
        let news = self.admits_of(origin, directory, "moved");
        event!(
            news,
            directory,
            from = shown(from),
            to = shown(to),
            "renamed or moved"
        );
    }

    /// Somebody no longer matches, or is disabled, as `why` says. Their account is left alone. Logged for listings too,
    /// because leavers have no other log line, unlike people who join and are invited.
    pub fn left(&self, directory: &str, dn: &str, why: &str) {
        self.metrics.person(directory, "left");
        let news = self.admits(directory, "left", Level::INFO);
        if why.is_empty() {
            event!(news, directory, dn = shown(dn), "left");
        } else {
            event!(news, directory, dn = shown(dn), reason = shown(why), "left");
        }
    }

    /// Two people have one address: one invitation is sent.
    pub fn duplicate_address(&self, directory: &str, duplicate: &Duplicate) {
        self.metrics.person(directory, "duplicate-address");
        let Duplicate {
            address,
            dn,
            holder_dn,
        } = duplicate;
        let (dn, holder_dn) = (shown(dn), shown(holder_dn));
        let news = self.admits(directory, "duplicate-address", Level::WARN);
        failure!(news, directory, %address, dn, holder_dn, "two entries have one address, which is invited once");
    }

    /// One entry had more addresses in a day than `limits.addresses_per_person`.
    pub fn held_by_person(&self, directory: &str, dn: &str, limit: u32) {
        let news = self.admits(directory, "held-by-person", Level::WARN);
        failure!(
            news,
            directory,
            dn = shown(dn),
            limit,
            "an invitation is held back, because one entry may cause {limit} in a day at most \
             (limits.addresses_per_person); `ldap-usher approve ADDRESS` releases it"
        );
    }

    /// An audit repaired a change that the stream had not reported.
    pub fn audit_repaired(&self, directory: &str, kind: &'static str, dn: &str) {
        self.metrics.audit_repair(directory, kind);
        let news = self.admits(directory, "audit-repaired", Level::WARN);
        failure!(
            news,
            directory,
            kind,
            dn = shown(dn),
            "the audit found a change that the stream had not told of"
        );
        if kind == "joined" && self.health().unnamed(directory) {
            warn!(
                directory,
                "the sync search does not name somebody whom the listing finds: either the server lost changes when it was \
                 killed or restored, or it glues databases together (OpenLDAP `subordinate`) and tells of one of them only; \
                 `ldap-usher check` compares the two; in the second case write `overlay glue` before `overlay syncprov` in \
                 the superior database (slapd.conf(5)), or set `stream = \"poll\"`"
            );
        }
    }

    /// Vaultwarden created an invitation; `delay` is the time since the change arrived.
    pub fn invited(&self, task: &Task, delay: Duration) {
        self.metrics.invite_delay(delay);
        let Task {
            address,
            dn,
            directory,
            ..
        } = task;
        let news = self.admits(directory, "invited", Level::INFO);
        event!(news, %address, dn = shown(dn), directory, delay_ms = ms(delay), "invited");
    }

    /// The person already had an account.
    pub fn had_account(&self, task: &Task) {
        let Task {
            address,
            dn,
            directory,
            ..
        } = task;
        let news = self.admits(directory, "had-account", Level::INFO);
        event!(news, %address, dn = shown(dn), directory, "has an account already");
    }

    /// An invitation failed and will be tried again.
    pub fn invite_failed(&self, task: &Task, error: &dyn Display, retry_in: Duration) {
        let Task {
            address,
            dn,
            directory,
            attempts,
            ..
        } = task;
        let (retry_in_ms, error) = (ms(retry_in), error.to_string());
        let news = self.admits(directory, "invite-failed", Level::WARN);
        failure!(
            news,
            %address,
            dn = shown(dn),
            directory,
            attempts,
            error,
            retry_in_ms,
            "could not invite, will try again"
        );
    }

    /// Vaultwarden refused an invitation permanently.
    pub fn quarantined(&self, task: &Task, reason: &str) {
        let Task {
            address,
            dn,
            directory,
            ..
        } = task;
        let news = self.admits(directory, "quarantined", Level::WARN);
        failure!(news, %address, dn = shown(dn), directory, reason, "cannot be invited; see `ldap-usher status`");
    }

    /// Whether to log the event of one person at `info`: only if it happened live. A listing may find thousands of people,
    /// and each has another line when they are invited.
    fn admits_of(&self, origin: Origin, directory: &str, kind: &'static str) -> bool {
        origin == Origin::Live && self.admits(directory, kind, Level::INFO)
    }

    /// Whether to log a line about one person, or only count it.
    fn admits(&self, directory: &str, kind: &'static str, level: Level) -> bool {
        self.tell_storms();
        self.storms().admits(directory, kind, level, Instant::now())
    }
}
