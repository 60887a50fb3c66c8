//! What an administrator reads when the configuration or the command line is wrong, and how the program ends then.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Output, Stdio};

use crate::support::service::{Config, command, program};

const TOKEN: &str = "quite-secret-token";
const PASSWORD: &str = "quite-secret-password";

/// Runs `config show` in the folder of the configuration, so that problems name it by `config.toml`.
async fn show(dir: &Path, toml: &str) -> Output {
    write(dir, "config.toml", toml, 0o600);
    run(dir, &["config", "show"]).await
}

async fn run(dir: &Path, args: &[&str]) -> Output {
    command(Path::new("config.toml"))
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::null())
        .output()
        .await
        .unwrap()
}

fn write(dir: &Path, name: &str, text: &str, mode: u32) {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
}

/// The report of a configuration that must be refused.
async fn problems(toml: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "empty", "\n", 0o600);
    write(
        dir.path(),
        "hash",
        "$argon2id$v=19$m=65540,t=3,p=4$c2FsdA$aGFzaA\n",
        0o600,
    );
    let output = show(dir.path(), toml).await;
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(output.stdout.is_empty());
    text
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// A configuration without problems, and what follows it.
fn good(more: &str) -> String {
    format!(
        r#"
[vaultwarden]
url = "https://vault.example.org"
admin_token = "{TOKEN}"
[[directory]]
url = "ldaps://ldap.example.org"
base_dn = "ou=people,dc=example,dc=org"
{more}"#
    )
}

#[tokio::test]
async fn an_empty_file_says_what_is_required() {
    insta::assert_snapshot!(problems("").await, @"");
}

#[tokio::test]
async fn all_problems_are_reported_together_each_with_its_line_and_key() {
    insta::assert_snapshot!(problems(r#"
state = ""
colour = "green"
[vaultwarden]
url = "https://vault.example.org/admin/"
admin_token_file = "hash"
ca_file = "missing.pem"
[[directory]]
name = "main"
urls = "ldap://ldap.example.org"
bind_dn = "cn=reader,dc=example,dc=org"
base_dn = "people"
stream = "sincrepl"
poll_interval = 60
audit_interval = "0s"
page_size = 0
invites_per_listing = 3
[[directory]]
url = ["ldap://a.example.org", "http://b.example.org", "ldap://c.example.org:99999"]
bind_password_file = "empty"
base_dn = "dc=example,dc=org"
filter = "(&(objectClass=person)(mail=*)"
mail_attributes = "mail, proxyAddresses"
stream = "active-directory"
[invite]
on_address_change = "ignore"
concurrency = -1
[limits]
invites_per_listing = "all"
[http]
listen = "localhost:9464"
[log]
level = "verbose"
format = "jsno"
"#).await, @"");
}

#[tokio::test]
async fn what_does_not_go_together_is_named() {
    insta::assert_snapshot!(problems(r#"
[vaultwarden]
url = "ftp://vault.example.org"
admin_token = "a"
admin_token_file = "b"
[[directory]]
name = "ldaps with starttls"
url = "ldaps://ldap.example.org"
starttls = true
base_dn = "dc=example,dc=org"
[[directory]]
name = "external elsewhere"
url = ["ldapi://%2Frun%2Fldapi", "ldap://ldap.example.org"]
sasl = "external"
base_dn = "dc=example,dc=org"
[[directory]]
name = "external and a password"
url = "ldapi://%2Frun%2Fldapi"
sasl = "external"
bind_dn = "cn=reader,dc=example,dc=org"
bind_password = "a"
base_dn = "dc=example,dc=org"
[[directory]]
name = "password of nobody"
url = "ldaps://ldap.example.org"
bind_password = "a"
base_dn = "dc=example,dc=org"
[[directory]]
name = "empty password"
url = "ldaps://ldap.example.org"
bind_dn = "cn=reader,dc=example,dc=org"
bind_password = ""
base_dn = "dc=example,dc=org"
[[directory]]
name = "missing file"
url = "ldaps://ldap.example.org"
bind_dn = "cn=reader,dc=example,dc=org"
bind_password_file = "missing"
base_dn = "dc=example,dc=org"
[[directory]]
name = "missing file"
url = []
base_dn = "dc=example,dc=org"
[[directory]]
name = "path"
url = "ldap://ldap.example.org/dc=example,dc=org"
base_dn = "dc=example,dc=org"
"#).await, @"");
}

#[tokio::test]
async fn tables_of_another_kind_are_explained() {
    insta::assert_snapshot!(problems("vaultwarden = 3\ninvite = []\n[directory]\nurl = \"ldaps://x\"\n").await, @"");
}

#[tokio::test]
async fn every_syntax_error_has_its_line() {
    insta::assert_snapshot!(problems("state = /var/lib\n\n[vaultwarden]\nurl = \"https://a\nadmin_token = x\nurl = 3\n[http\n").await, @"");
}

#[tokio::test]
async fn no_report_repeats_a_secret() {
    for toml in [
        good("bind_dn = \"cn=x\"\nbind_password = 421337\n"),
        good("bind_dn = \"cn=x\"\nbind_password = 421337x\n"),
        good("bind_dn = \"cn=x\"\nbind_password = \"421337\n"),
        good("bind_dn = \"cn=x\"\nbind_passwort = \"421337\"\n"),
        good("bind_dn = \"cn=x\"\nbind_password = [\"421337\"]\n"),
        good("").replace("https://", "https://user:421337@"),
        good("").replace("ldaps://", "ldaps://user:421337@"),
        good("").replace("ldaps://", "ldap s://user:421337@"),
        good("").replace("https://", "ftp://user:421337@"),
        good("").replace(TOKEN, "$argon2id$421337"),
    ] {
        let report = problems(&toml).await;
        assert!(!report.contains("421337") && !report.contains(TOKEN), "{report}");
    }
}

#[tokio::test]
async fn the_effective_configuration_is_shown_without_secrets_and_is_one_itself() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "password", &format!("{PASSWORD}\n"), 0o600);
    let output = show(
        dir.path(),
        &good("bind_dn = \"cn=x\"\nbind_password_file = \"password\"\n"),
    )
    .await;
    let shown = stdout(&output);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
    insta::assert_snapshot!(shown, @"");

    let again = show(dir.path(), &shown).await;
    assert_eq!(
        stdout(&again),
        shown.replace("(set, from file password)", "(set)")
    );
}

#[tokio::test]
async fn what_is_unwise_is_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "token", TOKEN, 0o644);
    write(
        dir.path(),
        "config.toml",
        r#"
[vaultwarden]
url = "http://vaultwarden"
admin_token_file = "token"
tls_verify = false
[[directory]]
url = ["ldap://localhost", "ldap://[::1]:3389", "ldap://ldap.example.org"]
bind_dn = "cn=reader,dc=example,dc=org"
bind_password = "a"
base_dn = "dc=example,dc=org"
tls_verify = false
"#,
        0o644,
    );
    let output = run(dir.path(), &["config", "show"]).await;
    assert_eq!(output.status.code(), Some(0));
    insta::assert_snapshot!(stderr(&output), @"");
}

