//! What the command line says of itself, and what it says of the log.

use std::process::Output;

use tempfile::TempDir;
use tokio::process::Command;

use crate::support::service::{Config, Service, program};
use crate::support::slapd::Slapd;
use crate::support::stand_in::StandIn;
use crate::support::world::{PATIENCE, table};

async fn ask(args: &[&str]) -> String {
    let output = Command::new(program()).args(args).output().await.unwrap();
    assert!(output.status.success(), "{args:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a script in a shell. The completions are in the file `completions` of its folder.
async fn shell(shell: &str, args: &[&str], script: &str) -> String {
    let folder = TempDir::new().unwrap();
    std::fs::write(
        folder.path().join("completions"),
        ask(&["completions", shell]).await,
    )
    .unwrap();
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(shell)
        .args(args)
        .args(["-c", script])
        .current_dir(folder.path())
        .env("HOME", folder.path())
        .env("TERM", "dumb")
        .output()
        .await
        .unwrap_or_else(|error| panic!("{shell} is missing ({error}); run `make packages`"));
    let text = String::from_utf8_lossy(&stdout).into_owned();
    assert!(
        status.success() && stderr.is_empty(),
        "{text}{}",
        String::from_utf8_lossy(&stderr)
    );
    text
}

#[tokio::test]
async fn bash_zsh_and_fish_complete_commands_and_options() {
    let bash = "source ./completions; COMP_WORDS=(ldap-usher st); COMP_CWORD=1; _ldap_usher ldap-usher st ldap-usher; \
                echo ${COMPREPLY[@]}; COMP_WORDS=(ldap-usher run --log); COMP_CWORD=2; \
                _ldap_usher ldap-usher --log run; echo ${COMPREPLY[@]}; complete -p ldap-usher | tail -c 11";
    let said = shell("bash", &["--norc"], bash).await;
    assert_eq!(said, "status state\n--log-level --log-format\nldap-usher\n");
    let fish = "source ./completions; complete --do-complete 'ldap-usher st'";
    let said = shell("fish", &["--no-config"], fish).await;
    assert!(
        said.contains("status\tShow members") && said.contains("state\t"),
        "{said}"
    );
    // The whole of zsh's completion needs a terminal.
    let zsh = "autoload -U compinit; compinit -D; source ./completions; whence -w _ldap-usher; echo ${_comps[ldap-usher]}";
    assert_eq!(
        shell("zsh", &["-f"], zsh).await,
        "_ldap-usher: function\n_ldap-usher\n"
    );
}

#[tokio::test]
async fn each_command_has_a_manual_page_that_can_be_shown() {
    let folder = TempDir::new().unwrap();
    ask(&["man", "--out", folder.path().to_str().unwrap()]).await;
    let pages: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|page| page.unwrap().path())
        .collect();
    let names: Vec<_> = pages
        .iter()
        .map(|page| page.file_name().unwrap().to_str().unwrap())
        .collect();
    for expected in [
        "ldap-usher.1",
        "ldap-usher-run.1",
        "ldap-usher-state-backup.1",
        "ldap-usher-man.1",
    ] {
        assert!(names.contains(&expected), "{names:?}");
    }
    // Every command that `--help` names.
    let help = ask(&["--help"]).await;
    let commands = help.split("Commands:\n").nth(1).unwrap().lines();
    let commands = commands.take_while(|line| line.starts_with("  "));
    let commands = commands.filter_map(|line| line.strip_prefix("  ").filter(|line| !line.starts_with(' ')));
    let mut count = 0;
    for command in commands {
        let command = command.split_whitespace().next().unwrap();
        let page = format!("ldap-usher-{command}.1");
        assert!(names.contains(&page.as_str()), "{page} is missing");
        count += 1;
    }
    assert!(count > 15, "{help}");
    let lint = Command::new("mandoc")
        .args(["-T", "lint", "-W", "error"])
        .args(&pages)
        .output()
        .await
        .expect("mandoc is missing; run `make packages`");
    assert!(
        lint.status.success(),
        "{}{}",
        String::from_utf8_lossy(&lint.stdout),
        String::from_utf8_lossy(&lint.stderr)
    );
    let shown = Command::new("mandoc")
        .args(["-T", "utf8"])
        .arg(folder.path().join("ldap-usher-run.1"))
        .output()
        .await
        .unwrap();
    let shown = String::from_utf8_lossy(&shown.stdout).replace('\u{8}', "");
    assert!(shown.contains("ldap-usher"), "{shown}");
    assert!(ask(&["man"]).await.contains(".TH ldap-usher 1"));
}

/// Runs the service until it has invited somebody. Returns what it printed.
async fn logged(level: &str, variable: Option<&str>, args: &[&str], server: &Slapd) -> String {
    let vault = StandIn::start();
    let config = Config::new(&format!(
        "state = \"state.db\"\n[log]\nlevel = \"{level}\"\n[vaultwarden]\nurl = \"{}\"\nadmin_token = \"sesame\"\n\
         [http]\nlisten = \"off\"\n{}",
        vault.url(),
        table(server, "main", "")
    ));
    let mut run = config.command();
    run.arg("run").args(args);
    if let Some(variable) = variable {
        run.env("RUST_LOG", variable);
    }
    let mut service = Service::start_by(run, config);
    assert!(vault.wait_for_invite("person1@example.org", PATIENCE).await);
    service.term().await;
    assert!(service.wait().await.success());
    service.output()
}

#[tokio::test]
async fn the_command_line_decides_about_the_log_before_the_environment_and_that_before_the_configuration() {
    let server = Slapd::builder().people(1).start().await;
    let is_debug = |text: &str| text.contains("DEBUG");
    let is_info = |text: &str| text.contains("connected to the directory");
    let configured = logged("warn", None, &[], &server).await;
    assert!(!is_info(&configured), "{configured}");
    let variable = logged("warn", Some("info"), &[], &server).await;
    assert!(is_info(&variable) && !is_debug(&variable), "{variable}");
    let flag = logged("warn", Some("error"), &["--log-level", "debug"], &server).await;
    assert!(is_debug(&flag), "{flag}");
    let json = logged("info", None, &["--log-format", "json"], &server).await;
    let lines = json.lines().map(serde_json::from_str::<serde_json::Value>);
    assert!(lines.into_iter().all(|line| line.is_ok()), "{json}");
    // A mistake in the environment does not stop the service.
    let wrong = logged("info", Some("ldap_usher=loud"), &[], &server).await;
    assert!(
        wrong.contains("RUST_LOG is ignored") && wrong.contains("ldap_usher=loud"),
        "{wrong}"
    );
    let refused = Config::new("")
        .ask(&["run", "--log-level", "ldap_usher=loud"])
        .await;
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("use error, warn, info"));
}

#[tokio::test]
async fn no_secret_is_in_the_log_at_its_highest_level_of_everything() {
    let server = Slapd::builder().people(1).start().await;
    let everything = "trace,ldap3=trace,hyper=trace,reqwest=trace,rustls=trace,lber=trace";
    let log = logged("info", Some(everything), &[], &server).await;
    assert!(log.contains("TRACE"), "{log}");
    for secret in ["sesame", server.reader_pw(), "VW_ADMIN="] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}
