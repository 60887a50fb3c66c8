//! Where the time of one change goes, step by step, from the directory's answer to a write to the stored outcome.
//!
//! The service logs a line as each step is reached, whose time is what counts; writing it costs some microseconds, which
//! are part of the next step.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use tokio::time::sleep;

use super::measure::{percentile, row, table};
use super::{Service, Slapd, StandIn, start};

/// People come one by one, so that each line belongs to one of them.
const PAUSE: Duration = Duration::from_millis(20);
/// The steps as the service names them, and what leads to each.
const STEPS: [(&str, &str); 7] = [
    (
        "read",
        "read: the write and its push by the server, and its way here",
    ),
    ("decoded", "decode: relay, LDAP library, entry"),
    ("decided", "decide: to the store, what it knows, rules"),
    ("committed", "commit: rows, cursor, and back to the listener"),
    ("claimed", "claim: the worker wakes and claims"),
    ("called", "call: to Vaultwarden and back"),
    ("settled", "settle: the outcome is stored"),
];

pub async fn measure(count: usize) {
    let slapd = Slapd::builder().start().await;
    let stand_in = StandIn::start();
    let state = tempfile::tempdir().unwrap();
    let service = start(
        &slapd,
        &stand_in,
        &state.path().join("state.db").display().to_string(),
        "(objectClass=inetOrgPerson)",
        "[log]\nlevel = \"trace\"\n[limits]\ninvites_per_hour = \"unlimited\"",
    );
    service
        .wait_for_line("listing ended", Duration::from_secs(20))
        .await;
    // The first invitation logs in.
    slapd.people().add_person("first").await;
    assert!(
        stand_in
            .wait_for_invite("first@example.org", Duration::from_secs(20))
            .await
    );
    sleep(Duration::from_millis(500)).await;

    let mut written = Vec::new();
    slapd
        .people()
        .add_each("new", count, PAUSE, |_| written.push(time_of_day()))
        .await;
    sleep(Duration::from_secs(1)).await;
    let mut parts = parts(&service, &written);
    table(
        &format!("the way of one change, {count} people one by one"),
        &["p50", "p99"],
    );
    for (step, what) in STEPS {
        let mut took = parts.remove(step).unwrap_or_default();
        assert!(
            took.len() > count / 2,
            "{step} was seen {} times of {count}",
            took.len()
        );
        row(what, &[percentile(&mut took, 0.5), percentile(&mut took, 0.99)]);
    }
}

/// How long each step took, for every change that was written at one of these times of the day.
fn parts(service: &Service, written: &[Duration]) -> HashMap<String, Vec<Duration>> {
    let output = service.output();
    let steps: Vec<(Duration, &str)> = output.lines().filter_map(step).collect();
    let mut parts: HashMap<String, Vec<Duration>> = HashMap::new();
    let ends = written
        .iter()
        .skip(1)
        .map(|next| next.saturating_sub(PAUSE / 2))
        .chain([Duration::MAX]);
    for (&began, end) in written.iter().zip(ends) {
        let mut before = began;
        for (name, _) in STEPS {
            let of_this = |(at, step): &&(Duration, &str)| *step == name && before <= *at && *at < end;
            let Some((at, _)) = steps.iter().find(of_this) else {
                break;
            };
            parts.entry(name.to_owned()).or_default().push(*at - before);
            before = *at;
        }
    }
    parts
}

/// The time of the day and the name of a step, if the line tells of one.
fn step(line: &str) -> Option<(Duration, &str)> {
    let (_, step) = line.split_once("step=\"")?;
    let (_, time) = line.split_once('T')?;
    let mut parts = time.split_once('Z')?.0.splitn(3, ':');
    let mut number = || parts.next()?.parse::<f64>().ok();
    let seconds = 3600.0 * number()? + 60.0 * number()? + number()?;
    Some((Duration::from_secs_f64(seconds), step.split('"').next()?))
}

fn time_of_day() -> Duration {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Duration::from_nanos(u64::try_from(since.as_nanos() % (86_400 * 1_000_000_000)).unwrap())
}
