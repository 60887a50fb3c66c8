//! `plan`, `watch` and `check` as an administrator runs them, against a real slapd and a stand-in for Vaultwarden.

use std::process::Output;
use std::time::Duration;

use serde_json::Value;

use crate::support::front::Front;
use crate::support::service::{Config, Service};
use crate::support::slapd::{Builder, Slapd};
use crate::support::stand_in::{Fault, On, Setup, StandIn};
use crate::tls;

const PATIENCE: Duration = Duration::from_secs(20);

/// A directory, a Vaultwarden, and a folder for the state.
struct World {
    slapd: Slapd,
    stand_in: StandIn,
    dir: tempfile::TempDir,
}

impl World {
    async fn with(slapd: Builder) -> Self {
        Self {
            slapd: slapd.start().await,
            stand_in: StandIn::start(),
            dir: tempfile::tempdir().unwrap(),
        }
    }

    /// The configuration of a service in this world.
    fn toml(&self) -> String {
        format!(
            r#"
state = "{}"
[vaultwarden]
url = "{}"
admin_token = "sesame"
[[directory]]
url = "{}"
bind_dn = "{}"
bind_password = "{}"
base_dn = "{}"
[http]
listen = "off"
"#,
            self.dir.path().join("state.db").display(),
            self.stand_in.url(),
            self.slapd.url(),
            self.slapd.reader_dn(),
            self.slapd.reader_pw(),
            self.slapd.people_base(),
        )
    }

    fn config(&self) -> Config {
        Config::new(&self.toml())
    }
}

fn read(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_owned()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// The rows of a `--json` array; the program must have ended with this code.
async fn rows(config: &Config, command: &str, expected: i32) -> Vec<Value> {
    let (code, stdout, stderr) = read(&config.ask(&[command, "--json"]).await);
    assert_eq!(code, Some(expected), "{stdout}{stderr}");
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}{stderr}"))
}

#[tokio::test]
async fn a_plan_names_everyone_and_leaves_no_trace() {
    let world = World::with(Slapd::builder().people(2)).await;
    world.slapd.people().add_person_with("mute", None).await;
    world.stand_in.preload(["person1@example.org"]);
    let config = world.config();

    let rows = rows(&config, "plan", 0).await;
    let mut said: Vec<_> = rows
        .iter()
        .map(|row| {
            let keys: Vec<_> = row.as_object().unwrap().keys().map(String::as_str).collect();
            assert_eq!(keys, ["action", "at", "directory", "dn", "email", "reason"]);
            assert_eq!(row["directory"], "main");
            let text = |key: &str| row[key].as_str().unwrap_or("-").to_owned();
            [text("action"), text("email"), text("reason")]
        })
        .collect();
    said.sort();
    assert_eq!(
        said,
        [
            [
                "invite",
                "person2@example.org",
                "matches the filter and has no account"
            ],
            ["none", "-", "cannot be invited: has no mail"],
            ["none", "person1@example.org", "has an account"],
        ]
    );
    assert_eq!(world.stand_in.invited(), Vec::<String>::new());
    assert_eq!(std::fs::read_dir(world.dir.path()).unwrap().count(), 0);

    let (code, stdout, stderr) = read(&config.ask(&["sync"]).await);
    assert_eq!(code, Some(0), "{stderr}");
    assert_eq!(stdout, "1 invited, 1 had an account\n");
}

#[tokio::test]
async fn a_plan_beside_the_service_uses_its_session_and_writes_nothing() {
    let world = World::with(Slapd::builder().people(1)).await;
    let service = Service::start(&world.toml());
    assert!(
        world
            .stand_in
            .wait_for_invite("person1@example.org", PATIENCE)
            .await
    );
    service.wait_for_line("invited", PATIENCE).await;
    let logins = world.stand_in.logins();
    let (code, stdout, stderr) = read(&service.ask(&["plan"]).await);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert_eq!(
        stdout,
        "1 with nothing to do\n        1  was invited before  (uid=person1,ou=people,dc=example,dc=org)\n"
    );
    assert_eq!(world.stand_in.logins(), logins);
}

