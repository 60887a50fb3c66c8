//! 389 Directory Server, which is also that of FreeIPA: persistent search, content synchronisation, and the limits at
//! which it falls silent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ldap_usher::directory::{DirectoryError, DirectorySettings, LdapDirectory, StreamKind};
use ldap_usher::model::{Change, Cursor, Disposition, Listing};
use ldap3::Mod;
use tokio::time::{Instant, sleep, timeout};

use crate::persistent_search::{tells_of_every_way_to_come_and_go, tells_of_members};
use crate::support::ds389::Ds389;
use crate::support::ldap::{added, attribute, entry, message, octets, sync_info, tlv};
use crate::support::listening::{Listening, error_of, settings};
use crate::support::offering::{Face, Offering};
use crate::support::site::{Folk, Site};
use crate::support::world::{PATIENCE, World};

const PEOPLE: &str = "(&(objectClass=inetOrgPerson)(mail=*))";

fn folk(site: &Ds389) -> Folk {
    (site as &dyn Site).folk()
}

fn following(site: &Ds389, stream: Option<StreamKind>) -> LdapDirectory {
    LdapDirectory::new(settings(site, PEOPLE, stream)).unwrap()
}

/// An open stream that has listed.
async fn listening(directory: &LdapDirectory, from: Option<Cursor>) -> Listening {
    let mut listening = Listening::open(directory, from).await.unwrap();
    listening.listed().await;
    listening
}

// -- persistent search ----------------------------------------------------------------------------------------------

#[tokio::test]
async fn persistent_search_tells_of_every_way_to_come_and_go() {
    let site = Ds389::builder().people(3).start().await;
    tells_of_every_way_to_come_and_go(&site).await;
}

#[tokio::test]
async fn a_change_of_a_group_or_of_a_lock_is_told_live_where_the_filter_names_it() {
    let site = Ds389::builder().start().await;
    let folk = folk(&site);
    for uid in ["ann", "bob"] {
        folk.add(uid).await;
    }
    folk.add_group("vault", &[]).await;
    folk.add_group("inner", &[folk.dn("bob")]).await;
    let filter = format!("(&(memberOf={})(!(nsAccountLock=true)))", folk.group("vault"));
    let directory = LdapDirectory::new(settings(&site, &filter, None)).unwrap();
    let mut stream = listening(&directory, None).await;
    folk.join("vault", &folk.dn("ann")).await;
    stream.joins("ann").await;
    folk.lock("ann", true).await;
    stream.leaves("ann").await;
    folk.lock("ann", false).await;
    stream.joins("ann").await;
    folk.leave("vault", &folk.dn("ann")).await;
    stream.leaves("ann").await;
    folk.join("vault", &folk.group("inner")).await;
    stream.joins("bob").await;
    folk.leave("inner", &folk.dn("bob")).await;
    stream.leaves("bob").await;
    // That is not everybody's leaving.
    folk.delete(&folk.group("vault")).await;
    let error = stream.error().await;
    assert!(matches!(error, DirectoryError::NoGroup { .. }), "{error}");
}

#[tokio::test]
async fn without_the_memberof_plugin_groups_are_watched_by_either_kind_of_stream() {
    let site = Ds389::builder().no_member_of().start().await;
    for stream in [Some(StreamKind::PersistentSearch), Some(StreamKind::Syncrepl)] {
        tells_of_members(&site, stream).await;
    }
}

#[tokio::test]
async fn an_account_that_sees_only_people_hears_of_them_all_the_same() {
    let site = Ds389::builder().rights_below_people().people(1).start().await;
    let folk = folk(&site);
    let mut stream = Listening::open(&following(&site, None), None).await.unwrap();
    assert_eq!(stream.stream, StreamKind::PersistentSearch);
    assert_eq!(
        stream.listed().await,
        (Listing::Complete, vec!["person1".to_owned()])
    );
    folk.add("ann").await;
    stream.joins("ann").await;
    folk.set("ann", "mail", None).await;
    stream.leaves("ann").await;
}

