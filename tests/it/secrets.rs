//! Where secrets come from, and that they can be replaced while the service runs.

use std::time::Duration;

use crate::support::service::{Config, Service};
use crate::support::slapd::Slapd;
use crate::support::stand_in::StandIn;
use crate::support::world::{PATIENCE, World};

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
        .wait_for_line("the old configuration stays in use", PATIENCE)
        .await;

    // Whoever waits, ten seconds and more for the directory and a minute for Vaultwarden, tries again at once.
    service.config().write("token", "wrong as well");
    service.config().write("password", slapd.reader_pw());
    service.signal("HUP").await;
    service.wait_for_line("were reloaded", PATIENCE).await;
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

#[tokio::test]
async fn a_secret_is_the_same_however_an_editor_encodes_its_file() {
    let world = World::with(Slapd::builder().people(1)).await;
    let config = Config::new("");
    let toml = world
        .config()
        .replace("admin_token = \"sesame\"", "admin_token_file = \"token\"")
        .replace("bind_password = ", "bind_password_file = \"password\" #");
    config.write("config.toml", &toml);
    let write = |name: &str, bytes: Vec<u8>| std::fs::write(config.dir().join(name), bytes).unwrap();
    config.write("token", "");
    config.write("password", "");
    let utf16 = |text: &str| -> Vec<u8> {
        let units = std::iter::once(0xfeff).chain(text.encode_utf16());
        units.flat_map(u16::to_le_bytes).collect()
    };
    write("token", utf16("sesame\r\n"));
    write(
        "password",
        format!("\u{feff}{}\r\n", world.server.reader_pw()).into_bytes(),
    );
    let run = async |args: &[&str]| {
        let output = config.command().args(args).output().await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let (code, text) = run(&["sync"]).await;
    assert_eq!(code, Some(0), "{text}");
    assert_eq!(world.vault.invited(), ["person1@example.org"]);

    for (bytes, cause) in [
        (&b"p\xe4ss"[..], "token is not UTF-8 text; save it as UTF-8"),
        (
            b"s\0e\0s\0",
            "token contains NUL characters, as UTF-16 text does; save it as UTF-8",
        ),
        (b"\xef\xbb\xbf\r\n", "token is empty; write the secret into it"),
    ] {
        write("token", bytes.to_vec());
        let (code, text) = run(&["sync"]).await;
        assert!(
            code == Some(2) && text.contains(&format!("vaultwarden.admin_token_file: {cause}")),
            "{text}"
        );
    }
}

#[tokio::test]
async fn the_end_of_a_line_in_a_variable_is_no_part_of_the_password() {
    let world = World::with(Slapd::builder().people(1)).await;
    let config = Config::new(&world.config());
    let mut sync = config.command();
    sync.arg("sync")
        .env(
            "LDAP_USHER__DIRECTORY__0__BIND_PASSWORD",
            format!("{}\r\n", world.server.reader_pw()),
        )
        .env("LDAP_USHER__VAULTWARDEN__ADMIN_TOKEN", "sesame\n");
    let output = sync.output().await.unwrap();
    assert!(output.status.success(), "{output:?}");
    assert_eq!(world.vault.invited(), ["person1@example.org"]);
}

#[tokio::test]
async fn a_reload_names_the_secrets_that_it_does_not_take() {
    let notify = "[notify]\nurl = \"http://127.0.0.1:1/hook\"\nsecret = \"first\"\n";
    let mut world = World::with(Slapd::builder()).await.tables(notify);
    world.start().await;
    let config = world.service().config();
    config.write("config.toml", &world.config().replace("secret = \"first\"\n", ""));
    world.service().signal("HUP").await;
    let line = world.says(&["takes effect after a restart", "key="], 1).await;
    assert!(
        line.contains("notify.secret") && !line.contains("first"),
        "{line}"
    );
}
