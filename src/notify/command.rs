//! The command: a program that is run for each event.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::Stdio;
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process;
use tokio::time::timeout;
use tracing::debug;

use super::{Notification, NotifyError, Receiver};
use crate::foreign;

/// How long one run may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// How long the rest of its standard error is awaited after it has ended, because its children may keep it open.
const LAST_WORDS: Duration = Duration::from_millis(100);
/// How much of its standard error is kept, in bytes.
const LONGEST_WORDS: usize = 4096;
/// The only variable in its environment. That of this service may hold secrets.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program that gets each event on standard input.
pub(super) struct Command {
    program: PathBuf,
    arguments: Vec<String>,
    deadline: Duration,
}

impl Command {
    pub(super) const NAME: &'static str = "command";

    pub(super) fn new(program: &str, arguments: &[String]) -> Self {
        Self {
            program: program.into(),
            arguments: arguments.to_vec(),
            deadline: DEADLINE,
        }
    }

    /// Runs the program. If it does not end in time, or if this is dropped, it is killed together with its children.
    async fn run(&self, input: &str) -> Result<String, NotifyError> {
        let not_started = |error: io::Error| not_started(&self.program, &error);
        let mut child = process::Command::new(&self.program)
            .args(&self.arguments)
            .env_clear()
            .env("PATH", PATH)
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(not_started)?;
        let mut group = Group::of(&child);
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
        let mut words = Vec::new();
        let ended = {
            let ending = async {
                let ended = child.wait().await;
                group.has_ended();
                ended
            };
            let writing = async {
                if let Some(mut stdin) = stdin {
                    // A program that does not read its input is not wrong.
                    let _ = stdin.write_all(input.as_bytes()).await;
                }
            };
            let running = async { tokio::join!(ending, writing).0 };
            timeout(self.deadline, listen(running, stderr, &mut words)).await
        };
        let said = foreign::shown_bytes(words.trim_ascii());
        if !said.is_empty() {
            debug!(program = %self.program.display(), said, "the command printed to standard error");
        }
        let said = if said.is_empty() {
            said
        } else {
            format!(": {said}")
        };
        let program = self.program.clone();
        match ended {
            Ok(Ok(status)) if status.success() => Ok(format!("{status}{said}")),
            Ok(Ok(status)) => Err(NotifyError::Exited {
                program,
                status,
                said,
            }),
            Ok(Err(error)) => Err(not_started(error)),
            Err(_) => {
                drop(group);
                let deadline = self.deadline;
                Err(NotifyError::Endless { program, deadline })
            }
        }
    }
}

impl Receiver for Command {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn shown(&self) -> String {
        self.program.display().to_string()
    }

    fn deliver<'a>(&'a self, notification: &'a Notification) -> BoxFuture<'a, Result<String, NotifyError>> {
        self.run(&notification.body).boxed()
    }
}

/// Whether a program exists and may be executed by somebody.
pub(super) fn check(program: &Path) -> Result<(), NotifyError> {
    let metadata = program.metadata().map_err(|error| not_started(program, &error))?;
    if !metadata.is_file() || metadata.permissions().mode() & 0o111 == 0 {
        let error = io::Error::other("it is not an executable file");
        return Err(not_started(program, &error));
    }
    Ok(())
}

fn not_started(program: &Path, error: &io::Error) -> NotifyError {
    NotifyError::NotStarted {
        program: program.into(),
        cause: error.to_string(),
    }
}

/// The program with its children; they are killed when this is dropped, unless the program has ended.
struct Group(Option<Pid>);

impl Group {
    /// The group that the program was started in, which has its number.
    fn of(child: &process::Child) -> Self {
        let number = child.id().and_then(|id| i32::try_from(id).ok());
        Self(number.and_then(Pid::from_raw))
    }

