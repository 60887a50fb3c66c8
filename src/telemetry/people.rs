//! Events about people. Metrics count all of them. The log has a limited number of lines per minute and kind, because
//! thousands of people can join or leave at once.

use std::time::Duration;

use tokio::time::Instant;
use tracing::{Level, debug, info, warn};

use super::event::{Observer, ms};
use crate::clock::Timestamp;
use crate::foreign::shown;
use crate::model::{ActionKind, Event, Source, What};

impl Observer {
    /// Logs events and counts them in metrics.
    pub fn record(&self, events: &[Event]) {
        for event in events {
            self.record_one(event);
        }
    }

    fn record_one(&self, event: &Event) {
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
                let is_new = self.admits_of(*source, directory, "joined");
                event!(is_new, directory, dn, %address, "joined");
            }
            What::Rejoined => {
                let is_new = self.admits_of(*source, directory, "rejoined");
                event!(is_new, directory, dn, %address, "joined again");
            }
            What::WithoutAddress { reason } => self.without_address(directory, &dn, reason),
            What::LostAddress { reason } => {
                let reason = format!("{address} can no longer be used: {reason}");
                self.without_address(directory, &dn, &reason);
            }
            What::ChangedAddress { from, invite } => {
                let is_new = self.admits(directory, "address-changed", Level::INFO);
                event!(
                    is_new,
                    directory,
                    dn,
                    %from,
                    to = %address,
                    invite,
                    "the address changed"
                );
            }
            What::Moved { from } => {
                let is_new = self.admits_of(*source, directory, "moved");
                event!(is_new, directory, from = shown(from), to = dn, "renamed or moved");
            }
            // Logged even in a listing: no other line names people who left. People who joined are named again when they are
            // invited.
            What::Left { reason } => {
                let is_new = self.admits(directory, "left", Level::INFO);
                match reason {
                    None => event!(is_new, directory, dn, "left"),
                    Some(reason) => event!(is_new, directory, dn, reason = shown(reason), "left"),
                }
            }
            What::SharesAddress { with } => {
                let holder_dn = shown(with);
                let is_new = self.admits(directory, "duplicate-address", Level::WARN);
                failure!(
                    is_new,
                    directory,
                    %address,
                    dn,
                    holder_dn,
                    "two entries have the same address; it is invited once"
                );
            }
            What::Invited { after_ms } => {
                self.metrics.invite_delay(Duration::from_millis(*after_ms));
                let is_new = self.admits(directory, "invited", Level::INFO);
                event!(is_new, %address, dn, directory, delay_ms = after_ms, "invited");
            }
            What::HadAccount => {
                let is_new = self.admits(directory, "had-account", Level::INFO);
                event!(is_new, %address, dn, directory, "already has an account");
            }
            What::Failed {
                action: ActionKind::Invite,
                error,
                attempts,
                retry_at,
            } => {
                let retry_in_ms = ms(Timestamp(*retry_at).since(event.at));
                let is_new = self.admits(directory, "invite-failed", Level::WARN);
                failure!(
                    is_new,
                    %address,
                    dn,
                    directory,
                    attempts,
                    error,
                    retry_in_ms,
                    "could not invite, will try again"
                );
            }
            What::Quarantined {
                action: ActionKind::Invite,
                reason,
            } => {
                let is_new = self.admits(directory, "quarantined", Level::WARN);
                failure!(
                    is_new,
                    %address,
                    dn,
                    directory,
                    reason,
                    "cannot be invited; see `ldap-usher status`"
                );
            }
            What::Leaving { .. } => self.line(event, "leaving", Level::INFO, &dn, &address),
            What::CarriedOut { action, .. } => {
                self.line(event, action.as_str(), Level::INFO, &dn, &address);
            }
            What::Adopted => self.line(event, "adopted", Level::INFO, &dn, &address),
            // Each is the work of a person, whose number is limited.
            What::Requested { .. } => info!(directory, dn, address, "{what}"),
            What::AccountChanged { .. } => self.line(event, "account-changed", Level::INFO, &dn, &address),
            What::Failed { .. } => self.line(event, "action-failed", Level::WARN, &dn, &address),
            What::Quarantined { .. } => {
                self.line(event, "action-quarantined", Level::WARN, &dn, &address);
            }
            // These follow from events that are logged, or are logged as a total.
            What::Owed { .. }
            | What::Held { .. }
            | What::Released { .. }
            | What::HandedOver { .. }
            | What::Cancelled { .. }
            | What::Discarded { .. }
            | What::Spared { .. }
            | What::NotNeeded { .. }
            | What::Registered
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

    /// Logs an event in its own words.
    fn line(&self, event: &Event, kind: &'static str, level: Level, dn: &str, address: &str) {
        let Event { directory, what, .. } = event;
        let is_new = self.admits(directory, kind, level);
        if is_new && level == Level::WARN {
            warn!(directory, dn, address, "{what}");
        } else {
            event!(is_new, directory, dn, address, "{what}");
        }
    }

