//! Several instances on one state: one listens, all deliver, and each can go at any time.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::support::instances::{Instances, TAKE_OVER};
use crate::support::proxy::{Fault as Network, Proxy};
use crate::support::slapd::Slapd;
use crate::support::stand_in::{Fault, Moment, On};
use crate::support::world::PATIENCE;

#[tokio::test]
async fn one_of_two_instances_listens_and_the_other_one_is_ready_and_says_that_it_stands_by() {
    let instances = Instances::running(2).await;
    instances.people().add_person("ann").await;
    instances.invites("ann").await;
    assert_eq!(instances.listens().await, Some(0));

    let status = instances.status().await;
    let names: Vec<_> = status["instances"].as_array().unwrap().iter().collect();
    assert_eq!(names.len(), 2);
    assert_eq!(
        (&names[0]["name"], &names[1]["name"]),
        (&"usher-0".into(), &"usher-1".into())
    );
    assert_eq!(names[1]["duties"].as_array().unwrap().len(), 0);

    let (leader, standby) = (
        instances.get(0, "/readyz").await,
        instances.get(1, "/readyz").await,
    );
    assert!(
        leader.starts_with("HTTP/1.1 200") && leader.ends_with("ready\n"),
        "{leader}"
    );
    assert!(
        standby.starts_with("HTTP/1.1 200")
            && standby.contains("standby: another instance listens to directory main"),
        "{standby}"
    );
    let (leader, standby) = (instances.get(0, "/").await, instances.get(1, "/").await);
    assert!(
        leader.contains(">Ready<") && leader.contains("usher-1"),
        "{leader}"
    );
    assert!(
        standby.contains(">Standby<") && standby.contains("Another instance listens to main"),
        "{standby}"
    );
    let metrics = [
        instances.get(0, "/metrics").await,
        instances.get(1, "/metrics").await,
    ];
    assert!(
        metrics[0].contains("ldap_usher_listens{directory=\"main\"} 1"),
        "{}",
        metrics[0]
    );
    assert!(
        metrics[1].contains("ldap_usher_listens{directory=\"main\"} 0"),
        "{}",
        metrics[1]
    );
    assert!(
        metrics[1].contains("ldap_usher_instance_info{name=\"usher-1\"} 1"),
        "{}",
        metrics[1]
    );
    // One session at Vaultwarden serves both.
    assert_eq!(instances.vault.logins(), 1);
}

#[tokio::test]
async fn another_instance_takes_over_within_ten_seconds_of_a_kill_and_nobody_is_lost_or_invited_twice() {
    let mut instances = Instances::running(2).await;
    for n in 0..20 {
        instances.people().add_person(&format!("before{n}")).await;
    }
    instances.kill9(0).await;
    let began = Instant::now();
    for n in 0..20 {
        instances.people().add_person(&format!("after{n}")).await;
    }
    instances.listened_to_by(1).await;
    let took = began.elapsed();
    assert!(took < TAKE_OVER, "{took:?}");
    for n in 0..20 {
        instances.invites(&format!("before{n}")).await;
        instances.invites(&format!("after{n}")).await;
    }
    assert_eq!(instances.vault.invitations(), 40);

    // The one that was killed comes back and stands by.
    instances.start(0);
    instances.says(0, "this one stands by", 1).await;
    assert_eq!(instances.listens().await, Some(1));
}

