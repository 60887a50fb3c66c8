//! A real slapd for each test: temporary directory, free loopback port, killed on drop.
//!
//! The tree is `dc=example,dc=org` with `ou=people` (the search base of the tests), `ou=former` (outside of it),
//! `ou=groups`, and `ou=system` with the reader that the service binds as. The process logs into the temporary
//! directory; the end of that log is shown when slapd does not start and when the test fails.

mod options;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use ldap3::{LdapConnAsync, LdapError, Scope};
use tempfile::TempDir;

use super::certificates;
use super::people::People;
use super::site::{Dialect, Lock, Site};
use options::{ADMIN, READER, SUFFIX, conf, seed, seed_of_branch};

pub use options::{Builder, person_ldif};

const BINARY: &str = "/usr/sbin/slapd";

/// How long slapd may take to start or to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running (or stopped) slapd.
#[derive(Debug)]
pub struct Slapd {
    process: Option<Child>,
    port: u16,
    tls_port: u16,
    options: Builder,
    dir: TempDir,
}

impl Builder {
    /// Starts it. Returns when it answers.
    ///
    /// # Panics
    /// If slapd does not start, with its message.
    pub async fn start(self) -> Slapd {
        self.try_start().await.unwrap_or_else(|error| panic!("{error}"))
    }

    /// Starts it. Returns when it answers.
    ///
    /// # Errors
    /// slapd is missing (what to install), or does not start (its message).
    pub async fn try_start(self) -> Result<Slapd, String> {
        if !Path::new(BINARY).exists() {
            return Err(format!(
                "{BINARY} is missing; run: apt-get install slapd ldap-utils"
            ));
        }
        let dir = tempfile::Builder::new()
            .prefix("slapd-")
            .tempdir()
            .map_err(|e| e.to_string())?;
        for database in ["db", "branch"] {
            fs::create_dir(dir.path().join(database)).map_err(|e| e.to_string())?;
        }
        if self.tls {
            certificates::write(dir.path(), ["localhost", "127.0.0.1", "::1"].map(str::to_owned));
        }
        let mut slapd = Slapd {
            process: None,
            port: 0,
            tls_port: 0,
            options: self,
            dir,
        };
        slapd.write_conf();
        slapd.load(&["-q", "-w"], &seed(slapd.options.people))?;
        if slapd.options.glued {
            slapd.load(&[], &seed_of_branch())?;
        }
        // Another process may take the port before slapd binds it.
        for _ in 0..20 {
            (slapd.port, slapd.tls_port) = (free_port(), free_port());
            match slapd.launch().await {
                Err(log) if log.contains("errno=98") => continue,
                outcome => return outcome.map(|()| slapd),
            }
        }
        Err("slapd found no free port in twenty attempts".into())
    }
}