#[tokio::test]
async fn a_plan_without_its_directory_says_what_keeps_it_from_being_whole() {
    let mut world = World::with(Slapd::builder().people(1)).await;
    let config = world.config();
    world.slapd.stop().await;
    let (code, _, stderr) = read(&config.ask(&["plan"]).await);
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains("directory main: ") && stderr.contains("no connection"),
        "{stderr}"
    );
}

#[tokio::test]
async fn a_sync_without_one_of_its_directories_says_what_it_did_with_the_others() {
    let world = World::with(Slapd::builder().people(2)).await;
    let toml = world.toml().replace(
        "[http]",
        r#"[[directory]]
name = "branch"
url = "ldap://127.0.0.1:1"
base_dn = "dc=example,dc=org"
[http]"#,
    );
    let (code, stdout, stderr) = read(&Config::new(&toml).ask(&["sync"]).await);
    assert_eq!(
        (code, stdout.as_str()),
        (Some(1), "2 invited, 0 had an account\n")
    );
    let last = stderr.lines().last().unwrap();
    assert!(
        last.starts_with("error: directory branch: ldap://127.0.0.1:1: no connection"),
        "{stderr}"
    );
}

#[tokio::test]
async fn a_plan_without_vaultwarden_says_who_waits_and_what_for() {
    let mut world = World::with(Slapd::builder().people(1)).await;
    world.stand_in.down();
    let config = world.config();
    let (code, stdout, stderr) = read(&config.ask(&["plan"]).await);
    assert_eq!(code, Some(1));
    assert!(
        stdout.contains("  waits until Vaultwarden is available:\n    person1@example.org  "),
        "{stdout}"
    );
    assert!(
        stderr.starts_with("error: vaultwarden: ") && stderr.contains("is out of reach"),
        "{stderr}"
    );
}

#[tokio::test]
async fn watch_tells_of_each_change_and_of_none_that_the_first_listing_finds_until_ctrl_c() {
    let world = World::with(Slapd::builder().people(3)).await;
    let mut watch = Service::start_command(world.config(), &["watch", "--json"]);
    watch.wait_for_line("\"listed\"", PATIENCE).await;
    let people = world.slapd.people();
    people.add_person("ann").await;
    let line = watch.wait_for_line("ann@example.org", PATIENCE).await;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["kind"], "upsert");
    assert_eq!(line["dn"], people.dn("ann"));
    people.delete("person1").await;
    let line = watch.wait_for_line("\"gone\"", PATIENCE).await;
    let line: Value = serde_json::from_str(&line).unwrap();
    assert_eq!(line["dn"], people.dn("person1"));
    assert!(!watch.output().contains("person2"), "{}", watch.output());
    assert!(std::fs::read_dir(world.dir.path()).unwrap().next().is_none());
    watch.signal("INT").await;
    assert_eq!(watch.wait().await.code(), Some(0));
}

#[tokio::test]
async fn watch_comes_back_after_the_server_does_and_names_what_happened_meanwhile() {
    let mut world = World::with(Slapd::builder().people(1)).await;
    let watch = Service::start_command(world.config(), &["watch"]);
    watch.wait_for_line("main  listed  1 entries", PATIENCE).await;
    world.slapd.stop().await;
    watch.wait_for_line("trying again", PATIENCE).await;
    world.slapd.restart().await;
    world.slapd.people().add_person("ann").await;
    watch.wait_for_line("main  upsert  uid=ann,", PATIENCE).await;
}