    /// Another process may have the number from now on. Children that the program has left behind go on.
    fn has_ended(&mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may end just now.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

/// Waits for the end of a program, and keeps the beginning of what it prints in `words`.
async fn listen<T>(
    running: impl Future<Output = T>,
    stderr: Option<impl AsyncRead + Unpin>,
    words: &mut Vec<u8>,
) -> T {
    let (mut running, mut listening) = (pin!(running), pin!(keep(stderr, words)));
    tokio::select! {
        ended = &mut running => {
            let _ = timeout(LAST_WORDS, listening).await;
            ended
        }
        () = &mut listening => running.await,
    }
}

/// Reads to the end, so that the program never waits for a reader.
async fn keep(stderr: Option<impl AsyncRead + Unpin>, words: &mut Vec<u8>) {
    let Some(mut stderr) = stderr else { return };
    let mut piece = [0; LONGEST_WORDS];
    while let Ok(length @ 1..) = stderr.read(&mut piece).await {
        let room = LONGEST_WORDS.saturating_sub(words.len());
        words.extend_from_slice(&piece[..length.min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;
    use tokio::time::{Instant, sleep};

    use super::*;

    /// Runs a shell script with the folder as its first argument.
    async fn run(dir: &TempDir, script: &str, deadline: Duration) -> Result<String, NotifyError> {
        let folder = dir.path().to_str().unwrap().to_owned();
        let command = Command {
            deadline,
            ..Command::new("/bin/sh", &["-c".into(), script.into(), "sh".into(), folder])
        };
        command.run(r#"{"a":1}"#).await
    }

    fn written(dir: &TempDir, name: &str) -> String {
        std::fs::read_to_string(dir.path().join(name)).unwrap()
    }

    #[tokio::test]
    async fn a_program_gets_the_event_and_neither_the_environment_nor_the_folder_of_the_service() {
        let dir = tempfile::tempdir().unwrap();
        let script = r#"cat > "$1/event"; env > "$1/environment"; pwd > "$1/folder""#;
        let answer = run(&dir, script, DEADLINE).await.unwrap();
        assert_eq!(answer, "exit status: 0");
        assert_eq!(written(&dir, "event"), r#"{"a":1}"#);
        assert_eq!(written(&dir, "folder"), "/\n");
        let environment = written(&dir, "environment");
        // A shell sets the other ones itself.
        let own = |line: &&str| {
            !["PWD=", "OLDPWD=", "SHLVL=", "_="]
                .iter()
                .any(|name| line.starts_with(name))
        };
        let names: Vec<&str> = environment.lines().filter(own).collect();
        assert_eq!(names, [format!("PATH={PATH}")]);
    }

    #[tokio::test]
    async fn a_program_that_does_not_end_is_killed_with_its_children() {
        let dir = tempfile::tempdir().unwrap();
        let script = r#"(sleep 1; touch "$1/survived") & sleep 60"#;
        let began = Instant::now();
        let error = run(&dir, script, Duration::from_millis(300)).await.unwrap_err();
        assert!(matches!(error, NotifyError::Endless { .. }), "{error}");
        assert!(began.elapsed() < Duration::from_secs(10));
        sleep(Duration::from_millis(1500)).await;
        assert!(!dir.path().join("survived").exists());
    }

    #[tokio::test]
    async fn a_program_that_leaves_a_process_behind_and_reads_nothing_has_ended() {
        let dir = tempfile::tempdir().unwrap();
        let began = Instant::now();
        let answer = run(&dir, "sleep 20 & exit 0", DEADLINE).await.unwrap();
        assert_eq!(answer, "exit status: 0");
        assert!(began.elapsed() < Duration::from_secs(10));
    }

    #[tokio::test]
    async fn a_failure_tells_what_the_program_printed_without_its_control_characters() {
        let dir = tempfile::tempdir().unwrap();
        let script = r#"printf 'no \033[31mroute' >&2; exit 3"#;
        let error = run(&dir, script, DEADLINE).await.unwrap_err().to_string();
        assert!(
            error.contains("/bin/sh ended with exit status: 3: no \\u{1b}[31mroute"),
            "{error}"
        );
        // More than a pipe holds.
        let script = "head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 4";
        let error = run(&dir, script, DEADLINE).await.unwrap_err().to_string();
        assert!(
            error.contains("exit status: 4: xxx") && error.len() < 1000,
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_or_not_executable_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let plain = dir.path().join("plain");
        std::fs::write(&plain, "").unwrap();
        for program in [dir.path().join("missing"), plain, dir.path().into()] {
            let error = check(&program).unwrap_err().to_string();
            assert!(error.contains(program.to_str().unwrap()), "{error}");
            let command = Command::new(program.to_str().unwrap(), &[]);
            assert!(command.run("").await.is_err());
        }
        check(Path::new("/bin/sh")).unwrap();
    }
}