#[tokio::test]
async fn people_who_are_added_while_the_stream_opens_are_not_lost() {
    let site = Ds389::builder().people(300).start().await;
    let folk = folk(&site);
    let directory = following(&site, None);
    let adding = async { folk.add_many("new", 100).await };
    let hearing = async {
        let mut stream = Listening::open(&directory, None).await.unwrap();
        for n in 1..=100 {
            while !stream.knows(&format!("new{n}")) {
                stream.next().await.unwrap();
            }
        }
    };
    timeout(3 * PATIENCE, async { tokio::join!(adding, hearing) })
        .await
        .expect("all of them");
}

#[tokio::test]
async fn a_base_that_does_not_exist_is_an_error_and_no_silence() {
    let site = Ds389::builder().start().await;
    for stream in [Some(StreamKind::PersistentSearch), Some(StreamKind::Syncrepl)] {
        let settings = DirectorySettings {
            base: "ou=poeple,dc=example,dc=org".into(),
            ..settings(&site, PEOPLE, stream)
        };
        let error = error_of(&LdapDirectory::new(settings).unwrap(), None).await;
        assert!(matches!(error, DirectoryError::NoBase { .. }), "{error}");
    }
}

#[tokio::test]
async fn without_the_right_to_read_identities_the_listing_says_what_is_missing() {
    let site = Ds389::builder()
        .reader_rights("objectClass || uid || mail")
        .people(2)
        .start()
        .await;
    let mut stream = Listening::open(&following(&site, None), None).await.unwrap();
    let (listing, _) = stream.listed().await;
    let Listing::Partial(reason) = listing else {
        panic!("{listing:?}")
    };
    assert!(reason.contains("nsUniqueId"), "{reason}");
}

#[tokio::test]
async fn a_listing_under_the_servers_limits_is_partial_and_names_the_limit() {
    let limits = |options: crate::support::ds389::Builder| options.reader_limits().people(30);
    let look_through = limits(Ds389::builder()).database("nsslapd-lookthroughlimit: 10");
    let site = look_through.start().await;
    let (listing, _) = Listening::open(&following(&site, None), None)
        .await
        .unwrap()
        .listed()
        .await;
    let Listing::Partial(reason) = listing else {
        panic!("{listing:?}")
    };
    assert!(reason.contains("nsLookThroughLimit"), "{reason}");
}

#[tokio::test]
async fn the_service_finds_what_happened_while_the_server_or_itself_was_away() {
    let site = Ds389::builder().people(1).start().await;
    let table = (&site as &dyn Site).table(PEOPLE, "");
    let mut world = World::on(site, table);
    world.start().await;
    let folk = folk(&world.server);
    world.says(&["connected", "persistent-search"], 1).await;
    world.server.kill9().await;
    world.server.start().await;
    folk.add("ann").await;
    world.invites("ann").await;
    world.stop().await;
    folk.add("bob").await;
    let person = folk.dn("person1");
    folk.delete(&person).await;
    world.start().await;
    world.invited(["person1", "ann", "bob"]).await;
    world.members(2).await;
    world.server.stop().await;
    world.server.start().await;
    folk.add("eve").await;
    world.invites("eve").await;
}

// -- content synchronisation ------------------------------------------------------------------------------------------

