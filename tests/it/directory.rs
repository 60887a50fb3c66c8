//! Sessions with a real slapd: what its streams, listings and look-ups become.

use std::num::NonZeroU32;
use std::time::Duration;

use futures::StreamExt;
use ldap_usher::directory::{
    Bind, Changes, Directory, DirectoryError, DirectorySettings, LdapDirectory, Server, StreamKind,
};
use ldap_usher::model::{Change, Cursor, Disposition, Entry, Listing};
use ldap_usher::tls::TlsOptions;
use tokio::time::timeout;

use crate::support::slapd::Slapd;

fn settings(slapd: &Slapd) -> DirectorySettings {
    DirectorySettings {
        name: "main".into(),
        servers: vec![Server::parse(&slapd.url()).unwrap()],
        starttls: false,
        tls: TlsOptions::default(),
        bind: Bind::Simple {
            dn: slapd.reader_dn().into(),
            password: slapd.reader_pw().to_owned().into(),
        },
        base: slapd.people_base(),
        filter: "(&(objectClass=inetOrgPerson)(mail=*))".parse().unwrap(),
        groups: Vec::new(),
        id_attribute: None,
        attributes: vec!["mail".into()],
        stream: None,
        poll_interval: Duration::from_millis(200),
        page_size: NonZeroU32::new(10).unwrap(),
        max_message_size: 1 << 20,
    }
}

fn directory(slapd: &Slapd) -> LdapDirectory {
    LdapDirectory::new(settings(slapd)).unwrap()
}

async fn next(changes: &mut Changes) -> Result<Change, DirectoryError> {
    timeout(Duration::from_secs(10), changes.next())
        .await
        .expect("a change in time")
        .expect("no end of the stream")
}

/// One word a change, until the predicate holds for one; it is the last.
async fn until(changes: &mut Changes, last: impl Fn(&Change) -> bool) -> (Vec<String>, Option<Cursor>) {
    let mut words = Vec::new();
    let mut cursor = None;
    loop {
        let change = next(changes).await.unwrap();
        words.push(match &change {
            Change::Upsert(Entry { dn, .. })
            | Change::Together {
                entry: Entry { dn, .. },
                ..
            } => format!("upsert {}", uid(dn)),
            Change::ListingEnd(Listing::Complete) => "complete".into(),
            Change::ListingEnd(Listing::Changes) => "changes".into(),
            other => other.kind().to_owned(),
        });
        let done = last(&change);
        if let Change::Checkpoint(point) = change {
            cursor = Some(point);
        }
        if done {
            return (words, cursor);
        }
    }
}

fn uid(dn: &str) -> &str {
    dn.split(['=', ',']).nth(1).unwrap_or(dn)
}

fn is_checkpoint(change: &Change) -> bool {
    matches!(change, Change::Checkpoint(_))
}

#[tokio::test]
async fn a_stream_lists_then_tells_of_each_change_with_a_resume_point() {
    let slapd = Slapd::builder().people(2).start().await;
    let people = slapd.people();
    let opened = directory(&slapd).open(None).await.unwrap();
    assert_eq!(opened.stream, StreamKind::Syncrepl);
    let mut changes = opened.changes;
    let (words, _) = until(&mut changes, is_checkpoint).await;
    assert_eq!(words[0], "listing-begin");
    assert_eq!(words.iter().filter(|word| word.starts_with("upsert")).count(), 2);
    assert_eq!(words[3..], ["complete", "checkpoint"]);

    people.add_person("ann").await;
    assert_eq!(
        until(&mut changes, is_checkpoint).await.0,
        ["upsert ann", "checkpoint"]
    );
    people.rename("ann", "anna").await;
    assert_eq!(
        until(&mut changes, is_checkpoint).await.0,
        ["upsert anna", "checkpoint"]
    );
    people.remove_mail("anna").await;
    assert_eq!(until(&mut changes, is_checkpoint).await.0, ["gone", "checkpoint"]);
    people.set_mail("anna", "anna@example.org").await;
    assert_eq!(
        until(&mut changes, is_checkpoint).await.0,
        ["upsert anna", "checkpoint"]
    );
    people.move_to("anna", "former").await;
    assert_eq!(until(&mut changes, is_checkpoint).await.0, ["gone", "checkpoint"]);
    people.add_person_with("nobody", None).await;
    assert_eq!(until(&mut changes, is_checkpoint).await.0, ["checkpoint"]);
}

