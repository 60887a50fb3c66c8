//! What is promised to people, on every directory server: who comes to match is invited, who ceases to match leaves,
//! by whatever change of the directory, whoever was down meanwhile.
//!
//! Each test runs on each site of the table at the end. What a server cannot announce is repaired by the audit, whose
//! interval is a few seconds here.

use std::time::Duration;

use tokio::time::sleep;

use crate::support::apacheds::ApacheDs;
use crate::support::ds389::Ds389;
use crate::support::samba::Samba;
use crate::support::site::{Folk, Site};
use crate::support::slapd::Slapd;
use crate::support::world::{A_WHILE, World};

type Stage = World<Box<dyn Site>>;

/// How people are selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// `memberOf` in the filter.
    MemberOf,
    /// The same by Active Directory's rule that follows nested groups.
    InChain,
    /// `groups`, where the server keeps no `memberOf`.
    Groups,
}

/// Where nobody tells the reader of a deletion.
const AUDITED: &str = "audit_interval = \"3s\"";

/// A server and how it is followed.
struct Setting {
    site: Box<dyn Site>,
    by: By,
    /// Further keys of the `[[directory]]` table.
    keys: &'static str,
}

impl Setting {
    fn new(site: impl Site + 'static) -> Self {
        let by = if site.dialect().member_of {
            By::MemberOf
        } else {
            By::Groups
        };
        Self {
            site: Box::new(site),
            by,
            keys: "",
        }
    }

    fn in_chain(mut self) -> Self {
        self.by = By::InChain;
        self
    }

    fn keys(mut self, keys: &'static str) -> Self {
        self.keys = keys;
        self
    }

    /// Everyone who matches `filter` and is in the group `vault`.
    fn in_vault(self, filter: &str) -> Stage {
        let group = self.site.folk().group("vault");
        let people = self.site.dialect().people;
        let (filter, keys) = match self.by {
            By::MemberOf => (format!("(&{people}{filter}(memberOf={group}))"), String::new()),
            By::InChain => (
                format!("(&{people}{filter}(memberOf:1.2.840.113556.1.4.1941:={group}))"),
                String::new(),
            ),
            By::Groups => (format!("(&{people}{filter})"), format!("groups = [\"{group}\"]")),
        };
        let table = self.site.table(&filter, &format!("{keys}\n{}", self.keys));
        World::on(self.site, table)
            .tables("[limits]\ninvites_per_listing = \"unlimited\"\n[log]\nlevel = \"debug\"")
    }

    /// Everyone who matches `filter`, whatever groups they are in.
    fn everyone(self, filter: &str) -> Stage {
        let people = self.site.dialect().people;
        let table = self.site.table(&format!("(&{people}{filter})"), self.keys);
        World::on(self.site, table)
            .tables("[limits]\ninvites_per_listing = \"unlimited\"\n[log]\nlevel = \"debug\"")
    }
}

impl Stage {
    fn folk(&self) -> Folk {
        self.server.folk()
    }