#[tokio::test]
async fn content_synchronisation_tells_live_and_resumes_with_what_it_can_name() {
    let site = Ds389::builder().people(2).start().await;
    let folk = folk(&site);
    let directory = following(&site, Some(StreamKind::Syncrepl));
    let mut stream = Listening::open(&directory, None).await.unwrap();
    assert_eq!((stream.stream, stream.reconcile), (StreamKind::Syncrepl, true));
    let (listing, named) = stream.listed().await;
    assert_eq!((listing, named.len()), (Listing::Complete, 2));
    folk.add("ann").await;
    let ann = stream.joins("ann").await;
    folk.set("ann", "mail", None).await;
    stream.leaves("ann").await;
    folk.set("ann", "mail", Some("ann@example.org")).await;
    assert_eq!(stream.joins("ann").await, ann);
    folk.move_between("ann", "people", "former").await;
    stream.leaves("ann").await;
    folk.move_between("ann", "former", "people").await;
    stream.joins("ann").await;
    folk.rename("ann", "anna").await;
    stream.joins("anna").await;
    let checkpoint = stream.next().await.unwrap();
    assert!(matches!(checkpoint, Change::Checkpoint(_)), "{checkpoint:?}");
    // The identity is that of the attribute.
    let found = ldap_usher::directory::Directory::lookup(&directory, &[ann])
        .await
        .unwrap();
    assert_eq!(found.len(), 1);

    let cursor = stream.cursor.clone();
    drop(stream);
    folk.add("bob").await;
    let person = folk.dn("person1");
    folk.delete(&person).await;
    let mut stream = Listening::open(&directory, cursor).await.unwrap();
    assert!(stream.reconcile, "who left by the filter is not named");
    assert_eq!(
        stream.listed().await,
        (Listing::Changes, vec!["-?".to_owned(), "bob".to_owned()])
    );
    assert_eq!(
        stream.attributes.iter().collect::<Vec<_>>(),
        ["mail"],
        "the rest is dropped"
    );
}

#[tokio::test]
async fn the_service_finds_those_who_left_by_the_filter_though_a_resumed_search_does_not_name_them() {
    let site = Ds389::builder().people(2).start().await;
    let table = (&site as &dyn Site).table(PEOPLE, "stream = \"syncrepl\"");
    let mut world = World::on(site, table);
    world.start().await;
    world.members(2).await;
    let folk = folk(&world.server);
    // A live change, for a cookie beyond that of the refresh.
    folk.add("ann").await;
    world.invites("ann").await;
    world.stop().await;
    folk.set("person1", "mail", None).await;
    world.start().await;
    world.members(2).await;
    assert_eq!(world.lines(&["connected", "resumed=true"]).len(), 1);
}

#[tokio::test]
async fn cookies_without_a_change_are_refused_with_the_setting_that_the_server_lacks() {
    let site = Ds389::builder().no_target_unique_id().people(1).start().await;
    let mut stream = listening(&following(&site, Some(StreamKind::Syncrepl)), None).await;
    folk(&site).add("ann").await;
    let error = stream.error().await;
    assert_eq!(error.disposition(), Disposition::Operator);
    assert!(error.to_string().contains("nsuniqueid:targetUniqueId"), "{error}");
}

#[tokio::test]
async fn a_cookie_older_than_the_changelog_or_from_elsewhere_asks_for_a_new_listing() {
    let site = Ds389::builder()
        .people(1)
        .changelog("nsslapd-changelogmaxage: 1s")
        .changelog("nsslapd-changelog-trim-interval: 1s")
        .start()
        .await;
    let folk = folk(&site);
    let directory = following(&site, Some(StreamKind::Syncrepl));
    let mut stream = listening(&directory, None).await;
    while stream.cursor.is_none() {
        stream.next().await.unwrap();
    }
    let cursor = stream.cursor.clone();
    drop(stream);
    folk.add_many("new", 3).await;
    let deadline = Instant::now() + 3 * PATIENCE;
    let error = loop {
        assert!(Instant::now() < deadline, "the changelog is not trimmed");
        sleep(Duration::from_millis(500)).await;
        folk.set("new3", "description", Some("again")).await;
        folk.set("new3", "description", None).await;
        if let Err(error) = Listening::open(&directory, cursor.clone()).await {
            break error;
        }
    };
    assert_eq!(error.disposition(), Disposition::Relist);
    assert!(error.to_string().contains("the changelog was trimmed"), "{error}");

    for cookie in ["garbage", "rid=000,csn=20991231235959.000000Z#000000#000#000000"] {
        let error = error_of(&directory, Some(Cursor(cookie.into()))).await;
        assert_eq!(error.disposition(), Disposition::Relist, "{error}");
    }
}

