//! How the program begins, ends, and answers while it runs; and that no secret is in anything that it says.

use std::process::Output;
use std::time::Duration;

use tokio::time::timeout;

use crate::support::slapd::Slapd;
use crate::support::stand_in::{Fault, Moment, On, Setup};
use crate::support::world::{PATIENCE, World};

fn read(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_owned()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

/// A world in which the service has been told to stop while Vaultwarden holds the invitation of Ann.
async fn stopping_with_ann_under_way() -> World {
    let world = World::running(Slapd::builder()).await;
    world.vault.fail(On::Invite, None, 1, Fault::Hold(Moment::Mailed));
    world.people().add_person("ann").await;
    assert!(world.vault.wait_until_held(1, PATIENCE).await);
    world.service().term().await;
    world
        .says(&["waiting for the actions that are in progress", "count=1"], 1)
        .await;
    world
}

// -- the end --------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn the_first_sigterm_finishes_what_is_under_way_and_begins_nothing_else() {
    let mut world = stopping_with_ann_under_way().await;
    world.people().add_person("bob").await;
    world.vault.release();
    let status = world.ended().await;
    assert_eq!(status.code(), Some(0));
    assert_eq!(world.vault.invited(), ["ann@example.org"]);
    let status = world.status_json().await;
    assert_eq!(
        (&status["running"], &status["tasks"]["done"]),
        (&false.into(), &1.into())
    );

    world.start().await;
    world.invited_once(&["ann", "bob"]).await;
}

#[tokio::test]
async fn the_second_sigterm_stops_at_once_and_the_next_run_looks_what_became_of_it() {
    let mut world = stopping_with_ann_under_way().await;
    world.service().term().await;
    let status = timeout(Duration::from_secs(10), world.ended()).await;
    assert_eq!(status.expect("at once").code(), Some(0));
    assert_eq!(world.status_json().await["tasks"]["queued"], 1);

    world.vault.release();
    assert!(world.vault.wait_for_invite("ann@example.org", PATIENCE).await);
    world.start_only();
    world.tasks("done", 1).await;
    world.invited_once(&["ann"]).await;
}

// -- beside it ------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_second_process_on_the_same_state_is_refused_with_one_line_and_a_code_of_its_own() {
    let world = World::running(Slapd::builder()).await;
    for command in ["run", "sync"] {
        let (code, stdout, stderr) = read(&world.ask(&[command]).await);
        assert_eq!((code, stdout.as_str()), (Some(3), ""), "{command}: {stderr}");
        let errors: Vec<&str> = stderr
            .lines()
            .filter(|line| line.starts_with("error: "))
            .collect();
        assert_eq!(errors.len(), 1, "{stderr}");
        assert!(
            errors[0].contains("state.db is in use by another ldap-usher process (process "),
            "{stderr}"
        );
    }
    world.witness("ann").await;
}

#[tokio::test]
async fn status_is_shown_while_the_service_runs_and_while_it_does_not() {
    let mut world = World::with(Slapd::builder().people(2)).await;
    world.start().await;
    let running = world.tasks("done", 2).await;
    assert_eq!(
        (&running["running"], &running["members"]),
        (&true.into(), &2.into())
    );
    let directory = &running["directories"][0];
    assert_eq!(directory["name"], "main");
    assert_eq!(directory["stream"], "syncrepl");
    assert_eq!(directory["connected"], true);
    assert_eq!(directory["members"], 2);
    assert!(
        directory["cursor_age_seconds"].as_u64().unwrap() < 60,
        "{directory}"
    );
    let (code, text, _) = read(&world.ask(&["status"]).await);
    assert_eq!(code, Some(0));
    assert!(text.starts_with("service      running\n"), "{text}");
    assert!(text.contains("main (syncrepl), connected\n"), "{text}");

    world.stop().await;
    let stopped = world.status_json().await;
    assert_eq!(
        (&stopped["running"], &stopped["members"]),
        (&false.into(), &2.into())
    );
    assert_eq!(stopped["directories"][0]["connected"], false);
    assert_eq!(stopped["tasks"]["done"], 2);
    let (code, text, _) = read(&world.ask(&["status"]).await);
    assert_eq!(code, Some(0));
    assert!(text.starts_with("service      not running\n"), "{text}");
}

