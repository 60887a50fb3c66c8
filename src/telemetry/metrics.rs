//! Metrics for Prometheus. Every name begins with `ldap_usher_`.

use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::model::{ActionKind, Change};
use crate::store::Report;

/// The kinds of changes that an audit may find.
const REPAIRS: [&str; 6] = [
    "joined",
    "rejoined",
    "without-address",
    "address-changed",
    "moved",
    "left",
];

/// The other kinds of events of people, beside the names of actions.
const EVENTS: [&str; 3] = ["duplicate-address", "adopted", "registered"];

/// Histogram bounds in seconds, from 1 ms to 1 h; most of them in the range of live changes.
const DELAYS: [f64; 16] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0,
];

/// Label: one directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByDirectory {
    directory: String,
}

/// Label: one instance of those that share a state.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByInstance {
    name: String,
}

/// Labels: one kind of thing in one directory.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByKind {
    directory: String,
    kind: &'static str,
}

/// Labels: listings.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByResult {
    directory: String,
    purpose: &'static str,
    result: &'static str,
}

/// Labels: calls to Vaultwarden.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByCall {
    call: &'static str,
    result: &'static str,
}

/// Label: the state of an action.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByState {
    state: &'static str,
}

/// Label: a receiver of notifications.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByReceiver {
    receiver: &'static str,
}

/// Label: whose certificate.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByPeer {
    peer: String,
}

/// Labels: notifications.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ByNotification {
    receiver: &'static str,
    result: &'static str,
}

/// All metrics of the service.
#[derive(Debug)]
pub(super) struct Metrics {
    registry: Registry,
    instance: Family<ByInstance, Gauge>,
    changes: Family<ByKind, Counter>,
    people: Family<ByKind, Counter>,
    ready: Gauge,
    vaultwarden_up: Gauge,
    state_up: Gauge,
    listings: Family<ByResult, Counter>,
    listed: Family<ByDirectory, Gauge>,
    audit_repairs: Family<ByKind, Counter>,
    connected: Family<ByDirectory, Gauge>,
    listens: Family<ByDirectory, Gauge>,
    silence: Family<ByDirectory, Gauge<f64, std::sync::atomic::AtomicU64>>,
    members: Family<ByDirectory, Gauge>,
    tasks: Family<ByState, Gauge>,
    leavers: Family<ByState, Gauge>,
    unregistered: Family<[(&'static str, &'static str); 0], Gauge>,
    calls: Family<ByCall, Counter>,
    invite_delay: Histogram,
    notifications: Family<ByNotification, Counter>,
    certificates: Family<ByPeer, Gauge>,
    notification_lag: Family<ByReceiver, Gauge<f64, std::sync::atomic::AtomicU64>>,
}

