//! The status as text.

use crate::cli::palette::Palette;
use crate::clock::Timestamp;
use crate::foreign::printable;
use crate::store::{InstanceReport, Report, TaskReport};

/// What to do about a Vaultwarden that is another one, or from which accounts are missing.
const ANOTHER_VAULTWARDEN: &str = "if it is the right one, `ldap-usher approve --all` shows who would be invited again and asks; \
                                   otherwise correct `url` in [vaultwarden]";

/// The status as text: green works, yellow needs attention, red is broken.
pub(super) fn text(report: &Report, running: bool, now: Timestamp, palette: Palette) -> String {
    let mut lines = vec![
        format!(
            "service      {}",
            if running {
                palette.good("running")
            } else {
                palette.bad("not running")
            }
        ),
        format!(
            "members      {}{}",
            report.members,
            without_address(report.without_address)
        ),
    ];

    if let Some(problem) = &report.vaultwarden_trouble {
        lines.push(format!("vaultwarden  {}", palette.bad(&printable(problem))));
        lines.push(format!("             {ANOTHER_VAULTWARDEN}"));
    }

    if !report.instances.is_empty() {
        lines.push(String::new());
        lines.push("instances".into());
        lines.extend(report.instances.iter().map(|one| instance(one, now)));
    }

    for directory in &report.directories {
        if directory.retired {
            lines.push(String::new());
            let known = directory.members + directory.without_address;
            lines.push(palette.attention(&format!(
                "directory    {}, no longer in the configuration ({known} people, who are not members)",
                directory.name
            )));
            continue;
        }
        let state = match (&directory.state.error, running) {
            (_, false) => "not connected".to_owned(),
            (_, true) if directory.state.connected => palette.good("connected"),
            (Some(error), true) => palette.bad(&format!("not connected: {}", printable(error))),
            (None, true) => palette.bad("not connected"),
        };
        lines.push(String::new());
        // `sync` uses no stream.
        let stream = match directory.state.stream.as_str() {
            "" | "none" => String::new(),
            stream => format!(" ({stream})"),
        };
        lines.push(format!("directory    {}{stream}, {state}", directory.name));
        lines.push(format!(
            "  members    {}{}",
            directory.members,
            without_address(directory.without_address)
        ));
        lines.push(format!("  last list  {}", ago(directory.listed, now)));
        if directory.cursor_stored.is_some() {
            lines.push(format!("  cursor     {}", ago(directory.cursor_stored, now)));
        }
    }

    lines.push(String::new());
    lines.push("invitations".into());
    lines.extend(counts(&report.tasks, palette));
    if report.unregistered > 0 {
        lines.push(format!(
            "  {} of those done not registered yet (`ldap-usher status --stale` lists them)",
            report.unregistered
        ));
    }
    if report.leavers.iter().any(|(_, count)| *count > 0) {
        lines.push(String::new());
        lines.push("accounts of leavers".into());
        lines.extend(counts(&report.leavers, palette));
    }

    for (title, tasks) in [
        ("quarantined", &report.quarantined),
        ("failing, will be tried again", &report.failing),
    ] {
        if !tasks.is_empty() {
            lines.push(String::new());
            lines.push(title.into());
            lines.extend(people(tasks));
        }
    }
    lines.join("\n") + "\n"
}

/// What an instance does alone.
fn instance(instance: &InstanceReport, now: Timestamp) -> String {
    let since = ago(Some(instance.started), now);
    let duties: Vec<String> = instance
        .duties
        .iter()
        .map(|(name, since)| format!("{} ({})", printable(name), ago(Some(*since), now)))
        .collect();
    let duties = match duties.as_slice() {
        [] => "stands by".to_owned(),
        duties => duties.join(", "),
    };
    format!(
        "  {}  version {}, started {since}; {duties}",
        printable(&instance.name),
        printable(&instance.version)
    )
}

