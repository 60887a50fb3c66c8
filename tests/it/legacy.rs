//! Whoever comes from vaultwarden_ldap: their configuration works as it is, and can be put into the native form.

use std::process::Output;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::support::service::{Config, Service};
use crate::support::slapd::Slapd;
use crate::support::stand_in::StandIn;
use crate::support::world::PATIENCE;

const SECRET: &str = "quite-secret";

async fn run(config: &Config, args: &[&str]) -> Output {
    run_with(config, args, &[]).await
}

async fn run_with(config: &Config, args: &[&str], variables: &[(&str, &str)]) -> Output {
    let mut command = config.command();
    command.args(args).envs(variables.iter().copied());
    timeout(PATIENCE, command.output())
        .await
        .expect("it ends")
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_owned()).unwrap()
}

/// All keys but those that exclude each other.
const FULL: &str = r#"
vaultwarden_url = "https://vault.example.org"
vaultwarden_admin_token = "quite-secret"
vaultwarden_root_cert_file = ""
ldap_host = "ldap.example.org"
ldap_ssl = true
ldap_starttls = true
ldap_no_tls_verify = false
ldap_bind_dn = "cn=admin,dc=example,dc=org"
ldap_bind_password_file = "password"
ldap_search_base_dn = "dc=example,dc=org"
ldap_search_filter = '(&(objectClass=*)(uid=*))'
ldap_mail_field = "email"
ldap_sync_interval_seconds = 10
ldap_sync_loop = false
"#;