// -- the endpoints --------------------------------------------------------------------------------------------------

#[tokio::test]
async fn the_endpoints_tell_how_the_running_service_does() {
    let mut world = World::with(Slapd::builder().people(2)).await;
    world.server.stop().await;
    world.start_only();
    world.says(&["no session with the directory"], 1).await;
    assert!(world.get("/livez").await.starts_with("HTTP/1.1 200 OK"));
    let not_yet = world.get("/readyz").await;
    assert!(not_yet.starts_with("HTTP/1.1 503 "), "{not_yet}");
    assert!(
        not_yet.contains("directory main has not been listed yet: "),
        "{not_yet}"
    );

    world.server.restart().await;
    world.tasks("done", 2).await;
    world.vault.preload(["bob@example.org"]);
    world.witness("ann").await;
    world.people().add_person("bob").await;
    world.tasks("done", 4).await;
    let ready = world.get("/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 200 OK"), "{ready}");

    let metrics = world.get("/metrics").await;
    for sample in [
        "ldap_usher_invite_delay_seconds_count 3",
        "ldap_usher_connected{directory=\"main\"} 1",
        "ldap_usher_members{directory=\"main\"} 4",
        "ldap_usher_tasks{state=\"done\"} 4",
        "ldap_usher_tasks{state=\"queued\"} 0",
        "ldap_usher_vaultwarden_calls_total{call=\"invite\",result=\"invited\"} 3",
        "ldap_usher_vaultwarden_calls_total{call=\"invite\",result=\"had-account\"} 1",
        "ldap_usher_people_total{directory=\"main\",kind=\"joined\"} 4",
    ] {
        assert!(
            metrics.lines().any(|line| line == sample),
            "no {sample} in\n{metrics}"
        );
    }
    assert!(world.get("/nothing").await.starts_with("HTTP/1.1 404 "));
}

// -- sync and exit codes --------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_sync_invites_everyone_who_is_there_and_the_next_one_only_who_is_new() {
    let world = World::with(Slapd::builder().people(3)).await;
    world.vault.preload(["person3@example.org"]);
    let (code, stdout, stderr) = read(&world.ask(&["sync"]).await);
    assert_eq!(
        (code, stdout.as_str()),
        (Some(0), "2 invited, 1 had an account\n"),
        "{stderr}"
    );
    let (code, stdout, _) = read(&world.ask(&["sync"]).await);
    assert_eq!(
        (code, stdout.as_str()),
        (Some(0), "0 invited, 0 had an account\n")
    );
    world.people().add_person("ann").await;
    world.people().delete("person1").await;
    let (code, stdout, _) = read(&world.ask(&["sync"]).await);
    assert_eq!(
        (code, stdout.as_str()),
        (Some(0), "1 invited, 0 had an account\n")
    );
    assert_eq!(world.vault.invited().len(), 3);
    assert_eq!(world.status_json().await["members"], 3);
    // One session serves all of them.
    assert_eq!(world.vault.logins(), 1);
}

#[tokio::test]
async fn a_sync_that_cannot_deliver_says_so_soon_by_line_and_code() {
    let mut world = World::with(Slapd::builder().people(2)).await;
    world.vault.down();
    let (code, stdout, stderr) = read(&world.ask(&["sync"]).await);
    assert_eq!(code, Some(4), "{stderr}");
    assert!(stdout.contains("2 could not be delivered yet"), "{stdout}");
    assert!(stderr.contains("is out of reach"), "{stderr}");

    world.vault.up();
    world.token = "not-sesame".into();
    let (code, stdout, stderr) = read(&world.ask(&["sync"]).await);
    assert_eq!(code, Some(4), "{stderr}");
    assert!(stdout.contains("2 could not be delivered yet"), "{stdout}");
    assert!(stderr.contains("refuses the admin token"), "{stderr}");
    assert_eq!(world.vault.logins(), 1);

    world.token = "sesame".into();
    let (code, stdout, _) = read(&world.ask(&["sync"]).await);
    assert_eq!(
        (code, stdout.as_str()),
        (Some(0), "2 invited, 0 had an account\n")
    );
}

