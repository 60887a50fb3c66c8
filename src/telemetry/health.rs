//! The health of the service, as `/readyz` shows it, and of notifications, which it does not show. No I/O; the time is passed in.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// Leavers that are held are reported again after this time.
const HOUR: Duration = Duration::from_secs(3600);
/// A store that fails for another cause is reported again after this time.
const MINUTE: Duration = Duration::from_secs(60);

/// The health of the directories, Vaultwarden and the store.
#[derive(Debug)]
pub(super) struct Health {
    grace: Duration,
    directories: BTreeMap<String, DirectoryHealth>,
    vaultwarden: Option<Failure>,
    store: Option<StoreFailure>,
    /// The receivers of notifications that fail.
    receivers: BTreeMap<&'static str, Option<Failure>>,
    /// For each receiver of events the age of the oldest one that it has not got, and when it had this age.
    oldest_events: BTreeMap<&'static str, Option<(Duration, Instant)>>,
}

#[derive(Debug, Default)]
struct DirectoryHealth {
    /// Whether a listing or a resumed session was complete at least once.
    caught_up: bool,
    failure: Option<Failure>,
    /// Since when no session could be opened.
    unreachable: Option<Instant>,
    last_sign: Option<Instant>,
    /// How changes are learned.
    stream: String,
    /// Whether a warning was logged that the stream does not return everyone.
    warned_of_missing: bool,
    /// When leavers were last held.
    holds_leavers: Option<Instant>,
    /// Whether another instance listens to it.
    is_elsewhere: bool,
}

/// A failure that lasts.
#[derive(Debug)]
struct Failure {
    since: Instant,
    error: String,
}

/// A failure of the store.
#[derive(Debug)]
struct StoreFailure {
    failure: Failure,
    /// When it was last logged, and the cause that was logged.
    logged: Instant,
    cause: String,
}

impl Health {
    /// Creates a state in which no directory is ready. `grace` is how long a failure may last before `/readyz` reports it.
    pub(super) fn new(directories: impl IntoIterator<Item = String>, grace: Duration) -> Self {
        let directories = directories
            .into_iter()
            .map(|name| (name, DirectoryHealth::default()));
        Self {
            grace,
            directories: directories.collect(),
            vaultwarden: None,
            store: None,
            receivers: BTreeMap::new(),
            oldest_events: BTreeMap::new(),
        }
    }

    /// A session of the directory is up to date. Returns whether this is new: the first time, or after a failure.
    pub(super) fn caught_up(&mut self, directory: &str) -> bool {
        let health = self.directory(directory);
        let recovered = health.failure.take().is_some();
        !std::mem::replace(&mut health.caught_up, true) || recovered
    }

    /// A session of the directory failed, could not be opened, or did not get up to date. Returns whether this is new: the
    /// first failure since the last [`Health::caught_up`], or another error.
    ///
    /// The failure lasts until [`Health::caught_up`]. So a server that accepts each connection and closes it again stays
    /// unhealthy.
    pub(super) fn failed(&mut self, directory: &str, error: &str, now: Instant) -> bool {
        let health = self.directory(directory);
        health.unreachable.get_or_insert(now);
        Failure::note(&mut health.failure, error, now)
    }

    /// How long no session with the directory could be opened; `None` if one is open.
    pub(super) fn unreachable(&self, directory: &str, now: Instant) -> Option<Duration> {
        let since = self.directories.get(directory)?.unreachable?;
        Some(now.duration_since(since))
    }

    /// The directory sent a message, possibly only the answer to a probe.
    pub(super) fn sign_of_life(&mut self, directory: &str, now: Instant) {
        self.directory(directory).last_sign = Some(now);
    }

    /// No session with the directory is open, and none is awaited: its silence means nothing.
    pub(super) fn forget_signs_of_life(&mut self, directory: &str) {
        self.directory(directory).last_sign = None;
    }

    /// A session with the directory is open, and uses this kind of stream.
    pub(super) fn connected(&mut self, directory: &str, stream: &str) {
        let health = self.directory(directory);
        health.unreachable = None;
        stream.clone_into(&mut health.stream);
    }

