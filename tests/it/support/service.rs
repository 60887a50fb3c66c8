//! Runs the built program as an administrator does.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// The deadline of a command that exits by itself, and of a service that was asked to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running `ldap-usher run`. It is killed when this is dropped.
pub struct Service {
    child: Child,
    config: Config,
    lines: watch::Receiver<Vec<String>>,
    readers: JoinSet<()>,
}

/// A configuration file in a temporary folder, which is deleted when this is dropped.
pub struct Config {
    dir: TempDir,
}

impl Config {
    /// Writes the configuration.
    pub fn new(toml: &str) -> Self {
        let config = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        std::fs::write(config.path(), toml).unwrap();
        // It may hold a secret, and the program warns about files that everyone can read.
        std::fs::set_permissions(config.path(), PermissionsExt::from_mode(0o600)).unwrap();
        config
    }

    /// The path of the file.
    pub fn path(&self) -> PathBuf {
        self.dir.path().join("config.toml")
    }

    /// The folder of the file.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Writes a file beside it, or the file itself, with mode 0600.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.dir().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    }

    /// The program with the folder as its working directory, so that error messages name the file as `config.toml`. The
    /// variables that choose the place of the state point to the folder too.
    pub fn command(&self) -> Command {
        let mut command = command(Path::new("config.toml"));
        command
            .current_dir(self.dir())
            .env("STATE_DIRECTORY", self.dir())
            .stdin(Stdio::null());
        command
    }

    /// Runs a command that exits by itself, such as `["status", "--json"]`, to its end; it has no
    /// terminal.
    pub async fn ask(&self, args: &[&str]) -> Output {
        let output = command(&self.path()).args(args).stdin(Stdio::null()).output();
        timeout(PATIENCE, output)
            .await
            .unwrap_or_else(|_| panic!("`ldap-usher {}` hangs", args.join(" ")))
            .unwrap()
    }

    /// What `status --json` prints.
    pub async fn status_json(&self) -> serde_json::Value {
        let output = self.ask(&["status", "--json"]).await;
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
    }
}

impl Service {
    /// Starts the service with this configuration.
    pub fn start(toml: &str) -> Self {
        Self::start_with(Config::new(toml))
    }

    /// Starts the service with a configuration that was written before.
    pub fn start_with(config: Config) -> Self {
        let mut command = command(&config.path());
        command.arg("run");
        let text = std::fs::read_to_string(config.path()).unwrap();
        // The minutes of the default are tested in paused time.
        if text.contains("[vaultwarden]") && !text.contains("resend_unknown_after") {
            command.env("LDAP_USHER__INVITE__RESEND_UNKNOWN_AFTER", "1s");
        }
        Self::start_by(command, config)
    }

    /// Starts another command that runs until it is stopped, such as `watch`.
    pub fn start_command(config: Config, args: &[&str]) -> Self {
        let mut command = command(&config.path());
        command.args(args);
        Self::start_by(command, config)
    }

    /// Starts a command that runs until it is stopped.
    pub fn start_by(mut command: Command, config: Config) -> Self {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = watch::channel(Vec::new());
        let mut readers = JoinSet::new();
        readers.spawn(keep(child.stdout.take().unwrap(), sender.clone()));
        readers.spawn(keep(child.stderr.take().unwrap(), sender));
        Self {
            child,
            config,
            lines,
            readers,
        }
    }

    /// Waits for a line that contains `pattern`, among those printed already too, and returns it.
    pub async fn wait_for_line(&self, pattern: &str, patience: Duration) -> String {
        let mut lines = self.lines.clone();
        let has = |line: &&String| line.contains(pattern);
        let found = timeout(
            patience,
            lines.wait_for(|lines| lines.iter().any(|line| has(&line))),
        )
        .await;
        match found {
            Ok(Ok(lines)) => lines.iter().find(has).unwrap().clone(),
            Ok(Err(_)) => panic!("the service ended without saying {pattern:?}:\n{}", self.output()),
            Err(_) => panic!(
                "the service did not say {pattern:?} in {patience:?}:\n{}",
                self.output()
            ),
        }
    }

    /// Everything that it printed so far, standard output and standard error.
    pub fn output(&self) -> String {
        self.lines.borrow().join("\n")
    }

    /// The folder of its configuration.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The lines that it printed so far and those to come; closed when it ends.
    pub fn lines(&self) -> watch::Receiver<Vec<String>> {
        self.lines.clone()
    }

    /// The most memory that it has used so far besides its code, in KiB (proc(5), `VmHWM` without `RssFile`): the code
    /// of a build for tests is twice that of a release.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let kib = |name| -> u64 {
            let value = status.lines().find_map(|line| line.strip_prefix(name));
            value.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
        };
        kib("VmHWM:") - kib("RssFile:")
    }

    /// What `status --json` prints for its state.
    pub async fn status_json(&self) -> serde_json::Value {
        self.config.status_json().await
    }

    /// Runs another command with the same configuration.
    pub async fn ask(&self, args: &[&str]) -> Output {
        self.config.ask(args).await
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("the service runs")
    }

    /// Asks it to stop (SIGTERM).
    pub async fn term(&self) {
        self.signal("TERM").await;
    }

    /// Sends it a signal, such as `HUP`.
    pub async fn signal(&self, name: &str) {
        // The standard library sends no signal but KILL, and a shell is on every machine.
        let pid = self.pid();
        let sent = Command::new("sh")
            .arg("-c")
            .arg(format!("kill -{name} {pid}"))
            .status()
            .await
            .unwrap();
        assert!(sent.success(), "{sent}");
    }

    /// Kills it (SIGKILL), as a power cut would.
    pub async fn kill9(&mut self) {
        self.child.kill().await.unwrap();
    }

    /// Waits for its end, and for the last line of its output.
    pub async fn wait(&mut self) -> ExitStatus {
        let status = timeout(PATIENCE, self.child.wait())
            .await
            .unwrap_or_else(|_| panic!("the service does not end:\n{}", self.output()))
            .unwrap();
        while self.readers.join_next().await.is_some() {}
        status
    }
}

/// The program with a configuration, without variables from the environment.
pub fn command(config: &Path) -> Command {
    let mut command = Command::new(program());
    command
        .arg("--config")
        .arg(config)
        .env_remove("CONFIG_PATH")
        .env_remove("CREDENTIALS_DIRECTORY")
        .env_remove("RUST_LOG")
        .env_remove("COLUMNS")
        .env("XDG_RUNTIME_DIR", config.parent().unwrap())
        .kill_on_drop(true);
    command
}

/// The built program. Cargo names it to integration tests; an example finds it beside its own folder.
pub fn program() -> PathBuf {
    match option_env!("CARGO_BIN_EXE_ldap-usher") {
        Some(program) => program.into(),
        None => std::env::current_exe()
            .unwrap()
            .ancestors()
            .nth(2)
            .unwrap()
            .join("ldap-usher"),
    }
}

async fn keep(output: impl AsyncRead + Unpin, lines: watch::Sender<Vec<String>>) {
    let mut reader = BufReader::new(output).lines();
    while let Ok(Some(line)) = reader.next_line().await {
        lines.send_modify(|lines| lines.push(line));
    }
}