/// The level and the detail of what `check` says about a step, such as `, bind` of whatever has one or
/// `vaultwarden, TLS`.
fn about<'a>(rows: &'a [Value], step: &str) -> (&'a str, String) {
    let (of, step) = step.split_at(step.find(", ").unwrap_or(0));
    let row = rows.iter().find(|row| {
        let subject = row["subject"].as_str().unwrap();
        subject.starts_with(of) && subject.ends_with(step)
    });
    let row = row.unwrap_or_else(|| panic!("nothing about {step} in {rows:#?}"));
    let text = |key: &str| row[key].as_str().unwrap();
    (text("level"), format!("{} -> {}", text("detail"), text("remedy")))
}

/// `check` must fail at this step, and its line must hold these words; returns all lines.
async fn fails(toml: &str, step: &str, words: &[&str]) -> Vec<Value> {
    let rows = rows(&Config::new(toml), "check", 1).await;
    let (level, said) = about(&rows, step);
    assert_eq!(level, "fail", "{rows:#?}");
    for word in words {
        assert!(said.contains(word), "{word:?} is not in {said}");
    }
    rows
}

#[tokio::test]
async fn check_finds_a_good_world_good_and_shows_no_secret() {
    let world = World::with(Slapd::builder().people(7).tls()).await;
    world.slapd.people().add_person_with("mute", None).await;
    let toml = world
        .toml()
        .replace(&world.slapd.url(), &world.slapd.ldaps_url())
        .replace(
            "base_dn",
            &format!("ca_file = {:?}\nbase_dn", world.slapd.ca_file()),
        );
    let rows = rows(&Config::new(&toml), "check", 0).await;
    for (step, level, words) in [
        ("configuration", "ok", "can be used"),
        (
            ", name",
            "ok",
            "127.0.0.1 is an address, which needs no resolving",
        ),
        (", connection", "ok", "accepts connections"),
        (", certificate", "ok", "names localhost, 127.0.0.1"),
        (", TLS", "ok", "trusted"),
        (", bind", "ok", "cn=reader"),
        (
            ", capabilities",
            "ok",
            "content synchronisation (RFC 4533) offered",
        ),
        (", base", "ok", "ou=people"),
        (", stream", "ok", "syncrepl, because the server offers"),
        (", people", "ok", "8 below ou=people,dc=example,dc=org match"),
        (
            ", addresses",
            "warn",
            "7 of 8 have a usable address; without: uid=mute,",
        ),
        (", listing", "ok", "neither the stream nor the listing"),
        (", rights", "ok", "entryCSN"),
        ("vaultwarden, TLS", "ok", "not used"),
        (
            ", DOMAIN",
            "ok",
            "the links in invitations begin with https://vault.example.org",
        ),
        (", version", "ok", "1.37.0"),
        (", admin", "ok", "admin token"),
        (", mail", "ok", "gets a link, which expires after 120 h"),
        (", registration", "ok", "open to invited people only"),
        (", logins", "ok", "3 at once and then one in 300s"),
    ] {
        let (found, said) = about(&rows, step);
        assert!(found == level && said.contains(words), "{step}: {found} {said}");
    }
    let all = format!("{rows:?}");
    assert!(
        !all.contains("sesame") && !all.contains(world.slapd.reader_pw()),
        "{all}"
    );
    let (code, stdout, _) = read(&Config::new(&toml).ask(&["check"]).await);
    assert_eq!((code, stdout.lines().count()), (Some(0), rows.len()), "{stdout}");
}

