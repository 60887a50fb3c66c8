//! A new domain. It is provisioned once per machine and kept as an archive: provisioning takes many seconds, unpacking half
//! a second.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{ADMIN, CONTROLLER, DOMAIN, REALM, Samba};

/// Part of the archive's name. Change it when the way to provision changes.
const RECIPE: u32 = 1;

/// Fills a folder with the databases of a new domain, which know neither its path nor its address.
pub(super) fn unpack(dir: &Path) -> Result<(), String> {
    let archive = archive()?;
    run(Command::new("tar").arg("-xSf").arg(archive).arg("-C").arg(dir))
}

/// The archive; the first test creates it, and the others wait.
fn archive() -> Result<PathBuf, String> {
    let cache = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tmp");
    fs::create_dir_all(&cache).map_err(|error| error.to_string())?;
    let lock = File::create(cache.join("samba.lock")).map_err(|error| error.to_string())?;
    lock.lock().map_err(|error| error.to_string())?;
    let version = Command::new(super::BINARY).arg("--version").output();
    let version = version.map_err(|error| format!("{}: {error}", super::BINARY))?;
    let version = String::from_utf8_lossy(&version.stdout).trim().replace(' ', "-");
    let archive = cache.join(format!("samba-{version}-{RECIPE}.tar"));
    if !archive.exists() {
        // Its paths must be short: some of them are those of sockets.
        let dir = tempfile::tempdir_in("/tmp").map_err(|error| error.to_string())?;
        provision(dir.path())?;
        let unfinished = archive.with_extension("unfinished");
        let contents = ["--exclude=state/sysvol", "private", "state"];
        run(Command::new("tar")
            .arg("-C")
            .arg(dir.path())
            .arg("-cSf")
            .arg(&unfinished)
            .args(contents))?;
        fs::rename(unfinished, &archive).map_err(|error| error.to_string())?;
    }
    Ok(archive)
}

fn provision(dir: &Path) -> Result<(), String> {
    // Without these options Samba copies from Debian's smb.conf. It needs an address, but does not keep it.
    run(Command::new("/usr/bin/samba-tool")
        .args([
            "domain",
            "provision",
            "--configfile=/dev/null",
            "--server-role=dc",
            "--dns-backend=NONE",
        ])
        .args([
            "--function-level=2008_R2",
            "--host-ip=127.0.0.1",
            "--option=bind interfaces only=yes",
        ])
        .args(["--option=interfaces=127.0.0.1/8"])
        .arg(format!("--targetdir={}", dir.display()))
        .arg(format!("--realm={REALM}"))
        .arg(format!("--domain={DOMAIN}"))
        .arg(format!("--host-name={CONTROLLER}"))
        .arg(format!("--adminpass={}", ADMIN.1)))?;
    let conf = dir.join("smb.conf");
    fs::write(&conf, Samba::paths(dir)).map_err(|error| error.to_string())?;
    run(Command::new("/usr/bin/samba-tool")
        .args([
            "domain",
            "passwordsettings",
            "set",
            "--complexity=off",
            "--min-pwd-length=1",
        ])
        .args(["--min-pwd-age=0", "--max-pwd-age=0", "--history-length=0", "-s"])
        .arg(conf)
        .arg("-H")
        .arg(dir.join("private/sam.ldb")))
}

/// Runs it to its end.
pub(super) fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|error| format!("{command:?}: {error}"))?;
    let words = || {
        let words = [output.stdout.as_slice(), &output.stderr].concat();
        String::from_utf8_lossy(&words).into_owned()
    };
    output
        .status
        .success()
        .then_some(())
        .ok_or_else(|| format!("{command:?} failed:\n{}", words()))
}
