//! The service outlives its disk.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::support::file_system::FileSystem;
use crate::support::slapd::Slapd;
use crate::support::world::{PATIENCE, World};

#[tokio::test]
async fn a_full_disk_is_told_in_the_log_and_in_readyz_and_everybody_is_invited_once_there_is_room() {
    let disk = FileSystem::mount(4096);
    let mut world = World::with(Slapd::builder()).await;
    world.state = Some(disk.path().join("state.db"));
    world.start().await;
    world.witness("before").await;

    let ballast = disk.path().join("ballast");
    disk.fill(&ballast);
    // The log of transactions has some room of its own left.
    let mut came = Vec::new();
    let deadline = Instant::now() + PATIENCE;
    while world
        .lines(&["WARN", "the state fails", "free some space"])
        .is_empty()
    {
        assert!(Instant::now() < deadline, "{}", world.service().output());
        let uid = format!("person{}", came.len());
        world.people().add_person(&uid).await;
        came.push(uid);
        sleep(Duration::from_millis(50)).await;
    }
    let ready = world.get("/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
    assert!(
        ready.contains("the state has been failing for") && ready.contains("free some space"),
        "{ready}"
    );
    // A scrape heals nothing and breaks nothing, and whoever merely reads the state does not take it for mended.
    let until = Instant::now() + Duration::from_secs(6);
    while Instant::now() < until {
        world.metrics().await;
        let ready = world.get("/readyz").await;
        assert!(ready.starts_with("HTTP/1.1 503"), "{ready}");
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(world.lines(&["the state works again"]), [""; 0]);

    std::fs::remove_file(&ballast).unwrap();
    world.says(&["the state works again"], 1).await;
    for uid in &came {
        world.invites(uid).await;
    }
    world.witness("after").await;
    let mut invited = world.vault.invited();
    invited.sort();
    let mut once = invited.clone();
    once.dedup();
    assert_eq!(invited, once);
    assert_eq!(
        world.vault.mailed().len(),
        came.len() + 2,
        "nobody is mailed twice"
    );
    let ready = world.get("/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 200"), "{ready}");
}
