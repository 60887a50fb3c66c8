//! Directories that fill whatever has no bound, each against the built program: it says what is wrong, stays small, and
//! is back when the server is. (`flood` and `hostile` have servers that break the protocol; these keep to it.)

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::support::ldap::{
    added, entry, entry_change, entry_with, message_to as message, octets, refresh_done, result, sync_info,
    tlv,
};
use crate::support::scripted::{Kind, Request};
use crate::support::service::Service;
use crate::support::stand_in::{Fault, On, StandIn};
use crate::support::unruly::{Reply, Unruly, asks, asks_for_root, person, usual};

const SYNC: &str = "1.3.6.1.4.1.4203.1.9.1.1";
const PERSISTENT_SEARCH: &str = "2.16.840.1.113730.3.4.3";
/// The most memory that the service may use, in KiB: 100 MiB, of which the code of a release takes twelve.
const MEMORY: u64 = (100 - 12) * 1024;
const SOON: Duration = Duration::from_secs(60);
const MIB: u64 = 1 << 20;
const FOR_EVER: u64 = u64::MAX;

/// A service that follows an unruly server, and a Vaultwarden.
struct Visit {
    service: Service,
    vault: StandIn,
    server: Unruly,
    _state: TempDir,
}

impl Visit {
    fn to(server: Unruly, keys: &str) -> Self {
        Self::between(server, StandIn::start(), keys, "off")
    }

    fn between(server: Unruly, vault: StandIn, keys: &str, listen: &str) -> Self {
        let state = tempfile::tempdir().unwrap();
        let service = Service::start(&format!(
            r#"state = "{}/state.db"
[http]
listen = "{listen}"
[vaultwarden]
url = "{}"
admin_token = "sesame"
[[directory]]
name = "main"
url = "{}"
base_dn = "dc=example"
{keys}
"#,
            state.path().display(),
            vault.url(),
            server.url()
        ));
        Self {
            service,
            vault,
            server,
            _state: state,
        }
    }

    async fn says(&self, words: &str) -> String {
        self.service.wait_for_line(words, SOON).await
    }

    async fn invites(&self, uid: &str) {
        let address = format!("{uid}@example.org");
        let invited = self.vault.wait_for_invite(&address, SOON).await;
        assert!(invited, "{}", self.service.output());
    }

    /// Waits until the server has got rid of so much.
    async fn takes(&self, bytes: u64) {
        let began = Instant::now();
        while self.server.flooded.load(Relaxed) < bytes {
            assert!(began.elapsed() < SOON, "{}", self.service.output());
            sleep(Duration::from_millis(100)).await;
        }
    }

    fn lines(&self, words: &str) -> usize {
        let output = self.service.output();
        output.lines().filter(|line| line.contains(words)).count()
    }

    /// The answer of an endpoint, head and body.
    async fn get(&self, path: &str) -> String {
        let line = self.says("answering /livez").await;
        let address = line.split("127.0.0.1:").nth(1).unwrap();
        let port: String = address.chars().take_while(char::is_ascii_digit).collect();
        let mut connection = TcpStream::connect(format!("127.0.0.1:{port}")).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        connection.read_to_string(&mut answer).await.unwrap();
        answer
    }

    /// It has not used much memory, and nothing panicked.
    fn stays_small(&self) {
        let output = self.service.output();
        assert!(!output.contains("panicked"), "{output}");
        let peak = self.service.peak_memory();
        println!("peak: {} MiB", peak / 1024);
        assert!(peak <= MEMORY, "{peak} KiB:\n{output}");
    }
}

/// A server that behaves but for the first two times that something is asked, and then for ever.
async fn forgetting_itself(
    offers: &'static [&'static str],
    when: impl Fn(&Request) -> bool + Send + Sync + 'static,
    flood: impl Fn(u32) -> Box<dyn FnMut(u32) -> Vec<u8> + Send> + Send + Sync + 'static,
) -> Unruly {
    let times = AtomicU32::new(0);
    Unruly::start(move |request| {
        if when(request) && times.fetch_add(1, Relaxed) < 2 {
            return Reply::Floods(FOR_EVER, flood(request.number));
        }
        usual(request, offers)
    })
    .await
}

