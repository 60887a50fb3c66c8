//! A directory, a Vaultwarden, and the service between them.
//!
//! The state of the service outlives it, so that a test can stop the service, change anything around it and start it
//! again. Its endpoints listen on a port that the system chooses. The configuration has the required keys only; a test
//! gives further ones as text.

use std::fmt::Display;
use std::path::PathBuf;
use std::process::{ExitStatus, Output};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::people::People;
use super::service::{Config, Service};
use super::slapd::{Builder, Slapd};
use super::stand_in::{Setup, StandIn};

/// The deadline of events that should happen at once, on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How long to wait for events that must not happen: longer than the service's shortest waits.
pub const A_WHILE: Duration = Duration::from_millis(1500);

/// The pause between two looks at something that is waited for.
pub const PAUSE: Duration = Duration::from_millis(50);

/// The log message when a session with the directory is open.
const CONNECTED: &str = "connected to the directory";
/// The log message when a listing has ended.
const LISTED: &str = "listing ended";

/// A directory, a Vaultwarden, and the service between them, which is killed when this is dropped.
pub struct World<D = Slapd> {
    service: Option<Service>,
    /// The directory.
    pub server: D,
    /// The stand-in for Vaultwarden.
    pub vault: StandIn,
    /// Its URL, if that is not its own.
    pub url: Option<String>,
    /// `admin_token`.
    pub token: String,
    /// Further keys of `[vaultwarden]`.
    pub vaultwarden: String,
    /// The `[[directory]]` table, or several. A test may change it between two runs of the service.
    pub directory: String,
    /// Further keys of `[http]`.
    pub http: String,
    /// Any other tables, such as `[limits]`; `[vaultwarden]` and `[http]` are there already.
    pub tables: String,
    /// The state file; `None` for the default one.
    pub state: Option<PathBuf>,
    dir: TempDir,
}

impl World {
    /// A slapd of this kind and a Vaultwarden without accounts. The service does not run yet.
    pub async fn with(slapd: Builder) -> Self {
        let slapd = slapd.start().await;
        let directory = table(&slapd, "main", "");
        Self::on(slapd, directory)
    }

    /// The same with a service that has listed everyone.
    pub async fn running(slapd: Builder) -> Self {
        let mut world = Self::with(slapd).await;
        world.start().await;
        world
    }

    /// Changes to the directory, made as its administrator.
    pub fn people(&self) -> People {
        self.server.people()
    }

    /// Adds a person and waits until they are invited: by then all earlier changes have been processed.
    pub async fn witness(&self, uid: &str) {
        self.people().add_person(uid).await;
        self.invites(uid).await;
    }
}

