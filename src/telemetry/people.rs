//! What happens to people, of whom thousands can come and go at once: metrics count everyone, the log names so many a
//! minute of each kind.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{Level, debug, info, warn};

use super::event::{Observer, ms};
use crate::clock::Timestamp;
use crate::foreign::shown;
use crate::model::{Event, Source, What};

impl Observer {
    /// Makes log lines and metrics of events.
    pub fn tell(&self, events: &[Event]) {
        for event in events {
            self.tell_one(event);
        }
    }

    fn tell_one(&self, event: &Event) {
        let Event {
            directory,
            source,
            what,
            ..
        } = event;
        let dn = shown(&event.dn);
        let address = event
            .address
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default();
        if let Some(kind) = counted(what) {
            self.metrics.person(directory, kind);
        }
        match what {
            What::Joined => {
                let news = self.admits_of(*source, directory, "joined");
                event!(news, directory, dn, %address, "joined");
            }
            What::Rejoined => {
                let news = self.admits_of(*source, directory, "rejoined");
                event!(news, directory, dn, %address, "joined again");
            }
            What::WithoutAddress { reason } => self.without_address(directory, &dn, reason),
            What::LostAddress => self.without_address(directory, &dn, &format!("{address} was removed")),
            What::ChangedAddress { from, invite } => {
                let news = self.admits(directory, "address-changed", Level::INFO);
                event!(
                    news,
                    directory,
                    dn,
                    %from,
                    to = %address,
                    invite,
                    "the address changed"
                );
            }
            What::Moved { from } => {
                let news = self.admits_of(*source, directory, "moved");
                event!(news, directory, from = shown(from), to = dn, "renamed or moved");
            }
            // Worth a line even in a listing: unlike those who come, who are named again when they are invited, they are
            // named nowhere else.
            What::Left { reason } => {
                let news = self.admits(directory, "left", Level::INFO);
                match reason {
                    None => event!(news, directory, dn, "left"),
                    Some(reason) => event!(news, directory, dn, reason = shown(reason), "left"),
                }
            }
            What::SharesAddress { with } => {
                let holder_dn = shown(with);
                let news = self.admits(directory, "duplicate-address", Level::WARN);
                failure!(
                    news,
                    directory,
                    %address,
                    dn,
                    holder_dn,
                    "two entries have one address, which is invited once"
                );
            }
            What::Invited { after_ms } => {
                self.metrics.invite_delay(Duration::from_millis(*after_ms));
                let news = self.admits(directory, "invited", Level::INFO);
                event!(news, %address, dn, directory, delay_ms = after_ms, "invited");
            }
            What::HadAccount => {
                let news = self.admits(directory, "had-account", Level::INFO);
                event!(news, %address, dn, directory, "has an account already");
            }
            What::Failed {
                error,
                attempts,
                retry_at,
            } => {
                let retry_in_ms = ms(Timestamp(*retry_at).since(event.at));
                let news = self.admits(directory, "invite-failed", Level::WARN);
                failure!(
                    news,
                    %address,
                    dn,
                    directory,
                    attempts,
                    error,
                    retry_in_ms,
                    "could not invite, will try again"
                );
            }
            What::Quarantined { reason } => {
                let news = self.admits(directory, "quarantined", Level::WARN);
                failure!(
                    news,
                    %address,
                    dn,
                    directory,
                    reason,
                    "cannot be invited; see `ldap-usher status`"
                );
            }
            // These follow from others that are told, or are told of all together.
            What::Owed { .. }
            | What::Held { .. }
            | What::Released { .. }
            | What::HandedOver { .. }
            | What::Cancelled
            | What::OutcomeUnknown { .. }
            | What::Listed { .. } => {
                debug!(directory, dn, address, source = source.as_str(), "{what}");
            }
        }
        if *source == Source::Audit
            && let Some(kind) = repaired(what)
        {
            self.audit_repaired(directory, kind, &dn);
        }
    }

    /// Somebody matches but cannot be invited, for this reason: no usable address, or a disabled account.
    fn without_address(&self, directory: &str, dn: &str, reason: &str) {
        let news = self.admits(directory, "without-address", Level::INFO);
        event!(news, directory, dn, reason = shown(reason), "cannot be invited");
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

    /// An audit put right what the stream had not told.
    fn audit_repaired(&self, directory: &str, kind: &'static str, dn: &str) {
        self.metrics.audit_repair(directory, kind);
        let news = self.admits(directory, "audit-repaired", Level::WARN);
        failure!(
            news,
            directory,
            kind,
            dn,
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

    /// One person's event: worth a line when it happens live, a detail when a listing finds hundreds of them, of whom
    /// each has a line of their own when they are invited.
    fn admits_of(&self, source: Source, directory: &str, kind: &'static str) -> bool {
        source == Source::Stream && self.admits(directory, kind, Level::INFO)
    }

    /// Whether to log a line about one person, or only count it.
    fn admits(&self, directory: &str, kind: &'static str, level: Level) -> bool {
        self.tell_storms();
        self.storms().admits(directory, kind, level, Instant::now())
    }
}

/// The kind by which the metric of people counts an event.
fn counted(what: &What) -> Option<&'static str> {
    match what {
        What::SharesAddress { .. } => Some("duplicate-address"),
        what => repaired(what),
    }
}

/// The kind by which the metric of audit repairs counts an event.
fn repaired(what: &What) -> Option<&'static str> {
    match what {
        What::Joined => Some("joined"),
        What::Rejoined => Some("rejoined"),
        What::WithoutAddress { .. } | What::LostAddress => Some("without-address"),
        What::ChangedAddress { .. } => Some("address-changed"),
        What::Moved { .. } => Some("moved"),
        What::Left { .. } => Some("left"),
        _ => None,
    }
}