/// A hundred entries that nobody asked for.
fn nobodies(id: u32) -> Box<dyn FnMut(u32) -> Vec<u8> + Send> {
    Box::new(move |piece| {
        let hundred = (piece * 100)..(piece + 1) * 100;
        hundred
            .flat_map(|n| message(id, &person(&format!("nobody{n}"), n), &[]))
            .collect()
    })
}

#[tokio::test]
async fn a_root_dse_without_end_is_given_up() {
    let server = forgetting_itself(&[SYNC], asks_for_root, nobodies).await;
    let visit = Visit::to(server, "");
    let line = visit.says("no session with the directory").await;
    assert!(
        line.contains("the answer has no end while reading the root DSE: 251 entries"),
        "{line}"
    );
    visit.invites("ann").await;
    visit.stays_small();
}

#[tokio::test]
async fn a_base_without_end_is_given_up() {
    let asks_for_base = |request: &Request| {
        matches!(request.kind, Kind::BaseSearch) && !asks_for_root(request) && asks(request, "dc=example")
    };
    let server = forgetting_itself(&[SYNC], asks_for_base, nobodies).await;
    let visit = Visit::to(server, "");
    let line = visit.says("no session with the directory").await;
    assert!(
        line.contains("the answer has no end while reading the base"),
        "{line}"
    );
    visit.invites("ann").await;
    visit.stays_small();
}

#[tokio::test]
async fn a_look_up_without_end_is_given_up() {
    let times = AtomicU32::new(0);
    let server = Unruly::start(move |request| {
        if asks(request, PERSISTENT_SEARCH) {
            let changed = entry_change(&tlv(0x0a, &[1]));
            return Reply::Says(message(request.number, &person("bob", 1), &changed));
        }
        let looks_up = matches!(request.kind, Kind::OtherSearch) && asks(request, "00000001-0707");
        if looks_up && times.fetch_add(1, Relaxed) < 2 {
            return Reply::Floods(FOR_EVER, nobodies(request.number));
        }
        usual(request, &[PERSISTENT_SEARCH])
    })
    .await;
    let visit = Visit::to(server, "");
    let line = visit.says("no session with the directory").await;
    assert!(
        line.contains("the answer has no end while looking people up"),
        "{line}"
    );
    visit.invites("ann").await;
    visit.stays_small();
}

const GROUPS: &str = r#"groups = ["cn=vault,dc=example"]"#;

/// Answers as a server with the group `cn=vault` would, but for its members.
fn with_a_group(request: &Request) -> Reply {
    if matches!(request.kind, Kind::BaseSearch) && asks(request, "cn=vault,dc=example") {
        let text = |text: &str| vec![text.as_bytes().to_vec()];
        let group = entry_with(
            "cn=vault,dc=example",
            &[
                ("objectClass", text("groupOfNames")),
                ("entryUUID", text("0b3a1f2e-91f1-4c5a-8d2e-00112233ff55")),
                ("member", text("uid=ann,dc=example")),
            ],
        );
        let id = request.number;
        return Reply::Says([message(id, &group, &[]), message(id, &result(0x65, 0), &[])].concat());
    }
    usual(request, &[SYNC])
}

/// Answers as a server does whose group `cn=vault` has this many members, which it tells in ranges.
fn with_members(request: &Request, count: u32) -> Reply {
    const RANGE: u32 = 15_000;
    if !matches!(request.kind, Kind::BaseSearch)
        || !asks(request, "memberURL") && !asks(request, "member;range=")
    {
        return with_a_group(request);
    }
    // What the last answer told it to ask for next.
    let body = String::from_utf8_lossy(&request.body);
    let asked = body.split("member;range=").nth(1);
    let low = asked
        .and_then(|rest| rest.split('-').next()?.parse().ok())
        .unwrap_or(0);
    let members = low..count.min(low + RANGE);
    let name = match members.end {
        end if end == count => format!("member;range={low}-*"),
        end => format!("member;range={low}-{}", end - 1),
    };
    let members = members.map(|n| format!("uid=member{n:08},ou=people,ou=somewhere,dc=example,dc=org"));
    let text = |text: &str| vec![text.as_bytes().to_vec()];
    let group = entry_with(
        "cn=vault,dc=example",
        &[
            ("objectClass", text("group")),
            ("entryUUID", text("0b3a1f2e-91f1-4c5a-8d2e-00112233ff55")),
            (&name, members.map(String::into_bytes).collect()),
        ],
    );
    let id = request.number;
    Reply::Says([message(id, &group, &[]), message(id, &result(0x65, 0), &[])].concat())
}

