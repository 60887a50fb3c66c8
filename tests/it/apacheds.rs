//! ApacheDS, followed by persistent search.

use ldap_usher::directory::{LdapDirectory, StreamKind};

use crate::persistent_search::{tells_of_every_way_to_come_and_go, tells_of_members};
use crate::support::apacheds::ApacheDs;
use crate::support::listening::{Listening, settings};
use crate::support::site::Site;
use crate::support::world::World;

#[tokio::test]
async fn apacheds_which_judges_by_the_former_entry_tells_of_every_way_to_come_and_go() {
    let site = ApacheDs::start().await;
    tells_of_every_way_to_come_and_go(&site).await;
    tells_of_members(&site, None).await;
}

#[tokio::test]
async fn apacheds_is_no_active_directory_and_is_not_trusted_with_content_synchronisation() {
    let site = ApacheDs::start().await;
    let people = site.dialect().people;
    let directory = LdapDirectory::new(settings(&site, people, None)).unwrap();
    let listening = Listening::open(&directory, None).await.unwrap();
    assert_eq!(listening.stream, StreamKind::PersistentSearch);
}

#[tokio::test]
async fn what_happens_while_an_apacheds_is_away_is_found_when_it_is_back() {
    let site = ApacheDs::start().await;
    let table = (&site as &dyn Site).table("(objectClass=inetOrgPerson)", "");
    let mut world = World::on(site, table);
    let folk = (&world.server as &dyn Site).folk();
    folk.add("ann").await;
    world.start().await;
    world.server.kill9().await;
    world.server.start().await;
    folk.add("bob").await;
    world.invites("bob").await;
    world.connected(2).await;
    folk.add("eve").await;
    world.invited(["ann", "bob", "eve"]).await;
}
