//! The health of the service, as `/readyz` shows it. No I/O; the time is passed in.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// The health of the directories, Vaultwarden and the store.
#[derive(Debug)]
pub(super) struct Health {
    grace: Duration,
    directories: BTreeMap<String, DirectoryHealth>,
    vaultwarden: Option<Trouble>,
    store: Option<Trouble>,
}

#[derive(Debug, Default)]
struct DirectoryHealth {
    /// Whether a listing or a resumed session was complete at least once.
    caught_up: bool,
    trouble: Option<Trouble>,
    last_sign: Option<Instant>,
    /// How changes are learned.
    stream: String,
    /// Whether it was logged that the stream does not return everyone.
    told_of_unnamed: bool,
}

/// A failure that lasts.
#[derive(Debug)]
struct Trouble {
    since: Instant,
    error: String,
}

impl Health {
    /// Nothing is ready yet. `grace` is how long something may be wrong before readiness says so.
    pub(super) fn new(directories: impl IntoIterator<Item = String>, grace: Duration) -> Self {
        let directories = directories
            .into_iter()
            .map(|name| (name, DirectoryHealth::default()));
        Self {
            grace,
            directories: directories.collect(),
            vaultwarden: None,
            store: None,
        }
    }

    /// A session of the directory is up to date. Returns whether this is new: the first time, or after a failure.
    pub(super) fn caught_up(&mut self, directory: &str) -> bool {
        let health = self.directory(directory);
        let trouble = health.trouble.take().is_some();
        !std::mem::replace(&mut health.caught_up, true) || trouble
    }

    /// A session of the directory failed, could not be opened, or did not get up to date. Returns whether this is new: the
    /// first failure since the last [`Health::caught_up`], or another error.
    ///
    /// The failure lasts until [`Health::caught_up`]. So a server that accepts each connection and closes it again stays
    /// unhealthy.
    pub(super) fn trouble(&mut self, directory: &str, error: &str, now: Instant) -> bool {
        Trouble::note(&mut self.directory(directory).trouble, error, now)
    }

    /// The directory sent a message, possibly only the answer to a probe.
    pub(super) fn sign_of_life(&mut self, directory: &str, now: Instant) {
        self.directory(directory).last_sign = Some(now);
    }

    /// The directory uses this kind of stream from now on.
    pub(super) fn follows(&mut self, directory: &str, stream: &str) {
        stream.clone_into(&mut self.directory(directory).stream);
    }

    /// An audit found a person whom the stream did not return. Returns whether this is the first one and the stream is
    /// content synchronisation.
    pub(super) fn unnamed(&mut self, directory: &str) -> bool {
        let health = self.directory(directory);
        health.stream == "syncrepl" && !std::mem::replace(&mut health.told_of_unnamed, true)
    }

    /// Each directory that has sent a message, and the time since the last one.
    pub(super) fn silence(&self, now: Instant) -> impl Iterator<Item = (&str, Duration)> {
        self.directories
            .iter()
            .filter_map(move |(name, health)| Some((name.as_str(), now.duration_since(health.last_sign?))))
    }

    /// Vaultwarden as a whole failed. Returns whether this is new, as [`Health::trouble`] does.
    pub(super) fn vaultwarden_down(&mut self, error: &str, now: Instant) -> bool {
        Trouble::note(&mut self.vaultwarden, error, now)
    }

    /// Vaultwarden answers. Returns for how long it had failed, if it had.
    pub(super) fn vaultwarden_back(&mut self, now: Instant) -> Option<Duration> {
        self.vaultwarden
            .take()
            .map(|trouble| now.duration_since(trouble.since))
    }

    /// The store cannot be read or written. Returns whether this is new, as [`Health::trouble`] does.
    pub(super) fn store_failed(&mut self, error: &str, now: Instant) -> bool {
        Trouble::note(&mut self.store, error, now)
    }

