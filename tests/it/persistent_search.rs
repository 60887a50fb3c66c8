//! Persistent search: what every server must tell, and servers that cannot run here or do not keep what they promise.

use std::sync::atomic::Ordering;

use ldap_usher::directory::{DirectoryError, DirectorySettings, LdapDirectory, StreamKind};
use ldap_usher::model::{Disposition, EntryId, Listing};

use crate::support::ldap::{attribute, entry, entry_change, entry_of, message, octets, result, tlv};
use crate::support::listening::{Listening, error_of, settings};
use crate::support::offering::{Face, Offering, Says};
use crate::support::site::Site;

/// Someone joins by creation, by the filter, by an address and by a move, is renamed, and leaves by each of these.
pub async fn tells_of_every_way_to_come_and_go(site: &dyn Site) {
    let folk = site.folk();
    let dialect = site.dialect();
    let filter = format!(
        "(&{}(mail=*)(!({}=away)))",
        dialect.people, dialect.trait_attribute
    );
    folk.add("old").await;
    let directory = LdapDirectory::new(settings(site, &filter, None)).unwrap();
    let mut stream = Listening::open(&directory, None).await.unwrap();
    assert_eq!(
        (stream.stream, stream.reconcile),
        (StreamKind::PersistentSearch, false)
    );
    let (listing, named) = stream.listed().await;
    assert_eq!(listing, Listing::Complete);
    assert!(named.contains(&"old".to_owned()), "{named:?}");

    folk.set("old", "description", Some("a change that means nothing"))
        .await;
    stream.joins("old").await;
    folk.add_in("people", "ann", None).await;
    folk.set("ann", "mail", Some("ann@example.org")).await;
    let ann = stream.joins("ann").await;
    folk.set("ann", dialect.trait_attribute, Some("away")).await;
    stream.leaves("ann").await;
    folk.set("ann", dialect.trait_attribute, Some("here")).await;
    stream.joins("ann").await;
    folk.set("ann", "mail", None).await;
    stream.leaves("ann").await;
    folk.set("ann", "mail", Some("ann@example.org")).await;
    stream.joins("ann").await;
    folk.move_between("ann", "people", "former").await;
    stream.leaves("ann").await;
    folk.move_between("ann", "former", "people").await;
    stream.joins("ann").await;
    folk.rename("ann", "anna").await;
    assert_eq!(stream.joins("anna").await, ann);
    stream.is_alive().await;
    let dn = folk.dn("anna");
    folk.delete(&dn).await;
    stream.leaves("anna").await;
    folk.add("bob").await;
    stream.joins("bob").await;
    assert_eq!(stream.cursor, None);
}

/// Someone joins and leaves a group, and a group within it, and the group is deleted.
pub async fn tells_of_members(site: &dyn Site, stream: Option<StreamKind>) {
    let folk = site.folk();
    let (group, inner) = (format!("vault-{stream:?}"), format!("inner-{stream:?}"));
    let (cat, dog) = (format!("cat-{stream:?}"), format!("dog-{stream:?}"));
    folk.add(&cat).await;
    folk.add(&dog).await;
    folk.add_group(&group, &[]).await;
    folk.add_group(&inner, &[folk.dn(&dog), site.admin().0]).await;
    let directory = LdapDirectory::new(DirectorySettings {
        groups: vec![folk.group(&group)],
        ..settings(site, site.dialect().people, stream)
    })
    .unwrap();
    let mut stream = Listening::open(&directory, None).await.unwrap();
    assert_eq!(stream.listed().await, (Listing::Complete, Vec::new()));
    folk.join(&group, &folk.dn(&cat)).await;
    stream.joins(&cat).await;
    folk.join(&group, &folk.group(&inner)).await;
    stream.joins(&dog).await;
    folk.leave(&inner, &folk.dn(&dog)).await;
    stream.leaves(&dog).await;
    folk.leave(&group, &folk.dn(&cat)).await;
    stream.leaves(&cat).await;
    let dn = folk.group(&group);
    folk.delete(&dn).await;
    let error = stream.error().await;
    assert!(matches!(error, DirectoryError::NoGroup { .. }), "{error}");
}

// -- servers that cannot run here -------------------------------------------------------------------------------------

fn refusal<const CODE: u8>(id: u8) -> Vec<u8> {
    message(id, &result(0x65, CODE), &[])
}

#[tokio::test]
async fn a_server_that_offers_persistent_search_and_refuses_it_is_polled_and_the_reason_is_told() {
    let plain = |id| {
        message(
            id,
            &entry("uid=ann,ou=people,dc=example", "entryUUID", &["x"]),
            &[],
        )
    };
    let faces: [(&str, Says); 6] = [
        ("result 12", refusal::<12>),
        ("result 50", refusal::<50>),
        ("result 53", refusal::<53>),
        ("result 11", refusal::<11>),
        ("result 0", refusal::<0>),
        ("with plain entries", plain),
    ];
    for (words, says) in faces {
        for late in [false, true] {
            let server = Offering::start(Face {
                says,
                late,
                ..Face::default()
            })
            .await;
            let error = error_of(&server.follow(Some(StreamKind::PersistentSearch)), None).await;
            assert_eq!(error.disposition(), Disposition::Operator);
            assert!(error.to_string().contains(words), "{error}");
            let auto = server.follow(None);
            let mut opened = Listening::open(&auto, None).await.unwrap();
            if late && opened.stream == StreamKind::PersistentSearch {
                // It refused when the stream was open already; the next session takes the next best.
                let error = opened.error().await;
                assert!(matches!(error, DirectoryError::Unsupported { .. }), "{error}");
                opened = Listening::open(&auto, None).await.unwrap();
            }
            assert_eq!(opened.stream, StreamKind::Poll, "{words}");
            assert_eq!(opened.listed().await.0, Listing::Complete);
        }
    }
}