#[tokio::test]
async fn check_names_what_is_wrong_with_the_way_to_the_directory() {
    let world = World::with(Slapd::builder().people(1).tls()).await;
    let good = world.toml();
    let wrong = good.replace(world.slapd.reader_pw(), "wrong-secret");
    let rows = fails(&wrong, ", bind", &["wrong bind DN or wrong password"]).await;
    assert_eq!(about(&rows, ", people").0, "skip");
    assert!(!format!("{rows:?}").contains("wrong-secret"));

    let untrusted = good.replace(&world.slapd.url(), &world.slapd.ldaps_url());
    let rows = fails(&untrusted, ", TLS", &["UnknownIssuer", "ca_file"]).await;
    assert!(about(&rows, ", certificate").1.contains("valid from"));

    let base = good.replace("ou=people", "ou=nowhere");
    fails(&base, ", base", &["ou=nowhere", "does not exist", "base_dn"]).await;

    let nobody = good.replace(&world.slapd.url(), "ldap://127.0.0.1:1");
    let rows = fails(&nobody, ", connection", &["refused", "firewalls"]).await;
    assert_eq!(about(&rows, ", bind").0, "skip");
    // So many logins in a row exceed Vaultwarden's limit, which is nobody's mistake.
    let (level, said) = about(&rows, ", admin");
    assert!(level == "warn" && said.contains("too many requests"), "{said}");
}

#[tokio::test]
async fn check_names_what_a_server_cannot_do_or_does_not_let_us_do() {
    let mut world = World::with(Slapd::builder().people(12).no_syncprov()).await;
    let found = rows(&world.config(), "check", 0).await;
    let (level, said) = about(&found, ", stream");
    assert!(
        level == "warn"
            && said.contains("poll, because the server does not offer")
            && said.contains("syncprov"),
        "{said}"
    );

    world
        .slapd
        .restart_with(|slapd| slapd.global_line("moduleload syncprov"))
        .await;
    let found = rows(&world.config(), "check", 0).await;
    let (level, said) = about(&found, ", stream");
    assert!(
        level == "warn" && said.contains("poll, because of") && said.contains("add `overlay syncprov`"),
        "{said}"
    );

    world.slapd.restart_with(|slapd| slapd.size_limit(Some(10))).await;
    fails(&world.toml(), ", people", &["size limit", "size=unlimited"]).await;

    let hidden = World::with(Slapd::builder().people(1).hide_from_reader("entryCSN")).await;
    fails(&hidden.toml(), ", rights", &["entryCSN cannot be read"]).await;
}

#[tokio::test]
async fn check_names_what_is_wrong_with_vaultwarden() {
    let mut world = World::with(Slapd::builder().people(1)).await;
    let good = world.toml();
    fails(
        &good.replace("sesame", "guess"),
        ", admin",
        &["refuses the admin token"],
    )
    .await;

    let sub_path = good.replace(&world.stand_in.url(), &format!("{}/vault", world.stand_in.url()));
    let found = fails(&sub_path, "vaultwarden, connection", &["404", "DOMAIN"]).await;
    assert_eq!(about(&found, ", admin").0, "skip");

    world.stand_in.fail(On::All, None, 10, Fault::Page(200));
    fails(
        &good,
        "vaultwarden, connection",
        &["page that is not Vaultwarden's"],
    )
    .await;
    world.stand_in.heal();

    world.stand_in.fail(
        On::All,
        None,
        10,
        Fault::Redirect("https://vault.example.org/alive"),
    );
    let moved = [
        "redirects to https://vault.example.org",
        "configure that as the URL",
    ];
    fails(&good, "vaultwarden, connection", &moved).await;
    world.stand_in.heal();

    world.stand_in.down();
    let found = fails(
        &good,
        "vaultwarden, connection",
        &["out of reach", "that Vaultwarden runs"],
    )
    .await;
    assert_eq!(about(&found, ", bind").0, "ok");
}

