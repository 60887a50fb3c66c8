//! A network that fails in every way between the service and slapd: one clear error, and nothing lost.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::people::People;
use crate::support::proxy::{Fault, Proxy};
use crate::support::service::Service;
use crate::support::slapd::Slapd;
use crate::support::stand_in::StandIn;

const SOON: Duration = Duration::from_secs(20);
/// Longer than silence takes to be noticed: 10 s until the connection is asked, 15 s for its answer.
const LATER: Duration = Duration::from_secs(45);
/// The most memory that the service may use, in KiB.
pub const MEMORY: u64 = 64 * 1024;

/// The configuration of a service with its state file in `dir`, and a directory of these keys.
pub fn configuration(dir: &Path, vaultwarden: &str, directory: &str) -> String {
    format!(
        r#"
state = "{}/state.db"
[http]
listen = "off"
[vaultwarden]
url = "{vaultwarden}"
admin_token = "sesame"
[[directory]]
{directory}"#,
        dir.display()
    )
}

/// slapd, a proxy before it, the service and a stand-in for Vaultwarden.
struct World {
    proxy: Proxy,
    people: People,
    stand_in: StandIn,
    service: Service,
    _slapd: Slapd,
    _state: TempDir,
}

impl World {
    /// A service that finds three people in a directory behind this fault.
    async fn behind(fault: Fault) -> Self {
        let slapd = Slapd::builder().people(3).start().await;
        let proxy = Proxy::to(slapd.port()).await;
        proxy.set(fault);
        let stand_in = StandIn::start();
        let state = tempfile::tempdir().unwrap();
        let config = configuration(
            state.path(),
            &stand_in.url(),
            &format!(
                r#"
url = "ldap://{}"
bind_dn = "{}"
bind_password = "{}"
base_dn = "{}"
"#,
                proxy.address(),
                slapd.reader_dn(),
                slapd.reader_pw(),
                slapd.people_base()
            ),
        );
        let service = Service::start(&config);
        Self {
            proxy,
            people: slapd.people(),
            stand_in,
            service,
            _slapd: slapd,
            _state: state,
        }
    }

    async fn wait_for(&self, uid: &str) {
        let address = format!("{uid}@example.org");
        let invited = self.stand_in.wait_for_invite(&address, SOON).await;
        assert!(invited, "{uid} is not invited:\n{}", self.service.output());
    }

    /// Everyone was invited once, and the service neither panicked nor used much memory.
    fn verdict(&self, guests: &[&str]) {
        let mut expected: Vec<String> = ["person1", "person2", "person3"]
            .iter()
            .chain(guests)
            .map(|uid| format!("{uid}@example.org"))
            .collect();
        let mut invited = self.stand_in.invited();
        expected.sort();
        invited.sort();
        assert_eq!(invited, expected);
        let output = self.service.output();
        assert!(!output.contains("panicked"), "{output}");
        let peak = self.service.peak_memory();
        assert!(peak <= MEMORY, "{peak} KiB");
    }

    /// The service is at work when the fault comes; the log tells of it in one of these `words`.
    async fn suffers(fault: Fault, words: &[&str], patience: Duration) {
        let world = Self::behind(Fault::None).await;
        world.wait_for("person3").await;

        world.proxy.set(fault);
        world.people.add_person("meanwhile").await;
        let line = world.service.wait_for_line("lost the directory", patience).await;
        let server = format!("ldap://{}: ", world.proxy.address());
        assert!(line.contains(&server), "{line}");
        assert!(words.iter().any(|words| line.contains(words)), "{line}");

        world.proxy.set(Fault::None);
        world.wait_for("meanwhile").await;
        world.people.add_person("afterwards").await;
        world.wait_for("afterwards").await;
        world.verdict(&["meanwhile", "afterwards"]);
    }

    /// The service starts under the fault, which slows it down and nothing more.
    async fn bears(fault: Fault) {
        let world = Self::behind(fault).await;
        world.wait_for("person3").await;
        world.people.add_person("ann").await;
        world.wait_for("ann").await;
        let output = world.service.output();
        assert!(!output.contains("lost the directory"), "{output}");
        world.verdict(&["ann"]);
    }
}

#[tokio::test]
async fn a_connection_that_is_cut_is_made_again() {
    World::suffers(
        Fault::Cut,
        &["closed the connection", "lost the connection"],
        SOON,
    )
    .await;
}

#[tokio::test]
async fn a_connection_that_the_server_half_closes_is_made_again() {
    World::suffers(Fault::HalfClose, &["closed the connection"], SOON).await;
}

#[tokio::test]
async fn a_connection_that_ends_within_a_message_is_made_again() {
    let words = "closed the connection in the middle of a message";
    World::suffers(Fault::Truncate, &[words], SOON).await;
}

#[tokio::test]
async fn a_server_that_refuses_connections_is_tried_until_it_takes_one() {
    // What the open session says first is that it broke.
    let words = ["closed the connection", "lost the connection", "refused"];
    World::suffers(Fault::Refuse, &words, SOON).await;
}

#[tokio::test]
async fn a_connection_that_nothing_passes_any_more_is_given_up() {
    World::suffers(Fault::BlackHole, &["no answer for 15 s while"], LATER).await;
}

#[tokio::test]
async fn a_slow_network_only_makes_it_slow() {
    World::bears(Fault::Delay(Duration::from_millis(200))).await;
}

#[tokio::test]
async fn messages_may_come_in_any_number_of_pieces() {
    World::bears(Fault::Split(7)).await;
}
