//! A server process for one test. It logs to a file, and the end of that file is shown if the test fails. The process is
//! killed on drop.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::slapd::reads_root_dse;

/// How long a server may take to start or to stop.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A server process, running or not.
#[derive(Debug)]
pub struct Daemon {
    name: &'static str,
    log: PathBuf,
    child: Option<Child>,
}

impl Daemon {
    /// Creates a server with this name and log file, without starting it.
    pub fn new(name: &'static str, log: PathBuf) -> Self {
        Self {
            name,
            log,
            child: None,
        }
    }

    /// Runs this command in the foreground. Returns when the server returns its root DSE at `url`.
    ///
    /// # Errors
    /// The server exited or did not answer. The error is the end of its log.
    pub async fn launch(&mut self, command: &mut Command, url: &str) -> Result<(), String> {
        self.launch_until(command, || async move { reads_root_dse(url).await.is_ok() })
            .await
    }

    /// Runs this command in the foreground. Returns when the server is `ready`.
    ///
    /// # Errors
    /// As those of [`Daemon::launch`].
    pub async fn launch_until<R>(
        &mut self,
        command: &mut Command,
        ready: impl Fn() -> R,
    ) -> Result<(), String>
    where
        R: Future<Output = bool>,
    {
        let log = File::options().create(true).append(true).open(&self.log);
        let log = log.map_err(|error| error.to_string())?;
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone().map_err(|error| error.to_string())?)
            .stderr(log)
            .spawn()
            .map_err(|error| format!("{}: {error}", self.name))?;
        self.child = Some(child);
        let deadline = Instant::now() + PATIENCE;
        while !ready().await {
            if let Some(status) = self.ended() {
                self.child = None;
                return Err(format!("{} ended with {status}; {}", self.name, self.log_tail()));
            }
            if Instant::now() > deadline {
                return Err(format!("{} does not answer; {}", self.name, self.log_tail()));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }

    /// Whether it was started and has not been stopped.
    pub fn runs(&self) -> bool {
        self.child.is_some()
    }

    /// The number of the process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("the server runs").id()
    }

    /// Sends `TERM`, `KILL`, `STOP` or `CONT`, with the shell's `kill`: that needs neither a crate nor unsafe code.
    pub fn signal(&self, signal: &str) {
        let command = format!("kill -{signal} {}", self.pid());
        let status = Command::new("sh").args(["-c", &command]).status();
        assert!(status.unwrap().success(), "{command} failed");
    }

    /// Ends it with `TERM` or `KILL`. Returns when the process is gone.
    pub async fn end(&mut self, signal: &str) {
        self.signal(signal);
        let deadline = Instant::now() + PATIENCE;
        while self.ended().is_none() {
            assert!(
                Instant::now() < deadline,
                "{} does not end; {}",
                self.name,
                self.log_tail()
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.child = None;
    }

    /// Ends it with this signal and waits for that, where nothing can be awaited. Shows the end of the log if the test has
    /// failed.
    pub fn end_now(&mut self, signal: &str) {
        self.signal(signal);
        if let Some(mut child) = self.child.take() {
            let _ = child.wait();
            self.show_if_failed();
        }
    }

    /// The log so far.
    pub fn log(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().unwrap())
    }

    fn show_if_failed(&self) {
        if std::thread::panicking() {
            eprintln!("{}: {}", self.name, self.log_tail());
        }
    }

    fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        format!(
            "its log ends:\n{}",
            lines[lines.len().saturating_sub(40)..].join("\n")
        )
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
            self.show_if_failed();
        }
    }
}
