//! `/livez`, `/readyz` and `/metrics`, asked over a real socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ldap_usher::clock::Timestamp;
use ldap_usher::model::{Action, ActionKind, EmailAddress, EntryId, Event, Listing, Source, What};
use ldap_usher::store::interface::*;
use ldap_usher::store::{ListingOutcome, Sqlite};
use ldap_usher::telemetry::http::{Public, bind, endpoints, serve};
use ldap_usher::telemetry::{GRACE, Observer, Purpose};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::support::service::{Config, Service, program};
use crate::support::slapd::Slapd;
use crate::support::world::{PATIENCE, World};

/// The endpoints of a service with one directory, `main`.
struct Endpoints {
    address: SocketAddr,
    observer: Observer,
    stop: CancellationToken,
    serving: JoinSet<()>,
}

impl Endpoints {
    async fn start(grace: Duration) -> Self {
        let store = Sqlite::in_memory().await.unwrap();
        store.register("main", "scope", "settings").await.unwrap();
        let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (observer, stop) = (
            Observer::new(["main".to_owned()], grace),
            CancellationToken::new(),
        );
        let mut serving = JoinSet::new();
        let public = Public {
            hosts: vec!["usher.example.org".into()],
            dns: vec!["cn=reader,dc=example,dc=org".into(), "dc=example,dc=org".into()],
        };
        let router = endpoints(observer.clone(), Arc::new(store), public.clone());
        serving.spawn(serve(listener, router, public, stop.clone()));
        Self {
            address,
            observer,
            stop,
            serving,
        }
    }

    /// The status, the head and the body of the answer.
    async fn get(&self, path: &str) -> (u16, String, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"))
            .await
    }

    async fn ask(&self, request: &str) -> (u16, String, String) {
        let mut connection = TcpStream::connect(self.address).await.unwrap();
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), head.to_lowercase(), body.to_owned())
    }

    fn listed(&self, end: &Listing) {
        let outcome = ListingOutcome::default();
        self.observer.listing_ended(
            "main",
            Purpose::CatchUp,
            end,
            &outcome,
            3,
            Duration::from_millis(5),
        );
    }
}

fn ann() -> Action {
    Action {
        id: 1,
        kind: ActionKind::Invite,
        address: EmailAddress::parse(b"ann@example.org").unwrap(),
        dn: "uid=ann,ou=people,dc=example,dc=org".into(),
        entry: EntryId::from_slice(&[1; 16]).unwrap(),
        directory: "main".into(),
        directory_row: 1,
        configured: true,
        forgotten: false,
        account: None,
        attempts: 0,
        in_doubt: None,
        arrived: Timestamp(0),
    }
}

#[tokio::test]
async fn a_live_process_says_so_and_other_paths_are_not_found() {
    let endpoints = Endpoints::start(GRACE).await;
    assert_eq!(endpoints.get("/livez").await.0, 200);
    assert_eq!(endpoints.get("/").await.0, 404);
    assert_eq!(endpoints.get("/livez/x").await.0, 404);
}

#[tokio::test]
async fn readiness_names_the_directory_that_was_not_listed_completely() {
    let endpoints = Endpoints::start(GRACE).await;
    assert_eq!(endpoints.get("/readyz").await.0, 503);
    endpoints.listed(&Listing::Partial("size limit of 500 exceeded".into()));
    let (status, _, body) = endpoints.get("/readyz").await;
    assert_eq!(
        (status, body.as_str()),
        (
            503,
            "directory main has not been listed yet: size limit of 500 exceeded\n"
        )
    );
    endpoints.listed(&Listing::Complete);
    let (status, _, body) = endpoints.get("/readyz").await;
    assert_eq!((status, body.as_str()), (200, "ready\n"));
}

#[tokio::test]
async fn readiness_turns_red_again_when_a_directory_and_vaultwarden_stay_away() {
    let endpoints = Endpoints::start(Duration::ZERO).await;
    endpoints.listed(&Listing::Complete);
    endpoints
        .observer
        .disconnected("main", &"connection refused", Duration::from_secs(1));
    endpoints
        .observer
        .vaultwarden_down(&"status 502", Duration::from_secs(1));
    let (status, _, body) = endpoints.get("/readyz").await;
    assert_eq!(
        (status, body.as_str()),
        (
            503,
            "directory main has been failing for 0s: connection refused\n\
             Vaultwarden has been failing for 0s: status 502\n"
        )
    );
    endpoints.listed(&Listing::Changes);
    endpoints.observer.vaultwarden_back();
    assert_eq!(endpoints.get("/readyz").await.0, 200);
}