#[tokio::test]
async fn a_resumed_stream_tells_only_what_changed_where_slapd_has_a_session_log() {
    let slapd = Slapd::builder().people(3).session_log(Some(100)).start().await;
    let people = slapd.people();
    people.add_person("ann").await;
    let directory = directory(&slapd);
    let (_, cursor) = until(&mut directory.open(None).await.unwrap().changes, is_checkpoint).await;
    people.add_person("bob").await;
    people.delete("ann").await;
    let mut changes = directory.open(cursor.clone()).await.unwrap().changes;
    let (mut words, after) = until(&mut changes, is_checkpoint).await;
    words.sort();
    assert_eq!(
        words,
        ["changes", "checkpoint", "gone", "listing-begin", "upsert bob"]
    );
    assert_ne!(cursor, after);
}

#[tokio::test]
async fn without_a_session_log_a_resumed_stream_names_all_who_are_still_there() {
    let slapd = Slapd::builder().people(3).session_log(None).start().await;
    let people = slapd.people();
    people.add_person("ann").await;
    let directory = directory(&slapd);
    let (_, cursor) = until(&mut directory.open(None).await.unwrap().changes, is_checkpoint).await;
    people.delete("ann").await;
    people.add_person("bob").await;
    let (words, _) = until(&mut directory.open(cursor).await.unwrap().changes, is_checkpoint).await;
    // slapd names whoever it also sends, here bob.
    assert_eq!(
        words.iter().filter(|word| *word == "present").count(),
        4,
        "{words:?}"
    );
    assert!(
        words.contains(&"upsert bob".to_owned()) && words.contains(&"complete".to_owned()),
        "{words:?}"
    );
}

#[tokio::test]
async fn a_cookie_that_the_server_cannot_use_asks_for_a_new_listing() {
    let slapd = Slapd::builder().people(1).start().await;
    let directory = directory(&slapd);
    for cookie in [
        &b"garbage"[..],
        b"rid=000,csn=20991231235959.000000Z#000000#000#000000",
    ] {
        let error = match directory.open(Some(Cursor(cookie.to_vec()))).await {
            Err(error) => error,
            Ok(mut opened) => loop {
                if let Err(error) = next(&mut opened.changes).await {
                    break error;
                }
            },
        };
        assert_eq!(error.disposition(), Disposition::Relist, "{error}");
    }
}

#[tokio::test]
async fn a_listing_pages_through_everyone_and_a_look_up_reads_the_named_ones_only() {
    let slapd = Slapd::builder().people(35).start().await;
    let directory = directory(&slapd);
    let mut listing = directory.list().await.unwrap();
    let mut entries = Vec::new();
    loop {
        match next(&mut listing).await.unwrap() {
            Change::Upsert(entry) | Change::Together { entry, .. } => entries.push(entry),
            Change::ListingEnd(end) => {
                assert_eq!(end, Listing::Complete);
                break;
            }
            _ => {}
        }
    }
    assert_eq!(entries.len(), 35);
    assert!(
        timeout(Duration::from_secs(5), listing.next())
            .await
            .unwrap()
            .is_none()
    );

    let two = [entries[3].id, entries[7].id];
    slapd.people().remove_mail(uid(&entries[7].dn)).await;
    let found = directory.lookup(&two).await.unwrap();
    assert_eq!(found.iter().map(|entry| entry.id).collect::<Vec<_>>(), [two[0]]);
}

#[tokio::test]
async fn a_size_limit_makes_a_listing_partial_and_names_what_to_raise() {
    let slapd = Slapd::builder().people(30).size_limit(Some(12)).start().await;
    let mut settings = settings(&slapd);
    settings.page_size = NonZeroU32::new(500).unwrap();
    let directory = LdapDirectory::new(settings).unwrap();
    let mut listing = directory.list().await.unwrap();
    let reason = loop {
        match next(&mut listing).await.unwrap() {
            Change::ListingEnd(Listing::Partial(reason)) => break reason,
            Change::ListingEnd(other) => panic!("{other:?}"),
            _ => {}
        }
    };
    assert!(
        reason.contains(&slapd.url()) && reason.contains("sizeLimitExceeded") && reason.contains("limits"),
        "{reason}"
    );
    let mut opened = directory.open(None).await.unwrap().changes;
    let error = loop {
        if let Err(error) = next(&mut opened).await {
            break error;
        }
    };
    assert_eq!(error.disposition(), Disposition::Operator, "{error}");
}

