//! The test directory itself: what the other tests take for granted.

use ldap3::{LdapConnAsync, Scope};

use crate::support::people::People;
use crate::support::slapd::{Slapd, person_ldif};

/// How many people the reader (or `who`) finds at `url`.
async fn count(slapd: &Slapd) -> usize {
    let (connection, mut ldap) = LdapConnAsync::new(&slapd.url()).await.unwrap();
    let driver = tokio::task::spawn(connection.drive());
    ldap.simple_bind(slapd.reader_dn(), slapd.reader_pw())
        .await
        .unwrap()
        .success()
        .unwrap();
    let found = ldap
        .search(&slapd.people_base(), Scope::Subtree, "(mail=*)", ["1.1"])
        .await
        .unwrap();
    driver.abort();
    found.0.len()
}

#[tokio::test]
async fn a_slapd_keeps_its_people_and_its_port_over_stop_kill_and_restart() {
    let mut slapd = Slapd::builder().people(3).start().await;
    let url = slapd.url();
    slapd.people().add_person("ann").await;
    slapd.stop().await;
    slapd.restart().await;
    slapd.people().add_many("bulk", 5).await;
    slapd.kill9().await;
    slapd.restart().await;
    assert_eq!((count(&slapd).await, slapd.url()), (9, url));
}

#[tokio::test]
async fn people_are_renamed_moved_and_deleted_and_stay_who_they_are() {
    let slapd = Slapd::builder().start().await;
    let people: People = slapd.people();
    people.add_person_with("ann", None).await;
    let ann = people.entry_uuid("ann").await;
    people.set_mail("ann", "ann@example.org").await;
    people.rename("ann", "anna").await;
    people.move_to("anna", "former").await;
    assert_eq!(count(&slapd).await, 0);
    people.move_between("anna", "former", "people").await;
    people.set_description("anna", "back").await;
    assert_eq!(people.entry_uuid("anna").await, ann);
    people.remove_mail("anna").await;
    assert_eq!(count(&slapd).await, 0);
    people.delete("anna").await;
    slapd.slapadd(&person_ldif("eve"));
    assert_eq!(count(&slapd).await, 1);
}

#[tokio::test]
async fn a_size_limit_cuts_the_reader_short_until_it_is_raised() {
    let mut slapd = Slapd::builder().people(30).size_limit(Some(10)).start().await;
    assert_eq!(count(&slapd).await, 10);
    slapd.restart_with(|options| options.size_limit(None)).await;
    assert_eq!(count(&slapd).await, 30);
}

#[tokio::test]
async fn a_paused_slapd_answers_nobody_until_it_is_resumed() {
    let slapd = Slapd::builder()
        .tls()
        .memberof()
        .no_syncprov()
        .people(1)
        .start()
        .await;
    slapd.pause();
    let paused = tokio::time::timeout(std::time::Duration::from_millis(100), count(&slapd)).await;
    slapd.resume();
    assert!(paused.is_err());
    assert_eq!(count(&slapd).await, 1);
    assert!(
        slapd.ca_file().exists() && slapd.ca_der_file().exists() && slapd.ldaps_url().starts_with("ldaps")
    );
}