#[tokio::test]
async fn metrics_are_openmetrics_text_and_count_what_happened() {
    let endpoints = Endpoints::start(GRACE).await;
    let (observer, task) = (&endpoints.observer, ann());
    observer.connected("main", "ldap://127.0.0.1", "syncrepl", "as configured", false);
    observer.change("main", "upsert");
    let happened = |source, what| Event {
        at: Timestamp(1_000),
        directory: "main".into(),
        person: None,
        dn: task.dn.clone(),
        address: Some(task.address.clone()),
        source,
        what,
    };
    observer.record(&[
        happened(Source::Stream, What::Joined),
        happened(Source::Audit, What::Left { reason: None }),
        happened(Source::Vaultwarden, What::Invited { after_ms: 12 }),
    ]);
    observer.vaultwarden_call("invite", "ok");
    endpoints.listed(&Listing::Complete);

    let prometheus =
        "GET /metrics HTTP/1.1\r\nHost: test\r\nAccept: application/openmetrics-text;version=1.0.0\r\n\r\n";
    let (status, head, body) = endpoints.ask(prometheus).await;
    assert_eq!(status, 200);
    assert!(
        head.contains("content-type: application/openmetrics-text; version=1.0.0; charset=utf-8"),
        "{head}"
    );
    assert!(body.ends_with("# EOF\n"), "{body}");
    for line in [
        concat!(
            "ldap_usher_build_info{version=\"",
            env!("CARGO_PKG_VERSION"),
            "\"} 1"
        ),
        "ldap_usher_changes_total{directory=\"main\",kind=\"upsert\"} 1",
        "ldap_usher_people_total{directory=\"main\",kind=\"joined\"} 1",
        "ldap_usher_audit_repairs_total{directory=\"main\",kind=\"left\"} 1",
        "ldap_usher_listings_total{directory=\"main\",purpose=\"catch-up\",result=\"complete\"} 1",
        "ldap_usher_connected{directory=\"main\"} 1",
        "ldap_usher_members{directory=\"main\"} 0",
        "ldap_usher_tasks{state=\"queued\"} 0",
        "ldap_usher_tasks{state=\"quarantined\"} 0",
        "ldap_usher_vaultwarden_calls_total{call=\"invite\",result=\"ok\"} 1",
        "ldap_usher_invite_delay_seconds_bucket{le=\"0.01\"} 0",
        "ldap_usher_invite_delay_seconds_bucket{le=\"0.025\"} 1",
        "ldap_usher_invite_delay_seconds_bucket{le=\"3600.0\"} 1",
        "ldap_usher_invite_delay_seconds_count 1",
    ] {
        assert!(
            body.lines().any(|found| found == line),
            "{line} is not in\n{body}"
        );
    }
    let silence = "ldap_usher_last_sign_of_life_age_seconds{directory=\"main\"} ";
    let silence = body.lines().find_map(|line| line.strip_prefix(silence)).unwrap();
    assert!(silence.parse::<f64>().unwrap() < 60.0, "{silence}");
    let mut names = body.lines().filter(|line| !line.starts_with('#'));
    assert!(names.all(|line| line.starts_with("ldap_usher_")), "{body}");
}

#[tokio::test]
async fn an_instance_that_ceases_to_listen_has_no_session_and_nothing_is_silent() {
    let endpoints = Endpoints::start(GRACE).await;
    let silence = "ldap_usher_last_sign_of_life_age_seconds{";
    endpoints.observer.listens("main", true);
    endpoints
        .observer
        .connected("main", "ldap://a", "syncrepl", "", false);
    let (.., metrics) = endpoints.get("/metrics").await;
    assert!(metrics.contains("connected{directory=\"main\"} 1") && metrics.contains(silence));
    endpoints.observer.listens("main", false);
    let (.., metrics) = endpoints.get("/metrics").await;
    assert!(metrics.contains("connected{directory=\"main\"} 0") && !metrics.contains(silence));
}

#[tokio::test]
async fn a_port_in_use_is_one_error_that_says_what_to_do() {
    let endpoints = Endpoints::start(GRACE).await;
    let error = bind(endpoints.address).await.unwrap_err().to_string();
    let expected = format!(
        "cannot listen on {}: Address already in use (os error 98); \
         stop whatever uses this address, or choose another one as `listen` in [http]",
        endpoints.address
    );
    assert_eq!(error, expected);
}

#[tokio::test]
async fn the_stop_token_ends_it_although_a_client_keeps_its_connection_open() {
    let mut endpoints = Endpoints::start(GRACE).await;
    let mut idle = TcpStream::connect(endpoints.address).await.unwrap();
    idle.write_all(b"GET /livez HTTP/1.1\r\nHost: test\r\n\r\n")
        .await
        .unwrap();
    assert_ne!(idle.read(&mut [0; 1024]).await.unwrap(), 0);
    endpoints.stop.cancel();
    timeout(Duration::from_secs(10), endpoints.serving.join_next())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(TcpStream::connect(endpoints.address).await.is_err());
}

#[tokio::test]
async fn readiness_names_no_person_and_says_where_the_cause_stands() {
    let endpoints = Endpoints::start(Duration::ZERO).await;
    endpoints.listed(&Listing::Complete);
    let dn =
        "2 entries came without a readable entryUUID, the first of them uid=ann,ou=people,dc=example,dc=org";
    endpoints
        .observer
        .disconnected("main", &dn, Duration::from_secs(1));
    let address = "http://vault/admin/users/by-mail/ann@example.org is not found (status 404)";
    endpoints
        .observer
        .vaultwarden_down(&address, Duration::from_secs(1));
    let (status, _, body) = endpoints.get("/readyz").await;
    assert_eq!(
        (status, body.as_str()),
        (
            503,
            "directory main has been failing for 0s; the log and `ldap-usher status` say why\n\
             Vaultwarden has been failing for 0s; the log and `ldap-usher status` say why\n"
        )
    );
}