/// A line for each state.
fn counts(counts: &[(&'static str, u64)], palette: Palette) -> Vec<String> {
    let mut lines = Vec::new();
    for (state, count) in counts {
        let line = format!("  {state:<13}{count}");
        lines.push(match (*state, count) {
            // Usually empty, and they need no action.
            ("cancelled", 0) => continue,
            (_, 0) => line,
            ("held", _) => palette.attention(&format!(
                "{line}  (`ldap-usher approve --all` shows and releases them)"
            )),
            ("quarantined", _) => palette.bad(&format!(
                "{line}  (`ldap-usher retry --all` shows them and tries again)"
            )),
            _ => line,
        });
    }
    lines
}

fn without_address(count: u64) -> String {
    if count == 0 {
        String::new()
    } else {
        format!(", and {count} without a usable address")
    }
}

/// Each reason, followed by the people whom it concerns.
fn people(tasks: &[TaskReport]) -> Vec<String> {
    let mut lines = Vec::new();
    for alike in tasks.chunk_by(|one, next| one.reason == next.reason) {
        lines.push(format!("  {}", printable(&alike[0].reason)));
        lines.extend(alike.iter().map(person));
    }
    lines
}

fn person(task: &TaskReport) -> String {
    let TaskReport {
        address,
        directory,
        kind,
        ..
    } = task;
    let what = if kind.is_invite() {
        String::new()
    } else {
        format!(", {}", kind.noun())
    };
    let attempts = match task.attempts {
        0 | 1 => String::new(),
        attempts => format!(", {attempts} attempts"),
    };
    format!(
        "    {address}  {}  ({directory}{what}{attempts})",
        printable(&task.dn)
    )
}

/// The age, rounded down to its largest unit.
fn ago(time: Option<Timestamp>, now: Timestamp) -> String {
    let Some(time) = time else { return "never".into() };
    let seconds = std::time::Duration::from_secs(now.since(time).as_secs());
    let age = humantime::format_duration(seconds).to_string();
    match age.split(' ').next() {
        None | Some("0s") => "just now".into(),
        Some(largest) => format!("{largest} ago"),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::{ActionKind, EntryId};
    use crate::store::{DirectoryReport, DirectoryState};

    pub(in crate::cli::status) const NOW: Timestamp = Timestamp(1_800_000_000_000);

    fn minutes_ago(minutes: i64) -> Timestamp {
        Timestamp(NOW.0 - minutes * 60_000)
    }

    pub(in crate::cli::status) fn report() -> Report {
        let up = DirectoryReport {
            name: "main".into(),
            state: DirectoryState {
                stream: "syncrepl".into(),
                connected: true,
                error: None,
            },
            recorded: Some(minutes_ago(0)),
            members: 140,
            without_address: 2,
            cursor_stored: Some(minutes_ago(3)),
            listed: Some(minutes_ago(125)),
            retired: false,
        };
        let down = DirectoryReport {
            name: "branch".into(),
            state: DirectoryState {
                stream: "poll".into(),
                connected: false,
                error: Some("ldap://10.0.0.9:389 refuses the connection".into()),
            },
            cursor_stored: None,
            listed: None,
            members: 2,
            without_address: 0,
            ..up
        };
        let task = TaskReport {
            row: 1,
            kind: ActionKind::Invite,
            address: "bob@localhost".into(),
            entry: EntryId::from_slice(&[1; 16]).unwrap(),
            has_account: false,
            dn: "uid=bob,ou=people,dc=example,dc=org".into(),
            directory: "main".into(),
            reason: "the mail server refuses the address (550)".into(),
            attempts: 1,
            arrived: minutes_ago(90),
        };
        let failing = TaskReport {
            address: "eve@example.org".into(),
            attempts: 4,
            ..task.clone()
        };
        Report {
            vaultwarden_trouble: None,
            members: 142,
            without_address: 2,
            tasks: vec![
                ("queued", 1),
                ("held", 600),
                ("done", 140),
                ("quarantined", 1),
                ("cancelled", 0),
            ],
            leavers: vec![
                ("queued", 1),
                ("held", 0),
                ("done", 3),
                ("quarantined", 0),
                ("cancelled", 2),
            ],
            unregistered: 7,
            directories: vec![up, down],
            quarantined: vec![task],
            held: Vec::new(),
            failing: vec![failing],
            instances: Vec::new(),
        }
    }

    /// Two instances, one of which listens.
    pub(in crate::cli::status) fn instances() -> Vec<InstanceReport> {
        let listens = InstanceReport {
            name: "usher-1".into(),
            version: "0.1.0".into(),
            started: minutes_ago(120),
            duties: vec![("directory main".into(), minutes_ago(5))],
        };
        let stands_by = InstanceReport {
            name: "usher-2".into(),
            duties: Vec::new(),
            ..listens.clone()
        };
        vec![listens, stands_by]
    }

    #[test]
    fn the_text_names_instances_and_what_they_do_alone() {
        let mut report = report();
        report.instances = instances();
        let shown = text(&report, true, NOW, Palette::Plain);
        let expected = "instances\n  usher-1  version 0.1.0, started 2h ago; directory main (5m ago)\n  \
                        usher-2  version 0.1.0, started 2h ago; stands by\n";
        assert!(shown.contains(expected), "{shown}");
    }

    #[test]
    fn the_text_shows_directories_invitations_and_failures() {
        let mut report = report();
        let mut another = report.failing[0].clone();
        another.address = "ann@example.org".into();
        another.kind = ActionKind::Disable;
        report.vaultwarden_trouble = Some("40 of 140 accounts in our care are missing".into());
        report.failing.push(another);
        insta::assert_snapshot!(text(&report, true, NOW, Palette::Plain), @r"
            service      running
            members      142, and 2 without a usable address
            vaultwarden  40 of 140 accounts in our care are missing
                         if it is the right one, `ldap-usher approve --all` shows who would be invited again and asks; otherwise correct `url` in [vaultwarden]

            directory    main (syncrepl), connected
              members    140, and 2 without a usable address
              last list  2h ago
              cursor     3m ago

            directory    branch (poll), not connected: ldap://10.0.0.9:389 refuses the connection
              members    2
              last list  never

            invitations
              queued       1
              held         600  (`ldap-usher approve --all` shows and releases them)
              done         140
              quarantined  1  (`ldap-usher retry --all` shows them and tries again)
              7 of those done not registered yet (`ldap-usher status --stale` lists them)

            accounts of leavers
              queued       1
              held         0
              done         3
              quarantined  0
              cancelled    2

            quarantined
              the mail server refuses the address (550)
                bob@localhost  uid=bob,ou=people,dc=example,dc=org  (main)

            failing, will be tried again
              the mail server refuses the address (550)
                eve@example.org  uid=bob,ou=people,dc=example,dc=org  (main, 4 attempts)
                ann@example.org  uid=bob,ou=people,dc=example,dc=org  (main, disabling of the leaver's account, 4 attempts)
            ");
    }

    #[test]
    fn colours_mark_what_works_what_needs_attention_and_what_is_broken() {
        let coloured = text(&report(), true, NOW, Palette::Coloured);
        assert!(coloured.contains("\x1b[32mrunning\x1b[0m"));
        assert!(coloured.contains("\x1b[33m  held         600"));
        assert!(coloured.contains("\x1b[31m  quarantined  1  (`ldap-usher retry"));
        assert!(coloured.contains("\x1b[31mnot connected: ldap://10.0.0.9:389 refuses"));
        assert!(!text(&report(), true, NOW, Palette::Plain).contains('\x1b'));
    }

    #[test]
    fn an_age_is_shown_in_its_largest_unit() {
        let shown = |milliseconds| ago(Some(Timestamp(NOW.0 - milliseconds)), NOW);
        assert_eq!(
            [-1, 999, 59_999, 5_400_000].map(shown),
            ["just now", "just now", "59s ago", "1h ago"]
        );
        assert_eq!(ago(None, NOW), "never");
    }

    #[test]
    fn a_service_that_does_not_run_is_named_first() {
        assert!(text(&report(), false, NOW, Palette::Plain).starts_with("service      not running\n"));
    }

    #[test]
    fn an_empty_state_can_be_shown() {
        insta::assert_snapshot!(text(&Report::default(), false, NOW, Palette::Plain), @r"
            service      not running
            members      0

            invitations
            ");
    }
}
