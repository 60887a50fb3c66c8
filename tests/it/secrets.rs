//! Where secrets come from, and that they can be replaced while the service runs.

use std::time::Duration;

use crate::support::service::{Config, Service};
use crate::support::slapd::Slapd;
use crate::support::stand_in::StandIn;
use crate::support::world::PATIENCE;

#[tokio::test]
async fn secrets_that_were_wrong_are_read_again_on_hangup() {
    let slapd = Slapd::builder().people(1).start().await;
    let vault = StandIn::start();
    let config = Config::new("");
    config.write(
        "config.toml",
        &format!(
            r#"
state = "state.db"
[vaultwarden]
url = "{}"
admin_token_file = "token"
[[directory]]
url = "{}"
bind_dn = "{}"
bind_password_file = "password"
base_dn = "{}"
[http]
listen = "127.0.0.1:0"
"#,
            vault.url(),
            slapd.url(),
            slapd.reader_dn(),
            slapd.people_base(),
        ),
    );
    config.write("token", "wrong");
    config.write("password", "wrong");
    let mut run = config.command();
    run.arg("run");
    let mut service = Service::start_by(run, config);
    service
        .wait_for_line("no session with the directory", PATIENCE)
        .await;

    service.config().write("token", "");
    service.signal("HUP").await;
    service
        .wait_for_line("the configuration stays as it was", PATIENCE)
        .await;

    // Whoever waits, ten seconds and more for the directory and a minute for Vaultwarden, tries again at once.
    service.config().write("token", "wrong as well");
    service.config().write("password", slapd.reader_pw());
    service.signal("HUP").await;
    service.wait_for_line("were read again", PATIENCE).await;
    let at_once = Duration::from_secs(8);
    service.wait_for_line("connected to the directory", at_once).await;
    service.wait_for_line("refuses the admin token", PATIENCE).await;
    service.config().write("token", "sesame");
    service.signal("HUP").await;
    assert!(
        vault.wait_for_invite("person1@example.org", PATIENCE).await,
        "{}",
        service.output()
    );
    service.term().await;
    assert!(service.wait().await.success());
}

#[tokio::test]
async fn credentials_of_systemd_are_used_where_no_key_says_otherwise() {
    let config = Config::new(
        r#"
[vaultwarden]
url = "https://vault.example.org"
[[directory]]
name = "a"
url = "ldaps://a.example.org"
bind_dn = "cn=reader"
base_dn = "dc=example,dc=org"
[[directory]]
name = "b"
url = "ldaps://b.example.org"
bind_dn = "cn=reader"
base_dn = "dc=example,dc=org"
[[directory]]
name = "anonymous"
url = "ldaps://c.example.org"
base_dn = "dc=example,dc=org"
"#,
    );
    for name in ["admin_token", "bind_password", "b.bind_password"] {
        config.write(name, "secret\n");
    }
    let mut show = config.command();
    show.args(["config", "show"])
        .env("CREDENTIALS_DIRECTORY", config.dir());
    let output = show.output().await.unwrap();
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
    let shown = String::from_utf8(output.stdout).unwrap();
    let files: Vec<&str> = shown
        .lines()
        .filter_map(|line| line.split_once("from file ")?.1.rsplit('/').next())
        .collect();
    assert_eq!(
        files,
        ["admin_token)\"", "bind_password)\"", "b.bind_password)\""]
    );
}