    /// A person matches the filter but cannot be invited: no usable address, or a disabled account.
    fn without_address(&self, directory: &str, dn: &str, reason: &str) {
        let is_new = self.admits(directory, "without-address", Level::INFO);
        event!(is_new, directory, dn, reason = shown(reason), "cannot be invited");
    }

    /// One entry had more addresses within a day than `limits.addresses_per_person`.
    pub fn held_by_person(&self, directory: &str, dn: &str, limit: u32) {
        let is_new = self.admits(directory, "held-by-person", Level::WARN);
        failure!(
            is_new,
            directory,
            dn = shown(dn),
            limit,
            "an invitation is held back: one entry may cause at most {limit} per day \
             (limits.addresses_per_person); `ldap-usher approve ADDRESS` releases it"
        );
    }

    /// An audit found a change that the stream did not report.
    fn audit_repaired(&self, directory: &str, kind: &'static str, dn: &str) {
        self.metrics.audit_repair(directory, kind);
        let is_new = self.admits(directory, "audit-repaired", Level::WARN);
        failure!(
            is_new,
            directory,
            kind,
            dn,
            "the audit found a change that the stream did not report"
        );
        if kind == "joined" && self.health().missing_from_stream(directory) {
            warn!(
                directory,
                "the sync search does not return a person whom the listing finds: either the server lost changes when it was \
                 killed or restored, or it glues databases together (OpenLDAP `subordinate`) and reports changes of one of \
                 them only; `ldap-usher check` compares the two; in the second case write `overlay glue` before `overlay syncprov` in \
                 the superior database (slapd.conf(5)), or set `stream = \"poll\"`"
            );
        }
    }

    /// As [`Observer::admits`], but only for live changes: a listing may find hundreds of people, who are logged one by one
    /// when they are invited.
    fn admits_of(&self, source: Source, directory: &str, kind: &'static str) -> bool {
        source == Source::Stream && self.admits(directory, kind, Level::INFO)
    }

    /// Whether to log a line about one person at `level`, or only at `debug`.
    fn admits(&self, directory: &str, kind: &'static str, level: Level) -> bool {
        self.log_suppressed();
        self.log_limiter().admits(directory, kind, level, Instant::now())
    }
}

/// The label of an event in the metric of people; `None` if it is not counted.
fn counted(what: &What) -> Option<&'static str> {
    match what {
        What::SharesAddress { .. } => Some("duplicate-address"),
        What::CarriedOut { action, .. } => Some(action.as_str()),
        What::Adopted => Some("adopted"),
        What::Registered => Some("registered"),
        what => repaired(what),
    }
}

/// The label of an event in the metric of audit repairs; `None` if it is not counted.
fn repaired(what: &What) -> Option<&'static str> {
    match what {
        What::Joined => Some("joined"),
        What::Rejoined => Some("rejoined"),
        What::WithoutAddress { .. } | What::LostAddress { .. } => Some("without-address"),
        What::ChangedAddress { .. } => Some("address-changed"),
        What::Moved { .. } => Some("moved"),
        What::Left { .. } => Some("left"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Change, EmailAddress};

    /// The names and labels of all counters.
    fn series(observer: &Observer) -> Vec<String> {
        let scrape = observer.scrape(None);
        let lines = scrape.lines().filter(|line| line.contains("_total{"));
        let mut series: Vec<_> = lines
            .map(|line| line.rsplit_once(' ').unwrap().0.to_owned())
            .collect();
        series.sort();
        series
    }

    #[test]
    fn every_series_of_a_directory_is_there_before_anything_is_counted() {
        let observer = Observer::new(["main".to_owned()], Duration::ZERO);
        let before = series(&observer);
        let reason = String::new;
        let address = EmailAddress::parse(b"ann@example.org").unwrap();
        let mut all = vec![
            What::Joined,
            What::Rejoined,
            What::WithoutAddress { reason: reason() },
            What::LostAddress { reason: reason() },
            What::ChangedAddress {
                from: address.to_string(),
                invite: true,
            },
            What::Moved { from: reason() },
            What::Left { reason: None },
            What::SharesAddress { with: reason() },
            What::Adopted,
            What::Registered,
        ];
        let actions = ActionKind::ALL.into_iter().filter(|action| !action.is_invite());
        all.extend(actions.map(|action| What::CarriedOut { action, after_ms: 0 }));
        for what in all {
            assert!(counted(&what).is_some(), "{what:?}");
            observer.record(&[Event {
                at: Timestamp(0),
                directory: "main".into(),
                person: None,
                dn: "uid=ann".into(),
                address: Some(address.clone()),
                source: Source::Audit,
                what,
            }]);
        }
        for kind in Change::KINDS {
            observer.change("main", kind);
        }
        assert_eq!(series(&observer), before);
    }
}