impl Slapd {
    /// What kind of slapd to start.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// `ldap://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.port)
    }

    /// The port of [`Slapd::url`].
    pub fn port(&self) -> u16 {
        self.port
    }

    /// `ldaps://127.0.0.1:PORT`; needs [`Builder::tls`].
    pub fn ldaps_url(&self) -> String {
        assert!(self.options.tls, "this slapd was started without tls()");
        format!("ldaps://127.0.0.1:{}", self.tls_port)
    }

    /// `ldapi://%2Fpath`; SASL EXTERNAL maps every local user to the reader.
    pub fn ldapi_url(&self) -> String {
        format!(
            "ldapi://{}",
            self.file("ldapi").to_str().unwrap().replace('/', "%2F")
        )
    }

    /// The CA that signed the server's certificate, in PEM.
    pub fn ca_file(&self) -> PathBuf {
        self.file("ca.pem")
    }

    /// The same CA in DER.
    pub fn ca_der_file(&self) -> PathBuf {
        self.file("ca.der")
    }

    /// A certificate by that CA for `cn=usher,o=Example`, which SASL EXTERNAL maps to the reader, and its key.
    pub fn client_files(&self) -> [PathBuf; 2] {
        [self.file("client.pem"), self.file("client.key")]
    }

    /// The DN of the administrator, who has all rights.
    pub fn admin_dn(&self) -> &'static str {
        ADMIN.0
    }

    /// Its password.
    pub fn admin_pw(&self) -> &'static str {
        ADMIN.1
    }

    /// The DN that the service binds as.
    pub fn reader_dn(&self) -> &'static str {
        READER.0
    }

    /// Its password.
    pub fn reader_pw(&self) -> &'static str {
        READER.1
    }

    /// The suffix, `dc=example,dc=org`.
    pub fn base(&self) -> &'static str {
        SUFFIX
    }

    /// The entry above all people: the search base of the tests.
    pub fn people_base(&self) -> String {
        format!("ou=people,{SUFFIX}")
    }

    /// Changes the directory as the administrator.
    pub fn people(&self) -> People {
        People::new(&self.url(), SUFFIX, ADMIN.0, ADMIN.1)
    }

    /// The log of slapd so far.
    pub fn log(&self) -> String {
        fs::read(self.file("slapd.log"))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Stops it as an administrator does (SIGTERM). Returns when the process is gone.
    pub async fn stop(&mut self) {
        self.signal("TERM");
        self.gone().await;
    }

    /// Kills it, as a crash does (SIGKILL).
    pub async fn kill9(&mut self) {
        self.signal("KILL");
        self.gone().await;
    }

    /// Starts it again on the same data and port, after ending it if it still runs. Returns when it answers.
    pub async fn restart(&mut self) {
        if self.process.is_some() {
            self.stop().await;
        }
        self.launch().await.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Starts it again on the same data and port with other options (those of TLS and of people do not change).
    pub async fn restart_with(&mut self, change: impl FnOnce(Builder) -> Builder) {
        self.options = change(self.options.clone());
        self.write_conf();
        self.restart().await;
    }

    /// Backs up the database. slapd is stopped for this.
    pub async fn back_up(&mut self) {
        self.stop().await;
        copy(&self.file("db"), &self.file("backup"));
        self.restart().await;
    }

    /// Restores the backup of the database. slapd is stopped for this.
    pub async fn restore(&mut self) {
        self.stop().await;
        copy(&self.file("backup"), &self.file("db"));
        self.restart().await;
    }

    /// Copies the data of another server, like a newly set up replica, and stays stopped. Restarts the other server if it
    /// was running.
    pub async fn become_copy_of(&mut self, other: &mut Slapd) {
        if self.process.is_some() {
            self.stop().await;
        }
        let runs = other.process.is_some();
        if runs {
            other.stop().await;
        }
        copy(&other.file("db"), &self.file("db"));
        if runs {
            other.restart().await;
        }
    }

    /// Restores the initial people as new entries. slapd is stopped for this.
    pub async fn reseed(&mut self) {
        self.seed_with(self.options.people).await;
    }

    /// Starts it with an empty database: there are units and the reader, and no people. slapd is stopped for this.
    pub async fn empty(&mut self) {
        self.seed_with(0).await;
    }

    async fn seed_with(&mut self, people: usize) {
        self.stop().await;
        fs::remove_dir_all(self.file("db")).unwrap();
        fs::create_dir(self.file("db")).unwrap();
        self.load(&["-q", "-w"], &seed(people)).unwrap();
        self.restart().await;
    }

    /// Freezes it (SIGSTOP): connections stay open and nothing answers.
    pub fn pause(&self) {
        self.signal("STOP");
        // The signal reaches one thread after the other.
        while !self.is_frozen() {
            std::thread::yield_now();
        }
    }

    /// Thaws it (SIGCONT).
    pub fn resume(&self) {
        self.signal("CONT");
    }

    /// Writes LDIF into the database without the running slapd, which reports no change.
    pub fn slapadd(&self, ldif: &str) {
        self.load(&[], ldif).unwrap_or_else(|error| panic!("{error}"));
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write_conf(&self) {
        fs::write(self.file("slapd.conf"), conf(self.dir.path(), &self.options)).unwrap();
    }

    fn load(&self, flags: &[&str], ldif: &str) -> Result<(), String> {
        let input = self.file("load.ldif");
        fs::write(&input, ldif).map_err(|e| e.to_string())?;
        let output = Command::new(BINARY)
            .args(["-T", "add", "-b", SUFFIX, "-f"])
            .arg(self.file("slapd.conf"))
            .arg("-l")
            .arg(&input)
            .args(flags)
            .output()
            .map_err(|e| format!("slapadd: {e}"))?;
        let words = String::from_utf8_lossy(&output.stderr);
        output
            .status
            .success()
            .then_some(())
            .ok_or_else(|| format!("slapadd failed:\n{words}"))
    }

    /// Runs the process and waits until it answers; the error is the end of its log.
    async fn launch(&mut self) -> Result<(), String> {
        let mut urls = format!("{}/ {}/", self.url(), self.ldapi_url());
        if self.options.tls {
            write!(urls, " {}/", self.ldaps_url()).unwrap();
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.file("slapd.log"))
            .map_err(|e| e.to_string())?;
        // With -d it stays in the foreground as our child process.
        let child = Command::new(BINARY)
            .args(["-d", "stats,sync", "-h", &urls, "-f"])
            .arg(self.file("slapd.conf"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(|e| e.to_string())?)
            .stderr(log)
            .spawn()
            .map_err(|e| format!("{BINARY}: {e}"))?;
        self.process = Some(child);
        let deadline = Instant::now() + PATIENCE;
        // The socket in our directory belongs to our process; the port might belong to another one.
        while reads_root_dse(&self.ldapi_url()).await.is_err() {
            let ended = self.ended();
            if let Some(status) = ended {
                self.process = None;
                return Err(format!(
                    "slapd ended with {status}; its log ends:\n{}",
                    self.log_tail()
                ));
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "slapd does not answer; its log ends:\n{}",
                    self.log_tail()
                ));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.process.as_mut().and_then(|child| child.try_wait().unwrap())
    }

    /// Whether every thread is stopped (proc(5), the state `T`).
    fn is_frozen(&self) -> bool {
        let pid = self.process.as_ref().expect("slapd runs").id();
        let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap();
        threads
            .filter_map(|thread| fs::read_to_string(thread.unwrap().path().join("stat")).ok())
            .all(|stat| {
                stat.rsplit_once(") ")
                    .is_some_and(|(_, rest)| rest.starts_with('T'))
            })
    }

    /// The shell's `kill`, which needs neither a crate nor unsafe code.
    fn signal(&self, name: &str) {
        let pid = self.process.as_ref().expect("slapd runs").id();
        let status = Command::new("sh")
            .args(["-c", &format!("kill -{name} {pid}")])
            .status();
        assert!(status.unwrap().success(), "kill -{name} {pid} failed");
    }

    async fn gone(&mut self) {
        let deadline = Instant::now() + PATIENCE;
        while self.ended().is_none() {
            assert!(
                Instant::now() < deadline,
                "slapd does not end; its log ends:\n{}",
                self.log_tail()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.process = None;
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Site for Slapd {
    fn url(&self) -> String {
        Slapd::url(self)
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
            never_empty: true,
            member_of: self.options.keeps_member_of(),
            nests: self.options.nests(),
            lock: self.options.ppolicy.then_some(Lock::OpenLdap),
        }
    }

    fn stop(&mut self) -> BoxFuture<'_, ()> {
        Slapd::stop(self).boxed()
    }

    fn kill9(&mut self) -> BoxFuture<'_, ()> {
        Slapd::kill9(self).boxed()
    }

    fn start(&mut self) -> BoxFuture<'_, ()> {
        self.restart().boxed()
    }
}

impl Drop for Slapd {
    fn drop(&mut self) {
        if let Some(mut child) = self.process.take() {
            let _ = child.kill();
            let _ = child.wait();
            if std::thread::panicking() {
                eprintln!("the log of slapd at {} ends:\n{}", self.url(), self.log_tail());
            }
        }
    }
}

/// Copies the files of one folder to another one. The database is one large hole, which `cp` knows to skip.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let copied = Command::new("cp")
        .args(["--recursive", "--sparse=always", "--no-target-directory"])
        .args([from, to])
        .status();
    assert!(copied.unwrap().success(), "{} was not copied", from.display());
}

/// Whether a server answers.
pub(super) async fn reads_root_dse(url: &str) -> Result<(), LdapError> {
    let (connection, mut ldap) = LdapConnAsync::new(url).await?;
    let driver = tokio::task::spawn(connection.drive());
    let answer = ldap.search("", Scope::Base, "(objectClass=*)", ["1.1"]).await;
    driver.abort();
    answer?.success().map(drop)
}

/// A port outside the range that the kernel uses for outgoing connections, so that no other process is likely to take it
/// while slapd is down.
pub fn free_port() -> u16 {
    loop {
        let port = 20_000 + rand::random::<u16>() % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
