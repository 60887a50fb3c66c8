//! The container image, and what the recipes that run it ask of it. The compiler's stage needs Alpine; all the rest is built here.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

fn recipe(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Buildah with images of its own, in a folder.
struct Buildah {
    folder: TempDir,
}

impl Buildah {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn run(&self, args: &[&str]) -> String {
        let output = Command::new("buildah")
            .args(["--storage-driver", "vfs", "--root"])
            .arg(self.path("images"))
            .arg("--runroot")
            .arg(self.path("state"))
            .args(args)
            .current_dir(self.folder.path())
            .output()
            .await
            .unwrap_or_else(|error| panic!("buildah: {error}; run `make packages`"));
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "buildah {args:?}: {said}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

#[tokio::test]
async fn any_user_of_the_group_0_can_write_the_state_in_the_image_and_its_health_check_needs_no_shell() {
    let buildah = Buildah {
        folder: tempfile::tempdir().unwrap(),
    };
    let recipe = recipe("docker/Dockerfile");
    let base = "gcr.io/distroless/static-debian12:nonroot";
    let (compiler, image) = recipe.split_once(&format!("FROM {base}\n")).unwrap();

    // What the first stage does after the compiler, in a folder.
    let (_, leaves) = compiler
        .split_once("cargo build --release --locked --features \"$FEATURES\" \\\n")
        .unwrap();
    let leaves = leaves.trim_start().trim_start_matches("&& ");
    fs::create_dir_all(buildah.path("target/release")).unwrap();
    fs::write(buildah.path("target/release/ldap-usher"), "").unwrap();
    let left = Command::new("sh")
        .args(["-ec", &leaves.replace("/out", "out")])
        .current_dir(buildah.folder.path())
        .status()
        .await;
    assert!(left.unwrap().success(), "{leaves}");
    let stages = format!("FROM scratch AS build\nCOPY out /out\nFROM {base}\n{image}");
    fs::write(buildah.path("Dockerfile"), stages).unwrap();

    let empty = buildah.run(&["from", "scratch"]).await;
    buildah.run(&["commit", "--quiet", &empty, base]).await;
    let build = "build --quiet --pull=never --isolation chroot --format docker --tag image .";
    buildah.run(&build.split(' ').collect::<Vec<_>>()).await;

    let described: Value =
        serde_json::from_str(&buildah.run(&["inspect", "--type", "image", "image"]).await).unwrap();
    let config = &described["Docker"]["config"];
    let health = json!(["CMD", "/usr/local/bin/ldap-usher", "healthcheck"]);
    assert_eq!(config["Healthcheck"]["Test"], health);
    assert_eq!(config["Entrypoint"], json!(["/usr/local/bin/ldap-usher"]));
    assert_eq!(config["Volumes"], json!({ "/var/lib/ldap-usher": {} }));

    let container = buildah.run(&["from", "--pull=never", "image"]).await;
    let root = PathBuf::from(buildah.run(&["mount", &container]).await);
    let state = fs::metadata(root.join("var/lib/ldap-usher")).unwrap();
    let rights = (state.uid(), state.gid(), state.mode() & 0o7777);
    buildah.run(&["umount", &container]).await;
    assert_eq!(rights, (65532, 0, 0o770));
}

#[test]
fn no_recipe_ends_the_service_within_the_minute_that_it_may_take_to_stop() {
    let graces = |path: &str, key: &str| -> Vec<u64> {
        let recipe = recipe(path);
        let values = recipe.lines().filter_map(|line| line.trim().strip_prefix(key));
        values
            .map(|value| value.trim_end_matches('s').parse().unwrap())
            .collect()
    };
    for (path, key) in [
        ("docker/compose.yaml", "stop_grace_period: "),
        ("docker/lldap.yaml", "stop_grace_period: "),
        ("docker/active-directory.yaml", "stop_grace_period: "),
        (
            "helm/templates/deployment.yaml",
            "terminationGracePeriodSeconds: ",
        ),
        ("quadlet/ldap-usher.container", "PodmanArgs=--stop-timeout="),
        ("quadlet/ldap-usher.container", "TimeoutStopSec="),
        ("systemd/ldap-usher.service", "TimeoutStopSec="),
    ] {
        let [grace] = graces(path, key)[..] else {
            panic!("{path}: {key}")
        };
        assert!(grace > 60, "{path}: {key}{grace}");
    }
}

#[test]
fn the_health_check_of_the_quadlet_is_the_one_of_the_image() {
    let quadlet = recipe("quadlet/ldap-usher.container");
    // Podman runs it by a shell without this word.
    assert!(quadlet.contains("\nHealthCmd=CMD /usr/local/bin/ldap-usher healthcheck\n"));
}