#[tokio::test]
async fn the_silence_of_a_refresh_at_a_limit_is_told_with_the_limit_to_raise() {
    let small = || Ds389::builder().reader_limits().people(30);
    let size = small().config("nsslapd-sizelimit: 10").start().await;
    let look_through = small().database("nsslapd-lookthroughlimit: 10").start().await;
    let errors = tokio::join!(error_of_syncrepl(&size), error_of_syncrepl(&look_through));
    for (error, limit) in [
        (errors.0, "nsSizeLimit: -1"),
        (errors.1, "nsLookThroughLimit: -1"),
    ] {
        assert!(matches!(error, DirectoryError::Limit { .. }), "{error}");
        assert!(error.to_string().contains(limit), "{error}");
    }
}

async fn error_of_syncrepl(site: &Ds389) -> DirectoryError {
    error_of(&following(site, Some(StreamKind::Syncrepl)), None).await
}

/// What 389-DS says to the first content synchronisation, and to one that takes its place.
fn says(number: u32, id: u8) -> Vec<u8> {
    let cookie = |number| {
        octets(format!(
            "localhost:389#cn=reader:ou=people,dc=example:(mail=*)#{number}"
        ))
    };
    let refreshed = |number| message(id, &sync_info(&tlv(0xa1, &cookie(number))), &[]);
    let person = |uid: &str, n| {
        message(
            id,
            &entry(
                format!("uid={uid},ou=people,dc=example"),
                "mail",
                &["a@example.org"],
            ),
            &added(n),
        )
    };
    match number {
        0 => [person("old", 1), refreshed(5)].concat(),
        1 => refreshed(7),
        _ => [person("ann", 2), refreshed(9)].concat(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_falls_silent_while_others_change_is_replaced_and_known_as_dead_by_what_it_missed() {
    let last_change = Arc::new(AtomicU32::new(5));
    let server = Offering::start(Face {
        root: attribute("vendorName", &["389 Project"]),
        offers: false,
        syncs: Some(says),
        last_change: last_change.clone(),
        ..Face::default()
    })
    .await;
    let mut stream = listening(&server.follow(None), None).await;
    let minutes = async |stream: &mut Listening, minutes: u32| {
        for _ in 0..6 * minutes {
            stream.is_alive().await;
        }
    };
    // Nothing changes: there is nothing to doubt.
    minutes(&mut stream, 10).await;
    assert_eq!(server.searches.load(Ordering::Relaxed), 1);
    // Others changed: the stream is replaced, once, and its successor has nothing to tell.
    last_change.store(7, Ordering::Relaxed);
    minutes(&mut stream, 10).await;
    assert_eq!(server.searches.load(Ordering::Relaxed), 2);
    // Somebody changed: that one did not tell, and its successor does.
    last_change.store(9, Ordering::Relaxed);
    stream.joins("ann").await;
    let error = stream.error().await;
    assert_eq!(error.disposition(), Disposition::Outage);
    assert!(error.to_string().contains("stopped reporting changes"), "{error}");
    let cursor = String::from_utf8(stream.cursor.unwrap().0).unwrap();
    assert!(cursor.ends_with("#9"), "{cursor}");
}

#[tokio::test]
async fn a_server_that_gives_up_on_a_reader_who_stalls_ends_the_session_and_keeps_nobody_back() {
    let site = Ds389::builder()
        .config("nsslapd-ioblocktimeout: 1000")
        .people(1)
        .start()
        .await;
    let folk = folk(&site);
    let directory = LdapDirectory::new(DirectorySettings {
        attributes: vec!["mail".into(), "description".into()],
        ..settings(&site, PEOPLE, Some(StreamKind::Syncrepl))
    })
    .unwrap();
    let mut stream = listening(&directory, None).await;
    // Nobody reads, until the server does not write any more.
    let many: Vec<String> = (0..900).map(|n| format!("{n}-{}", "x".repeat(1000))).collect();
    for _ in 0..16 {
        let values = many.iter().map(String::as_str).collect();
        folk.modify(&folk.dn("person1"), Mod::Replace("description", values))
            .await;
    }
    sleep(Duration::from_secs(3)).await;
    folk.add("ann").await;
    let error = stream.error().await;
    assert_eq!(error.disposition(), Disposition::Outage, "{error}");
    let mut stream = Listening::open(&directory, stream.cursor).await.unwrap();
    assert!(stream.reconcile);
    assert!(stream.listed().await.1.contains(&"ann".to_owned()));
}