#[tokio::test]
async fn a_file_is_migrated_with_comments_and_without_its_secrets() {
    let config = Config::new("");
    config.write("config.toml", FULL);
    config.write("password", SECRET);
    let output = run(&config, &["config", "migrate"]).await;
    let migrated = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    insta::assert_snapshot!(migrated.replace(config.dir().to_str().unwrap(), "FOLDER"), @r#"
        # Translated from the vaultwarden_ldap configuration in config.toml.
        # `ldap_sync_loop = false` has no native key: run `ldap-usher sync` instead of `ldap-usher run`.

        # vaultwarden_ldap has no state file; this path was chosen for it.
        state = "FOLDER/state.db"

        [vaultwarden]
        url = "https://vault.example.org"
        # The secret is not repeated here: write the value of vaultwarden_admin_token (config.toml:3) into a file, and name it here.
        #admin_token_file = "/run/secrets/admin_token"

        [[directory]]
        url = "ldaps://ldap.example.org:636"
        bind_dn = "cn=admin,dc=example,dc=org"
        # vaultwarden_ldap ignores all white space around the secret; ldap-usher ignores one newline at its end only.
        bind_password_file = "password"
        base_dn = "dc=example,dc=org"
        filter = "(&(objectClass=*)(uid=*))"
        mail_attributes = "email"
        poll_interval = "10s"

        [invite]
        # vaultwarden_ldap invites every address that it does not know.
        on_address_change = "invite"
        # vaultwarden_ldap reminds nobody.
        resend_limit = 0

        [limits]
        # vaultwarden_ldap has no such limit.
        invites_per_listing = "unlimited"
        # vaultwarden_ldap has no such limit.
        invites_per_hour = "unlimited"
        # vaultwarden_ldap has no such limit.
        addresses_per_person = "unlimited"

        [http]
        # vaultwarden_ldap opens no port.
        listen = "off"
        "#);

    // With its secret in a file it is the same configuration.
    let before = text(&run(&config, &["config", "show"]).await.stdout);
    config.write("token", SECRET);
    config.write(
        "config.toml",
        &migrated.replace(
            "#admin_token_file = \"/run/secrets/admin_token\"",
            "admin_token_file = \"token\"",
        ),
    );
    let after = run(&config, &["config", "show"]).await;
    assert_eq!(text(&after.stderr), "");
    assert_eq!(
        text(&after.stdout).replace("(set, from file token)", "(set)"),
        before
    );
    let again = run(&config, &["config", "migrate"]).await;
    assert_eq!(again.status.code(), Some(1));
}

#[tokio::test]
async fn problems_name_the_keys_that_were_written() {
    let config = Config::new("");
    config.write(
        "config.toml",
        r#"
vaultwarden_url = "vault.example.org"
vaultwarden_admin_token = "$argon2id$quite-secret"
ldap_host = "ldap example"
ldap_bind_dn = "cn=admin,dc=example,dc=org"
ldap_search_base_dn = "dc=example,dc=org"
ldap_search_filter = "(uid=*"
"#,
    );
    let output = run(&config, &["run"]).await;
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(text(&output.stderr), @r#"
        error: the configuration cannot be used
        config.toml:2: vaultwarden_url: has no scheme; write it as https://vault.example.org, with the sub-path if there is one
        config.toml:3: vaultwarden_admin_token: is the hash that Vaultwarden keeps as its ADMIN_TOKEN; give the secret from which it was made, in plain text
        config.toml:4: ldap_host: ldap://ldap example:389 contains a space or a comma; write several servers as a list, each with its scheme, as in ["ldaps://a.example.org", "ldaps://b.example.org"]
        config.toml:5: ldap_bind_dn: has no password; name its file by `bind_password_file`, or leave `bind_dn` out to bind anonymously
        config.toml:7: ldap_search_filter: at character 1, `(uid=*`: this parenthesis is never closed; write `)` where what it opens ends
        "#);

    config.write(
        "config.toml",
        "vaultwarden_url = 3\nvaultwarden_admin_token = 4213\nldap_hots = \"ldap\"\nldap_ssl = \"yes\"\nldap_port = 70000\n",
    );
    let output = run(&config, &["run"]).await;
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(text(&output.stderr), @r"
        error: the configuration cannot be used
        config.toml: ldap_host: is missing
        config.toml: ldap_search_base_dn: is missing
        config.toml: ldap_search_filter: is missing
        config.toml:1: vaultwarden_url: expected a string in quotes
        config.toml:2: vaultwarden_admin_token: expected a string in quotes
        config.toml:3: ldap_hots: unknown key; did you mean `ldap_host`?
        config.toml:4: ldap_ssl: expected true or false
        config.toml:5: ldap_port: expected a whole number up to 65535
        ");
}

#[tokio::test]
async fn variables_are_a_configuration_where_there_is_no_file() {
    let config = Config::new("");
    std::fs::remove_file(config.path()).unwrap();
    let variables = [
        ("APP_VAULTWARDEN_URL", "https://vault.example.org"),
        ("APP_VAULTWARDEN_ADMIN_TOKEN", SECRET),
        ("APP_LDAP_HOST", "ldap.example.org"),
        ("APP_LDAP_PORT", "3389"),
        ("APP_LDAP_STARTTLS", "true"),
        ("APP_LDAP_BIND_DN", ""),
        ("APP_LDAP_SEARCH_BASE_DN", "dc=example,dc=org"),
        ("APP_LDAP_SEARCH_FILTER", "(uid=*)"),
        ("APP_ENV", "production"),
    ];
    let output = run_with(&config, &["config", "show"], &variables).await;
    let shown = text(&output.stdout);
    assert!(
        shown.contains("url = [\"ldap://ldap.example.org:3389\"]\n") && shown.contains("\nstarttls = true\n"),
        "{shown}"
    );
    insta::assert_snapshot!(text(&output.stderr), @r"
        warning: the environment: is in the format of vaultwarden_ldap, which works; `ldap-usher config migrate` prints it in the native format
        ");
    let migrated = text(&run_with(&config, &["config", "migrate"], &variables).await.stdout);
    assert!(
        migrated.contains("APP_VAULTWARDEN_ADMIN_TOKEN") && !migrated.contains(SECRET),
        "{migrated}"
    );

    let wrong = [
        ("APP_LDAP_HOST", "x"),
        ("APP_LDAP_PORT", "many"),
        ("APP_LDAP_USER", "x"),
    ];
    let output = run_with(&config, &["config", "show"], &wrong).await;
    insta::assert_snapshot!(text(&output.stderr), @r"
        error: the configuration cannot be used
        APP_LDAP_USER: unknown key; did you mean `ldap_ssl`?
        APP_VAULTWARDEN_URL: is missing
        APP_LDAP_SEARCH_BASE_DN: is missing
        APP_LDAP_SEARCH_FILTER: is missing
        APP_VAULTWARDEN_ADMIN_TOKEN: is missing
        APP_LDAP_PORT: expected a whole number up to 65535
        ");

    // Where there is a file, it alone counts, as with vaultwarden_ldap.
    config.write("password", SECRET);
    config.write("config.toml", FULL);
    let shown = text(&run_with(&config, &["config", "show"], &variables).await.stdout);
    assert!(shown.contains("ldaps://ldap.example.org:636"), "{shown}");
}

/// A configuration for these two, with everything that is required.
fn configuration(slapd: &Slapd, vault: &StandIn) -> String {
    let url = slapd.url();
    let (host, port) = url.strip_prefix("ldap://").unwrap().split_once(':').unwrap();
    format!(
        r#"
vaultwarden_url = "{}"
vaultwarden_admin_token_file = "token"
ldap_host = "{host}"
ldap_port = {port}
ldap_bind_dn = "{}"
ldap_bind_password_file = "password"
ldap_search_base_dn = "{}"
ldap_search_filter = "(mail=*)"
"#,
        vault.url(),
        slapd.reader_dn(),
        slapd.people_base(),
    )
}

#[tokio::test]
async fn one_pass_invites_everyone_and_ends() {
    let (slapd, vault, config) = (
        Slapd::builder().people(3).start().await,
        StandIn::start(),
        Config::new(""),
    );
    config.write("token", "  sesame\n\n");
    config.write("password", &format!("{}\n\n", slapd.reader_pw()));
    config.write(
        "config.toml",
        &(configuration(&slapd, &vault) + "ldap_sync_loop = false\n"),
    );
    for invited in [3, 0] {
        let output = run(&config, &["run"]).await;
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert_eq!(
            text(&output.stdout),
            format!("{invited} invited, 0 had an account\n")
        );
    }
    assert_eq!(vault.invited().len(), 3);
}

#[tokio::test]
async fn the_service_runs_says_where_its_state_is_and_once_how_to_migrate() {
    // More than the native limit would let pass.
    let slapd = Slapd::builder().people(501).start().await;
    let (vault, config) = (StandIn::start(), Config::new(""));
    config.write("token", "sesame");
    config.write("password", slapd.reader_pw());
    config.write("config.toml", &configuration(&slapd, &vault));
    let state = config.dir().join("state.db");
    let mut run = config.command();
    run.arg("run");
    let mut service = Service::start_by(run, config);
    slapd.people().add_person("ann").await;
    assert!(
        vault.wait_for_invite("ann@example.org", PATIENCE).await,
        "{}",
        service.output()
    );
    let deadline = Instant::now() + PATIENCE;
    while vault.invited().len() < 502 {
        assert!(Instant::now() < deadline, "{}", service.output());
        sleep(Duration::from_millis(20)).await;
    }
    service.term().await;
    assert!(service.wait().await.success());
    let log = service.output();
    assert_eq!(log.matches("ldap-usher config migrate").count(), 1, "{log}");
    assert!(log.contains(state.to_str().unwrap()) && state.exists(), "{log}");
}