impl Metrics {
    /// Creates all metrics, each at zero.
    pub(super) fn new() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("ldap_usher"),
            instance: Family::default(),
            changes: Family::default(),
            people: Family::default(),
            ready: Gauge::default(),
            vaultwarden_up: Gauge::default(),
            state_up: Gauge::default(),
            listings: Family::default(),
            listed: Family::default(),
            audit_repairs: Family::default(),
            connected: Family::default(),
            listens: Family::default(),
            silence: Family::default(),
            members: Family::default(),
            tasks: Family::default(),
            leavers: Family::default(),
            unregistered: Family::default(),
            calls: Family::default(),
            invite_delay: Histogram::new(DELAYS),
            notifications: Family::default(),
            certificates: Family::default(),
            notification_lag: Family::default(),
        };
        metrics.register();
        metrics
    }

    /// Registers all metrics. The library adds `_total` to counters, `_info` to the version, and a full stop to each text.
    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "build",
            "The running version",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        registry.register(
            "instance_info",
            "The name of this instance, where several share a state",
            self.instance.clone(),
        );
        registry.register("ready", "Whether /readyz is 200", self.ready.clone());
        registry.register(
            "vaultwarden_up",
            "Whether Vaultwarden answers and accepts the admin token",
            self.vaultwarden_up.clone(),
        );
        registry.register(
            "state_up",
            "Whether the state can be read and written",
            self.state_up.clone(),
        );
        registry.register(
            "changes",
            "Messages from directories, by kind",
            self.changes.clone(),
        );
        registry.register("people", "Events of people, by kind", self.people.clone());
        registry.register(
            "listings",
            "Listings that ended, by purpose and result",
            self.listings.clone(),
        );
        registry.register(
            "last_listing_timestamp_seconds",
            "When the last complete listing ended",
            self.listed.clone(),
        );
        registry.register(
            "audit_repairs",
            "Changes that an audit found because the stream did not report them, by kind",
            self.audit_repairs.clone(),
        );
        registry.register(
            "connected",
            "Whether a session with the directory is open",
            self.connected.clone(),
        );
        registry.register(
            "listens",
            "Whether this instance listens to the directory, and no other one",
            self.listens.clone(),
        );
        registry.register(
            "last_sign_of_life_age_seconds",
            "Time since the last message from the directory",
            self.silence.clone(),
        );
        registry.register(
            "members",
            "People with a usable address who match the filter",
            self.members.clone(),
        );
        registry.register("tasks", "Invitations by state", self.tasks.clone());
        registry.register(
            "leavers",
            "Actions on the accounts of leavers by state",
            self.leavers.clone(),
        );
        registry.register(
            "unregistered",
            "People who were invited and have not registered, as far as is known",
            self.unregistered.clone(),
        );
        registry.register(
            "vaultwarden_calls",
            "Calls to Vaultwarden by result",
            self.calls.clone(),
        );
        registry.register(
            "invite_delay_seconds",
            "From the arrival of a change, or the release of a held invitation, to Vaultwarden's answer to the invitation",
            self.invite_delay.clone(),
        );
        registry.register(
            "notifications",
            "Attempts to deliver a notification, by result",
            self.notifications.clone(),
        );
        registry.register(
            "certificate_expiry_timestamp_seconds",
            "When a certificate expires: that of a server, accepted within a day and not pinned, or a client certificate",
            self.certificates.clone(),
        );
        registry.register(
            "notification_lag_seconds",
            "Age of the oldest event that the receiver has not got; 0 if it has got all",
            self.notification_lag.clone(),
        );
    }

    /// This instance has this name.
    pub(super) fn instance(&self, name: &str) {
        let labels = ByInstance {
            name: name.to_owned(),
        };
        self.instance.get_or_create(&labels).set(1);
    }

    /// Creates the series of a directory, each at zero: Prometheus takes no notice of the first value of a counter, however large
    /// it is.
    pub(super) fn directory(&self, name: &str) {
        self.connected(name, false);
        self.listens(name, false);
        for kind in Change::KINDS {
            self.changes.get_or_create(&by_kind(name, kind)).inc_by(0);
        }
        for kind in REPAIRS {
            self.audit_repairs.get_or_create(&by_kind(name, kind)).inc_by(0);
        }
        let actions = ActionKind::ALL.into_iter().filter(|kind| !kind.is_invite());
        let events = REPAIRS.into_iter().chain(EVENTS);
        for kind in events.chain(actions.map(ActionKind::as_str)) {
            self.people.get_or_create(&by_kind(name, kind)).inc_by(0);
        }
        for purpose in ["catch-up", "audit"] {
            for result in ["complete", "changes", "partial"] {
                self.listings
                    .get_or_create(&by_result(name, purpose, result))
                    .inc_by(0);
            }
        }
    }

    /// A directory sent a change of this kind.
    pub(super) fn change(&self, directory: &str, kind: &'static str) {
        self.changes.get_or_create(&by_kind(directory, kind)).inc();
    }

    /// An event of this kind happened to a person.
    pub(super) fn person(&self, directory: &str, kind: &'static str) {
        self.people.get_or_create(&by_kind(directory, kind)).inc();
    }

    /// An audit found a change of this kind.
    pub(super) fn audit_repair(&self, directory: &str, kind: &'static str) {
        self.audit_repairs.get_or_create(&by_kind(directory, kind)).inc();
    }

    /// A listing ended.
    pub(super) fn listing(&self, directory: &str, purpose: &'static str, result: &'static str) {
        self.listings
            .get_or_create(&by_result(directory, purpose, result))
            .inc();
    }

    /// Sets whether a session with a directory is open.
    pub(super) fn connected(&self, directory: &str, connected: bool) {
        self.connected
            .get_or_create(&by_directory(directory))
            .set(connected.into());
    }

    /// Sets whether this instance listens to a directory, and no other one.
    pub(super) fn listens(&self, directory: &str, listens: bool) {
        self.listens
            .get_or_create(&by_directory(directory))
            .set(listens.into());
    }

    /// A call to Vaultwarden ended.
    pub(super) fn call(&self, call: &'static str, result: &'static str) {
        self.calls.get_or_create(&ByCall { call, result }).inc();
    }

    /// Vaultwarden accepted an invitation, this long after its change arrived or after it was released.
    pub(super) fn invite_delay(&self, delay: Duration) {
        self.invite_delay.observe(delay.as_secs_f64());
    }

    /// Sets the time since the last message from each directory with a session.
    pub(super) fn silence<'a>(&self, silence: impl Iterator<Item = (&'a str, Duration)>) {
        self.silence.clear();
        for (directory, silence) in silence {
            self.silence
                .get_or_create(&by_directory(directory))
                .set(silence.as_secs_f64());
        }
    }

    /// An attempt to deliver a notification ended.
    pub(super) fn notification(&self, receiver: &'static str, result: &'static str) {
        let labels = ByNotification { receiver, result };
        self.notifications.get_or_create(&labels).inc();
    }

    /// Sets when the known certificates expire, in seconds since 1970.
    pub(super) fn certificates<'a>(&self, expiries: impl IntoIterator<Item = (&'a str, i64)>) {
        self.certificates.clear();
        for (peer, expires) in expiries {
            let labels = ByPeer {
                peer: peer.to_owned(),
            };
            self.certificates.get_or_create(&labels).set(expires);
        }
    }

    /// Sets the age of the oldest event that a receiver has not got.
    pub(super) fn notification_lag(&self, receiver: &'static str, age: Duration) {
        let labels = ByReceiver { receiver };
        self.notification_lag
            .get_or_create(&labels)
            .set(age.as_secs_f64());
    }

    /// Sets whether the service is ready, and whether Vaultwarden and the state work.
    pub(super) fn up(&self, ready: bool, vaultwarden: bool, state: bool) {
        self.ready.set(ready.into());
        self.vaultwarden_up.set(vaultwarden.into());
        self.state_up.set(state.into());
    }

    /// Sets the gauges from the store's report. Without a report they are left out.
    pub(super) fn store(&self, report: Option<&Report>) {
        self.members.clear();
        self.tasks.clear();
        self.leavers.clear();
        self.listed.clear();
        self.unregistered.clear();
        let Some(report) = report else { return };
        // The gauges of a directory that is not configured any more would stay as they are for ever.
        for directory in report.directories.iter().filter(|directory| !directory.retired) {
            self.members
                .get_or_create(&by_directory(&directory.name))
                .set(gauge(directory.members));
            if let Some(listed) = directory.listed {
                self.listed
                    .get_or_create(&by_directory(&directory.name))
                    .set(listed.0.div_euclid(1000));
            }
        }
        self.unregistered
            .get_or_create(&[])
            .set(gauge(report.unregistered));
        for &(state, count) in &report.tasks {
            self.tasks.get_or_create(&ByState { state }).set(gauge(count));
        }
        for &(state, count) in &report.leavers {
            self.leavers.get_or_create(&ByState { state }).set(gauge(count));
        }
    }

    /// The text for a scrape, in OpenMetrics.
    pub(super) fn encode(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

fn by_directory(directory: &str) -> ByDirectory {
    ByDirectory {
        directory: directory.to_owned(),
    }
}

fn by_kind(directory: &str, kind: &'static str) -> ByKind {
    ByKind {
        directory: directory.to_owned(),
        kind,
    }
}

fn by_result(directory: &str, purpose: &'static str, result: &'static str) -> ByResult {
    ByResult {
        directory: directory.to_owned(),
        purpose,
        result,
    }
}

fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