    /// Whether the store fails now.
    pub(super) fn store_fails(&self) -> bool {
        self.store.is_some()
    }

    /// The store works. Returns for how long it had failed, if it had.
    pub(super) fn store_works(&mut self, now: Instant) -> Option<Duration> {
        self.store.take().map(|trouble| now.duration_since(trouble.since))
    }

    /// Whether the service is ready.
    ///
    /// # Errors
    /// One sentence for each directory that was never up to date, for each directory and Vaultwarden that have
    /// been failing for longer than the grace period, and for a state that fails.
    pub(super) fn ready(&self, now: Instant) -> Result<(), Vec<String>> {
        let long = |trouble: &&Trouble| now.duration_since(trouble.since) > self.grace;
        let mut reasons = Vec::new();
        for (name, health) in &self.directories {
            if !health.caught_up {
                let error = health
                    .trouble
                    .as_ref()
                    .map(|t| format!(": {}", t.error))
                    .unwrap_or_default();
                reasons.push(format!("directory {name} has not been listed yet{error}"));
            } else if let Some(trouble) = health.trouble.as_ref().filter(long) {
                reasons.push(format!(
                    "directory {name} has been failing for {}",
                    trouble.describe(now)
                ));
            }
        }
        if let Some(trouble) = self.vaultwarden.as_ref().filter(long) {
            reasons.push(format!(
                "Vaultwarden has been failing for {}",
                trouble.describe(now)
            ));
        }
        if let Some(trouble) = &self.store {
            reasons.push(format!(
                "the state has been failing for {}",
                trouble.describe(now)
            ));
        }
        if reasons.is_empty() { Ok(()) } else { Err(reasons) }
    }

    fn directory(&mut self, name: &str) -> &mut DirectoryHealth {
        self.directories.entry(name.to_owned()).or_default()
    }
}

impl Trouble {
    fn note(trouble: &mut Option<Self>, error: &str, now: Instant) -> bool {
        match trouble {
            Some(known) if known.error == error => false,
            Some(known) => {
                error.clone_into(&mut known.error);
                true
            }
            None => {
                *trouble = Some(Self {
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
        health.trouble("main", "connection refused", now);
        assert_eq!(
            health.ready(now).unwrap_err(),
            ["directory main has not been listed yet: connection refused"]
        );
        health.caught_up("main");
        assert_eq!(health.ready(now), Ok(()));
    }

    #[test]
    fn a_directory_turns_red_after_the_grace_period_and_green_when_it_caught_up() {
        let (mut health, now) = one_directory();
        health.caught_up("main");
        health.trouble("main", "connection refused", now);
        assert_eq!(health.ready(now + GRACE), Ok(()));
        // Other errors meanwhile do not start the period again.
        health.trouble("main", "no route to host", now + GRACE);
        assert_eq!(
            health.ready(now + GRACE + Duration::from_secs(1)).unwrap_err(),
            ["directory main has been failing for 5m 1s: no route to host"]
        );
        health.caught_up("main");
        assert_eq!(health.ready(now + GRACE * 2), Ok(()));
    }

    #[test]
    fn vaultwarden_turns_red_after_the_grace_period_and_green_when_it_is_back() {
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
    fn the_same_error_again_is_no_news_until_the_directory_caught_up() {
        let (mut health, now) = one_directory();
        let mut news = |error| health.trouble("main", error, now);
        assert_eq!(
            [news("refused"), news("refused"), news("timeout")],
            [true, false, true]
        );
        health.caught_up("main");
        assert!(health.trouble("main", "timeout", now));
    }

    #[test]
    fn silence_is_measured_from_the_last_sign_of_life() {
        let (mut health, now) = one_directory();
        assert_eq!(health.silence(now).count(), 0);
        health.sign_of_life("main", now);
        let later: Vec<_> = health.silence(now + GRACE).collect();
        assert_eq!(later, [("main", GRACE)]);
    }
}