    /// An audit found a person whom the stream did not return. Returns whether this is the first one and the stream is
    /// `syncrepl` (RFC 4533).
    pub(super) fn missing_from_stream(&mut self, directory: &str) -> bool {
        let health = self.directory(directory);
        health.stream == "syncrepl" && !std::mem::replace(&mut health.warned_of_missing, true)
    }

    /// Leavers of a directory are held. Returns whether this is the first time within an hour.
    pub(super) fn holds_leavers(&mut self, directory: &str, now: Instant) -> bool {
        let before = self.directory(directory).holds_leavers.replace(now);
        before.is_none_or(|before| now.duration_since(before) > HOUR)
    }

    /// Each directory that has sent a message, and the time since the last one.
    pub(super) fn silence(&self, now: Instant) -> impl Iterator<Item = (&str, Duration)> {
        self.directories
            .iter()
            .filter_map(move |(name, health)| Some((name.as_str(), now.duration_since(health.last_sign?))))
    }

    /// Another instance listens to the directory, or this one does again.
    pub(super) fn stands_by(&mut self, directory: &str, does: bool) {
        let health = self.directory(directory);
        health.is_elsewhere = does;
        health.failure = None;
        health.unreachable = None;
    }

    /// The directories to which another instance listens.
    pub(super) fn standing_by(&self) -> impl Iterator<Item = &str> {
        let elsewhere = self.directories.iter().filter(|(_, health)| health.is_elsewhere);
        elsewhere.map(|(name, _)| name.as_str())
    }

    /// Vaultwarden as a whole failed. Returns whether this is new, as [`Health::failed`] does.
    pub(super) fn vaultwarden_down(&mut self, error: &str, now: Instant) -> bool {
        Failure::note(&mut self.vaultwarden, error, now)
    }

    /// Vaultwarden answers. Returns how long it failed, if it did.
    pub(super) fn vaultwarden_back(&mut self, now: Instant) -> Option<Duration> {
        self.vaultwarden
            .take()
            .map(|failure| now.duration_since(failure.since))
    }

    /// Whether Vaultwarden as a whole fails.
    pub(super) fn vaultwarden_fails(&self) -> bool {
        self.vaultwarden.is_some()
    }

    /// The store cannot be read or written. Returns whether this is new, as [`Health::failed`] does.
    ///
    /// `cause` is the part of the error that does not depend on what was to be done. While the store fails, another cause is new
    /// only after a minute: the first attempts may meet several.
    pub(super) fn store_failed(&mut self, error: &str, cause: &str, now: Instant) -> bool {
        let Some(known) = &mut self.store else {
            self.store = Some(StoreFailure {
                failure: Failure {
                    since: now,
                    error: error.to_owned(),
                },
                logged: now,
                cause: cause.to_owned(),
            });
            return true;
        };
        error.clone_into(&mut known.failure.error);
        let is_new = known.cause != cause && now.duration_since(known.logged) > MINUTE;
        if is_new {
            known.logged = now;
            cause.clone_into(&mut known.cause);
        }
        is_new
    }

    /// Whether the store is failing.
    pub(super) fn store_fails(&self) -> bool {
        self.store.is_some()
    }

    /// The store works. Returns how long it failed, if it did.
    pub(super) fn store_works(&mut self, now: Instant) -> Option<Duration> {
        self.store
            .take()
            .map(|known| now.duration_since(known.failure.since))
    }

    /// The oldest event that a receiver has not got has this age; `None` if it has got all.
    pub(super) fn notifications_wait(&mut self, receiver: &'static str, age: Option<Duration>, now: Instant) {
        self.oldest_events.insert(receiver, age.map(|age| (age, now)));
    }

    /// Each receiver of events, and the age of the oldest event that it has not got; zero if it has got all.
    pub(super) fn notification_ages(&self, now: Instant) -> impl Iterator<Item = (&'static str, Duration)> {
        self.oldest_events.iter().map(move |(receiver, oldest)| {
            let age = oldest.map(|(age, at)| age + now.duration_since(at));
            (*receiver, age.unwrap_or_default())
        })
    }

    /// A notification was not delivered. Returns whether this is new, as [`Health::failed`] does.
    pub(super) fn notification_failed(&mut self, receiver: &'static str, error: &str, now: Instant) -> bool {
        Failure::note(self.receivers.entry(receiver).or_default(), error, now)
    }

