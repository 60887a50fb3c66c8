//! A real 389 Directory Server for each test: `ns-slapd` run directly on files made here, without
//! `dscreate` and systemd; temporary directory, free loopback port, killed on drop.
//!
//! The tree is `dc=example,dc=org` with `ou=people` (where the service looks), `ou=former`, `ou=groups`, and
//! `ou=system` with the reader.

mod options;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use futures::FutureExt;
use futures::future::BoxFuture;
use tempfile::TempDir;

use super::daemon::Daemon;
use super::site::{Dialect, Lock, Site};
use super::slapd::free_port;
use options::{ADMIN, READER, SUFFIX, dse, seed};

pub use options::Builder;

const BINARY: &str = "/usr/sbin/ns-slapd";

/// A running (or stopped) 389 Directory Server.
#[derive(Debug)]
pub struct Ds389 {
    daemon: Daemon,
    port: u16,
    options: Builder,
    dir: TempDir,
}

impl Builder {
    /// Starts it. Returns when it answers.
    ///
    /// # Panics
    /// If the server does not start or is missing, with its message or with what to install.
    pub async fn start(self) -> Ds389 {
        self.try_start().await.unwrap_or_else(|error| panic!("{error}"))
    }

    async fn try_start(self) -> Result<Ds389, String> {
        if !Path::new(BINARY).exists() {
            return Err(format!("{BINARY} is missing; run: apt-get install 389-ds-base"));
        }
        let text = |error: std::io::Error| error.to_string();
        let dir = tempfile::Builder::new().prefix("ds-").tempdir().map_err(text)?;
        for folder in [
            "config/schema",
            "db",
            "lock",
            "tmp",
            "ldif",
            "bak",
            "run",
            "inst",
            "log",
        ] {
            fs::create_dir_all(dir.path().join(folder)).map_err(text)?;
        }
        for file in [
            "schema/99user.ldif",
            "config/slapd-collations.conf",
            "config/certmap.conf",
        ] {
            let to = Path::new("config").join(file.trim_start_matches("config/"));
            fs::copy(Path::new("/etc/dirsrv").join(file), dir.path().join(to)).map_err(text)?;
        }
        let mut server = Ds389 {
            daemon: Daemon::new("ns-slapd", dir.path().join("log/errors")),
            port: free_port(),
            options: self,
            dir,
        };
        server.configure()?;
        fs::write(server.file("seed.ldif"), seed(&server.options)).map_err(text)?;
        run(Command::new(BINARY)
            .args(["ldif2db", "-n", "userRoot", "-D"])
            .arg(server.file("config"))
            .arg("-i")
            .arg(server.file("seed.ldif")))?;
        // Another process may take the port before the server binds it.
        for _ in 0..20 {
            match server.launch().await {
                Err(log) if log.contains("PR_Bind") => {
                    server.port = free_port();
                    server.configure()?;
                }
                outcome => return outcome.map(|()| server),
            }
        }
        Err("ns-slapd found no free port in twenty attempts".into())
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let words = String::from_utf8_lossy(&output.stderr);
    output
        .status
        .success()
        .then_some(())
        .ok_or_else(|| format!("{command:?} failed:\n{words}"))
}

impl Ds389 {
    /// What kind of server to start.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Freezes it (SIGSTOP): connections stay open and nothing answers.
    pub fn pause(&self) {
        self.daemon.signal("STOP");
    }

    /// Thaws it (SIGCONT).
    pub fn resume(&self) {
        self.daemon.signal("CONT");
    }

    /// Starts it again on the same data with lines added to its configuration, after ending it if it still runs.
    pub async fn restart_with(&mut self, change: impl FnOnce(Builder) -> Builder) {
        if self.daemon.runs() {
            self.daemon.end("TERM").await;
        }
        self.options = change(self.options.clone());
        self.configure().unwrap();
        self.launch().await.unwrap_or_else(|error| panic!("{error}"));
    }

    /// The requests that it has received.
    pub fn access_log(&self) -> String {
        fs::read_to_string(self.file("log/access")).unwrap_or_default()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn configure(&self) -> Result<(), String> {
        let dse = dse(self.dir.path(), self.port, &self.options)?;
        fs::write(self.file("config/dse.ldif"), dse).map_err(|error| error.to_string())
    }

    async fn launch(&mut self) -> Result<(), String> {
        // The socket in our directory belongs to our process; the port might belong to another one.
        let socket = self.file("ldapi");
        let url = format!("ldapi://{}", socket.to_str().unwrap().replace('/', "%2F"));
        let mut command = Command::new(BINARY);
        // With -d it stays in the foreground as our child process.
        command.args(["-d", "0", "-D"]).arg(self.file("config"));
        command.arg("-i").arg(self.file("run/pid"));
        self.daemon.launch(&mut command, &url).await
    }
}

impl Site for Ds389 {
    fn url(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.port)
    }

    fn admin(&self) -> (String, String) {
        (ADMIN.0.into(), ADMIN.1.into())
    }

    fn reader(&self) -> (String, String) {
        (READER.0.into(), READER.1.into())
    }

    fn suffix(&self) -> String {
        SUFFIX.into()
    }

    fn dialect(&self) -> Dialect {
        Dialect {
            person: &["inetOrgPerson"],
            naming: "uid",
            people: "(objectClass=inetOrgPerson)",
            trait_attribute: "departmentNumber",
            group: &["groupOfNames"],
            never_empty: false,
            member_of: self.options.keeps_member_of(),
            nests: self.options.keeps_member_of(),
            lock: Some(Lock::Ds389),
        }
    }

    fn stop(&mut self) -> BoxFuture<'_, ()> {
        self.daemon.end("TERM").boxed()
    }

    fn kill9(&mut self) -> BoxFuture<'_, ()> {
        self.daemon.end("KILL").boxed()
    }

    fn start(&mut self) -> BoxFuture<'_, ()> {
        async { self.launch().await.unwrap_or_else(|error| panic!("{error}")) }.boxed()
    }
}
