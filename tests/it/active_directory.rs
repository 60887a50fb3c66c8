//! Active Directory, as Samba's domain controller has it.

use crate::support::samba::Samba;
use crate::support::site::Site;

#[tokio::test]
async fn a_domain_controller_starts_with_people_and_a_reader() {
    let mut samba = Samba::builder().people(2).start().await;
    let folk = samba.folk();
    folk.lock("person1", true).await;
    assert_eq!(
        folk.find("(userAccountControl:1.2.840.113556.1.4.803:=2)")
            .await
            .len(),
        3
    );
    folk.add_group("vault", &[folk.dn("person2")]).await;
    samba.be_another().await;
    Site::kill9(&mut samba).await;
    Site::start(&mut samba).await;
    let people = folk.find(samba.dialect().people).await;
    assert!(
        people.contains(&"CN=person1,OU=people,DC=lab,DC=test".into()),
        "{people:?}"
    );
}
