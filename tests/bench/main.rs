//! `make bench`: how fast the program is, as ratios to a reference measured on the same machine in the same run.
//!
//! Each figure is printed as it is measured. `PEOPLE` (default 100,000) is the size of the large directory; the
//! targets are stated for 1,000,000. `ONLY` names the parts to measure, such as `ONLY=push,servers`.
#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark speaks in names, reads the clock and uses a part of the test support"
)]

#[path = "../it/support/apacheds/mod.rs"]
mod apacheds;
#[path = "../it/support/certificates.rs"]
mod certificates;
#[path = "../it/support/daemon.rs"]
mod daemon;
#[path = "../it/support/ds389/mod.rs"]
mod ds389;
#[path = "../it/support/people.rs"]
mod people;
#[path = "../it/support/postgres/mod.rs"]
mod postgres;
#[path = "../it/support/samba/mod.rs"]
mod samba;
#[path = "../it/support/service.rs"]
mod service;
#[path = "../it/support/site.rs"]
mod site;
#[path = "../it/support/slapd/mod.rs"]
mod slapd;
#[path = "../it/support/stand_in/mod.rs"]
mod stand_in;

mod groups;
mod listing;
mod measure;
mod onboarding;
mod push;
mod servers;
mod shared;
mod trace;

use std::collections::HashMap;
use std::time::Instant;

use service::Service;
use slapd::Slapd;
use stand_in::StandIn;

const PARTS: [&str; 7] = [
    "push",
    "onboarding",
    "listing",
    "postgres",
    "servers",
    "groups",
    "trace",
];
/// Those that bring a table of their own.
const TABLES: [&str; 3] = ["servers", "groups", "trace"];

#[tokio::main]
async fn main() {
    let people = std::env::var("PEOPLE")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(100_000);
    let parts = chosen();
    if parts.iter().any(|part| !TABLES.contains(&part.as_str())) {
        measure::heading();
    }
    for part in parts {
        match part.as_str() {
            "push" => {
                let folder = tempfile::tempdir().unwrap();
                let state = folder.path().join("state.db").display().to_string();
                push::measure("push", 1000, &state, 2.5).await;
            }
            "onboarding" => onboarding::measure(10_000).await,
            "listing" => listing::measure(people).await,
            "postgres" => shared::measure(people).await,
            "servers" => servers::measure(100).await,
            "groups" => groups::measure(50_000, 20).await,
            "trace" => trace::measure(300).await,
            other => panic!("ONLY names {other}, which is none of {PARTS:?}"),
        }
    }
}

/// What `ONLY` names, or everything.
fn chosen() -> Vec<String> {
    let only = std::env::var("ONLY").unwrap_or_default();
    let names: Vec<String> = only
        .split([',', ' '])
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect();
    if names.is_empty() {
        PARTS.map(str::to_owned).into()
    } else {
        names
    }
}

/// When an invitation of each address came in first.
fn invitations(stand_in: &StandIn) -> HashMap<String, Instant> {
    let calls = stand_in.calls().into_iter().rev();
    calls.filter_map(|call| Some((call.address?, call.at))).collect()
}

/// The service between a slapd and a stand-in, with these lines in its configuration.
fn start(slapd: &Slapd, stand_in: &StandIn, state: &str, filter: &str, more: &str) -> Service {
    Service::start(&format!(
        r#"state = "{state}"
[vaultwarden]
url = "{vaultwarden}"
admin_token = "sesame"
[[directory]]
name = "main"
url = "{url}"
bind_dn = "{reader}"
bind_password = "{password}"
base_dn = "{base}"
filter = "{filter}"
[http]
listen = "off"
{more}"#,
        vaultwarden = stand_in.url(),
        url = slapd.url(),
        reader = slapd.reader_dn(),
        password = slapd.reader_pw(),
        base = slapd.people_base(),
    ))
}