    /// A notification was delivered. Returns how long they failed, if they did.
    pub(super) fn notified(&mut self, receiver: &'static str, now: Instant) -> Option<Duration> {
        let failure = self.receivers.get_mut(receiver)?.take()?;
        Some(now.duration_since(failure.since))
    }

    /// Whether the service is ready.
    ///
    /// # Errors
    /// One sentence for each directory that was never up to date, unless another instance listens to it, for each directory and
    /// Vaultwarden that have been failing for longer than the grace period, and for a store that is failing.
    pub(super) fn ready(&self, now: Instant) -> Result<(), Vec<String>> {
        let reasons = self.reasons(now, |failure| {
            format!("has been failing for {}", failure.describe(now))
        });
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    }

    /// The reasons why the service is not ready, without how long each has lasted.
    pub(super) fn causes(&self, now: Instant) -> Vec<String> {
        self.reasons(now, |failure| failure.error.clone())
    }

    fn reasons(&self, now: Instant, told: impl Fn(&Failure) -> String) -> Vec<String> {
        let long = |failure: &&Failure| now.duration_since(failure.since) > self.grace;
        let mut reasons = Vec::new();
        for (name, health) in self.directories.iter().filter(|(_, health)| !health.is_elsewhere) {
            if !health.caught_up {
                let error = health
                    .failure
                    .as_ref()
                    .map(|failure| format!(": {}", failure.error))
                    .unwrap_or_default();
                reasons.push(format!("directory {name} has not been listed yet{error}"));
            } else if let Some(failure) = health.failure.as_ref().filter(long) {
                reasons.push(format!("directory {name} {}", told(failure)));
            }
        }
        if let Some(failure) = self.vaultwarden.as_ref().filter(long) {
            reasons.push(format!("Vaultwarden {}", told(failure)));
        }
        if let Some(StoreFailure { failure, .. }) = &self.store {
            reasons.push(format!("the state {}", told(failure)));
        }
        reasons
    }

    fn directory(&mut self, name: &str) -> &mut DirectoryHealth {
        self.directories.entry(name.to_owned()).or_default()
    }
}

impl Failure {
    fn note(failure: &mut Option<Self>, error: &str, now: Instant) -> bool {
        match failure {
            Some(known) if known.error == error => false,
            Some(known) => {
                error.clone_into(&mut known.error);
                true
            }
            None => {
                *failure = Some(Self {
                    since: now,
                    error: error.to_owned(),
                });
                true
            }
        }
    }