#[tokio::test]
async fn check_shows_the_certificate_of_vaultwarden_and_why_it_was_refused() {
    let world = World::with(Slapd::builder().people(1)).await;
    let front = Front::of(&world.stand_in.url(), tls::acceptor()).await;
    let secured = |host: &str| {
        let url = format!("https://{host}:{}", front.port());
        world.toml().replace(&world.stand_in.url(), &url)
    };
    let rows = fails(
        &secured("localhost"),
        "vaultwarden, TLS",
        &["UnknownIssuer", "`ca_file`"],
    )
    .await;
    let presented = "subject CN=ldap-usher test, issuer CN=ldap-usher test, valid from 2020-01-01 until 2120-01-01, \
                     names localhost, 127.0.0.1";
    let (level, said) = about(&rows, ", certificate");
    assert!(level == "ok" && said.contains(presented), "{said}");
    assert_eq!(about(&rows, ", admin").0, "skip");

    let ca = tls::file(tls::CERTIFICATE.as_bytes());
    let trusting = |host: &str| {
        let token = format!("ca_file = {:?}\nadmin_token", ca.path());
        secured(host).replace("admin_token", &token)
    };
    fails(
        &trusting("127.0.0.2"),
        "vaultwarden, TLS",
        &["not valid for name", "tls_server_name"],
    )
    .await;
    let rows = self::rows(&Config::new(&trusting("localhost")), "check", 0).await;
    let trusted = about(&rows, "vaultwarden, TLS");
    assert_eq!(
        trusted,
        ("ok", "the certificate is trusted as configured -> ".into())
    );
    assert!(about(&rows, ", certificate").1.contains(presented));
}

#[tokio::test]
async fn check_says_where_the_links_in_invitations_lead() {
    let mut world = World::with(Slapd::builder().people(1)).await;
    for (domain, words) in [
        ("http://localhost", "the reader's own machine"),
        ("http://vault.example.org", "over HTTPS only"),
    ] {
        world.stand_in = StandIn::with(Setup {
            domain: domain.into(),
            ..Setup::default()
        });
        let rows = rows(&world.config(), "check", 0).await;
        let (level, said) = about(&rows, ", DOMAIN");
        assert!(level == "warn" && said.contains(words), "{said}");
    }
}

#[tokio::test]
async fn check_says_what_vaultwardens_own_configuration_means_for_those_who_are_invited() {
    let mut world = World::with(Slapd::builder().people(1)).await;
    world.stand_in = StandIn::with(Setup {
        mail: false,
        limiter: Some((1, Duration::from_secs(3600))),
        told: vec![
            ("signups_allowed", true.into()),
            ("sso_enabled", true.into()),
            ("invitations_allowed", false.into()),
        ],
        ..Setup::default()
    });
    let config = world.config();
    let rows = rows(&config, "check", 0).await;
    for (step, level, words) in [
        (", mail", "warn", "mail is off: Vaultwarden notifies no one"),
        (", registration", "warn", "open to everyone, invited or not"),
        (", invitations", "ok", "this service can"),
        (", single sign-on", "ok", "offered"),
        (", logins", "warn", "1 at once and then one in 3600s"),
    ] {
        let (found, said) = about(&rows, step);
        assert!(found == level && said.contains(words), "{step}: {found} {said}");
    }
    let (_, stdout, _) = read(&config.ask(&["check"]).await);
    assert!(
        stdout.contains("mail: mail is off: Vaultwarden notifies no one"),
        "{stdout}"
    );

    // Behind a proxy that hides it, that is said, and nothing is guessed.
    let hidden = StandIn::start();
    hidden.fail(On::Configuration, None, usize::MAX, Fault::Page(403));
    world.stand_in = hidden;
    let rows = self::rows(&world.config(), "check", 0).await;
    let (level, said) = about(&rows, "vaultwarden, configuration");
    assert!(level == "warn" && said.contains("is not known"), "{said}");
    let subjects: Vec<_> = rows.iter().map(|row| row["subject"].as_str().unwrap()).collect();
    assert!(
        !subjects.iter().any(|subject| subject.ends_with(", mail")),
        "{subjects:?}"
    );
}

