//! The packages, as administrators meet them: installed, configured, run, upgraded and removed.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::support::service::program;
use crate::support::slapd::Slapd;
use crate::support::stand_in::StandIn;

const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a command. Returns what it prints.
async fn run(command: &mut Command) -> String {
    let output = command
        .env("COMPRESSION", "gzip")
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Nobody misses the folder if the power fails.
        .env("DPKG_FORCE", "unsafe-io")
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap_or_else(|error| panic!("{command:?}: {error}; run `make packages`"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}:\n{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

/// Builds a package with one of the scripts. Returns its path.
async fn build(script: &str, folder: &Path, version: &str) -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("config/packaging")
        .join(script);
    let built = run(Command::new(script).arg(program()).arg(folder).arg(version)).await;
    built.trim().into()
}

/// The same package under the name of the one with Kerberos, whose library the clean Debian does not have.
async fn as_with_kerberos(package: &Path) -> PathBuf {
    let folder = TempDir::new().unwrap();
    let unpacked = folder.path().join("package");
    run(Command::new("dpkg-deb").arg("-R").arg(package).arg(&unpacked)).await;
    let control = unpacked.join("DEBIAN/control");
    let text = fs::read_to_string(&control).unwrap();
    let text = text
        .replace(
            "Package: ldap-usher\n",
            "Package: ldap-usher-kerberos\nProvides: ldap-usher\n",
        )
        .replace(": ldap-usher-kerberos\n", ": ldap-usher\n")
        .replace("Package: ldap-usher\n", "Package: ldap-usher-kerberos\n");
    fs::write(&control, text).unwrap();
    let sibling = package.with_file_name("sibling.deb");
    run(Command::new("dpkg-deb")
        .args(["-Zgzip", "-b"])
        .arg(&unpacked)
        .arg(&sibling))
    .await;
    sibling
}

/// A Debian in a folder, which has nothing but what every Debian has.
struct Debian {
    root: TempDir,
}

impl Debian {
    /// With what ours needs, because no repository has ours, and with these packages.
    async fn install(more: &[&str]) -> Self {
        let root = TempDir::new().unwrap();
        let release = fs::read_to_string("/etc/os-release").unwrap();
        let release = release
            .lines()
            .find_map(|line| line.strip_prefix("VERSION_CODENAME="));
        let packages = [&["adduser", "ca-certificates"], more].concat().join(",");
        let mut debootstrap = Command::new("debootstrap");
        debootstrap
            .args(["--variant=minbase", &format!("--include={packages}")])
            .arg(release.expect("this test needs Debian"))
            .arg(root.path());
        run(&mut debootstrap).await;
        fs::set_permissions(root.path(), PermissionsExt::from_mode(0o755)).unwrap();
        Self { root }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    fn chroot(&self, user: &str) -> Command {
        let mut command = Command::new("/usr/sbin/chroot");
        command.arg(format!("--userspec={user}")).arg(self.root.path());
        command
    }

    async fn dpkg(&self, args: &[&str]) -> String {
        run(self.chroot("root").arg("dpkg").args(args)).await
    }

    async fn install_package(&self, package: &Path) {
        fs::copy(package, self.path("/package.deb")).unwrap();
        self.dpkg(&["--install", "/package.deb"]).await;
    }

    /// What stands after `key=` in the unit.
    fn unit(&self, key: &str) -> Vec<String> {
        let unit = fs::read_to_string(self.path("/lib/systemd/system/ldap-usher.service")).unwrap();
        let lines = unit
            .lines()
            .filter_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        lines.map(str::to_owned).collect()
    }

    /// Starts the service as the unit does.
    fn start(&self) -> Child {
        let [user] = <[String; 1]>::try_from(self.unit("User")).unwrap();
        let [command] = <[String; 1]>::try_from(self.unit("ExecStart")).unwrap();
        self.chroot(&format!("{user}:{user}"))
            .args(command.split(' '))
            .env_clear()
            .env("STATE_DIRECTORY", "/var/lib/ldap-usher")
            .env("CREDENTIALS_DIRECTORY", "/run/credentials/ldap-usher.service")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .unwrap()
    }

    /// What systemd does before it starts the unit: the state folder, and the credentials.
    async fn prepare(&self) {
        assert_eq!(self.unit("StateDirectory"), ["ldap-usher"]);
        let folder = self.path("/run/credentials/ldap-usher.service");
        fs::create_dir_all(&folder).unwrap();
        for credential in self.unit("LoadCredential") {
            let (name, from) = credential.split_once(':').unwrap();
            fs::copy(self.path(from), folder.join(name)).unwrap();
        }
        let prepare = "mkdir -p /var/lib/ldap-usher && chown -R ldap-usher: /var/lib/ldap-usher /run/credentials/ldap-usher.service \
                       && chmod 700 /var/lib/ldap-usher && chmod 400 /run/credentials/ldap-usher.service/*";
        run(self.chroot("root").args(["sh", "-c", prepare])).await;
    }
}

async fn stop(mut service: Child) {
    let pid = service.id().unwrap().to_string();
    run(Command::new("kill").args(["-TERM", &pid])).await;
    assert!(service.wait().await.unwrap().success());
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().mode() & 0o7777
}

#[cfg(feature = "kerberos")]
#[tokio::test]
async fn the_debian_package_with_kerberos_names_its_library_and_runs_with_it() {
    let packages = TempDir::new().unwrap();
    let (debian, package) = tokio::join!(
        Debian::install(&["libgssapi-krb5-2"]),
        build("deb", packages.path(), "0.1.0"),
    );
    let control = run(Command::new("dpkg-deb").arg("--field").arg(&package)).await;
    assert!(control.contains("Package: ldap-usher-kerberos\n"), "{control}");
    assert!(control.contains("libgssapi-krb5-2"), "{control}");
    debian.install_package(&package).await;
    let config = "[vaultwarden]\nurl = \"https://vault.example.org\"\nadmin_token = \"t\"\n\
                  [[directory]]\nurl = \"ldaps://127.0.0.1:1\"\nbase_dn = \"dc=example,dc=org\"\nsasl = \"gssapi\"\n";
    fs::write(debian.path("/etc/ldap-usher/config.toml"), config).unwrap();
    let shown = run(debian.chroot("root").args(["ldap-usher", "config", "show"])).await;
    assert!(shown.contains("sasl = \"gssapi\""), "{shown}");
}

#[tokio::test]
async fn the_debian_package_is_installed_configured_run_upgraded_removed_and_purged_in_a_clean_debian() {
    let packages = TempDir::new().unwrap();
    let (debian, first, second) = tokio::join!(
        Debian::install(&[]),
        build("deb", packages.path(), "0.1.0"),
        build("deb", packages.path(), "0.1.1"),
    );
    debian.install_package(&first).await;

    // Installed, and nothing was started or enabled.
    let config = debian.path("/etc/ldap-usher/config.toml");
    let group = fs::read_to_string(debian.path("/etc/group")).unwrap();
    let group = group
        .lines()
        .find_map(|line| line.strip_prefix("ldap-usher:x:"))
        .unwrap();
    let group: u32 = group.split(':').next().unwrap().parse().unwrap();
    let of_config = fs::metadata(&config).unwrap();
    assert_eq!(
        (of_config.uid(), of_config.gid(), mode(&config)),
        (0, group, 0o640)
    );
    let enabled = "/etc/systemd/system/multi-user.target.wants/ldap-usher.service";
    assert!(fs::symlink_metadata(debian.path(enabled)).is_err());
    assert!(!debian.path("/var/lib/ldap-usher").exists());
    let files = debian.dpkg(&["--listfiles", "ldap-usher"]).await;
    for file in [
        "/usr/bin/ldap-usher",
        "/usr/share/man/man1/ldap-usher-run.1.gz",
        "/usr/share/bash-completion/completions/ldap-usher",
        "/usr/share/zsh/vendor-completions/_ldap-usher",
        "/usr/share/fish/vendor_completions.d/ldap-usher.fish",
        "/usr/share/doc/ldap-usher/default.toml",
    ] {
        assert!(
            files.lines().any(|found| found == file),
            "{file} is not in\n{files}"
        );
    }
    // Unconfigured, it says what is missing and ends.
    let shown = debian
        .chroot("root")
        .args(["/usr/bin/ldap-usher", "config", "show"])
        .output();
    let shown = shown.await.unwrap();
    assert_eq!(shown.status.code(), Some(2));
    let said = String::from_utf8_lossy(&shown.stderr).into_owned();
    assert!(said.contains("admin_token"), "{said}");

    // Configured, it invites.
    let (slapd, vault) = (Slapd::builder().people(1).start().await, StandIn::start());
    let written = fs::read_to_string(&config).unwrap();
    let edited = written
        .replace("https://vault.example.org", &vault.url())
        .replace("ldaps://ldap.example.org", &slapd.url())
        .replace("cn=reader,ou=system,dc=example,dc=org", slapd.reader_dn())
        .replace("ou=people,dc=example,dc=org", &slapd.people_base())
        + "\n[http]\nlisten = \"off\"\n";
    fs::write(&config, &edited).unwrap();
    fs::write(debian.path("/etc/ldap-usher/admin_token"), "sesame\n").unwrap();
    fs::write(debian.path("/etc/ldap-usher/bind_password"), slapd.reader_pw()).unwrap();
    debian.prepare().await;
    let service = debian.start();
    assert!(vault.wait_for_invite("person1@example.org", PATIENCE).await);
    stop(service).await;

    // Upgraded, it goes on with the same state and configuration.
    debian.install_package(&second).await;
    assert_eq!(fs::read_to_string(&config).unwrap(), edited);
    assert_eq!(mode(&config), 0o640);
    let service = debian.start();
    slapd.people().add_person("ann").await;
    assert!(vault.wait_for_invite("ann@example.org", PATIENCE).await);
    stop(service).await;
    assert_eq!(vault.invitations(), 2);
    assert_eq!(vault.logins(), 1, "the session was in the state");

    // The package with Kerberos takes its place, and purging what is left of it does no harm.
    let sibling = as_with_kerberos(&second).await;
    debian.install_package(&sibling).await;
    debian.dpkg(&["--purge", "ldap-usher"]).await;
    assert_eq!(fs::read_to_string(&config).unwrap(), edited);
    assert!(
        debian.path("/var/lib/ldap-usher/state.db").exists() && debian.path("/usr/bin/ldap-usher").exists()
    );
    debian.install_package(&second).await;
    debian.dpkg(&["--purge", "ldap-usher-kerberos"]).await;
    assert_eq!(fs::read_to_string(&config).unwrap(), edited);
    assert!(
        debian.path("/var/lib/ldap-usher/state.db").exists() && debian.path("/usr/bin/ldap-usher").exists()
    );

    // Variables can be the whole configuration: the file stays deleted.
    fs::remove_file(&config).unwrap();
    debian.install_package(&second).await;
    assert!(!config.exists());
    fs::write(&config, &edited).unwrap();

    // Removed, it leaves what belongs to the administrator; purged, nothing.
    debian.dpkg(&["--remove", "ldap-usher"]).await;
    assert!(!debian.path("/usr/bin/ldap-usher").exists());
    assert!(config.exists() && debian.path("/var/lib/ldap-usher/state.db").exists());
    debian.dpkg(&["--purge", "ldap-usher"]).await;
    for folder in ["/etc/ldap-usher", "/var/lib/ldap-usher"] {
        assert!(!debian.path(folder).exists(), "{folder}");
    }
}

#[tokio::test]
async fn the_rpm_package_has_the_same_files_keeps_the_configuration_and_enables_nothing() {
    let packages = TempDir::new().unwrap();
    let package = build("rpm", packages.path(), "0.1.0").await;
    let query = async |args: &[&str]| {
        run(Command::new("rpm")
            .args(["--query", "--package"])
            .args(args)
            .arg(&package))
        .await
    };
    let files = query(&[
        "--queryformat",
        "[%{FILENAMES} %{FILEMODES:octal} %{FILEGROUPNAME} %{FILEFLAGS:fflags}\\n]",
    ])
    .await;
    for file in [
        "/usr/bin/ldap-usher 100755 root ",
        "/usr/lib/systemd/system/ldap-usher.service 100644 root ",
        // A configuration file that an upgrade does not replace.
        "/etc/ldap-usher/config.toml 100640 ldap-usher cn",
        "/usr/share/man/man1/ldap-usher-run.1.gz 100644 root ",
        "/usr/share/zsh/site-functions/_ldap-usher 100644 root ",
    ] {
        assert!(
            files.lines().any(|found| found.starts_with(file)),
            "{file} is not in\n{files}"
        );
    }
    let scripts = query(&["--scripts"]).await;
    assert!(
        !scripts.contains("enable --now ldap") && !scripts.contains("systemctl start"),
        "{scripts}"
    );
    assert!(
        scripts.contains("try-restart") && scripts.contains("useradd -r"),
        "{scripts}"
    );
    // The unit runs the program where the package has it, as the user that it creates.
    let unpacked = TempDir::new().unwrap();
    let unpack = format!("rpm2archive - <{} | tar xz", package.display());
    run(Command::new("sh")
        .args(["-c", &unpack])
        .current_dir(unpacked.path()))
    .await;
    let unit = fs::read_to_string(unpacked.path().join("usr/lib/systemd/system/ldap-usher.service")).unwrap();
    assert!(
        unit.contains("ExecStart=/usr/bin/ldap-usher run") && unit.contains("User=ldap-usher"),
        "{unit}"
    );
    assert!(
        !unit.contains("DynamicUser") && !unit.contains("/usr/local"),
        "{unit}"
    );
}
