//! The servers of the tests themselves: what the other tests take for granted.

use crate::support::apacheds::ApacheDs;
use crate::support::ds389::Ds389;
use crate::support::site::Site;

/// People come, change, move, join groups and go, over a kill and a restart.
async fn keeps_people(mut site: Box<dyn Site>) {
    let folk = site.folk();
    folk.add("ann").await;
    folk.add_in("people", "bob", None).await;
    folk.add_many("bulk", 3).await;
    folk.rename("ann", "anna").await;
    folk.move_between("anna", "people", "former").await;
    folk.set("bob", site.dialect().trait_attribute, Some("12")).await;
    folk.add_group("vault", &[folk.dn("bob")]).await;
    folk.join("vault", &folk.dn("bulk1")).await;
    let gone = folk.dn("bulk3");
    folk.delete(&gone).await;
    site.kill9().await;
    site.start().await;
    assert_eq!(folk.find("(departmentNumber=12)").await.len(), 1);
    site.stop().await;
    site.start().await;
    folk.rename_group("vault", "safe").await;
    let mut found = folk.find(site.dialect().people).await;
    found.sort();
    let expected = [
        folk.dn_in("former", "anna"),
        folk.dn("bob"),
        folk.dn("bulk1"),
        folk.dn("bulk2"),
    ];
    assert_eq!(found, expected);
    let group = folk.find(&format!("(member={})", folk.dn("bulk1"))).await;
    assert_eq!(group, [folk.group("safe")]);
    if site.dialect().member_of {
        let filter = format!("(memberOf={})", folk.group("safe"));
        assert_eq!(folk.find(&filter).await.len(), 2);
    }
}

#[tokio::test]
async fn a_389_directory_server_keeps_its_people_over_stop_kill_and_restart() {
    keeps_people(Box::new(Ds389::builder().start().await)).await;
}

#[tokio::test]
async fn an_apacheds_keeps_its_people_over_stop_kill_and_restart() {
    keeps_people(Box::new(ApacheDs::start().await)).await;
}