    fn describe(&self, now: Instant) -> String {
        let seconds = Duration::from_secs(now.duration_since(self.since).as_secs());
        format!("{}: {}", humantime::format_duration(seconds), self.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(300);

    fn one_directory() -> (Health, Instant) {
        (Health::new(["main".to_owned()], GRACE), Instant::now())
    }

    #[test]
    fn readiness_waits_for_the_first_listing_of_every_directory() {
        let (mut health, now) = one_directory();
        assert_eq!(
            health.ready(now).unwrap_err(),
            ["directory main has not been listed yet"]
        );
        health.failed("main", "connection refused", now);
        assert_eq!(
            health.ready(now).unwrap_err(),
            ["directory main has not been listed yet: connection refused"]
        );
        health.caught_up("main");
        assert_eq!(health.ready(now), Ok(()));
    }

    #[test]
    fn a_directory_is_unready_after_the_grace_period_until_it_catches_up() {
        let (mut health, now) = one_directory();
        health.caught_up("main");
        health.failed("main", "connection refused", now);
        assert_eq!(health.ready(now + GRACE), Ok(()));
        // Other errors meanwhile do not start the period again.
        health.failed("main", "no route to host", now + GRACE);
        assert_eq!(
            health.ready(now + GRACE + Duration::from_secs(1)).unwrap_err(),
            ["directory main has been failing for 5m 1s: no route to host"]
        );
        assert_eq!(
            health.causes(now + GRACE * 3),
            ["directory main no route to host"]
        );
        health.caught_up("main");
        assert_eq!(health.ready(now + GRACE * 2), Ok(()));
    }

    #[test]
    fn a_directory_is_unreachable_from_the_first_failure_until_a_session_is_open() {
        let (mut health, now) = one_directory();
        assert_eq!(health.unreachable("main", now), None);
        health.failed("main", "connection refused", now);
        health.failed("main", "no route to host", now + GRACE);
        assert_eq!(health.unreachable("main", now + GRACE), Some(GRACE));
        health.connected("main", "syncrepl");
        assert_eq!(health.unreachable("main", now + GRACE), None);
    }

    #[test]
    fn vaultwarden_is_unready_after_the_grace_period_until_it_answers() {
        let (mut health, now) = one_directory();
        health.caught_up("main");
        health.vaultwarden_down("status 502", now);
        assert_eq!(health.ready(now + GRACE), Ok(()));
        assert_eq!(
            health.ready(now + GRACE * 2).unwrap_err(),
            ["Vaultwarden has been failing for 10m: status 502"]
        );
        assert_eq!(health.vaultwarden_back(now + GRACE * 2), Some(GRACE * 2));
        assert_eq!(health.ready(now + GRACE * 2), Ok(()));
    }

    #[test]
    fn a_repeated_error_is_not_new_until_the_directory_has_caught_up() {
        let (mut health, now) = one_directory();
        let mut is_new = |error| health.failed("main", error, now);
        assert_eq!(
            [is_new("refused"), is_new("refused"), is_new("timeout")],
            [true, false, true]
        );
        health.caught_up("main");
        assert!(health.failed("main", "timeout", now));
    }

    #[test]
    fn a_store_that_fails_is_new_once_and_another_cause_only_after_a_minute() {
        let (mut health, now) = one_directory();
        let second = Duration::from_secs(1);
        assert!(health.store_failed("reading: closed", "closed", now));
        assert!(!health.store_failed("writing: closed", "closed", now + second));
        assert!(!health.store_failed("writing: refused", "refused", now + second));
        assert!(health.store_failed("writing: wrong password", "wrong password", now + 2 * MINUTE));
        assert!(!health.store_failed("reading: wrong password", "wrong password", now + 9 * MINUTE));
        assert!(
            health
                .ready(now)
                .unwrap_err()
                .concat()
                .contains("reading: wrong password")
        );
        assert_eq!(health.store_works(now + 9 * MINUTE), Some(9 * MINUTE));
        assert!(health.store_failed("reading: closed", "closed", now + 9 * MINUTE));
    }

    #[test]
    fn a_directory_to_which_another_instance_listens_does_not_make_this_one_unready() {
        let (mut health, now) = one_directory();
        health.failed("main", "another instance has taken over", now);
        health.stands_by("main", true);
        assert_eq!(health.ready(now + GRACE * 2), Ok(()));
        assert_eq!(health.standing_by().collect::<Vec<_>>(), ["main"]);
        health.stands_by("main", false);
        assert_eq!(
            health.ready(now).unwrap_err(),
            ["directory main has not been listed yet"]
        );
    }

    #[test]
    fn silence_is_measured_from_the_last_sign_of_life() {
        let (mut health, now) = one_directory();
        assert_eq!(health.silence(now).count(), 0);
        health.sign_of_life("main", now);
        let later: Vec<_> = health.silence(now + GRACE).collect();
        assert_eq!(later, [("main", GRACE)]);
        health.forget_signs_of_life("main");
        assert_eq!(health.silence(now + GRACE).count(), 0);
    }

    #[test]
    fn the_oldest_event_that_a_receiver_has_not_got_grows_older_and_a_failure_of_it_is_new_once() {
        let (mut health, now) = one_directory();
        let seconds = Duration::from_secs;
        health.notifications_wait("webhook", Some(seconds(60)), now);
        let ages = |health: &Health| health.notification_ages(now + seconds(5)).collect::<Vec<_>>();
        assert_eq!(ages(&health), [("webhook", seconds(65))]);
        health.notifications_wait("webhook", None, now);
        assert_eq!(ages(&health), [("webhook", seconds(0))]);

        let failures =
            ["no route", "no route", "refused"].map(|error| health.notification_failed("ping", error, now));
        assert_eq!(failures, [true, false, true]);
        assert_eq!(health.notified("ping", now + seconds(9)), Some(seconds(9)));
        assert_eq!(health.notified("ping", now), None);
        assert!(!health.ready(now).unwrap_err().concat().contains("refused"));
    }
}