#[tokio::test]
async fn a_group_whose_ranges_never_end_is_given_up() {
    let server = Unruly::start(|request| with_members(request, u32::MAX)).await;
    let visit = Visit::to(server, GROUPS);
    let line = visit.says("no session with the directory").await;
    assert!(
        line.contains("the answer has no end while reading groups"),
        "{line}"
    );
    visit.stays_small();
}

#[tokio::test]
async fn the_largest_group_that_is_taken_is_held_and_read_again() {
    let server = Unruly::start(|request| with_members(request, 330_000)).await;
    let visit = Visit::to(server, GROUPS);
    visit.says("following the configured groups").await;
    visit.says("listing ended").await;
    visit.stays_small();
}

#[tokio::test]
async fn a_list_of_groups_without_end_is_given_up() {
    let server = Unruly::start(|request| {
        let lists = matches!(request.kind, Kind::OtherSearch) && asks(request, "groupOfUniqueNames");
        if lists {
            let id = request.number;
            let name = "x".repeat(4000);
            let found = move |n| message(id, &person(&format!("{name}{n}"), n), &[]);
            return Reply::Floods(FOR_EVER, Box::new(found));
        }
        with_a_group(request)
    })
    .await;
    let visit = Visit::to(server, GROUPS);
    let line = visit.says("no session with the directory").await;
    assert!(
        line.contains("the answer has no end while looking for groups"),
        "{line}"
    );
    visit.stays_small();
}

/// After the listing the stream is silent; when the server is asked whether it lives, it sends this much of the
/// stream first.
async fn flooding_at_the_probe(
    offer: &'static str,
    most: u64,
    flood: impl Fn(u32) -> Box<dyn FnMut(u32) -> Vec<u8> + Send> + Send + Sync + 'static,
) -> Unruly {
    let stream = AtomicU32::new(0);
    let flooded = AtomicU32::new(0);
    Unruly::start(move |request| {
        if asks(request, offer) {
            stream.store(request.number, Relaxed);
            if offer == PERSISTENT_SEARCH {
                return Reply::Says(Vec::new());
            }
        }
        // The connection of the stream, later than when it began.
        let probe = asks_for_root(request) && stream.load(Relaxed) + 1 < request.number;
        if probe && flooded.fetch_add(1, Relaxed) == 0 {
            return Reply::Floods(most, flood(stream.load(Relaxed)));
        }
        usual(
            request,
            if offer == SYNC {
                &[SYNC]
            } else {
                &[PERSISTENT_SEARCH]
            },
        )
    })
    .await
}

#[tokio::test]
async fn a_flood_of_changes_while_the_server_is_asked_whether_it_lives_is_a_sign_of_life() {
    let most = 32 * MIB;
    let server = flooding_at_the_probe(SYNC, most, |id| {
        Box::new(move |piece| {
            let mail = "nobody ".repeat(1000);
            let mut some: Vec<u8> = (piece * 10..(piece + 1) * 10)
                .flat_map(|n| {
                    message(
                        id,
                        &entry(format!("uid=n{n},dc=example"), "mail", &[&mail]),
                        &added(n + 1),
                    )
                })
                .collect();
            if piece == 400 {
                let zoe = entry("uid=zoe,dc=example", "mail", &["zoe@example.org"]);
                some.extend(message(id, &zoe, &added(0xffff)));
            }
            some
        })
    });
    // Ten seconds of silence come first.
    let visit = Visit::to(server.await, "");
    visit.invites("ann").await;
    visit.takes(most).await;
    visit.invites("zoe").await;
    assert_eq!(
        visit.lines("no session with the directory"),
        0,
        "{}",
        visit.service.output()
    );
    visit.stays_small();
    // Some 4,600 people without an address are a hundred lines, and one that counts the others.
    assert_eq!(visit.lines("cannot be invited"), 100);
    visit.service.term().await;
    let line = visit.says("more within a minute").await;
    assert!(
        line.contains("and 4") && line.contains("kind=\"without-address\""),
        "{line}"
    );
}

