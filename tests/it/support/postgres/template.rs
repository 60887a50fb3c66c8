//! The data directory that all servers begin with: made once for each version of PostgreSQL, then copied.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::options::{PASSWORD, ROLE};
use super::run;

/// The role of the administrator.
pub(super) const ADMIN: &str = "postgres";

/// Grows with each change of what the template is.
const REVISION: u32 = 1;

/// Who runs the servers.
#[derive(Debug, Clone)]
pub(super) struct Account {
    /// The user and the group, if they are not those of the test.
    other: Option<(u32, u32)>,
}

impl Account {
    /// The user of the test, or `postgres` if that is root.
    pub(super) fn for_servers() -> Result<Self, String> {
        let own = fs::metadata("/proc/self").map_err(|error| error.to_string())?;
        if own.uid() != 0 {
            return Ok(Self { other: None });
        }
        program("postgres")?;
        let users = fs::read_to_string("/etc/passwd").map_err(|error| error.to_string())?;
        let ids = users.lines().find_map(|line| {
            let mut fields = line.strip_prefix("postgres:")?.split(':').skip(1);
            Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
        });
        let ids = ids.ok_or("the user postgres is missing; run: apt-get install postgresql")?;
        Ok(Self { other: Some(ids) })
    }

    /// A command that this user runs.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some((user, group)) = self.other {
            command.uid(user).gid(group);
        }
        // Messages that the tests read, whatever the user of the machine speaks.
        command.env("LC_ALL", "C.UTF-8");
        command
    }

    /// Gives a file or a folder to this user.
    pub(super) fn give(&self, path: &Path) -> Result<(), String> {
        let Some((user, group)) = self.other else {
            return Ok(());
        };
        chown(path, Some(user), Some(group)).map_err(|error| format!("{}: {error}", path.display()))
    }
}

/// The path of a program of the newest PostgreSQL of this machine.
pub(super) fn program(name: &str) -> Result<PathBuf, String> {
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    versions
        .map(|version| version.path())
        .filter(|folder| folder.join("bin/initdb").exists())
        .max_by_key(|folder| folder.file_name()?.to_str()?.parse::<u32>().ok())
        .map(|folder| folder.join("bin").join(name))
        .ok_or_else(|| format!("{name} is missing; run: apt-get install postgresql"))
}

/// Copies the template, after making it if this is the first test that needs it.
pub(super) fn copy_to(data: &Path, account: &Account) -> Result<(), String> {
    let version = run(Command::new(program("postgres")?).arg("--version"))?;
    let version: String = version.split_whitespace().nth(2).unwrap_or("unknown").into();
    let user = account
        .other
        .map_or(String::new(), |(user, _)| format!("-{user}"));
    // The demonstration has no such folder of its own.
    let folder =
        option_env!("CARGO_TARGET_TMPDIR").unwrap_or(concat!(env!("CARGO_MANIFEST_DIR"), "/target/tmp"));
    let template = Path::new(folder).join(format!("postgres-{version}{user}-{REVISION}"));
    let beside = |kind: &str| PathBuf::from(format!("{}.{kind}", template.display()));
    if !template.exists() {
        fs::create_dir_all(folder).map_err(|error| format!("{folder}: {error}"))?;
        // Each test is a process of its own, and several begin at the same time.
        let lock = File::create(beside("lock")).map_err(|error| error.to_string())?;
        lock.lock().map_err(|error| error.to_string())?;
        if !template.exists() {
            make(&beside("new"), account)?;
            fs::rename(beside("new"), &template).map_err(|error| error.to_string())?;
        }
    }
    copy(&template, data)
}

/// Runs `initdb`, creates the role and the database of the service, and copies the result.
fn make(template: &Path, account: &Account) -> Result<(), String> {
    let text = |error: std::io::Error| error.to_string();
    // The other user may not reach the folder of the build.
    let dir = tempfile::Builder::new().prefix("pg-").tempdir().map_err(text)?;
    account.give(dir.path())?;
    let data = dir.path().join("data");
    let mut initdb = account.command(&program("initdb")?);
    run(initdb
        .args([
            "--no-sync",
            "--wal-segsize=1",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
        ])
        .args(["--auth=trust", "--username", ADMIN, "-D"])
        .arg(&data)
        .current_dir(dir.path()))?;
    for (database, sql) in [
        (
            "postgres",
            format!("create role {ROLE} login password '{PASSWORD}'"),
        ),
        ("postgres", format!("create database {ROLE} owner {ROLE}")),
        // Databases that no test uses, and that would be copied for each.
        (ROLE, "alter database template0 is_template false".into()),
        (ROLE, "drop database template0".into()),
        (ROLE, "drop database postgres".into()),
    ] {
        let mut postgres = account.command(&program("postgres")?);
        let input = dir.path().join("input.sql");
        fs::write(&input, sql + "\n").map_err(text)?;
        postgres
            .args(["--single", "-j", "-F", "-D"])
            .arg(&data)
            .arg(database)
            .current_dir(dir.path())
            .stdin(File::open(&input).map_err(text)?);
        let output = run(&mut postgres)?;
        if output.contains("ERROR") {
            return Err(output);
        }
    }
    if template.exists() {
        // A test was killed while it copied.
        fs::remove_dir_all(template).map_err(text)?;
    }
    copy(&data, template)
}

/// Copies a folder with its owner. `cp` is faster than a loop of ours where the file system can share blocks.
fn copy(from: &Path, to: &Path) -> Result<(), String> {
    run(Command::new("cp")
        .args(["-a", "--reflink=auto"])
        .arg(from)
        .arg(to))
    .map(|_| ())
}
