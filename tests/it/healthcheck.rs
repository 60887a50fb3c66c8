//! `healthcheck`: what containers and scripts ask of a running service.

use std::time::Duration;

use serde_json::Value;
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::support::service::{Config, Service};
use crate::support::slapd::{Slapd, free_port};
use crate::support::stand_in::StandIn;
use crate::support::world::{PATIENCE, World, table};

/// The exit code, and what is printed.
async fn healthcheck(config: &Config, more: &[&str]) -> (i32, String) {
    let output = config.ask(&[&["healthcheck"], more].concat()).await;
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    (output.status.code().unwrap(), text.into_owned())
}

fn toml(slapd: &Slapd, vault: &StandIn, listen: &str) -> String {
    format!(
        "state = \"state.db\"\n[vaultwarden]\nurl = \"{}\"\nadmin_token = \"sesame\"\n[http]\nlisten = \"{listen}\"\n{}",
        vault.url(),
        table(slapd, "main", "")
    )
}

#[tokio::test]
async fn a_service_with_endpoints_is_asked_there() {
    let (slapd, vault) = (Slapd::builder().people(1).start().await, StandIn::start());
    // It listens everywhere, and is asked at loopback.
    let listen = format!("0.0.0.0:{}", free_port());
    let config = Config::new(&toml(&slapd, &vault, &listen));
    let (code, text) = healthcheck(&config, &[]).await;
    assert_eq!(code, 1);
    assert!(text.starts_with("unhealthy: http://127.0.0.1:"), "{text}");
    assert!(text.contains("does the service run"), "{text}");

    let mut run = config.command();
    run.arg("run");
    let mut service = Service::start_by(run, config);
    service.wait_for_line("listing ended", PATIENCE).await;
    assert_eq!(healthcheck(service.config(), &[]).await, (0, "healthy\n".into()));
    let (code, text) = healthcheck(service.config(), &["--ready", "--json"]).await;
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &json["healthy"]), (0, &true.into()));
    assert_eq!(json["detail"], serde_json::json!(["ready"]));

    // A process that hangs gives no answer.
    service.signal("STOP").await;
    let (code, text) = healthcheck(service.config(), &["--timeout", "300ms"]).await;
    assert_eq!(code, 1);
    assert!(text.contains("no answer within 300ms"), "{text}");
    service.signal("CONT").await;
    service.term().await;
    assert!(service.wait().await.success());
    assert_eq!(healthcheck(service.config(), &[]).await.0, 1);
}

#[tokio::test]
async fn a_service_that_waits_for_a_directory_is_healthy_and_says_why_it_is_not_ready() {
    let vault = StandIn::start();
    let listen = format!("127.0.0.1:{}", free_port());
    let config = Config::new(&format!(
        "state = \"state.db\"\n[vaultwarden]\nurl = \"{}\"\nadmin_token = \"sesame\"\n[http]\nlisten = \"{listen}\"\n\
         [[directory]]\nurl = \"ldap://127.0.0.1:1\"\nbase_dn = \"dc=example,dc=org\"\n",
        vault.url()
    ));
    let mut run = config.command();
    run.arg("run");
    let service = Service::start_by(run, config);
    service
        .wait_for_line("no session with the directory", PATIENCE)
        .await;
    assert_eq!(healthcheck(service.config(), &[]).await.0, 0);
    let (code, text) = healthcheck(service.config(), &["--ready"]).await;
    assert_eq!(code, 1);
    assert!(text.contains("directory main has not been listed yet"), "{text}");
}

#[tokio::test]
async fn a_service_without_endpoints_is_healthy_if_it_uses_the_state() {
    // The system chooses the port, and nobody else knows it.
    let mut world = World::running(Slapd::builder()).await;
    let config = Config::new(&world.config());
    assert_eq!(healthcheck(&config, &[]).await, (0, "the service runs\n".into()));
    let (code, text) = healthcheck(&config, &["--ready"]).await;
    assert_eq!(code, 1);
    assert!(text.contains("set `listen` in [http]"), "{text}");
    world.stop().await;
    let (code, text) = healthcheck(&config, &[]).await;
    assert_eq!(code, 1);
    assert!(text.contains("no service uses it"), "{text}");
}

#[tokio::test]
async fn a_database_that_gives_no_answer_is_not_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let vault = StandIn::start();
    let config = Config::new(&format!(
        "state = \"postgres://usher:secret@{}/usher\"\n[vaultwarden]\nurl = \"{}\"\nadmin_token = \"sesame\"\n\
         [http]\nlisten = \"off\"\n[[directory]]\nurl = \"ldap://127.0.0.1:1\"\nbase_dn = \"dc=example,dc=org\"\n",
        silent.local_addr().unwrap(),
        vault.url(),
    ));
    let began = Instant::now();
    let (code, text) = healthcheck(&config, &["--timeout", "300ms"]).await;
    assert_eq!(code, 1);
    assert!(
        text.contains("no answer within 300ms") && !text.contains("secret"),
        "{text}"
    );
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_configuration_that_cannot_be_used_is_unhealthy_with_the_one_exit_code_that_containers_know() {
    let (code, text) = healthcheck(&Config::new("nonsense"), &[]).await;
    assert_eq!(code, 1);
    assert!(text.starts_with("unhealthy: the configuration: "), "{text}");
}