#[tokio::test]
async fn a_flood_of_rings_while_the_server_is_asked_whether_it_lives_is_a_sign_of_life() {
    let most = 24 * MIB;
    let server = flooding_at_the_probe(PERSISTENT_SEARCH, most, |id| {
        Box::new(move |piece| {
            let pad = vec![vec![b'x'; 7000]];
            let ring = |n: u32| {
                let uuid = format!("{n:08x}-0808-0808-0808-080808080808").into_bytes();
                let attributes = [("entryUUID", vec![uuid]), ("jpegPhoto", pad.clone())];
                let entry = entry_with(&format!("uid=n{n},dc=example"), &attributes);
                message(id, &entry, &entry_change(&tlv(0x0a, &[4])))
            };
            (piece * 10..(piece + 1) * 10).flat_map(ring).collect()
        })
    });
    let visit = Visit::to(server.await, "");
    visit.invites("ann").await;
    visit.takes(most).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(
        visit.lines("no session with the directory"),
        0,
        "{}",
        visit.service.output()
    );
    visit.stays_small();
}

// -- Active Directory -------------------------------------------------------------------------------------------------

const NOTIFICATION: &str = "1.2.840.113556.1.4.528";

/// A domain controller whose latest change has this number.
fn controller(request: &Request, usn: u64) -> Reply {
    let id = request.number;
    let done = message(id, &result(0x65, 0), &[]);
    let text = |text: &str| vec![text.as_bytes().to_vec()];
    let entry = match request.kind {
        Kind::BaseSearch if asks(request, "invocationId") => {
            entry_with("CN=NTDS", &[("invocationId", vec![vec![9; 16]])])
        }
        Kind::BaseSearch if asks(request, "supportedControl") || asks(request, "highestCommittedUSN") => {
            entry_with(
                "",
                &[
                    ("supportedCapabilities", text("1.2.840.113556.1.4.800")),
                    ("supportedControl", text(NOTIFICATION)),
                    ("namingContexts", text("dc=example")),
                    ("dsServiceName", text("CN=NTDS")),
                    ("highestCommittedUSN", text(&usn.to_string())),
                ],
            )
        }
        Kind::OtherSearch => changed(0, 1),
        _ => return usual(request, &[]),
    };
    Reply::Says([message(id, &entry, &[]), done].concat())
}

/// An object of this number that changed.
fn changed(number: u32, usn: u64) -> Vec<u8> {
    entry_with(
        &format!("cn=n{number},dc=example"),
        &[
            ("objectGUID", vec![[&number.to_be_bytes()[..], &[7; 12]].concat()]),
            ("uSNChanged", vec![usn.to_string().into_bytes()]),
            ("mail", vec![format!("n{number}@example.org").into_bytes()]),
        ],
    )
}

fn objects(id: u32) -> Box<dyn FnMut(u32) -> Vec<u8> + Send> {
    Box::new(move |piece| {
        let some = piece * 500..(piece + 1) * 500;
        some.flat_map(|n| message(id, &changed(n, 200), &[])).collect()
    })
}

#[tokio::test]
async fn a_flood_of_notifications_while_the_controller_is_asked_for_changes_is_heard() {
    let most = 12 * MIB;
    let (watch, questions, usn) = (AtomicU32::new(0), AtomicU32::new(0), AtomicU64::new(100));
    let server = Unruly::start(move |request| {
        if asks(request, NOTIFICATION) {
            watch.store(request.number, Relaxed);
            return Reply::Says(Vec::new());
        }
        let id = watch.load(Relaxed);
        let question = asks(request, "highestCommittedUSN") && !asks_for_root(request) && request.number > id;
        // The first question of all belongs to the beginning of the watch.
        if question && questions.fetch_add(1, Relaxed) == 2 {
            usn.store(200, Relaxed);
            return Reply::Floods(most, objects(id));
        }
        controller(request, usn.load(Relaxed))
    })
    .await;
    let visit = Visit::to(server, "poll_interval = \"1s\"");
    visit.takes(most).await;
    visit.stays_small();
    let output = visit.service.output();
    assert!(output.contains("stream=\"active-directory\""), "{output}");
    assert!(!output.contains("no answer"), "{output}");
}

#[tokio::test]
async fn changes_without_end_after_a_number_are_given_up_and_everyone_is_listed() {
    let usn = Arc::new(AtomicU64::new(100));
    let server = Unruly::start(move |request| {
        if asks(request, NOTIFICATION) {
            usn.store(200, Relaxed);
            return Reply::Says(Vec::new());
        }
        // Neither the listing nor a look-up wants the number.
        if matches!(request.kind, Kind::OtherSearch) && asks(request, "uSNChanged") {
            return Reply::Floods(FOR_EVER, objects(request.number));
        }
        let now = usn.fetch_add(1, Relaxed);
        controller(request, now)
    })
    .await;
    let visit = Visit::to(server, "poll_interval = \"1s\"");
    let line = visit.says("no session with the directory").await;
    assert!(line.contains("more than 100000 entries changed since"), "{line}");
    visit.stays_small();
}

