//! A directory, a Vaultwarden, and the service between them.

use std::future::Future;
use std::process::Output;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use super::people::People;
use super::service::{Config, Service};
use super::slapd::{Builder, Slapd};
use super::stand_in::{Setup, StandIn};

/// How long something may take that is going to happen: much longer than it does, for machines that are busy.
pub const SOON: Duration = Duration::from_secs(20);

/// How long to watch for something that must not happen: longer than the shortest wait of the service.
pub const A_WHILE: Duration = Duration::from_millis(1500);

/// slapd, the stand-in for Vaultwarden, and the place of the state file.
pub struct World {
    /// The directory.
    pub slapd: Slapd,
    /// Vaultwarden.
    pub vaultwarden: StandIn,
    settings: Vec<String>,
    dir: TempDir,
}

impl World {
    /// An empty directory and an empty Vaultwarden of today.
    pub async fn start() -> Self {
        Self::with(Slapd::builder(), Setup::default()).await
    }

    /// As told.
    pub async fn with(slapd: Builder, vaultwarden: Setup) -> Self {
        Self {
            slapd: slapd.start().await,
            vaultwarden: StandIn::with(vaultwarden),
            settings: Vec::new(),
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// Adds a line to the configuration, or replaces the one with this key: `invite.concurrency = 2`.
    pub fn set(&mut self, key: &str, value: &str) {
        let start = format!("{key} = ");
        self.settings.retain(|line| !line.starts_with(&start));
        self.settings.push(start + value);
    }

    /// The configuration, as a file of its own.
    pub fn config(&self) -> Config {
        let base = [
            ("state", self.dir.path().join("state.db").display().to_string()),
            ("http.listen", "off".into()),
            ("vaultwarden.url", self.vaultwarden.url()),
            ("vaultwarden.admin_token", "sesame".into()),
        ];
        let is_set = |key: &str| {
            self.settings
                .iter()
                .any(|line| line.starts_with(&format!("{key} = ")))
        };
        let mut toml: String = base
            .iter()
            .filter(|(key, _)| !is_set(key))
            .map(|(key, value)| format!("{key} = {value:?}\n"))
            .chain(self.settings.iter().map(|line| format!("{line}\n")))
            .collect();
        let slapd = &self.slapd;
        toml += &format!(
            "[[directory]]\nurl = {:?}\nbind_dn = {:?}\nbind_password = {:?}\nbase_dn = {:?}\n",
            slapd.url(),
            slapd.reader_dn(),
            slapd.reader_pw(),
            slapd.people_base()
        );
        Config::new(&toml)
    }

    /// Starts the service.
    pub fn run(&self) -> Service {
        Service::start_with(self.config())
    }

    /// Starts the service and waits until it has listed everyone, or taken up the thread.
    pub async fn run_until_listed(&self) -> Service {
        let service = self.run();
        service.wait_for_line("listing ended", SOON).await;
        service
    }

    /// Runs another command to its end.
    pub async fn ask(&self, args: &[&str]) -> Output {
        self.config().ask(args).await
    }

    /// What `status --json` prints.
    pub async fn status(&self) -> Value {
        self.config().status_json().await
    }

    /// Changes to the directory.
    pub fn people(&self) -> People {
        self.slapd.people()
    }

    /// Waits until so many tasks are in a state.
    pub async fn wait_for_tasks(&self, state: &str, count: u64) -> Value {
        self.wait_for_status(&format!("{count} {state}"), |status| {
            status["tasks"][state] == count
        })
        .await
    }

    /// Waits for a status, and returns it.
    pub async fn wait_for_status(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let config = self.config();
        let deadline = Instant::now() + SOON;
        loop {
            let status = config.status_json().await;
            if is(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "never {what}: {status:#}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until exactly these people are invited, each once, in whatever order.
    pub async fn wait_for_invited<A: AsRef<str>>(&self, addresses: impl IntoIterator<Item = A>) {
        let mut expected: Vec<String> = addresses.into_iter().map(|a| a.as_ref().to_owned()).collect();
        expected.sort();
        let invited = || {
            let mut invited = self.vaultwarden.invited();
            invited.sort();
            invited
        };
        eventually("everyone is invited", async || invited().len() >= expected.len()).await;
        assert_eq!(invited(), expected);
    }
}

/// Waits until a condition holds.
pub async fn eventually<F: Future<Output = bool>>(what: &str, condition: impl Fn() -> F) {
    let deadline = Instant::now() + SOON;
    while !condition().await {
        assert!(Instant::now() < deadline, "it never came true: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// `UID@example.org`.
pub fn mail(uid: &str) -> String {
    format!("{uid}@example.org")
}
