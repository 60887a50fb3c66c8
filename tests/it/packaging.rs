//! What is installed beside the program: the unit of systemd, and what the service tells its manager.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::UnixDatagram;
use tokio::process::Command;
use tokio::time::timeout;

use crate::support::service::{Config, program};

const PATIENCE: Duration = Duration::from_secs(20);

fn packaged(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The values that the unit gives to a key, in order.
fn unit(key: &str) -> Vec<String> {
    packaged("systemd/ldap-usher.service")
        .lines()
        .filter_map(|line| Some(line.strip_prefix(key)?.strip_prefix('=')?.to_owned()))
        .collect()
}

/// The machine as the unit finds it, in a folder: the paths of unit and configuration lead there.
struct Machine {
    dir: TempDir,
}

impl Machine {
    fn new() -> Self {
        let machine = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        for credential in unit("LoadCredential") {
            let (name, _) = credential.split_once(':').unwrap();
            machine.write(name, "secret\n");
        }
        let folder = machine.dir.path().to_str().unwrap();
        let config = packaged("examples/systemd.toml")
            .replace("/var/lib/ldap-usher", folder)
            .replace("ldaps://ldap.example.org", "ldaps://127.0.0.1:1");
        machine.write("config.toml", &(config + "\n[http]\nlisten = \"off\"\n"));
        machine
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.dir.path().join(name), text).unwrap();
    }

    /// The service as `ExecStart=` has it, with a socket on which its manager listens.
    fn service(&self) -> Command {
        let commands = unit("ExecStart");
        let mut words = commands[0].split_whitespace();
        assert_eq!(words.next(), Some("/usr/local/bin/ldap-usher"));
        let folder = self.dir.path().to_str().unwrap();
        let mut command = Command::new(program());
        command
            .args(words.map(|word| word.replace("/etc/ldap-usher", folder)))
            .current_dir("/")
            .env_clear()
            .env("CREDENTIALS_DIRECTORY", folder)
            .env("NOTIFY_SOCKET", self.dir.path().join("notify"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true);
        command
    }
}

/// The next notification.
async fn told(manager: &UnixDatagram) -> String {
    let mut buffer = [0; 4096];
    let length = timeout(PATIENCE, manager.recv(&mut buffer))
        .await
        .expect("the service manager is told nothing")
        .unwrap();
    String::from_utf8(buffer[..length].to_vec()).unwrap()
}

#[tokio::test]
async fn the_service_that_the_unit_starts_says_when_it_is_ready_how_it_stands_and_that_it_stops() {
    assert_eq!(unit("Type"), ["notify"]);
    let machine = Machine::new();
    let manager = UnixDatagram::bind(machine.dir.path().join("notify")).unwrap();
    let mut service = machine.service().spawn().unwrap();
    assert_eq!(told(&manager).await, "READY=1\n");
    let status = told(&manager).await;
    assert!(
        status.starts_with("STATUS=0 members; directory main has not been listed yet"),
        "{status}"
    );
    let pid = service.id().unwrap();
    let sent = Command::new("sh")
        .args(["-c", &format!("kill -TERM {pid}")])
        .status();
    assert!(sent.await.unwrap().success());
    // The status line may have changed meanwhile.
    while told(&manager).await != "STOPPING=1\n" {}
    let ended = timeout(PATIENCE, service.wait()).await.unwrap().unwrap();
    assert_eq!(ended.code(), Some(0));
}

/// The next notification that is none of the status.
async fn told_of_change(manager: &UnixDatagram) -> String {
    loop {
        let said = told(manager).await;
        if !said.starts_with("STATUS=") {
            return said;
        }
    }
}

#[tokio::test]
async fn the_watchdog_is_told_that_the_service_lives_although_no_server_answers_and_until_the_process_hangs()
{
    let machine = Machine::new();
    let manager = UnixDatagram::bind(machine.dir.path().join("notify")).unwrap();
    let mut service = machine.service();
    let mut service = service.env("WATCHDOG_USEC", "1500000").spawn().unwrap();
    assert_eq!(told_of_change(&manager).await, "READY=1\n");
    for _ in 0..3 {
        assert_eq!(told_of_change(&manager).await, "WATCHDOG=1\n");
    }
    let pid = service.id().unwrap();
    let signal = async |name: &str| {
        let sent = Command::new("sh")
            .args(["-c", &format!("kill -{name} {pid}")])
            .status();
        assert!(sent.await.unwrap().success());
    };
    signal("STOP").await;
    while timeout(Duration::from_millis(100), told(&manager)).await.is_ok() {}
    assert!(timeout(Duration::from_secs(3), told(&manager)).await.is_err());
    signal("CONT").await;
    assert_eq!(told_of_change(&manager).await, "WATCHDOG=1\n");
    // A unit of the type `notify-reload` is told of both ends of a reload.
    signal("HUP").await;
    let mut said = told_of_change(&manager).await;
    while said == "WATCHDOG=1\n" {
        said = told_of_change(&manager).await;
    }
    assert!(said.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{said}");
    assert_eq!(told_of_change(&manager).await, "READY=1\n");
    service.kill().await.unwrap();
}

#[tokio::test]
async fn systemd_finds_nothing_wrong_with_the_unit_and_little_that_it_could_still_forbid() {
    let machine = Machine::new();
    // The program is looked for where the unit has it.
    let text = packaged("systemd/ldap-usher.service").replace("/usr/local/bin/ldap-usher", "/bin/true");
    machine.write("ldap-usher.service", &text);
    let analyze = async |args: &[&str]| {
        let output = Command::new("systemd-analyze")
            .args(args)
            .arg(machine.dir.path().join("ldap-usher.service"))
            .output()
            .await
            .expect("systemd-analyze is missing; run `make packages`");
        let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
        said.into_owned()
    };
    let complaints = analyze(&["verify", "--man=no"]).await;
    let ours = complaints
        .lines()
        .filter(|line| line.contains("ldap-usher.service"));
    assert_eq!(ours.collect::<Vec<_>>(), [""; 0]);
    // In tenths: an exposure of 2.0 or more fails.
    analyze(&["security", "--offline=true", "--threshold=19"]).await;
}

#[tokio::test]
async fn the_unit_does_not_restart_a_service_whose_configuration_cannot_be_used() {
    let machine = Machine::new();
    machine.write("config.toml", "nonsense");
    let ended = timeout(PATIENCE, machine.service().status())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(
        unit("RestartPreventExitStatus"),
        [ended.code().unwrap().to_string()]
    );
}

#[tokio::test]
async fn the_configuration_of_the_containers_is_good_but_for_the_clear_text_between_them() {
    let machine = Machine::new();
    let folder = machine.dir.path().to_str().unwrap();
    for secret in ["admin_token", "bind_password"] {
        let path = machine.dir.path().join(secret);
        fs::set_permissions(path, PermissionsExt::from_mode(0o400)).unwrap();
    }
    let toml = packaged("docker/config.toml").replace("/run/secrets", folder);
    let output = Config::new(&toml).ask(&["config", "show"]).await;
    let warnings = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{warnings}");
    let expected = warnings.lines().filter(|line| {
        line.contains("in clear text") || line.contains("http.listen: is reached from other machines")
    });
    assert_eq!((expected.count(), warnings.lines().count()), (3, 3), "{warnings}");
}

#[test]
fn the_unit_leaves_the_service_more_files_than_its_endpoints_may_take() {
    let limits = unit("LimitNOFILE");
    assert!(limits[0].parse::<u32>().unwrap() >= 1024, "{limits:?}");
}

#[tokio::test]
async fn each_target_of_make_installs_what_it_needs_and_nothing_else() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    // A machine on which no command is found; the daemons are looked for where packages put them.
    let missing = async |set: &str| {
        let mut command = Command::new("/bin/sh");
        command
            .arg(root.join(".ci/packages"))
            .args([set, "--list"])
            .env("PATH", "/nowhere");
        let output = command.output().await.unwrap();
        assert!(output.status.success(), "{output:?}");
        let packages = String::from_utf8(output.stdout).unwrap();
        packages.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(missing("build").await, ["gcc", "libc6-dev"]);
    let slapd = missing("slapd").await;
    let known = ["gcc", "libc6-dev", "slapd", "ldap-utils"];
    assert!(
        slapd.iter().all(|package| known.contains(&package.as_str())),
        "{slapd:?}"
    );
    assert!(
        missing("servers")
            .await
            .contains(&"default-jre-headless".to_owned())
    );

    let makefile = fs::read_to_string(root.join("Makefile")).unwrap();
    for (target, packages) in [
        ("build", "packages-build"),
        ("deb", "build"),
        ("rpm", "build packages-rpm"),
        ("demo", "packages-slapd"),
        ("torture", "packages"),
        ("test", "packages"),
        ("bench", "packages"),
    ] {
        let rule = format!("{target}: {packages} ##");
        assert!(makefile.lines().any(|line| line.starts_with(&rule)), "{rule}");
    }
}

/// The values of an `environment` of a Compose file, by the names that the program knows.
fn environment(compose: &str) -> Vec<(String, String)> {
    let lines = packaged(compose);
    let lines = lines.lines().filter_map(|line| line.trim().split_once(": "));
    let ours = lines.filter(|(name, _)| name.starts_with("LDAP_USHER__"));
    ours.map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

#[tokio::test]
async fn the_variables_of_the_containers_are_a_configuration() {
    for (compose, directory) in [
        ("docker/lldap.yaml", "ldap://lldap:3890"),
        ("docker/active-directory.yaml", "ad:example.org"),
    ] {
        let machine = Machine::new();
        let folder = machine.dir.path().to_str().unwrap();
        for secret in ["lldap_password", "ca.pem"] {
            machine.write(secret, "secret\n");
        }
        let authority = rcgen::generate_simple_self_signed(["ca".to_owned()]).unwrap();
        machine.write("ca.pem", &authority.cert.pem());
        let variables = environment(compose);
        assert!(variables.len() > 5, "{variables:?}");
        let mut command = Command::new(program());
        command
            .args(["config", "show"])
            .current_dir(machine.dir.path())
            .env_clear();
        // No file: the variables are the whole configuration.
        fs::remove_file(machine.dir.path().join("config.toml")).unwrap();
        for (name, value) in variables {
            command.env(
                name,
                value
                    .replace("/run/secrets", folder)
                    .replace("/etc/ldap-usher", folder),
            );
        }
        let output = command.output().await.unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{compose}: {said}");
        let shown = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            shown.contains(directory) && shown.contains("memberOf="),
            "{shown}"
        );
    }
}

#[tokio::test]
async fn the_configuration_of_the_chart_is_one() {
    let values = packaged("helm/values.yaml");
    let lines = values.lines().skip_while(|line| *line != "config: |").skip(1);
    let lines = lines.take_while(|line| line.is_empty() || line.starts_with("  "));
    let toml: String = lines.map(|line| format!("{}\n", line.trim_start())).collect();
    let machine = Machine::new();
    let folder = machine.dir.path().to_str().unwrap();
    let output = Config::new(&toml.replace("/run/secrets", folder))
        .ask(&["config", "show"])
        .await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{toml}{said}");
}

#[test]
fn one_version_of_rust_is_named_everywhere() {
    let read = |path: &str| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    let manifest = read("Cargo.toml");
    let version = manifest
        .lines()
        .find_map(|line| line.strip_prefix("rust-version = \""));
    let version = version.unwrap().trim_end_matches('"');
    for (path, expected) in [
        ("README.md", format!("{version} or later")),
        ("config/guide/install.md", format!("{version} or later")),
        (
            "config/docker/Dockerfile",
            format!("/rust:{version}-alpine AS build"),
        ),
        (".github/workflows/ci.yml", format!("rust-toolchain@{version}.0")),
        (
            ".github/workflows/release.yml",
            format!("rust-toolchain@{version}.0"),
        ),
    ] {
        assert!(read(path).contains(&expected), "{path} does not say {expected}");
    }
}
