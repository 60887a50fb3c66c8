//! `make bench`: how fast the program is, as ratios to a reference measured on the same machine in the same run.
//!
//! Each figure is printed as it is measured. `PEOPLE` (default 100,000) is the size of the large directory; the
//! targets are stated for 1,000,000.
#![allow(
    missing_docs,
    unreachable_pub,
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a benchmark speaks in names, reads the clock and uses a part of the test support"
)]

#[path = "../it/support/certificates.rs"]
mod certificates;
#[path = "../it/support/people.rs"]
mod people;
#[path = "../it/support/service.rs"]
mod service;
#[path = "../it/support/site.rs"]
mod site;
#[path = "../it/support/slapd/mod.rs"]
mod slapd;
#[path = "../it/support/stand_in/mod.rs"]
mod stand_in;

mod listing;
mod measure;
mod onboarding;
mod push;

use service::Service;
use slapd::Slapd;
use stand_in::StandIn;

#[tokio::main]
async fn main() {
    let people = std::env::var("PEOPLE")
        .ok()
        .and_then(|n| n.parse().ok())
        .unwrap_or(100_000);
    measure::heading();
    push::measure(1000).await;
    onboarding::measure(10_000).await;
    listing::measure(people).await;
}

/// The service between a slapd and a stand-in, with these lines in its configuration.
fn start(slapd: &Slapd, stand_in: &StandIn, state: &std::path::Path, filter: &str, more: &str) -> Service {
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
        state = state.display(),
        vaultwarden = stand_in.url(),
        url = slapd.url(),
        reader = slapd.reader_dn(),
        password = slapd.reader_pw(),
        base = slapd.people_base(),
    ))
}