// -- entries of unusual size ------------------------------------------------------------------------------------------

/// A server that lists this, and then Ann.
async fn listing(entries: impl Fn(u32) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Unruly {
    Unruly::start(move |request| {
        if !matches!(request.kind, Kind::SyncSearch) {
            return usual(request, &[SYNC]);
        }
        let id = request.number;
        let mut rest = entries(id);
        let ann = entry("uid=ann,dc=example", "mail", &["ann@example.org"]);
        rest.push(message(id, &ann, &added(0)));
        rest.push(message(id, &refresh_done(), &[]));
        let bytes = rest.iter().map(|entry| entry.len() as u64).sum();
        let mut rest = rest.into_iter();
        Reply::Floods(bytes, Box::new(move |_| rest.next().unwrap_or_default()))
    })
    .await
}

#[tokio::test]
async fn names_of_a_mebibyte_are_passed_over_with_one_warning() {
    let server = listing(|id| {
        let long = |n: u32| format!("uid=x{}{n},dc=example", "\u{1b}[31m".repeat(200_000));
        let told = |n| message(id, &entry(long(n), "mail", &["long@example.org"]), &added(n));
        (1..40).map(told).collect()
    });
    let visit = Visit::to(server.await, "");
    visit.invites("ann").await;
    let line = visit.says("longer than 8192 bytes").await;
    assert!(
        line.contains("WARN") && line.contains("uid=x\\u{1b}[31m") || line.contains("uid=x\\\\u{1b}[31m"),
        "{line}"
    );
    assert!(line.len() < 1500, "{line}");
    assert_eq!(visit.lines("longer than 8192 bytes"), 1);
    assert_eq!(visit.lines("no session with the directory"), 0);
    visit.stays_small();
}

#[tokio::test]
async fn people_of_a_mebibyte_each_are_taken_a_few_at_a_time() {
    let server = listing(|id| {
        let values = vec!["x".repeat(5000); 200];
        let told = |n| {
            message(
                id,
                &entry(format!("uid=n{n},dc=example"), "mail", &values),
                &added(n),
            )
        };
        (1..60).map(told).collect()
    });
    let visit = Visit::to(server.await, "");
    visit.invites("ann").await;
    visit.stays_small();
}

#[tokio::test]
async fn a_value_that_is_too_long_is_no_address_and_harms_nobody_else() {
    let server = listing(|id| {
        // Blanks around an address do not count; what comes after them does.
        let value = format!("eve@example.org{}!", " ".repeat(20_000));
        vec![message(
            id,
            &entry("uid=eve,dc=example", "mail", &[value]),
            &added(1),
        )]
    });
    let visit = Visit::to(server.await, "");
    visit.invites("ann").await;
    let line = visit.says("cannot be invited").await;
    assert!(line.contains("uid=eve") && line.len() < 1000, "{line}");
}

// -- deadlines under load ---------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_deadline_holds_however_busily_the_server_sends() {
    let name = format!("uid={},dc=example", "x".repeat(9000));
    let nothing = move |id: u32| -> Box<dyn FnMut(u32) -> Vec<u8> + Send> {
        let some = message(id, &entry(&name, "mail", &["x@example.org"]), &[]).repeat(50);
        Box::new(move |_| some.clone())
    };
    let asks_for_base = |request: &Request| {
        matches!(request.kind, Kind::BaseSearch) && !asks_for_root(request) && asks(request, "dc=example")
    };
    let server = forgetting_itself(&[SYNC], asks_for_base, nothing).await;
    let began = Instant::now();
    let visit = Visit::to(server, "");
    let line = visit.says("no session with the directory").await;
    assert!(
        line.contains("no answer for 15 s while reading the base"),
        "{line}"
    );
    assert!(began.elapsed() < Duration::from_secs(25), "{:?}", began.elapsed());
    assert!(visit.server.flooded.load(Relaxed) > 100 * MIB, "it was no flood");
    visit.stays_small();
}

