//! One person in a large group: from the server's answer to a change of it to what follows, against `ldapsearch`'s time
//! for reading the group, which nobody who follows groups can do without.

use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::measure::{percentile, row, table};
use super::servers::follow;
use super::site::{Folk, Site};
use super::slapd::{Builder, person_ldif};
use super::{Service, Slapd, StandIn, invitations};

const PAUSE: Duration = Duration::from_millis(100);
const PATIENCE: Duration = Duration::from_secs(300);

pub async fn measure(members: usize, changes: usize) {
    let columns = ["joins p50", "p99", "leaves p50", "p99", "ldapsearch"];
    table(
        &format!("{changes} changes of a group of {members}, to invitation or leaving"),
        &columns,
    );
    one(
        "OpenLDAP, memberOf by overlay",
        Slapd::builder().memberof(),
        members,
        changes,
    )
    .await;
    one(
        "OpenLDAP, no memberOf: groups = [..]",
        Slapd::builder(),
        members,
        changes,
    )
    .await;
}

async fn one(name: &str, slapd: Builder, members: usize, changes: usize) {
    let slapd = slapd.start().await;
    let site: &dyn Site = &slapd;
    let folk = site.folk();
    let (group, by_filter) = (folk.group("vault"), site.dialect().member_of);
    slapd.slapadd(&entries(&folk, members, by_filter));
    folk.add_many("new", changes).await;
    let (filter, keys) = if by_filter {
        (format!("(memberOf={group})"), String::new())
    } else {
        (
            "(objectClass=inetOrgPerson)".to_owned(),
            format!("groups = [\"{group}\"]"),
        )
    };
    let stand_in = StandIn::start();
    let state = tempfile::tempdir().unwrap();
    let service = follow(site, &stand_in, state.path(), &filter, &keys);
    service.wait_for_line("listing ended", PATIENCE).await;
    let began = Instant::now();
    while stand_in.invited().len() < members {
        assert!(began.elapsed() < PATIENCE, "{}", service.output());
        sleep(Duration::from_millis(100)).await;
    }
    sleep(Duration::from_secs(1)).await;

    let (mut reads, mut joins, mut leaves) = (Vec::new(), Vec::new(), Vec::new());
    for n in 1..=changes {
        reads.push(ldapsearch(&slapd, &group).await);
        let uid = format!("new{n}");
        folk.join("vault", &folk.dn(&uid)).await;
        let written = Instant::now();
        let address = format!("{uid}@example.org");
        assert!(stand_in.wait_for_invite(&address, PATIENCE).await);
        joins.push(invitations(&stand_in)[&address].saturating_duration_since(written));
        sleep(PAUSE).await;

        let leaver = folk.dn(&format!("person{n}"));
        folk.leave("vault", &leaver).await;
        let written = Instant::now();
        left(&service, &leaver).await;
        leaves.push(written.elapsed());
        sleep(PAUSE).await;
    }
    row(
        name,
        &[
            percentile(&mut joins, 0.5),
            percentile(&mut joins, 0.99),
            percentile(&mut leaves, 0.5),
            percentile(&mut leaves, 0.99),
            percentile(&mut reads, 0.5),
        ],
    );
}

/// The LDIF of people, of whom all are in the group `vault`.
fn entries(folk: &Folk, members: usize, with_member_of: bool) -> String {
    let group = folk.group("vault");
    let (mut people, mut vault) = (
        String::new(),
        format!("dn: {group}\nobjectClass: groupOfNames\ncn: vault\n"),
    );
    for n in 1..=members {
        let uid = format!("person{n}");
        people += person_ldif(&uid).trim_end();
        if with_member_of {
            people += &format!("\nmemberOf: {group}");
        }
        people += "\n\n";
        vault += &format!("member: {}\n", folk.dn(&uid));
    }
    people + &vault
}

/// Waits until the service says that someone has left.
async fn left(service: &Service, dn: &str) {
    let mut lines = service.lines();
    let said = lines.wait_for(|lines| {
        let late = lines.iter().rev().take(100);
        late.into_iter()
            .any(|line| line.contains(" left directory=") && line.contains(dn))
    });
    let said = timeout(PATIENCE, said).await;
    assert!(
        said.is_ok_and(|lines| lines.is_ok()),
        "{dn} has not left:\n{}",
        service.output()
    );
}

async fn ldapsearch(slapd: &Slapd, group: &str) -> Duration {
    let began = Instant::now();
    let status = Command::new("ldapsearch")
        .args(["-x", "-LLL", "-H", &slapd.url()])
        .args(["-D", slapd.reader_dn(), "-w", slapd.reader_pw()])
        .args(["-s", "base", "-b", group, "member"])
        .stdout(Stdio::null())
        .status()
        .await
        .unwrap();
    assert!(status.success());
    began.elapsed()
}
