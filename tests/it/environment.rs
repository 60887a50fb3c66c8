//! A configuration from environment variables, wholly or in part.

use std::process::Output;

use crate::support::service::Config;

async fn show(config: &Config, variables: &[(&str, &str)]) -> Output {
    let mut command = config.command();
    command.args(["config", "show"]).envs(variables.iter().copied());
    command.output().await.unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_owned()).unwrap()
}

/// Without a file, and without `--config`, which would have to exist.
async fn show_without_file(variables: &[(&str, &str)]) -> Output {
    let config = Config::new("");
    std::fs::remove_file(config.path()).unwrap();
    let mut command = tokio::process::Command::new(crate::support::service::program());
    command
        .args(["config", "show"])
        .current_dir(config.dir())
        .env_remove("CONFIG_PATH")
        .envs(variables.iter().copied());
    command.output().await.unwrap()
}

#[tokio::test]
async fn the_environment_alone_is_a_configuration() {
    let output = show_without_file(&[
        ("LDAP_USHER__VAULTWARDEN__URL", "https://vault.example.org"),
        ("LDAP_USHER__VAULTWARDEN__ADMIN_TOKEN", "421337"),
        (
            "LDAP_USHER__DIRECTORY__0__URL",
            "[\"ldaps://a.example.org\", \"ldaps://b.example.org\"]",
        ),
        ("LDAP_USHER__DIRECTORY__0__BASE_DN", "dc=example,dc=org"),
        ("LDAP_USHER__DIRECTORY__1__URL", "ldaps://c.example.org"),
        ("LDAP_USHER__DIRECTORY__1__NAME", "2"),
        ("LDAP_USHER__DIRECTORY__1__BASE_DN", "dc=example,dc=com"),
        ("LDAP_USHER__DIRECTORY__1__PAGE_SIZE", "100"),
        ("LDAP_USHER__LIMITS__INVITES_PER_LISTING", "unlimited"),
        ("LDAP_USHER__INVITE__CONCURRENCY", "3"),
        ("LDAP_USHER__HTTP__LISTEN", ""),
    ])
    .await;
    assert_eq!(text(&output.stderr), "");
    let shown = text(&output.stdout);
    for line in [
        "url = \"https://vault.example.org\"",
        "admin_token = \"(set)\"",
        "name = \"2\"",
        "page_size = 100",
        "invites_per_listing = \"unlimited\"",
        "concurrency = 3",
        "listen = \"127.0.0.1:9464\"",
        "    \"ldaps://b.example.org\",",
        "url = [\"ldaps://c.example.org\"]",
    ] {
        assert!(shown.lines().any(|shown| shown == line), "{line}\n{shown}");
    }
}