#[tokio::test]
async fn a_server_without_syncprov_is_polled() {
    let slapd = Slapd::builder().no_syncprov().people(2).start().await;
    let opened = directory(&slapd).open(None).await.unwrap();
    assert_eq!(opened.stream, StreamKind::Poll);
    let mut changes = opened.changes;
    let ended = |change: &Change| matches!(change, Change::ListingEnd(_));
    assert_eq!(until(&mut changes, ended).await.0.len(), 4);
    slapd.people().add_person("ann").await;
    let (words, _) = until(&mut changes, ended).await;
    assert!(words.contains(&"upsert ann".to_owned()), "{words:?}");
}

#[tokio::test]
async fn a_wrong_base_and_a_wrong_password_are_told_with_their_remedy() {
    let slapd = Slapd::builder().start().await;
    let mut wrong_base = settings(&slapd);
    wrong_base.base = "ou=poeple,dc=example,dc=org".into();
    let error = LdapDirectory::new(wrong_base)
        .unwrap()
        .open(None)
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("ou=poeple") && error.contains("base_dn"),
        "{error}"
    );

    let mut wrong_password = settings(&slapd);
    wrong_password.bind = Bind::Simple {
        dn: slapd.reader_dn().into(),
        password: "guess".to_owned().into(),
    };
    let error = LdapDirectory::new(wrong_password)
        .unwrap()
        .open(None)
        .await
        .err()
        .unwrap();
    assert_eq!(error.disposition(), Disposition::Operator);
    assert!(
        error.to_string().contains("wrong bind DN or wrong password"),
        "{error}"
    );
    assert!(!error.to_string().contains("guess"));
}

#[tokio::test]
async fn ldaps_starttls_and_ldapi_all_lead_in_and_an_unknown_ca_does_not() {
    let slapd = Slapd::builder().tls().people(1).start().await;
    let trusting = |ca| TlsOptions {
        ca_file: Some(ca),
        ..TlsOptions::default()
    };
    let mut ldaps = settings(&slapd);
    ldaps.servers = vec![Server::parse(&slapd.ldaps_url()).unwrap()];
    let error = LdapDirectory::new(ldaps.clone())
        .unwrap()
        .open(None)
        .await
        .err()
        .unwrap();
    assert_eq!(error.disposition(), Disposition::Operator);
    assert!(error.to_string().contains("ca_file"), "{error}");

    ldaps.tls = trusting(slapd.ca_file());
    let starttls = DirectorySettings {
        starttls: true,
        tls: trusting(slapd.ca_der_file()),
        ..settings(&slapd)
    };
    let external = DirectorySettings {
        servers: vec![Server::parse(&slapd.ldapi_url()).unwrap()],
        bind: Bind::External,
        ..settings(&slapd)
    };
    for settings in [ldaps, starttls, external] {
        let mut opened = LdapDirectory::new(settings).unwrap().open(None).await.unwrap();
        let (words, _) = until(&mut opened.changes, is_checkpoint).await;
        assert_eq!(words.len(), 4, "{}: {words:?}", opened.server);
    }
}

#[tokio::test]
async fn the_second_server_is_taken_when_the_first_is_not_there() {
    let slapd = Slapd::builder().start().await;
    let mut two = settings(&slapd);
    two.servers
        .insert(0, Server::parse("ldap://127.0.0.1:9").unwrap());
    assert_eq!(
        LdapDirectory::new(two).unwrap().open(None).await.unwrap().server,
        slapd.url().trim_end_matches('/')
    );
}

#[tokio::test]
async fn the_end_of_the_server_is_the_end_of_the_stream() {
    let mut slapd = Slapd::builder().start().await;
    let mut changes = directory(&slapd).open(None).await.unwrap().changes;
    until(&mut changes, |change| matches!(change, Change::ListingEnd(_))).await;
    slapd.kill9().await;
    let error = loop {
        if let Err(error) = next(&mut changes).await {
            break error;
        }
    };
    assert_eq!(error.disposition(), Disposition::Outage);
    assert!(error.to_string().contains("closed the connection"), "{error}");
}

#[tokio::test]
async fn a_server_that_hangs_is_found_within_thirty_seconds() {
    let slapd = Slapd::builder().start().await;
    let mut changes = directory(&slapd).open(None).await.unwrap().changes;
    until(&mut changes, |change| matches!(change, Change::ListingEnd(_))).await;
    slapd.pause();
    let error = timeout(Duration::from_secs(30), async {
        loop {
            if let Err(error) = changes.next().await.unwrap() {
                return error;
            }
        }
    })
    .await
    .expect("found in time");
    slapd.resume();
    assert!(matches!(error, DirectoryError::Silent { .. }), "{error}");
}
