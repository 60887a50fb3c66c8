//! The status as JSON.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::clock::Timestamp;
use crate::store::{DirectoryReport, InstanceReport, Report, TaskReport};

/// A state of version 0.1, in which nothing is any more: scripts may ask for it.
const FORMER_STATE: (&str, u64) = ("staged", 0);

/// The status as JSON. Ages are whole seconds, or `null` if it never happened; times are RFC 3339 in UTC.
pub(super) fn json(report: &Report, running: bool, now: Timestamp) -> Value {
    let age = |time: Option<Timestamp>| time.map(|time| now.since(time).as_secs());
    let directory = |directory: &DirectoryReport| {
        json!({
            "name": directory.name,
            "stream": directory.state.stream,
            "connected": running && directory.state.connected,
            "error": directory.state.error.as_ref().filter(|_| running),
            "members": directory.members,
            "without_address": directory.without_address,
            "cursor_age_seconds": age(directory.cursor_stored),
            "listed_age_seconds": age(directory.listed),
            "configured": !directory.retired,
        })
    };
    let instance = |instance: &InstanceReport| {
        let duties = instance
            .duties
            .iter()
            .map(|(name, since)| json!({ "name": name, "since": since.to_string() }));
        json!({
            "name": instance.name,
            "version": instance.version,
            "started": instance.started.to_string(),
            "duties": duties.collect::<Vec<_>>(),
        })
    };
    let task = |task: &TaskReport| {
        json!({
            "action": task.kind.as_str(),
            "address": task.address,
            "dn": task.dn,
            "directory": task.directory,
            "reason": task.reason,
            "attempts": task.attempts,
            "arrived": task.arrived.to_string(),
        })
    };
    json!({
        "running": running,
        "members": report.members,
        "without_address": report.without_address,
        "tasks": report.tasks.iter().copied().chain([FORMER_STATE]).collect::<BTreeMap<_, _>>(),
        "leavers": report.leavers.iter().copied().collect::<BTreeMap<_, _>>(),
        "unregistered": report.unregistered,
        "vaultwarden_trouble": report.vaultwarden_trouble,
        "directories": report.directories.iter().map(directory).collect::<Vec<_>>(),
        "instances": report.instances.iter().map(instance).collect::<Vec<_>>(),
        "quarantined": report.quarantined.iter().map(task).collect::<Vec<_>>(),
        "failing": report.failing.iter().map(task).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::text::tests::{NOW, instances, report};
    use super::*;

    #[test]
    fn nothing_is_connected_while_the_service_does_not_run() {
        let shown = json(&report(), false, NOW);
        assert_eq!(shown["running"], false);
        assert_eq!(shown["directories"][0]["connected"], false);
        assert_eq!(shown["directories"][1]["error"], Value::Null);
    }

    #[test]
    fn instances_are_named_with_what_they_do_alone() {
        let mut report = report();
        report.instances = instances();
        let shown = json(&report, true, NOW);
        assert_eq!(shown["instances"][0]["name"], "usher-1");
        assert_eq!(shown["instances"][0]["duties"][0]["name"], "directory main");
        assert_eq!(shown["instances"][1]["duties"], json!([]));
    }

    #[test]
    fn the_json_contains_every_number() {
        insta::assert_snapshot!(format!("{:#}", json(&report(), true, NOW)), @r#"
            {
              "directories": [
                {
                  "configured": true,
                  "connected": true,
                  "cursor_age_seconds": 180,
                  "error": null,
                  "listed_age_seconds": 7500,
                  "members": 140,
                  "name": "main",
                  "stream": "syncrepl",
                  "without_address": 2
                },
                {
                  "configured": true,
                  "connected": false,
                  "cursor_age_seconds": null,
                  "error": "ldap://10.0.0.9:389 refuses the connection",
                  "listed_age_seconds": null,
                  "members": 2,
                  "name": "branch",
                  "stream": "poll",
                  "without_address": 0
                }
              ],
              "failing": [
                {
                  "action": "invite",
                  "address": "eve@example.org",
                  "arrived": "2027-01-15T06:30:00Z",
                  "attempts": 4,
                  "directory": "main",
                  "dn": "uid=bob,ou=people,dc=example,dc=org",
                  "reason": "the mail server refuses the address (550)"
                }
              ],
              "instances": [],
              "leavers": {
                "cancelled": 2,
                "done": 3,
                "held": 0,
                "quarantined": 0,
                "queued": 1
              },
              "members": 142,
              "quarantined": [
                {
                  "action": "invite",
                  "address": "bob@localhost",
                  "arrived": "2027-01-15T06:30:00Z",
                  "attempts": 1,
                  "directory": "main",
                  "dn": "uid=bob,ou=people,dc=example,dc=org",
                  "reason": "the mail server refuses the address (550)"
                }
              ],
              "running": true,
              "tasks": {
                "cancelled": 0,
                "done": 140,
                "held": 600,
                "quarantined": 1,
                "queued": 1,
                "staged": 0
              },
              "unregistered": 7,
              "vaultwarden_trouble": null,
              "without_address": 2
            }
            "#);
    }
}