#[tokio::test]
async fn a_connection_that_stays_on_this_machine_needs_no_warning() {
    let dir = tempfile::tempdir().unwrap();
    let toml = good("bind_dn = \"cn=x\"\nbind_password = \"a\"\n")
        .replace("https://vault.example.org", "http://127.0.0.1:8000");
    for url in [
        "ldap://localhost",
        "ldap://127.0.0.1:3389",
        "ldap://[::1]",
        "ldapi://%2Frun%2Fslapd%2Fldapi",
    ] {
        let output = show(dir.path(), &toml.replace("ldaps://ldap.example.org", url)).await;
        assert_eq!(
            (output.status.code(), stderr(&output)),
            (Some(0), String::new()),
            "{url}"
        );
    }
}

#[tokio::test]
async fn the_examples_have_no_problems() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/examples");
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "secret", "s", 0o600);
    let mut count = 0;
    for example in std::fs::read_dir(examples).unwrap() {
        let toml = std::fs::read_to_string(example.unwrap().path()).unwrap();
        let toml = toml
            .replace("/run/secrets/admin_token", "secret")
            .replace("/run/secrets/bind_password", "secret");
        let output = show(dir.path(), &toml).await;
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
        count += 1;
    }
    assert!(count > 0);
}

#[tokio::test]
async fn the_configuration_is_found_by_argument_then_environment_then_folder() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["argument", "environment", "config.toml"] {
        write(
            dir.path(),
            name,
            &good("").replace("[vaultwarden]", &format!("state = \"{name}\"\n[vaultwarden]")),
            0o600,
        );
    }
    let shown = async |args: &[&str], environment: Option<&str>| {
        let mut command = tokio::process::Command::new(program());
        command
            .args(["config", "show"])
            .args(args)
            .current_dir(dir.path())
            .env_remove("CONFIG_PATH");
        command.envs(environment.map(|path| ("CONFIG_PATH", path)));
        stdout(&command.output().await.unwrap())
            .lines()
            .next()
            .unwrap()
            .to_owned()
    };
    assert_eq!(
        shown(&["--config", "argument"], Some("environment")).await,
        "state = \"argument\""
    );
    assert_eq!(shown(&[], Some("environment")).await, "state = \"environment\"");
    assert_eq!(shown(&[], None).await, "state = \"config.toml\"");
}

#[tokio::test]
async fn a_configuration_that_cannot_be_read_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), &["run"]).await;
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(stderr(&output), @"");
}

#[tokio::test]
async fn a_wrong_command_line_ends_with_2() {
    let config = Config::new(&good(""));
    for args in [
        &["walk"][..],
        &[],
        &["approve"],
        &["approve", "--all", "ann@example.org"],
        &["status", "--yaml"],
    ] {
        let output = config.ask(args).await;
        assert_eq!(output.status.code(), Some(2), "{args:?}");
    }
}

#[tokio::test]
async fn the_help_documents_commands_and_exit_codes() {
    let output = Config::new("").ask(&["--help"]).await;
    assert_eq!(output.status.code(), Some(0));
    insta::assert_snapshot!(stdout(&output), @"");
}

#[tokio::test]
async fn a_reader_that_has_seen_enough_is_no_error() {
    let config = Config::new(&good(""));
    let mut child = command(&config.path())
        .args(["config", "show"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().await.unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
}
