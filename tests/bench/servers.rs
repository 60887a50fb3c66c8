//! Every kind of server: from its answer to a write to the arrival of the invitation that follows from it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::apacheds::ApacheDs;
use super::ds389::Ds389;
use super::measure::{delays, percentile, row, table};
use super::samba::Samba;
use super::site::{Folk, Site};
use super::{Service, Slapd, StandIn, invitations};

/// People join one by one: so that each is measured, not the queue behind the one before.
const PAUSE: Duration = Duration::from_millis(40);
const PATIENCE: Duration = Duration::from_secs(60);

pub async fn measure(joins: usize) {
    let columns = ["created p50", "p99", "grouped p50", "p99"];
    table(
        &format!("from a write to the invitation, {joins} people each"),
        &columns,
    );
    let openldap = Slapd::builder;
    one(
        "OpenLDAP, memberOf by overlay",
        openldap().memberof().start().await,
        "",
        joins,
    )
    .await;
    one(
        "OpenLDAP, no memberOf: groups = [..]",
        openldap().start().await,
        "",
        joins,
    )
    .await;
    one(
        "389 Directory Server, persistent search",
        Ds389::builder().start().await,
        "",
        joins,
    )
    .await;
    one(
        "389 Directory Server, stream = \"syncrepl\"",
        Ds389::builder().start().await,
        "stream = \"syncrepl\"",
        joins,
    )
    .await;
    one(
        "Samba Active Directory",
        Samba::builder().start().await,
        "",
        joins,
    )
    .await;
    one(
        "ApacheDS, no memberOf: groups = [..]",
        ApacheDs::start().await,
        "",
        joins,
    )
    .await;
    one(
        "OpenLDAP without syncprov, poll_interval = \"1s\"",
        openldap().memberof().no_syncprov().start().await,
        "poll_interval = \"1s\"",
        joins,
    )
    .await;
}

/// People are created who match; then each of them is put into the group, among whose members one looks.
async fn one(name: &str, site: impl Site, keys: &str, count: usize) {
    let site: &dyn Site = &site;
    let (folk, people) = (site.folk(), site.dialect().people);
    let mut created = joins(site, people, keys, count, async |uid| folk.add(uid).await).await;

    folk.add_group("vault", &[]).await;
    let group = folk.group("vault");
    let (filter, keys) = if site.dialect().member_of {
        (format!("(&{people}(memberOf={group}))"), keys.to_owned())
    } else {
        (people.to_owned(), format!("groups = [\"{group}\"]\n{keys}"))
    };
    let join = async |uid: &str| folk.join("vault", &folk.dn(uid)).await;
    let mut grouped = joins(site, &filter, &keys, count, join).await;
    row(
        name,
        &[
            percentile(&mut created, 0.5),
            percentile(&mut created, 0.99),
            percentile(&mut grouped, 0.5),
            percentile(&mut grouped, 0.99),
        ],
    );
}

/// Makes the people `new1` to `newN` join, and takes the time from each write to the invitation.
async fn joins(
    site: &dyn Site,
    filter: &str,
    keys: &str,
    count: usize,
    join: impl AsyncFn(&str),
) -> Vec<Duration> {
    let stand_in = StandIn::start();
    let state = tempfile::tempdir().unwrap();
    let service = follow(site, &stand_in, state.path(), filter, keys);
    service.wait_for_line("listing ended", PATIENCE).await;
    sleep(Duration::from_millis(500)).await;
    let mut written = HashMap::new();
    for n in 1..=count {
        let uid = format!("new{n}");
        join(&uid).await;
        written.insert(format!("{uid}@example.org"), Instant::now());
        sleep(PAUSE).await;
    }
    for address in written.keys() {
        assert!(
            stand_in.wait_for_invite(address, PATIENCE).await,
            "{address} was not invited:\n{}",
            service.output()
        );
    }
    delays(&written, &invitations(&stand_in))
}

/// The service between a directory and a stand-in.
pub fn follow(
    site: &dyn Site,
    stand_in: &StandIn,
    state: &std::path::Path,
    filter: &str,
    keys: &str,
) -> Service {
    Service::start(&format!(
        r#"state = "{state}"
[vaultwarden]
url = "{vaultwarden}"
admin_token = "sesame"
[http]
listen = "off"
[limits]
invites_per_listing = "unlimited"
{directory}"#,
        state = state.join("state.db").display(),
        vaultwarden = stand_in.url(),
        directory = site.table(filter, keys),
    ))
}