#[tokio::test]
async fn problems_name_the_variable() {
    let output = show_without_file(&[
        ("LDAP_USHER__VAULTWARDEN__URL", "vault"),
        ("LDAP_USHER__VAULTWARDEN__ADMIN_TOKEN", "$argon2id$421337"),
        ("LDAP_USHER__DIRECTORY__0__URLS", "ldaps://a.example.org"),
        ("LDAP_USHER__DIRECTORY__0__STARTTLS", "maybe"),
        ("LDAP_USHER__DIRECTORY__2__URL", "ldaps://c.example.org"),
        ("LDAP_USHER__INVITE__CONCURRENCY", "0"),
        ("LDAP_USHER__LOG", "debug"),
        ("LDAP_USHER__VAULTWARDEN__URL__PORT", "1"),
    ])
    .await;
    assert_eq!(output.status.code(), Some(2));
    insta::assert_snapshot!(text(&output.stderr), @r#"
        error: the configuration cannot be used
        LDAP_USHER__DIRECTORY__2__URL: leaves a gap: number the tables from 0, those of the file included
        LDAP_USHER__VAULTWARDEN__URL__PORT: names no key; write it as in LDAP_USHER__VAULTWARDEN__URL or LDAP_USHER__DIRECTORY__0__URL
        LDAP_USHER__DIRECTORY__0__STARTTLS: invalid type: string "maybe", expected a boolean
        LDAP_USHER__INVITE__CONCURRENCY: expected a whole number of at least 1
        LDAP_USHER__LOG: invalid type: string "debug", expected a table
        LDAP_USHER__DIRECTORY__0__URLS: unknown key; did you mean `url`?
        LDAP_USHER__VAULTWARDEN__ADMIN_TOKEN: is the hash that Vaultwarden keeps as its ADMIN_TOKEN; give the secret from which it was made, in plain text
        the environment: directory[0].url: is missing; give the address of the server, as in "ldaps://ldap.example.org"
        the environment: directory[0].base_dn: is missing; give the DN below which people are, as in "ou=people,dc=example,dc=org"
        "#);
}

#[tokio::test]
async fn a_variable_counts_before_the_file() {
    let config = Config::new(
        r#"
[vaultwarden]
url = "https://vault.example.org"
admin_token_file = "no-such-file"
[[directory]]
url = "ldaps://a.example.org"
base_dn = "dc=example,dc=org"
[log]
level = "warn"
"#,
    );
    let output = show(
        &config,
        &[
            ("LDAP_USHER__VAULTWARDEN__ADMIN_TOKEN", "secret"),
            ("LDAP_USHER__DIRECTORY__0__URL", "ldaps://b.example.org"),
            ("LDAP_USHER__LOG__LEVEL", "debug"),
        ],
    )
    .await;
    assert_eq!(text(&output.stderr), "");
    let shown = text(&output.stdout);
    assert!(
        shown.contains("ldaps://b.example.org") && !shown.contains("ldaps://a.example.org"),
        "{shown}"
    );
    assert!(shown.contains("level = \"debug\""), "{shown}");

    let both = [
        ("LDAP_USHER__VAULTWARDEN__ADMIN_TOKEN", "a"),
        ("LDAP_USHER__VAULTWARDEN__ADMIN_TOKEN_FILE", "b"),
    ];
    let stderr = text(&show(&config, &both).await.stderr);
    assert!(
        stderr.contains("LDAP_USHER__VAULTWARDEN__ADMIN_TOKEN_FILE: there is a `admin_token` as well"),
        "{stderr}"
    );
}

#[tokio::test]
async fn a_secret_in_a_variable_is_not_in_a_file_that_everyone_can_read() {
    use std::os::unix::fs::PermissionsExt;
    let config = Config::new(
        "[vaultwarden]\nurl = \"https://vault.example.org\"\n[[directory]]\nurl = \"ldaps://a\"\nbase_dn = \"dc=a\"\n",
    );
    std::fs::set_permissions(config.path(), PermissionsExt::from_mode(0o644)).unwrap();
    let output = show(&config, &[("LDAP_USHER__VAULTWARDEN__ADMIN_TOKEN", "secret")]).await;
    assert_eq!(
        (output.status.code(), text(&output.stderr)),
        (Some(0), String::new())
    );
}

#[tokio::test]
async fn a_file_of_vaultwarden_ldap_takes_native_variables_as_well() {
    let config = Config::new(
        r#"
vaultwarden_url = "https://vault.example.org"
vaultwarden_admin_token_file = "no-such-file"
ldap_host = "ldaps://a.example.org"
ldap_search_base_dn = "dc=example,dc=org"
ldap_search_filter = "(uid=*)"
"#,
    );
    let variables = [
        ("LDAP_USHER__VAULTWARDEN__ADMIN_TOKEN", "secret"),
        ("LDAP_USHER__HTTP__LISTEN", "127.0.0.1:9999"),
    ];
    let shown = text(&show(&config, &variables).await.stdout);
    assert!(shown.contains("listen = \"127.0.0.1:9999\""), "{shown}");
}

#[tokio::test]
async fn what_files_and_shells_put_around_a_value_does_not_count() {
    let output = show_without_file(&[
        ("LDAP_USHER__VAULTWARDEN__URL", "\"https://vault.example.org\"\r"),
        ("LDAP_USHER__VAULTWARDEN__ADMIN_TOKEN", "421337\r\n"),
        (
            "LDAP_USHER__DIRECTORY__0__URL",
            "'ldaps://a.example.org ldaps://b.example.org'\n",
        ),
        (
            "LDAP_USHER__DIRECTORY__0__BIND_DN",
            "'cn=reader,dc=example,dc=org'",
        ),
        ("LDAP_USHER__DIRECTORY__0__BIND_PASSWORD", "\u{feff}secret\n"),
        ("LDAP_USHER__DIRECTORY__0__BASE_DN", "dc=example,dc=org\r\n"),
        ("LDAP_USHER__DIRECTORY__0__FILTER", "(uid=*)\r"),
        ("LDAP_USHER__DIRECTORY__0__PAGE_SIZE", "\"100\"\r"),
        ("LDAP_USHER__DIRECTORY__0__TLS_VERIFY", "'true'"),
        ("LDAP_USHER__LOG__LEVEL", "\"\""),
        ("LDAP_USHER__HTTP__LISTEN", "\r"),
    ])
    .await;
    let shown = text(&output.stdout);
    for line in [
        "url = \"https://vault.example.org\"",
        "    \"ldaps://b.example.org\",",
        "bind_dn = \"cn=reader,dc=example,dc=org\"",
        "base_dn = \"dc=example,dc=org\"",
        "filter = \"(uid=*)\"",
        "page_size = 100",
        "tls_verify = true",
        "level = \"info\"",
        "listen = \"127.0.0.1:9464\"",
    ] {
        assert!(
            shown.lines().any(|shown| shown == line),
            "{line}\n{shown}\n{}",
            text(&output.stderr)
        );
    }
    insta::assert_snapshot!(text(&output.stderr), @r"
        warning: LDAP_USHER__DIRECTORY__0__BIND_DN: has quotation marks around it, which are ignored; remove them
        warning: LDAP_USHER__VAULTWARDEN__URL: has quotation marks around it, which are ignored; remove them
        ");
}

#[tokio::test]
async fn a_secret_that_may_be_mistyped_is_taken_as_it_is_with_a_warning() {
    let warned = async |secret: &str| {
        let output = show_without_file(&[
            ("LDAP_USHER__VAULTWARDEN__URL", "https://vault.example.org"),
            ("LDAP_USHER__VAULTWARDEN__ADMIN_TOKEN", secret),
            ("LDAP_USHER__DIRECTORY__0__URL", "ldaps://a.example.org"),
            ("LDAP_USHER__DIRECTORY__0__BASE_DN", "dc=example,dc=org"),
        ])
        .await;
        let warnings = text(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{warnings}");
        assert!(!warnings.contains("4213"), "{warnings}");
        warnings
    };
    for secret in [
        "421337",
        "4213'37",
        "'421337",
        "4213 37",
        "421337\n",
        "421337\r\n",
    ] {
        assert_eq!(warned(secret).await, "", "{secret:?}");
    }
    for (secret, words) in [
        (
            "'421337'",
            "has quotation marks around it, which are taken as part of the secret",
        ),
        (
            "\"421337\"\n",
            "has quotation marks around it, which are taken as part of the secret",
        ),
        (
            " 421337",
            "begins or ends with white space, which is taken as part of the secret",
        ),
        (
            "421337\n\n",
            "begins or ends with white space, which is taken as part of the secret",
        ),
        ("4213\n37", "has several lines, which are taken as one secret"),
    ] {
        let warnings = warned(secret).await;
        let variable = "warning: LDAP_USHER__VAULTWARDEN__ADMIN_TOKEN: ";
        assert!(
            warnings.starts_with(variable) && warnings.contains(words),
            "{secret:?}: {warnings}"
        );
    }
}

#[tokio::test]
async fn a_variable_that_is_not_utf_8_is_not_passed_over() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;
    let config = Config::new(
        "[vaultwarden]\nurl = \"https://vault.example.org\"\n[[directory]]\nurl = \"ldaps://a\"\nbase_dn = \"dc=a\"\n",
    );
    let mut command = config.command();
    command.args(["config", "show"]).env(
        "LDAP_USHER__VAULTWARDEN__ADMIN_TOKEN",
        OsStr::from_bytes(b"p\xe4ss"),
    );
    let stderr = text(&command.output().await.unwrap().stderr);
    assert!(
        stderr.contains("LDAP_USHER__VAULTWARDEN__ADMIN_TOKEN: is not UTF-8 text; encode it as UTF-8"),
        "{stderr}"
    );
}