#[tokio::test]
async fn readiness_tells_causes_that_name_what_is_configured() {
    let endpoints = Endpoints::start(Duration::ZERO).await;
    endpoints.listed(&Listing::Complete);
    let failed = async |cause: &str| {
        endpoints
            .observer
            .disconnected("main", &cause, Duration::from_secs(1));
        let (.., body) = endpoints.get("/readyz").await;
        body
    };
    for told in [
        "the bind as cn=reader,dc=example,dc=org was refused: wrong password (result 49)",
        "the base dc=example,dc=org does not exist; check `base_dn`",
        "the server closed the connection; use ldaps:// or `starttls = true`",
    ] {
        let body = failed(told).await;
        assert_eq!(body, format!("directory main has been failing for 0s: {told}\n"));
    }
    for kept in [
        "the entry cn=ann,dc=example,dc=org has no mail",
        "the entry cn=readers,dc=example,dc=org has no mail",
        "the entry cn=reader,dc=example,dc=organisation has no mail",
        "ann@example.org is there twice",
    ] {
        let body = failed(kept).await;
        assert_eq!(
            body,
            "directory main has been failing for 0s; the log and `ldap-usher status` say why\n"
        );
    }
}

#[tokio::test]
async fn only_names_that_no_stranger_can_have_lead_here_are_answered() {
    let endpoints = Endpoints::start(GRACE).await;
    let asked = async |host: &str| {
        let answer = endpoints
            .ask(&format!("GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\n"))
            .await;
        (answer.0, answer.2)
    };
    for host in [
        "127.0.0.1",
        "127.0.0.1:9464",
        "[::1]:9464",
        "192.0.2.7:9464",
        "localhost:9464",
        "ldap-usher:9464",
        "usher.example.org:9464",
        "USHER.example.org.",
    ] {
        assert_eq!(asked(host).await, (200, "alive\n".into()), "{host}");
    }
    for host in [
        "evil.example.org",
        "usher.example.org.evil.net:9464",
        "127.0.0.1.evil.net",
        "a b",
        "",
    ] {
        let (status, body) = asked(host).await;
        assert!(
            status == 421 && body.contains("`hosts` in [http]"),
            "{host}: {status} {body}"
        );
    }
    // HTTP/1.0 knows no Host, and no browser speaks it; a target may name one as well.
    assert_eq!(endpoints.ask("GET /livez HTTP/1.0\r\n\r\n").await.0, 200);
    let target = "GET http://evil.example.org/livez HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(endpoints.ask(target).await.0, 421);
    let twice = "GET /livez HTTP/1.1\r\nHost: localhost\r\nHost: evil.example.org\r\n\r\n";
    assert_ne!(endpoints.ask(twice).await.0, 200);
}

#[tokio::test]
async fn whoever_holds_connections_open_loses_the_oldest_and_keeps_nobody_out() {
    let endpoints = Endpoints::start(GRACE).await;
    let mut held = Vec::new();
    for _ in 0..200 {
        let mut connection = TcpStream::connect(endpoints.address).await.unwrap();
        // Half a head.
        connection.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
        held.push(connection);
    }
    for _ in 0..3 {
        assert_eq!(endpoints.get("/livez").await.0, 200);
    }
    let mut ended = 0;
    for connection in &mut held[..100] {
        let read = timeout(Duration::from_secs(10), connection.read(&mut [0; 64])).await;
        ended += usize::from(matches!(read, Ok(Ok(0) | Err(_))));
    }
    assert_eq!(ended, 100);
}

#[tokio::test]
async fn idle_connections_in_their_hundreds_do_not_keep_anybody_from_being_invited() {
    // This process holds the other ends, and a login shell allows 1,024 files.
    let mut files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    files.current = files.maximum;
    rustix::process::setrlimit(rustix::process::Resource::Nofile, files).unwrap();
    let world = World::with(Slapd::builder().people(1)).await;
    let config = Config::new(&world.config());
    let mut limited = tokio::process::Command::new("sh");
    limited
        .args(["-c", "ulimit -n 256 && exec \"$0\" \"$@\""])
        .arg(program())
        .arg("--config")
        .arg(config.path())
        .arg("run")
        .kill_on_drop(true);
    let service = Service::start_by(limited, config);
    let line = service.wait_for_line("answering /livez", PATIENCE).await;
    let (_, address) = line.rsplit_once("address=").unwrap();
    let mut idle = Vec::new();
    for _ in 0..1500 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    world.people().add_person("ann").await;
    for uid in ["person1", "ann"] {
        let address = format!("{uid}@example.org");
        let invited = world.vault.wait_for_invite(&address, PATIENCE).await;
        assert!(invited, "{}", service.output());
    }
    let mut probe = TcpStream::connect(address).await.unwrap();
    probe
        .write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    probe.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}
