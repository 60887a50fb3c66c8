//! From a change in the directory to an invitation, with the built program, a real slapd and a stand-in for
//! Vaultwarden.

use crate::support::slapd::Slapd;
use crate::support::world::World;

#[tokio::test]
async fn the_first_run_invites_everyone_once_and_a_second_one_nobody() {
    let mut world = World::running(Slapd::builder().people(3)).await;
    let everyone = ["person1", "person2", "person3"];
    world.invited_once(&everyone).await;
    let status = world.status_json().await;
    assert_eq!(status["members"], 3);
    assert_eq!(status["tasks"]["done"], 3);
    let directory = &status["directories"][0];
    assert_eq!(directory["name"], "main");
    assert_eq!(directory["stream"], "syncrepl");
    assert_eq!(directory["connected"], true);
    assert!(directory["cursor_age_seconds"].is_u64(), "{status:#}");

    world.restart().await;
    world.invited_once(&everyone).await;
}