#[tokio::test]
async fn from_the_first_check_to_the_first_invitation_there_is_one_login() {
    let world = World::with(Slapd::builder().people(1)).await;
    let config = world.config();
    for (command, says) in [
        ("check", "the admin API answers to the admin token"),
        ("check", "a session that was opened with this admin token"),
        ("plan", "person1@example.org"),
        ("sync", "1 invited"),
    ] {
        let (code, stdout, stderr) = read(&config.ask(&[command]).await);
        assert_eq!(code, Some(0), "{command}: {stdout}{stderr}");
        assert!(stdout.contains(says), "{command}: {stdout}{stderr}");
    }
    assert_eq!(world.stand_in.logins(), 1);
}

#[tokio::test]
async fn check_says_the_same_to_a_pipe_and_as_json_a_line_each_and_each_names_what_it_is_about() {
    let world = World::with(Slapd::builder().people(1)).await;
    let config = world.config();
    // From here on there is a session.
    config.ask(&["check"]).await;
    let rows = rows(&config, "check", 0).await;
    let (_, stdout, stderr) = read(&config.ask(&["check"]).await);
    assert_eq!(stderr, "");
    for (line, row) in stdout.lines().zip(&rows) {
        let text = |key: &str| row[key].as_str().unwrap();
        let about = format!("{}: {}", text("subject"), text("detail"));
        assert!(line.starts_with(text("level")) && line.contains(&about), "{line}");
        let named = [
            "configuration",
            "state",
            "directory main, ldap://",
            "directory main, leavers",
            "vaultwarden, http://",
        ];
        assert!(
            named.iter().any(|name| text("subject").starts_with(name)),
            "{line}"
        );
    }
}

#[tokio::test]
async fn check_uses_the_session_of_the_service() {
    let world = World::with(Slapd::builder().people(1)).await;
    let service = Service::start(&world.toml());
    assert!(
        world
            .stand_in
            .wait_for_invite("person1@example.org", PATIENCE)
            .await
    );
    service.wait_for_line("invited", PATIENCE).await;
    for _ in 0..4 {
        assert_eq!(service.ask(&["check"]).await.status.code(), Some(0));
    }
    assert_eq!(world.stand_in.logins(), 1);
}

#[tokio::test]
async fn check_tries_a_token_other_than_that_of_the_session_and_tells_of_a_door_that_is_open() {
    let mut world = World::with(Slapd::builder().people(1)).await;
    assert_eq!(world.config().ask(&["sync"]).await.status.code(), Some(0));
    // A session is as good as the token with which it was opened, and says nothing about another one.
    let guessed = Config::new(&world.toml().replace("sesame", "guess"));
    let found = rows(&guessed, "check", 1).await;
    let (level, said) = about(&found, ", admin");
    assert!(
        level == "fail" && said.contains("refuses the admin token"),
        "{said}"
    );

    world.stand_in = StandIn::with(Setup {
        open: true,
        ..Setup::default()
    });
    let found = rows(&world.config(), "check", 0).await;
    let (level, said) = about(&found, ", admin");
    assert!(
        level == "warn" && said.contains("asks for no token") && said.contains("DISABLE_ADMIN_TOKEN"),
        "{said}"
    );
}

#[tokio::test]
async fn check_names_what_is_wrong_with_the_state_file_and_does_not_create_one() {
    let world = World::with(Slapd::builder().people(1)).await;
    let found = rows(&world.config(), "check", 0).await;
    assert!(about(&found, "state").1.contains("the first start creates it"));
    let state = world.dir.path().join("state.db");
    assert!(!state.exists());
    std::fs::write(&state, "a shopping list\n".repeat(100)).unwrap();
    fails(
        &world.toml(),
        "state",
        &["not a database", "not a state file of ldap-usher"],
    )
    .await;
}

#[tokio::test]
async fn check_says_each_problem_of_a_configuration() {
    let found = rows(&Config::new("[vaultwarden]\n"), "check", 2).await;
    let (level, said) = about(&found, "configuration");
    assert!(level == "fail" && said.contains("config.toml"), "{said}");
    assert!(found.len() > 2, "{found:#?}");
    assert_eq!(found.last().unwrap()["level"], "skip");
}