#[tokio::test]
async fn a_flood_of_answers_to_nothing_ends_the_session() {
    let server = Unruly::start(|request| match request.kind {
        Kind::Bind => Reply::Floods(FOR_EVER, nobodies(99)),
        _ => usual(request, &[SYNC]),
    })
    .await;
    let visit = Visit::to(server, "bind_dn = \"cn=reader\"\nbind_password = \"secret\"");
    let line = visit.says("no session with the directory").await;
    assert!(
        line.contains("the server keeps sending responses without a request"),
        "{line}"
    );
    visit.stays_small();
}

// -- the words of others ----------------------------------------------------------------------------------------------

/// A text that a terminal would obey, and that would begin lines of its own in a log.
fn long_text() -> String {
    format!(
        "no\n2026-01-01T00:00:00Z INFO invited\u{1b}[2J{}",
        "x".repeat(300_000)
    )
}

/// Neither too long nor harmful.
fn is_tame(text: &str) -> bool {
    text.len() < 2000 && !text.contains(['\n', '\u{1b}']) && text.contains("300") && text.contains(" bytes)")
}

#[tokio::test]
async fn what_a_directory_says_is_cut_and_escaped_in_the_log_and_in_readiness() {
    let server = Unruly::start(|request| match request.kind {
        Kind::Bind => {
            let refused = [tlv(0x0a, &[49]), octets(""), octets(long_text())].concat();
            Reply::Says(message(request.number, &tlv(0x61, &refused), &[]))
        }
        _ => usual(request, &[SYNC]),
    })
    .await;
    let keys = "bind_dn = \"cn=reader\"\nbind_password = \"secret\"";
    let visit = Visit::between(server, StandIn::start(), keys, "127.0.0.1:0");
    let line = visit.says("no session with the directory").await;
    assert!(line.contains("was refused") && is_tame(&line), "{line}");
    assert_eq!(visit.lines("INFO invited"), 1, "within the one line: {line}");
    let ready = visit.get("/readyz").await;
    assert!(
        ready.len() < 1500 && !ready.contains('\x1b') && !ready.contains("\n2026-01-01"),
        "{ready}"
    );
}

#[tokio::test]
async fn what_vaultwarden_says_is_cut_and_escaped_in_the_log() {
    let vault = StandIn::start();
    vault.fail(On::Invite, None, 1000, Fault::Error(400, long_text().leak()));
    let visit = Visit::between(listing(|_| Vec::new()).await, vault, "", "off");
    let line = visit.says("ann@example.org").await;
    assert!(line.contains("Vaultwarden says") && is_tame(&line), "{line}");
}

// -- storms -----------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_thousand_people_who_leave_at_once_are_a_hundred_lines_and_one_that_counts_the_others() {
    let server = Unruly::start(|request| {
        if !matches!(request.kind, Kind::SyncSearch) {
            return usual(request, &[SYNC]);
        }
        let id = request.number;
        let told = |n: u32| {
            let person = entry(
                format!("uid=n{n},dc=example"),
                "mail",
                &[format!("n{n}@example.org")],
            );
            message(id, &person, &added(n))
        };
        let uuids = (0..1000_u32).flat_map(|n| octets([&n.to_be_bytes()[..], &[7; 12]].concat()));
        let set = tlv(0x31, &uuids.collect::<Vec<u8>>());
        let gone = sync_info(&tlv(0xa3, &[tlv(0x01, &[0xff]), set].concat()));
        // They come after the listing: of those who are listed and gone before that is stored, nothing is known.
        let mut bytes = message(id, &refresh_done(), &[]);
        bytes.extend((0..1000).flat_map(told));
        bytes.extend(message(id, &gone, &[]));
        Reply::Says(bytes)
    })
    .await;
    let mut visit = Visit::to(server, "");
    let began = Instant::now();
    while visit.lines(" INFO left ") < 100 {
        assert!(began.elapsed() < SOON, "{}", visit.service.output());
        sleep(Duration::from_millis(50)).await;
    }
    sleep(Duration::from_secs(3)).await;
    visit.service.term().await;
    visit.service.wait().await;
    assert_eq!(visit.lines(" INFO left "), 100, "{}", visit.service.output());
    let line = visit.says("kind=\"left\"").await;
    assert!(
        line.contains("and 900 more within a minute") && line.contains("INFO"),
        "{line}"
    );
}
