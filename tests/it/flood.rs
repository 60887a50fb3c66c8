//! Servers that send more than anyone can hold: the service says so, stays small, and is back with the server.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;

use crate::chaos::MEMORY;
use crate::support::ldap::{added, entry, message, octets, refresh_done, sync_info, tlv};
use crate::support::scripted::{Scripted, SyncSearch};
use crate::support::service::Service;
use crate::support::stand_in::StandIn;

const SOON: Duration = Duration::from_secs(30);

/// A service whose server does this in the first session, and afterwards tells of Ann, as any server would. Returns
/// the first line that says why a session was lost.
async fn after<Flood, Work>(flood: Flood) -> String
where
    Flood: Fn(SyncSearch) -> Work + Send + Sync + 'static,
    Work: Future<Output = ()> + Send + 'static,
{
    let flood = Arc::new(flood);
    let server = Scripted::start(move |mut search| {
        let flood = flood.clone();
        async move {
            if search.number == 0 {
                return flood(search).await;
            }
            let ann = message(
                search.id,
                &entry("uid=ann,dc=example", "mail", &["ann@example.org"]),
                &added(0),
            );
            let done = message(search.id, &refresh_done(), &[]);
            search.stream.write_all(&[ann, done].concat()).await.unwrap();
            search.stay().await;
        }
    })
    .await;
    let (stand_in, state) = (StandIn::start(), tempfile::tempdir().unwrap());
    let service = Service::start(&format!(
        r#"state = "{}/state.db"
[http]
listen = "off"
[vaultwarden]
url = "{}"
admin_token = "sesame"
[[directory]]
url = "{}"
base_dn = "dc=example"
"#,
        state.path().display(),
        stand_in.url(),
        server.url()
    ));
    let line = service.wait_for_line("no session with the directory", SOON).await;
    assert!(line.contains(&format!("{}: ", server.url())), "{line}");
    assert!(
        stand_in.wait_for_invite("ann@example.org", SOON).await,
        "{}",
        service.output()
    );
    let output = service.output();
    assert!(!output.contains("panicked"), "{output}");
    let peak = service.peak_memory();
    assert!(peak <= MEMORY, "{peak} KiB after: {line}");
    line
}

#[tokio::test]
async fn a_message_of_two_gibibytes_is_refused_by_its_length_while_it_streams() {
    let line = after(|mut search| async move {
        let mut bytes = vec![0; 1 << 20];
        bytes[..6].copy_from_slice(&[0x30, 0x84, 0x7f, 0xff, 0xff, 0xff]);
        while search.stream.write_all(&bytes).await.is_ok() {
            bytes[..6].fill(0);
        }
    });
    let line = line.await;
    assert!(
        line.contains("a message of 2147483653 bytes; the limit is 16777216"),
        "{line}"
    );
}

#[tokio::test]
async fn endless_entries_do_not_fill_the_memory() {
    let line = after(|mut search| async move {
        // 75 MiB in all.
        let mail = "nobody ".repeat(2200);
        for hundred in 0..50 {
            let bytes: Vec<u8> = (hundred * 100..(hundred + 1) * 100)
                .flat_map(|n| {
                    let nobody = entry(format!("uid=nobody{n},dc=example"), "mail", &[&mail]);
                    message(search.id, &nobody, &added(n + 1))
                })
                .collect();
            if search.stream.write_all(&bytes).await.is_err() {
                return;
            }
        }
    });
    let line = line.await;
    assert!(line.contains("closed the connection"), "{line}");
}

#[tokio::test]
async fn the_largest_message_within_the_limit_is_taken() {
    let line = after(|mut search| async move {
        let huge = entry("uid=huge,dc=example", "mail", &[vec![0xff; (16 << 20) - 256]]);
        let bytes = message(search.id, &huge, &added(1));
        search.stream.write_all(&bytes).await.unwrap();
    });
    let line = line.await;
    assert!(line.contains("closed the connection"), "{line}");
}

#[tokio::test]
async fn a_message_made_of_millions_of_elements_is_refused() {
    let line = after(|mut search| async move {
        let values = tlv(0x31, &[4, 0].repeat(4 << 20));
        let attribute = tlv(0x30, &[tlv(4, b"mail"), values].concat());
        let entry = tlv(
            0x64,
            &[tlv(4, b"uid=many,dc=example"), tlv(0x30, &attribute)].concat(),
        );
        let bytes = message(search.id, &entry, &added(1));
        let _ = search.stream.write_all(&bytes).await;
    });
    let line = line.await;
    assert!(line.contains("more elements"), "{line}");
}

#[tokio::test]
async fn a_great_many_identities_in_one_message_are_taken_one_by_one() {
    let line = after(|mut search| async move {
        let set = tlv(0x31, &octets([9; 16]).repeat(200_000));
        let bytes = message(
            search.id,
            &sync_info(&tlv(0xa3, &[tlv(0x01, &[0xff]), set].concat())),
            &[],
        );
        search.stream.write_all(&bytes).await.unwrap();
    });
    let line = line.await;
    assert!(line.contains("closed the connection"), "{line}");
}