impl<D> World<D> {
    /// This directory with this `[[directory]]` table, and a Vaultwarden without accounts. The service does not run yet.
    pub fn on(server: D, directory: String) -> Self {
        Self {
            directory,
            server,
            service: None,
            vault: StandIn::start(),
            url: None,
            token: "sesame".into(),
            vaultwarden: String::new(),
            http: String::new(),
            tables: String::new(),
            state: None,
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// Replaces the default Vaultwarden (the current version, with the token `sesame`).
    pub fn vault(mut self, setup: Setup) -> Self {
        self.vault = StandIn::with(setup);
        self
    }

    /// Adds keys to the `[[directory]]` table.
    pub fn keys(mut self, lines: &str) -> Self {
        self.directory += lines;
        self.directory += "\n";
        self
    }

    /// Adds tables, such as `[limits]`.
    pub fn tables(mut self, toml: &str) -> Self {
        self.tables += toml;
        self.tables += "\n";
        self
    }

    /// Adds keys to the `[vaultwarden]` table.
    pub fn vaultwarden_keys(mut self, lines: &str) -> Self {
        self.vaultwarden += lines;
        self.vaultwarden += "\n";
        self
    }

    /// The configuration as it is written for the next run of the service.
    pub fn config(&self) -> String {
        format!(
            r#"state = "{state}"
[vaultwarden]
url = "{url}"
admin_token = "{token}"
{vaultwarden}
[http]
listen = "127.0.0.1:0"
{http}
{directory}
{tables}"#,
            state = self.state_file().display(),
            url = self.url.clone().unwrap_or_else(|| self.vault.url()),
            token = self.token,
            vaultwarden = self.vaultwarden,
            http = self.http,
            directory = self.directory,
            tables = self.tables,
        )
    }

    /// The state file.
    pub fn state_file(&self) -> PathBuf {
        let default = || self.dir.path().join("state.db");
        self.state.clone().unwrap_or_else(default)
    }

    // -- the service --------------------------------------------------------------------------------------------

    /// Starts the service and waits until its first listing has ended.
    pub async fn start(&mut self) {
        self.start_only();
        self.says(&[LISTED], 1).await;
    }

    /// Starts the service.
    pub fn start_only(&mut self) {
        self.service = Some(Service::start(&self.config()));
    }

    /// Stops the service as an administrator does (SIGTERM).
    pub async fn stop(&mut self) {
        let mut service = self.service.take().expect("the service runs");
        service.term().await;
        let status = service.wait().await;
        assert!(status.success(), "{status}:\n{}", service.output());
    }

    /// Waits until the service has ended, after it was asked to stop.
    pub async fn ended(&mut self) -> ExitStatus {
        self.service.take().expect("the service runs").wait().await
    }

    /// Kills the service (SIGKILL).
    pub async fn kill9(&mut self) {
        let mut service = self.service.take().expect("the service runs");
        service.kill9().await;
    }

    /// Stops the service, starts it again on the same state, and waits until it is up to date.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.start().await;
    }

    /// The same, without waiting for a listing.
    pub async fn restart_only(&mut self) {
        self.stop().await;
        self.start_only();
    }

    /// The running service.
    pub fn service(&self) -> &Service {
        self.service.as_ref().expect("the service runs")
    }

    // -- the log of the service ---------------------------------------------------------------------------------

    /// The lines that contain all of `words`, as far as this run of the service has printed them.
    pub fn lines(&self, words: &[&str]) -> Vec<String> {
        let output = self.service().output();
        let found = output
            .lines()
            .filter(|line| words.iter().all(|word| line.contains(word)));
        found.map(Into::into).collect()
    }

    /// Waits until this run of the service has printed `times` lines that contain all of `words`. Returns the last one.
    pub async fn says(&self, words: &[&str], times: usize) -> String {
        self.says_within(words, times, PATIENCE).await
    }

    /// The same with another deadline.
    pub async fn says_within(&self, words: &[&str], times: usize, patience: Duration) -> String {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(line) = self.lines(words).into_iter().nth(times - 1) {
                return line;
            }
            assert!(
                Instant::now() < deadline,
                "{words:?} was not said {times} times:\n{}",
                self.service().output()
            );
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits for the `times`-th session with a directory in this run of the service.
    pub async fn connected(&self, times: usize) {
        self.says(&[CONNECTED], times).await;
    }

    /// Waits for the `times`-th listing in this run of the service that brought it up to date.
    pub async fn caught_up(&self, times: usize) {
        self.says(&[LISTED, "purpose=\"catch-up\""], times).await;
    }

    /// Waits for the end of an audit that begins after this call.
    pub async fn audited(&self) {
        let words = [LISTED, "purpose=\"audit\""];
        // The first one to end may have begun earlier.
        let times = self.lines(&words).len() + 2;
        self.says(&words, times).await;
    }

    /// The output of `status --json`, whether or not the service runs.
    pub async fn status_json(&self) -> Value {
        Config::new(&self.config()).status_json().await
    }

    /// Runs another command to its end, whether or not the service runs.
    pub async fn ask(&self, args: &[&str]) -> Output {
        Config::new(&self.config()).ask(args).await
    }

    /// Waits until `status --json` meets the condition, and returns it.
    pub async fn status_until(&self, what: impl Display, is_so: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = self.status_json().await;
            if is_so(&status) {
                return status;
            }
            assert!(
                Instant::now() < deadline,
                "{what} does not come about:\n{status:#}\n{}",
                self.service.as_ref().map(Service::output).unwrap_or_default()
            );
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until there are `count` members.
    pub async fn members(&self, count: u64) {
        self.status_until(format!("a membership of {count}"), |status| {
            status["members"] == count
        })
        .await;
    }

    /// One scrape of `/metrics`.
    pub async fn metrics(&self) -> String {
        self.get("/metrics").await
    }

    /// The answer of one of the service's endpoints, head and body.
    pub async fn get(&self, path: &str) -> String {
        let line = self.says(&["answering /livez"], 1).await;
        // Found in text and in JSON.
        let port = line.split_once("127.0.0.1:").unwrap().1;
        let port = port.trim_end_matches(|c: char| !c.is_ascii_digit());
        let address = format!("127.0.0.1:{}", port.split('"').next().unwrap());
        let mut connection = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        answer
    }

    // -- invitations --------------------------------------------------------------------------------------------

    /// Waits until `UID@example.org` was invited.
    pub async fn invites(&self, uid: &str) {
        let address = format!("{uid}@example.org");
        assert!(
            self.vault.wait_for_invite(&address, PATIENCE).await,
            "{address} is not invited:\n{}",
            self.service().output()
        );
    }

    /// Waits until `count` invitations are in a state, such as `done`. Returns the status.
    pub async fn tasks(&self, state: &str, count: usize) -> Value {
        self.status_until(format!("{count} {state}"), |status| {
            status["tasks"][state] == count
        })
        .await
    }

    /// Waits until this number of people is invited, then asserts that exactly these people are invited, each once.
    pub async fn invited<U: Display>(&self, uids: impl IntoIterator<Item = U>) {
        let mut expected: Vec<String> = uids.into_iter().map(|uid| format!("{uid}@example.org")).collect();
        expected.sort();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut invited = self.vault.invited();
            invited.sort();
            if invited.len() >= expected.len() || Instant::now() > deadline {
                assert_eq!(
                    invited,
                    expected,
                    "{}",
                    self.service.as_ref().map(Service::output).unwrap_or_default()
                );
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until no invitation is due, then asserts that exactly these people were invited since the beginning, across
    /// restarts of the service, and each once.
    pub async fn invited_once(&self, uids: &[&str]) {
        self.status_until("an empty queue", |status| status["tasks"]["queued"] == 0)
            .await;
        let mut expected: Vec<String> = uids.iter().map(|uid| format!("{uid}@example.org")).collect();
        // A call without a session does not count.
        let admitted = self
            .vault
            .calls()
            .into_iter()
            .filter(|call| call.status != Some(401));
        let mut asked: Vec<String> = admitted.filter_map(|call| call.address).collect();
        let mut invited = self.vault.invited();
        for list in [&mut expected, &mut asked, &mut invited] {
            list.sort();
        }
        assert_eq!(invited, expected, "\n{}", self.service().output());
        assert_eq!(asked, expected, "\n{}", self.service().output());
    }
}

/// A `[[directory]]` table for this slapd, with further keys.
pub fn table(slapd: &Slapd, name: &str, keys: &str) -> String {
    format!(
        r#"[[directory]]
name = "{name}"
url = "{url}"
bind_dn = "{dn}"
bind_password = "{password}"
base_dn = "{base}"
{keys}
"#,
        url = slapd.url(),
        dn = slapd.reader_dn(),
        password = slapd.reader_pw(),
        base = slapd.people_base(),
    )
}