#[tokio::test]
async fn a_sync_without_its_directory_delivers_what_is_due_and_fails() {
    let mut world = World::with(Slapd::builder())
        .await
        .tables("[invite]\nresend_unknown_after = \"1s\"");
    world.start().await;
    let hold = Fault::Hold(Moment::Arrived);
    world.vault.fail(On::Invite, None, 1, hold);
    world.people().add_person("ann").await;
    assert!(world.vault.wait_until_held(1, PATIENCE).await);
    world.kill9().await;
    world.server.stop().await;
    let (code, _, stderr) = read(&world.ask(&["sync"]).await);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("error: directory main: "), "{stderr}");
    world.invited(["ann"]).await;
}

#[tokio::test]
async fn a_configuration_that_cannot_be_used_has_a_code_of_its_own() {
    let world = World::with(Slapd::builder()).await.tables("[nothing]");
    for args in [&["run"][..], &["sync"], &["status"], &["config", "show"]] {
        let (code, stdout, stderr) = read(&world.ask(args).await);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{args:?}: {stderr}");
        assert!(stderr.contains("nothing"), "{stderr}");
    }
}

// -- secrets --------------------------------------------------------------------------------------------------------

#[tokio::test]
async fn no_secret_is_in_anything_that_the_program_says() {
    const TOKEN: &str = "top-secret-admin-token";
    for format in ["text", "json"] {
        let mut world = World::with(Slapd::builder().people(2))
            .await
            .vault(Setup {
                token: Some(TOKEN.into()),
                ..Setup::default()
            })
            .tables(&format!("[log]\nlevel = \"trace\"\nformat = \"{format}\""));
        world.token = TOKEN.into();
        let secrets = [TOKEN, world.server.reader_pw(), "VW_ADMIN=", "eyJ", "session-"].map(str::to_owned);
        let mut said = Vec::new();

        // A run with everything that may go wrong.
        world.start().await;
        world.tasks("done", 2).await;
        for fault in [
            Fault::SessionLost,
            Fault::Error(500, "SMTP 4xx error: transient error (451): later"),
            Fault::Drop(Moment::Saved),
            Fault::Truncate,
        ] {
            world.vault.fail(On::Invite, None, 1, fault);
            world.witness(&format!("ann{}", said.len())).await;
            said.push(world.get("/metrics").await);
        }
        world
            .vault
            .fail(On::All, None, 3, Fault::Redirect("/login?token=secret"));
        world.people().add_person("bob").await;
        world.says(&["is protected by"], 1).await;
        world.server.restart().await;
        world.says(&["connected to the directory"], 2).await;
        said.push(world.get("/readyz").await);
        for args in [
            &["status"][..],
            &["status", "--json"],
            &["config", "show"],
            &["approve", "--all", "--yes"],
            &["run"],
        ] {
            let (_, stdout, stderr) = read(&world.ask(args).await);
            said.extend([stdout, stderr]);
        }
        said.push(world.service().output());
        world.stop().await;

        // Runs with a token and a password that are refused.
        world.token += "-but-wrong";
        world.directory = world
            .directory
            .replace("reader-secret", "reader-secret-but-wrong");
        world.vault.forget_sessions();
        let (_, stdout, stderr) = read(&world.ask(&["sync"]).await);
        assert!(stderr.contains("main"), "{stderr}");
        said.extend([stdout, stderr]);

        // A configuration with an error beside its secrets.
        world.tables += "[limit]\nwrong = 1";
        let (_, stdout, stderr) = read(&world.ask(&["run"]).await);
        said.extend([stdout, stderr]);

        let said = said.join("\n");
        assert!(said.contains("ldap-usher starts"), "{said}");
        for secret in secrets {
            let found = said.lines().find(|line| line.contains(&secret));
            assert_eq!(found, None, "{format}: {secret}");
        }
    }
}