#[tokio::test]
async fn a_persistent_search_that_nobody_offers_is_not_sent() {
    let server = Offering::start(Face {
        offers: false,
        ..Face::default()
    })
    .await;
    let error = error_of(&server.follow(Some(StreamKind::PersistentSearch)), None).await;
    assert!(
        error.to_string().contains("does not offer persistent search"),
        "{error}"
    );
    let polled = Listening::open(&server.follow(None), None).await.unwrap();
    assert_eq!(polled.stream, StreamKind::Poll);
    assert_eq!(server.searches.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_server_that_is_busy_or_ends_the_search_later_is_asked_again() {
    let busy = Offering::start(Face {
        says: refusal::<51>,
        ..Face::default()
    })
    .await;
    let auto = busy.follow(None);
    for _ in 0..2 {
        let error = error_of(&auto, None).await;
        assert_eq!(error.disposition(), Disposition::Retry, "{error}");
    }
    let ending = Offering::start(Face {
        says: |id| [rings::<1>(id), refusal::<0>(id)].concat(),
        late: true,
        ..Face::default()
    })
    .await;
    let auto = ending.follow(None);
    for _ in 0..2 {
        let error = error_of(&auto, None).await;
        assert_eq!(error.disposition(), Disposition::Outage, "{error}");
        assert!(
            error.to_string().contains("ended the persistent search"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_malformed_notification_ends_the_session_with_a_clear_error() {
    let cases: [(&str, Says); 3] = [
        ("has no change type", |id| {
            message(
                id,
                &entry("uid=ann,ou=people,dc=example", "mail", &["x"]),
                &entry_change(&[]),
            )
        }),
        ("a change type that no draft knows", |id| {
            message(
                id,
                &entry("uid=ann,ou=people,dc=example", "mail", &["x"]),
                &entry_change(&tlv(0x0a, &[3])),
            )
        }),
        ("has no DN", |id| {
            message(id, &tlv(0x64, &[]), &entry_change(&tlv(0x0a, &[1])))
        }),
    ];
    for (words, says) in cases {
        let server = Offering::start(Face {
            says,
            ..Face::default()
        })
        .await;
        let error = error_of(&server.follow(Some(StreamKind::PersistentSearch)), None).await;
        assert!(error.to_string().contains(words), "{error}");
    }
}

const ANN: [u8; 16] = *b"\x9d\x8e\x1f\x2e\x91\xf1\x4c\x5a\x8d\x2e\x00\x11\x22\x33\xff\x55";

/// Ann changed, in the words of OpenDJ (1), of Oracle's directory server (2), of eDirectory (3): with and without a
/// former DN and a change number.
fn rings<const SERVER: u8>(id: u8) -> Vec<u8> {
    let (identity, change) = match SERVER {
        1 => (named::<1>(), [tlv(0x0a, &[1]), tlv(0x02, &[0x01, 0x00])].concat()),
        2 => (
            named::<2>(),
            [tlv(0x0a, &[8]), octets("uid=anna"), tlv(0x02, &[7])].concat(),
        ),
        _ => (named::<3>(), tlv(0x0a, &[4])),
    };
    let foreign = message(
        id,
        &entry("cn=unnamed", "cn", &["unnamed"]),
        &entry_change(&change),
    );
    let ann = message(
        id,
        &entry_of("uid=ann,ou=people,dc=example", &identity),
        &entry_change(&change),
    );
    [foreign, ann].concat()
}

fn named<const SERVER: u8>() -> Vec<u8> {
    match SERVER {
        1 => attribute("entryUUID", &["9d8e1f2e-91f1-4c5a-8d2e-00112233ff55"]),
        2 => attribute("nsuniqueid", &["9d8e1f2e-91f14c5a-8d2e0011-2233ff55"]),
        _ => attribute("GUID", &[ANN]),
    }
}

fn found<const SERVER: u8>(id: u8) -> Vec<u8> {
    let attributes = [named::<SERVER>(), attribute("mail", &["ann@example.org"])].concat();
    message(id, &entry_of("uid=ann,ou=people,dc=example", &attributes), &[])
}

#[tokio::test]
async fn the_servers_of_sun_descent_ring_each_with_its_own_identity() {
    let version = |text: &str| attribute("vendorVersion", &[text]);
    let servers = [
        Face {
            root: version("ForgeRock Directory Services 7.5.0"),
            says: rings::<1>,
            finds: found::<1>,
            ..Face::default()
        },
        Face {
            root: version("Sun-Directory-Server/11.1.1.7.0"),
            says: rings::<2>,
            finds: found::<2>,
            ..Face::default()
        },
        Face {
            root: version("LDAP Agent for NetIQ eDirectory 9.2.4"),
            says: rings::<3>,
            finds: found::<3>,
            ..Face::default()
        },
    ];
    for face in servers {
        let server = Offering::start(face).await;
        let mut stream = Listening::open(&server.follow(None), None).await.unwrap();
        assert_eq!(stream.stream, StreamKind::PersistentSearch);
        // Once by the listing and once by the ring.
        for _ in 0..2 {
            assert_eq!(Some(stream.joins("ann").await), EntryId::from_slice(&ANN));
        }
    }
}
