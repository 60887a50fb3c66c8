//! Many people at once: against a bare HTTP client that makes the same calls with the same concurrency.

use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use ldap_usher::tls;

use super::measure::ratio;
use super::stand_in::{Fault, On};
use super::{Slapd, StandIn, start};

const CONCURRENCY: usize = 8;

pub async fn measure(count: usize) {
    let slapd = Slapd::builder().people(count).start().await;
    let stand_in = slow();
    let state = tempfile::tempdir().unwrap();
    let limits = "[limits]\ninvites_per_listing = \"unlimited\"\n";
    let service = start(
        &slapd,
        &stand_in,
        &state.path().join("state.db"),
        "(objectClass=inetOrgPerson)",
        limits,
    );
    service
        .wait_for_line("listing ended", Duration::from_secs(60))
        .await;
    let began = Instant::now();
    while stand_in.invited().len() < count {
        assert!(began.elapsed() < Duration::from_secs(120), "{}", service.output());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let ours = began.elapsed();
    let what = format!("onboarding: {count} found by one listing (HTTP client alone)");
    ratio(&what, ours, reference(count).await, 1.3);
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

async fn reference(count: usize) -> Duration {
    tls::install();
    let stand_in = slow();
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
