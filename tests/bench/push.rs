//! From sending a write to the directory to the invitation's arrival, against a bare `ldapsearch` that watches: it often
//! shows the entry before the write is answered, so both are measured from the sending.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;
use tokio::time::sleep;

use super::measure::{delays, percentile, ratio};
use super::{Slapd, StandIn, invitations, start};

/// People come one by one: so that each is measured, not the queue behind the one before.
const PAUSE: Duration = Duration::from_millis(10);

type Times = Arc<Mutex<HashMap<String, Instant>>>;

/// Measures with this state, under this name.
pub async fn measure(name: &str, count: usize, state: &str, target: f64) {
    let slapd = Slapd::builder().start().await;
    let stand_in = StandIn::start();
    let service = start(
        &slapd,
        &stand_in,
        state,
        "(objectClass=inetOrgPerson)",
        "[limits]\ninvites_per_hour = \"unlimited\"",
    );
    service
        .wait_for_line("listing ended", Duration::from_secs(20))
        .await;
    let seen = Times::default();
    let mut watching = watch(&slapd, seen.clone());
    sleep(Duration::from_millis(500)).await;

    let mut added = HashMap::new();
    slapd
        .people()
        .add_each("new", count, PAUSE, |uid| {
            added.insert(format!("{uid}@example.org"), Instant::now());
        })
        .await;
    assert!(
        stand_in
            .wait_for_invite(&format!("new{count}@example.org"), Duration::from_secs(30))
            .await
    );
    sleep(Duration::from_millis(500)).await;
    watching.kill().await.unwrap();

    let invited = invitations(&stand_in);
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    let (mut ours, mut theirs) = (delays(&added, &invited), delays(&added, &seen));
    assert_eq!(
        (ours.len(), theirs.len()),
        (count, count),
        "everyone was invited and seen"
    );
    for (rank, share) in [("p50", 0.5), ("p99", 0.99)] {
        let what = format!("{name}: from sending a write to its invitation, {rank} of {count} (ldapsearch)");
        ratio(
            &what,
            percentile(&mut ours, share),
            percentile(&mut theirs, share),
            target,
        );
    }
}

fn watch(slapd: &Slapd, seen: Times) -> tokio::process::Child {
    let mut child = Command::new("stdbuf")
        .args([
            "-oL",
            "ldapsearch",
            "-x",
            "-LLL",
            "-o",
            "ldif-wrap=no",
            "-E",
            "!sync=rp",
            "-H",
            &slapd.url(),
        ])
        .args([
            "-D",
            slapd.reader_dn(),
            "-w",
            slapd.reader_pw(),
            "-b",
            &slapd.people_base(),
        ])
        .args(["(objectClass=inetOrgPerson)", "mail"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            if let Some(mail) = line.strip_prefix("mail: ") {
                seen.lock().unwrap().insert(mail.to_owned(), Instant::now());
            }
        }
    });
    child
}