    /// Waits until this person has left.
    async fn left(&self, uid: &str) {
        let dn = self.folk().dn(uid).to_lowercase();
        let what = format!("{uid}'s leaving");
        let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
        loop {
            let lines = self.lines(&[" left directory="]);
            if lines.iter().any(|line| line.to_lowercase().contains(&dn)) {
                return;
            }
            assert!(
                tokio::time::Instant::now() < deadline,
                "{what} does not come about:\n{}",
                self.service().output()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

async fn everyone_who_comes_to_match_is_invited(setting: Setting) {
    let mut stage = setting.everyone("(departmentNumber=vault)");
    let folk = stage.folk();
    folk.add_in("former", "mover", Some("mover@example.org")).await;
    folk.modify(
        &folk.dn_in("former", "mover"),
        ldap3::Mod::Replace("departmentNumber", ["vault"].into()),
    )
    .await;
    folk.add_in("people", "nameless", None).await;
    folk.set("nameless", "departmentNumber", Some("vault")).await;
    folk.add("waiter").await;
    stage.start().await;

    folk.add("starter").await;
    folk.set("starter", "departmentNumber", Some("vault")).await;
    folk.set("nameless", "mail", Some("nameless@example.org")).await;
    folk.set("waiter", "departmentNumber", Some("vault")).await;
    folk.move_between("mover", "former", "people").await;
    stage.invited(["starter", "nameless", "waiter", "mover"]).await;
}

async fn everyone_who_ceases_to_match_leaves(setting: Setting) {
    let mut stage = setting.everyone("(departmentNumber=vault)");
    let folk = stage.folk();
    let uids = ["deleted", "changed", "moved", "silenced", "stays"];
    for uid in uids {
        folk.add(uid).await;
        folk.set(uid, "departmentNumber", Some("vault")).await;
    }
    stage.start().await;
    stage.invited(uids).await;

    folk.delete(&folk.dn("deleted")).await;
    folk.set("changed", "departmentNumber", None).await;
    folk.move_between("moved", "people", "former").await;
    // Who loses their address is still there, and no member.
    folk.set("silenced", "mail", None).await;
    for uid in ["deleted", "changed", "moved"] {
        stage.left(uid).await;
    }
    stage.members(1).await;
}

async fn who_joins_a_group_is_invited_and_who_leaves_it_leaves(setting: Setting) {
    let mut stage = setting.in_vault("");
    let folk = stage.folk();
    for uid in ["first", "second", "nested", "outsider"] {
        folk.add(uid).await;
    }
    folk.add_group("inner", &[]).await;
    folk.add_group("vault", &[folk.dn("first")]).await;
    stage.start().await;
    stage.invited(["first"]).await;

    folk.join("vault", &folk.dn("second")).await;
    stage.invited(["first", "second"]).await;
    folk.leave("vault", &folk.dn("first")).await;
    stage.left("first").await;
    stage.members(1).await;
}

async fn a_member_of_the_group_is_followed_as_a_person_as_well(setting: Setting) {
    let mut stage = setting.in_vault("");
    let folk = stage.folk();
    for uid in ["deleted", "moved", "stays"] {
        folk.add(uid).await;
    }
    folk.add_in("people", "nameless", None).await;
    let members = ["deleted", "moved", "stays", "nameless"].map(|uid| folk.dn(uid));
    folk.add_group("vault", &members).await;
    stage.start().await;
    stage.invited(["deleted", "moved", "stays"]).await;

    folk.set("nameless", "mail", Some("nameless@example.org")).await;
    stage.invited(["deleted", "moved", "stays", "nameless"]).await;
    folk.move_between("moved", "people", "former").await;
    folk.delete(&folk.dn("deleted")).await;
    for uid in ["moved", "deleted"] {
        stage.left(uid).await;
    }
    stage.members(2).await;
}

async fn who_is_in_a_group_within_the_group_is_a_member_as_long_as_both_hold(setting: Setting) {
    let mut stage = setting.in_vault("");
    let folk = stage.folk();
    for uid in ["direct", "inside", "later", "deep"] {
        folk.add(uid).await;
    }
    folk.add_group("deepest", &[folk.dn("deep")]).await;
    folk.add_group("inner", &[folk.dn("inside")]).await;
    folk.add_group("vault", &[folk.dn("direct"), folk.group("inner")])
        .await;
    stage.start().await;
    stage.invited(["direct", "inside"]).await;
    stage
        .says(
            &["following the configured groups", "groups=2 members=3 depth=1"],
            1,
        )
        .await;

    folk.join("inner", &folk.dn("later")).await;
    stage.invited(["direct", "inside", "later"]).await;
    folk.join("inner", &folk.group("deepest")).await;
    stage.invited(["direct", "inside", "later", "deep"]).await;
    // A cycle is no trouble.
    folk.join("deepest", &folk.group("inner")).await;
    folk.leave("inner", &folk.dn("later")).await;
    stage.left("later").await;
    folk.leave("vault", &folk.group("inner")).await;
    stage.left("inside").await;
    stage.left("deep").await;
    stage.members(1).await;
}

async fn a_group_that_is_renamed_is_still_meant_and_one_that_is_deleted_makes_nobody_leave(setting: Setting) {
    let mut stage = setting.in_vault("");
    let folk = stage.folk();
    for uid in ["first", "second"] {
        folk.add(uid).await;
    }
    folk.add_group("vault", &[folk.dn("first")]).await;
    stage.start().await;
    stage.invited(["first"]).await;

    folk.rename_group("vault", "safe").await;
    stage.says(&["was renamed", "write its new name"], 1).await;
    folk.join("safe", &folk.dn("second")).await;
    stage.invited(["first", "second"]).await;
    // The new name is known to the next run of the service as well.
    stage.restart().await;
    stage.members(2).await;

    folk.delete(&folk.group("safe")).await;
    stage
        .says(
            &[
                "does not exist or may not be read",
                "no one is treated as having left",
            ],
            1,
        )
        .await;
    assert_eq!(stage.lines(&[" left directory="]), [""; 0]);
    stage.members(2).await;
}

async fn changes_made_while_either_side_was_down_are_found_at_reconnection(setting: Setting) {
    let mut stage = setting.in_vault("");
    let folk = stage.folk();
    for uid in ["first", "second", "third", "fourth", "fifth"] {
        folk.add(uid).await;
    }
    folk.add_group("vault", &[folk.dn("first"), folk.dn("second")])
        .await;
    stage.start().await;
    stage.invited(["first", "second"]).await;

    // The service is stopped.
    stage.stop().await;
    folk.join("vault", &folk.dn("third")).await;
    folk.leave("vault", &folk.dn("first")).await;
    stage.start().await;
    stage.invited(["first", "second", "third"]).await;
    stage.left("first").await;

    // The service is killed.
    stage.kill9().await;
    folk.join("vault", &folk.dn("fourth")).await;
    folk.delete(&folk.dn("second")).await;
    stage.start().await;
    stage.invited(["first", "second", "third", "fourth"]).await;
    stage.left("second").await;

    // The server is restarted, and then killed.
    stage.server.stop().await;
    stage.server.start().await;
    folk.join("vault", &folk.dn("fifth")).await;
    stage
        .invited(["first", "second", "third", "fourth", "fifth"])
        .await;
    stage.server.kill9().await;
    stage.server.start().await;
    folk.leave("vault", &folk.dn("third")).await;
    stage.left("third").await;
    stage.members(2).await;
}

async fn who_is_switched_off_is_no_member_until_they_are_switched_on(setting: Setting) {
    let mut stage = setting.everyone("");
    let folk = stage.folk();
    folk.add("off").await;
    folk.lock("off", true).await;
    folk.add("on").await;
    stage.start().await;
    stage.invited(["on"]).await;

    folk.lock("off", false).await;
    stage.invited(["on", "off"]).await;
    folk.lock("on", true).await;
    stage.left("on").await;
    stage.members(1).await;
}

async fn one_person_in_a_group_of_two_thousand_is_a_matter_of_moments(setting: Setting) {
    let mut stage = setting.in_vault("");
    let folk = stage.folk();
    let dns = folk.add_many("person", 2000).await;
    folk.add("late").await;
    folk.add_group("vault", &dns).await;
    stage.start().await;
    stage.tasks("done", 2000).await;

    folk.join("vault", &folk.dn("late")).await;
    stage.invites("late").await;
    folk.leave("vault", &folk.dn("person7")).await;
    stage.left("person7").await;
    stage.members(2000).await;
}

async fn who_is_renamed_stays_the_same_person(setting: Setting) {
    let mut stage = setting.in_vault("");
    let folk = stage.folk();
    for uid in ["ann", "bob"] {
        folk.add(uid).await;
    }
    folk.add_group("vault", &[folk.dn("ann"), folk.dn("bob")]).await;
    stage.start().await;
    stage.invited(["ann", "bob"]).await;

    folk.rename("ann", "chief").await;
    folk.add("eve").await;
    folk.join("vault", &folk.dn("eve")).await;
    stage.invited(["ann", "bob", "eve"]).await;
    sleep(A_WHILE).await;
    stage.members(3).await;
    assert_eq!(stage.lines(&[" left directory="]), [""; 0]);
    stage.invited_once(&["ann", "bob", "eve"]).await;
}

/// The table: every test on every site, and further ones where the server has what they are about.
macro_rules! sites {
    ($($site:ident $(+ $further:ident)* => $setting:expr;)+) => {
        $(
            mod $site {
                use super::*;

                sites!(@tests $setting;
                    everyone_who_comes_to_match_is_invited,
                    everyone_who_ceases_to_match_leaves,
                    who_joins_a_group_is_invited_and_who_leaves_it_leaves,
                    a_member_of_the_group_is_followed_as_a_person_as_well,
                    a_group_that_is_renamed_is_still_meant_and_one_that_is_deleted_makes_nobody_leave,
                    changes_made_while_either_side_was_down_are_found_at_reconnection,
                    one_person_in_a_group_of_two_thousand_is_a_matter_of_moments,
                    $($further,)*
                );
            }
        )+
    };
    (@tests $setting:expr; $($test:ident,)+) => {
        $(
            #[tokio::test]
            async fn $test() {
                super::$test($setting).await;
            }
        )+
    };
}

sites! {
    // Rename: where the server carries it over to groups. Nested groups: where memberOf follows them, or we do.
    openldap_with_the_memberof_overlay
        + who_is_renamed_stays_the_same_person
        + who_is_switched_off_is_no_member_until_they_are_switched_on
        => Setting::new(Slapd::builder().memberof().ppolicy().start().await);
    openldap_with_dynlist
        + who_is_renamed_stays_the_same_person
        + who_is_in_a_group_within_the_group_is_a_member_as_long_as_both_hold
        => Setting::new(Slapd::builder().dynlist().refint().start().await);
    openldap_without_memberof
        + who_is_renamed_stays_the_same_person
        + who_is_in_a_group_within_the_group_is_a_member_as_long_as_both_hold
        + who_is_switched_off_is_no_member_until_they_are_switched_on
        => Setting::new(Slapd::builder().ppolicy().refint().start().await);
    openldap_that_can_only_be_polled
        + who_is_renamed_stays_the_same_person
        + who_is_switched_off_is_no_member_until_they_are_switched_on
        => Setting::new(Slapd::builder().memberof().ppolicy().no_syncprov().start().await)
            .keys("poll_interval = \"500ms\"");
    ds389_by_persistent_search
        + who_is_renamed_stays_the_same_person
        + who_is_in_a_group_within_the_group_is_a_member_as_long_as_both_hold
        + who_is_switched_off_is_no_member_until_they_are_switched_on
        => Setting::new(Ds389::builder().start().await);
    ds389_by_content_synchronisation
        + who_is_renamed_stays_the_same_person
        + who_is_in_a_group_within_the_group_is_a_member_as_long_as_both_hold
        + who_is_switched_off_is_no_member_until_they_are_switched_on
        => Setting::new(Ds389::builder().start().await).keys("stream = \"syncrepl\"");
    samba_active_directory
        + who_is_renamed_stays_the_same_person
        + who_is_switched_off_is_no_member_until_they_are_switched_on
        => Setting::new(Samba::builder().start().await).keys(AUDITED);
    samba_active_directory_with_nested_groups
        + who_is_renamed_stays_the_same_person
        + who_is_in_a_group_within_the_group_is_a_member_as_long_as_both_hold
        => Setting::new(Samba::builder().start().await).in_chain().keys(AUDITED);
    samba_active_directory_in_the_standard_process_model
        + who_is_renamed_stays_the_same_person
        + who_is_switched_off_is_no_member_until_they_are_switched_on
        => Setting::new(Samba::builder().standard().start().await).keys(AUDITED);
    apacheds
        + who_is_in_a_group_within_the_group_is_a_member_as_long_as_both_hold
        => Setting::new(ApacheDs::start().await);
}
