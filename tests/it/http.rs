//! `/livez`, `/readyz` and `/metrics`, asked over a real socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ldap_usher::clock::Timestamp;
use ldap_usher::ledger::{Ledger, ListingOutcome, Sqlite};
use ldap_usher::model::{EmailAddress, Listing, Task};
use ldap_usher::observe::http::{bind, serve};
use ldap_usher::observe::{GRACE, Observer, Purpose};
use ldap_usher::rules::Origin;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

/// The endpoints of a service with one directory, `main`.
struct Endpoints {
    address: SocketAddr,
    observer: Observer,
    stop: CancellationToken,
    serving: JoinSet<()>,
}

impl Endpoints {
    async fn start(grace: Duration) -> Self {
        let ledger = Sqlite::in_memory().await.unwrap();
        ledger.enroll("main", "scope", "settings").await.unwrap();
        let listener = bind(([127, 0, 0, 1], 0).into()).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (observer, stop) = (
            Observer::new(["main".to_owned()], grace),
            CancellationToken::new(),
        );
        let served = serve(listener, observer.clone(), Arc::new(ledger), stop.clone());
        let mut serving = JoinSet::new();
        serving.spawn(async move { served.await.unwrap() });
        Self {
            address,
            observer,
            stop,
            serving,
        }
    }

    /// The status, the head and the body of the answer.
    async fn get(&self, path: &str) -> (u16, String, String) {
        let mut connection = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n");
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
            0,
            &outcome,
            3,
            Duration::from_millis(5),
        );
    }
}

fn ann() -> Task {
    Task {
        id: 1,
        address: EmailAddress::parse(b"ann@example.org").unwrap(),
        dn: "uid=ann,ou=people,dc=example,dc=org".into(),
        directory: "main".into(),
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
    observer.joined("main", &task.dn, &task.address, Origin::Live);
    observer.audit_repaired("main", "left", &task.dn);
    observer.vaultwarden_call("invite", "ok");
    observer.invited(&task, Duration::from_millis(12));
    endpoints.listed(&Listing::Complete);

    let (status, head, body) = endpoints.get("/metrics").await;
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