#[tokio::test]
async fn a_planned_stop_hands_over_at_once() {
    let mut instances = Instances::running(2).await;
    instances.stop(0).await;
    let took = instances.listened_to_by(1).await;
    assert!(took < Duration::from_secs(2), "{took:?}");
    instances.people().add_person("ann").await;
    instances.invites("ann").await;
    let status = instances.status().await;
    assert_eq!(status["instances"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_instance_that_was_paused_for_longer_than_its_lease_changes_nothing_when_it_goes_on() {
    let instances = Instances::running(2).await;
    instances.service(0).signal("STOP").await;
    instances.listened_to_by(1).await;
    for name in ["ann", "bob", "cat"] {
        instances.people().add_person(name).await;
        instances.invites(name).await;
    }
    let cursor = "select encode(cursor, 'hex') from ldap_usher.directory";
    let before = instances.postgres.sql(cursor).await;
    // It gets the same changes, and writes none of them.
    instances.service(0).signal("CONT").await;
    instances.says(0, "this one stands by", 1).await;
    assert_eq!(instances.postgres.sql(cursor).await, before);
    assert_eq!(instances.listens().await, Some(1));
    assert_eq!(instances.vault.invitations(), 3);
    let joined = instances
        .postgres
        .sql("select count(*) from ldap_usher.journal where event like '%joined%'")
        .await;
    assert_eq!(joined, ["3"]);
    assert!(
        !instances.service(0).output().contains("the state fails"),
        "{}",
        instances.service(0).output()
    );
}

#[tokio::test]
async fn an_instance_that_is_cut_off_from_the_database_is_replaced_and_stands_by_when_it_is_back() {
    let instances = Instances::running(2).await;
    instances.ways[0].set(Network::BlackHole);
    let began = Instant::now();
    // Prometheus gets the other metrics in time.
    let metrics = instances.get(0, "/metrics").await;
    assert!(metrics.contains("\nldap_usher_state_up 0\n"), "{metrics}");
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    instances.listened_to_by(1).await;
    assert!(began.elapsed() < TAKE_OVER, "{:?}", began.elapsed());
    instances.people().add_person("ann").await;
    instances.invites("ann").await;
    instances.ways[0].set(Network::None);
    instances.says(0, "this one stands by", 1).await;
    assert_eq!(instances.listens().await, Some(1));
    assert_eq!(instances.vault.invitations(), 1);
    // Otherwise nobody would notice if the other one lost the directory.
    let metrics = instances.get(0, "/metrics").await;
    assert!(
        metrics.contains("ldap_usher_connected{directory=\"main\"} 0")
            && !metrics.contains("last_sign_of_life_age_seconds{"),
        "{metrics}"
    );
}

#[tokio::test]
async fn an_instance_that_does_not_reach_the_directory_leaves_it_to_one_that_does() {
    let mut instances = Instances::with(2, Slapd::builder()).await;
    instances.door = Some(Proxy::to(instances.server.port()).await);
    instances.start(0);
    instances.says(0, "listing ended", 1).await;
    instances.start(1);
    instances.says(1, "this one stands by", 1).await;
    instances.door.as_ref().unwrap().set(Network::Refuse);
    instances
        .says(0, "the directory cannot be reached from here", 1)
        .await;
    instances.listened_to_by(1).await;
    instances.people().add_person("ann").await;
    instances.invites("ann").await;
    instances.says(0, "this one stands by", 1).await;
    assert!(instances.get(0, "/readyz").await.starts_with("HTTP/1.1 200"));
}

#[tokio::test]
async fn the_invitation_that_a_dead_instance_was_sending_is_looked_up_before_it_is_sent_again() {
    for moment in [Moment::Arrived, Moment::Saved] {
        let mut instances = Instances::running(2).await;
        instances.vault.fail(On::Invite, None, 1, Fault::Hold(moment));
        instances.people().add_person("ann").await;
        assert!(instances.vault.wait_until_held(1, PATIENCE).await);
        let owner = "select i.name from ldap_usher.action a join ldap_usher.instance i on i.worker = a.owner";
        let owner = instances.postgres.sql(owner).await.pop().unwrap();
        let owner: usize = owner.strip_prefix("usher-").unwrap().parse().unwrap();
        instances.kill9(owner).await;
        instances
            .says(1 - owner, "an instance ended without settling its actions", 1)
            .await;
        let deadline = Instant::now() + PATIENCE;
        while instances.status().await["tasks"]["done"] != 1 {
            assert!(
                Instant::now() < deadline,
                "{}",
                instances.service(1 - owner).output()
            );
            sleep(Duration::from_millis(50)).await;
        }
        instances.vault.release();
        assert!(instances.vault.wait_until_held(0, PATIENCE).await);
        instances.invites("ann").await;
        assert_eq!(instances.vault.invitations(), 1, "{moment:?}");
        assert_eq!(instances.vault.mailed().len(), 1, "{moment:?}");
    }
}

#[tokio::test]
async fn a_sync_beside_running_instances_delivers_and_says_that_it_does_not_list() {
    let instances = Instances::running(1).await;
    let config = crate::support::service::Config::new(&instances.config(0));
    let output = config.ask(&["sync"]).await;
    let text = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success());
    assert!(text.contains("a running service listens to it"), "{text}");
    assert_eq!(instances.listens().await, Some(0));
}

#[tokio::test]
async fn three_instances_start_on_an_empty_database_at_the_same_time() {
    let mut instances = Instances::with(3, Slapd::builder().people(50)).await;
    for n in 0..3 {
        instances.start(n);
    }
    for n in 1..=50 {
        instances.invites(&format!("person{n}")).await;
    }
    assert_eq!(instances.vault.invitations(), 50);
    assert_eq!(instances.vault.logins(), 1);
    assert!(instances.listens().await.is_some());
}
