//! Several instances of the service on one state in PostgreSQL, between a directory and a Vaultwarden. Each reaches the
//! database through a proxy of its own, so that one of them can be cut off.

use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::people::People;
use super::postgres::Postgres;
use super::proxy::Proxy;
use super::service::Service;
use super::slapd::Slapd;
use super::stand_in::StandIn;
use super::world::{PATIENCE, PAUSE, table};

/// The longest time that a take-over may take.
pub const TAKE_OVER: Duration = Duration::from_secs(10);

/// Several instances and what is around them. The instances are killed when this is dropped.
pub struct Instances {
    /// The directory.
    pub server: Slapd,
    /// The stand-in for Vaultwarden.
    pub vault: StandIn,
    /// The database.
    pub postgres: Postgres,
    /// The way of each instance to the database.
    pub ways: Vec<Proxy>,
    /// The way of the first instance to the directory, if it has one of its own.
    pub door: Option<Proxy>,
    /// Any further tables of the configuration.
    pub tables: String,
    services: Vec<Option<Service>>,
    dir: TempDir,
}

impl Instances {
    /// This number of instances, none of which runs yet.
    pub async fn with(count: usize, slapd: super::slapd::Builder) -> Self {
        let (server, postgres) = tokio::join!(slapd.start(), Postgres::start());
        let mut ways = Vec::new();
        for _ in 0..count {
            ways.push(Proxy::to(postgres.port()).await);
        }
        Self {
            server,
            vault: StandIn::start(),
            postgres,
            ways,
            door: None,
            tables: String::new(),
            services: (0..count).map(|_| None).collect(),
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// Running instances, the first of which listens.
    pub async fn running(count: usize) -> Self {
        let mut instances = Self::with(count, Slapd::builder()).await;
        for n in 0..count {
            instances.start(n);
            instances.service(n).wait_for_line("answering", PATIENCE).await;
            if n == 0 {
                instances
                    .service(0)
                    .wait_for_line("listing ended", PATIENCE)
                    .await;
            } else {
                instances.says(n, "this one stands by", 1).await;
            }
        }
        instances
    }

    /// The configuration of an instance.
    pub fn config(&self, n: usize) -> String {
        let url = self.postgres.url();
        let own = self.postgres.port().to_string();
        let way = self.ways[n].address().port().to_string();
        // By its name the database tells who writes.
        let name = format!("?application_name=usher-{n}");
        let mut directory = table(&self.server, "main", "");
        if let Some(door) = self.door.as_ref().filter(|_| n == 0) {
            let (own, way) = (self.server.port().to_string(), door.address().port().to_string());
            directory = directory.replace(&own, &way);
        }
        format!(
            "state = \"{}{name}\"\n[postgres]\ninstance = \"usher-{n}\"\n[vaultwarden]\nurl = \"{}\"\nadmin_token = \"sesame\"\n\
             [invite]\nresend_unknown_after = \"1s\"\n[http]\nlisten = \"127.0.0.1:0\"\n{directory}\n{}",
            url.replace(&own, &way),
            self.vault.url(),
            self.tables,
        )
    }

    /// Changes to the directory, made as its administrator.
    pub fn people(&self) -> People {
        self.server.people()
    }

    /// An instance that runs.
    pub fn service(&self, n: usize) -> &Service {
        self.services[n].as_ref().expect("the instance runs")
    }

    /// Whether an instance was started and not ended by the test.
    pub fn runs(&self, n: usize) -> bool {
        self.services[n].is_some()
    }

    /// Starts an instance.
    pub fn start(&mut self, n: usize) {
        self.services[n] = Some(Service::start(&self.config(n)));
    }

    /// Kills an instance. Returns what it printed.
    pub async fn kill9(&mut self, n: usize) -> String {
        let mut service = self.services[n].take().expect("the instance runs");
        service.kill9().await;
        service.output()
    }

    /// Stops an instance as an administrator does. Returns what it printed.
    pub async fn stop(&mut self, n: usize) -> String {
        let mut service = self.services[n].take().expect("the instance runs");
        service.term().await;
        let status = service.wait().await;
        assert!(status.success(), "{status}:\n{}", service.output());
        service.output()
    }

    /// Waits until an instance has printed lines with these words so often. Returns the last one.
    pub async fn says(&self, n: usize, words: &str, times: usize) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let output = self.service(n).output();
            if let Some(line) = output.lines().filter(|line| line.contains(words)).nth(times - 1) {
                return line.to_owned();
            }
            assert!(
                Instant::now() < deadline,
                "usher-{n} did not say {words:?}:\n{output}"
            );
            sleep(PAUSE).await;
        }
    }

    /// Waits until `UID@example.org` was invited.
    pub async fn invites(&self, uid: &str) {
        let address = format!("{uid}@example.org");
        assert!(
            self.vault.wait_for_invite(&address, PATIENCE).await,
            "{address} is not invited"
        );
    }

    /// What `status --json` prints, past all proxies.
    pub async fn status(&self) -> Value {
        let config = super::service::Config::new(&format!("state = \"{}\"\n", self.postgres.url()));
        config.status_json().await
    }

    /// The instance that listens to the directory, as `status` says.
    pub async fn listens(&self) -> Option<usize> {
        let status = self.status().await;
        let instances = status["instances"].as_array().unwrap().clone();
        let mut listening = instances.iter().filter(|instance| {
            let duties = instance["duties"].as_array().unwrap();
            duties.iter().any(|duty| duty["name"] == "directory main")
        });
        let name = listening.next()?["name"].as_str().unwrap().to_owned();
        assert!(listening.next().is_none(), "two instances listen: {status}");
        name.strip_prefix("usher-").unwrap().parse().ok()
    }

    /// Waits until this instance listens. Returns how long that took.
    pub async fn listened_to_by(&self, n: usize) -> Duration {
        let began = Instant::now();
        while self.listens().await != Some(n) {
            assert!(
                began.elapsed() < PATIENCE,
                "usher-{n} does not take over: {}\n{}",
                self.status().await,
                self.service(n).output()
            );
            sleep(PAUSE).await;
        }
        began.elapsed()
    }

    /// The answer of one of the endpoints of an instance.
    pub async fn get(&self, n: usize, path: &str) -> String {
        let line = self.service(n).wait_for_line("answering /livez", PATIENCE).await;
        let port = line.split_once("127.0.0.1:").unwrap().1;
        let mut connection = TcpStream::connect(format!("127.0.0.1:{}", port.trim()))
            .await
            .unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// The folder for files of the test.
    pub fn folder(&self) -> &std::path::Path {
        self.dir.path()
    }
}
