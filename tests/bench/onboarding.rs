//! Many people at once: against a bare HTTP client that makes the same calls with the same concurrency.

use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use ldap_usher::tls;

use tokio::time::sleep;

use super::measure::{figure, processor_time, ratio};
use super::stand_in::{Fault, On, Setup, toil};
use super::{Slapd, StandIn, start};

const CONCURRENCY: usize = 8;

/// What an invitation costs a Vaultwarden that is busy with hashing and its database.
const COST: Duration = Duration::from_millis(3);
/// The threads that it has for that.
const THREADS: usize = 2;

pub async fn measure(count: usize) {
    let slapd = Slapd::builder().people(count).start().await;
    one("1 ms each", &slapd, count, slow).await;
    let rounds = rounds(COST);
    one("3 ms of CPU each", &slapd, count, || busy(rounds)).await;
}

async fn one(name: &str, slapd: &Slapd, count: usize, server: impl Fn() -> StandIn) {
    let stand_in = server();
    let state = tempfile::tempdir().unwrap();
    let limits = "[limits]\ninvites_per_listing = \"unlimited\"\n";
    let service = start(
        slapd,
        &stand_in,
        &state.path().join("state.db").display().to_string(),
        "(objectClass=inetOrgPerson)",
        limits,
    );
    service
        .wait_for_line("listing ended", Duration::from_secs(60))
        .await;
    let before = processor_time(service.pid());
    let began = Instant::now();
    while stand_in.invitations() < count {
        assert!(began.elapsed() < Duration::from_secs(300), "{}", service.output());
        sleep(Duration::from_millis(5)).await;
    }
    let ours = began.elapsed();
    let used = processor_time(service.pid()) - before;
    drop((service, stand_in));
    let stand_in = server();
    let what = format!("onboarding: {count} of one listing, {name} (HTTP client)");
    ratio(&what, ours, reference(&stand_in, count).await, 1.15);
    let each = used.as_secs_f64() * 1e6 / count as f64;
    figure(
        &format!("onboarding: CPU of ours for a person, {name}"),
        each,
        "us",
        200.0,
    );
}

/// Every invitation takes a millisecond.
fn slow() -> StandIn {
    let stand_in = StandIn::start();
    stand_in.fail(
        On::Invite,
        None,
        usize::MAX,
        Fault::Delay(Duration::from_millis(1)),
    );
    stand_in
}

/// Every invitation costs processor time.
fn busy(rounds: u64) -> StandIn {
    StandIn::with(Setup {
        work: Some((rounds, THREADS)),
        ..Setup::default()
    })
}

/// How much work takes so long on this machine.
fn rounds(cost: Duration) -> u64 {
    const ROUNDS: u64 = 10_000_000;
    // The shortest of a few is the one that nobody interrupted.
    let shortest = (0..5).map(|_| {
        let began = Instant::now();
        toil(ROUNDS);
        began.elapsed()
    });
    let shortest = shortest.min().unwrap();
    u64::try_from(u128::from(ROUNDS) * cost.as_nanos() / shortest.as_nanos()).unwrap()
}

async fn reference(stand_in: &StandIn, count: usize) -> Duration {
    tls::install();
    let client = reqwest::Client::new();
    let login = client
        .post(format!("{}/admin", stand_in.url()))
        .form(&[("token", "sesame")])
        .send()
        .await
        .unwrap();
    let cookie = login.headers()["set-cookie"]
        .to_str()
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let began = Instant::now();
    stream::iter(1..=count)
        .for_each_concurrent(CONCURRENCY, |n| {
            let call = client
                .post(format!("{}/admin/invite", stand_in.url()))
                .header("Cookie", &cookie)
                .json(&serde_json::json!({ "email": format!("person{n}@example.org") }));
            async move { assert!(call.send().await.unwrap().status().is_success()) }
        })
        .await;
    began.elapsed()
}
