//! A large directory: listed, listed again, resumed, and left alone; against `ldapsearch`'s time for the same search.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::Command;
use tokio::time::sleep;

use super::measure::{figure, memory, number, processor_time, ratio};
use super::{Service, Slapd, StandIn, start};

const IDLE: Duration = Duration::from_secs(60);
const PATIENCE: Duration = Duration::from_secs(600);
/// What follows a listing, such as its resume point, has been written by then.
const SETTLED: Duration = Duration::from_secs(8);

pub async fn measure(people: usize) {
    let folder = tempfile::tempdir().unwrap();
    let state = |name: &str| folder.path().join(name).display().to_string();
    let tenth = Slapd::builder().people(people / 10).start().await;
    let small = first_listing(&tenth, &state("small.db")).await.peak;
    drop(tenth);
    let slapd = Slapd::builder().people(people).start().await;
    let reference = ldapsearch(&slapd).await;
    let path = state("state.db");
    let First {
        stand_in,
        took,
        peak,
        after,
    } = first_listing(&slapd, &path).await;
    ratio(
        &format!("listing: {people} people into an empty store (ldapsearch)"),
        took,
        reference,
        1.6,
    );
    figure("listing: peak memory", peak, "MiB", 48.0);
    figure(
        &format!("listing: growth of it from {} people", people / 10),
        peak - small,
        "MiB",
        32.0,
    );

    figure("listing: memory after it", after, "MiB", 32.0);

    // Another way to write the filter drops the cursor: everyone is listed again, and is known.
    let filter = ANOTHER_FILTER;
    let mut service = start(&slapd, &stand_in, &path, filter, "");
    let again = service.wait_for_line("listing ended", PATIENCE).await;
    assert_eq!(number(&again, "seen"), u64::try_from(people).unwrap());
    ratio(
        &format!("listing: the same {people} again (ldapsearch)"),
        took_ms(&again),
        reference,
        1.3,
    );
    sleep(SETTLED).await;
    stop(&mut service).await;

    slapd.people().add_many("late", 10).await;
    let began = Instant::now();
    let mut service = start(&slapd, &stand_in, &path, filter, "");
    let resumed = service.wait_for_line("listing ended", PATIENCE).await;
    assert!(stand_in.wait_for_invite("late10@example.org", PATIENCE).await);
    figure(
        &format!("resume: 10 changes among {people}, from start to invitation"),
        began.elapsed().as_secs_f64(),
        "s",
        1.0,
    );
    figure(
        "resume: people that the directory named",
        number(&resumed, "seen") as f64,
        "people",
        20.0,
    );

    sleep(SETTLED).await;
    let before = processor_time(service.pid());
    sleep(IDLE).await;
    let used = (processor_time(service.pid()) - before).as_secs_f64() / IDLE.as_secs_f64();
    figure(
        &format!("idle with {people} members: share of one core"),
        used * 100.0,
        "%",
        0.1,
    );
    figure(
        &format!("idle with {people} members: memory"),
        memory(service.pid(), "VmRSS"),
        "MiB",
        32.0,
    );
    stop(&mut service).await;
}

/// Means the same as the other one and is another text.
pub const ANOTHER_FILTER: &str = "(&(objectClass=inetOrgPerson))";

/// A listing into an empty store.
pub struct First {
    pub stand_in: StandIn,
    pub took: Duration,
    pub peak: f64,
    pub after: f64,
}

pub async fn first_listing(slapd: &Slapd, state: &str) -> First {
    let stand_in = StandIn::start();
    let mut service = start(slapd, &stand_in, state, "(objectClass=inetOrgPerson)", "");
    let ended = service.wait_for_line("listing ended", PATIENCE).await;
    let peak = memory(service.pid(), "VmHWM");
    sleep(SETTLED).await;
    let after = memory(service.pid(), "VmRSS");
    stop(&mut service).await;
    First {
        stand_in,
        took: took_ms(&ended),
        peak,
        after,
    }
}

pub fn took_ms(line: &str) -> Duration {
    Duration::from_millis(number(line, "took_ms"))
}

pub async fn stop(service: &mut Service) {
    service.term().await;
    service.wait().await;
}

pub async fn ldapsearch(slapd: &Slapd) -> Duration {
    let began = Instant::now();
    let status = Command::new("ldapsearch")
        .args([
            "-x",
            "-LLL",
            "-H",
            &slapd.url(),
            "-D",
            slapd.reader_dn(),
            "-w",
            slapd.reader_pw(),
        ])
        .args(["-b", &slapd.people_base(), "(objectClass=inetOrgPerson)", "mail"])
        .stdout(Stdio::null())
        .status()
        .await
        .unwrap();
    assert!(status.success());
    began.elapsed()
}
