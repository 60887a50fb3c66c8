//! `plan`: what `sync` would do.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::bail;

use super::exit::Exit;
use crate::app::{self, PlanEntry, PlannedAction};
use crate::foreign::printable;

/// The number of people that are named in a group; the others are counted.
const NAMED: usize = 100;

/// Prints what `sync` would do.
pub(super) async fn plan(config: Option<&Path>, as_json: bool) -> anyhow::Result<Exit> {
    let config = super::load(config)?;
    for warning in &config.warnings {
        super::print_error("warning", warning);
    }
    let mut plan = app::plan(&config).await?;
    let mut summary = Summary::default();
    let mut separator = "[\n";
    loop {
        let people = plan.next().await?;
        if people.is_empty() {
            break;
        }
        if as_json {
            let mut text = String::new();
            for planned in &people {
                text.push_str(separator);
                text.push_str(&serde_json::to_string(planned)?);
                separator = ",\n";
            }
            super::print(&text)?;
        } else {
            people.into_iter().for_each(|planned| summary.add(planned));
        }
    }
    if as_json {
        super::print(if separator == "[\n" { "[]\n" } else { "\n]\n" })?;
    } else {
        super::print(&summary.to_string())?;
    }
    if !plan.failures.is_empty() {
        bail!("{}", plan.failures.join("\n"));
    }
    Ok(Exit::Done)
}

/// The plan for people: grouped, counted, and the first of each group by name.
#[derive(Default)]
struct Summary {
    groups: [Group; GROUPS.len()],
    /// People for whom nothing would be done: their number and the first one, by reason.
    nothing: BTreeMap<String, (u64, String)>,
}

#[derive(Default)]
struct Group {
    count: u64,
    named: Vec<PlanEntry>,
}

/// The groups, most important first.
const GROUPS: [(PlannedAction, &str); 9] = [
    (PlannedAction::Invite, "to be invited"),
    (PlannedAction::Remind, "to be reminded"),
    (PlannedAction::Deauthorize, "to be logged out everywhere"),
    (PlannedAction::Disable, "to be disabled"),
    (PlannedAction::Delete, "to be deleted"),
    (PlannedAction::Enable, "to be enabled again"),
    (PlannedAction::Hold, "to be held back"),
    (PlannedAction::Later, "to be done later"),
    (PlannedAction::Left, "to be recorded as having left"),
];

impl Summary {
    fn add(&mut self, planned: PlanEntry) {
        match GROUPS.iter().position(|(action, _)| *action == planned.action) {
            Some(group) => {
                let Group { count, named } = &mut self.groups[group];
                *count += 1;
                if named.len() < NAMED {
                    named.push(planned);
                }
            }
            None => self.nothing.entry(planned.reason).or_insert((0, planned.dn)).0 += 1,
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for ((_, title), Group { count, named }) in GROUPS.iter().zip(&self.groups) {
            if *count == 0 {
                continue;
            }
            f.write_str(separator)?;
            writeln!(f, "{count} {title}")?;
            for alike in named.chunk_by(|one, next| one.reason == next.reason) {
                writeln!(f, "  {}:", printable(&alike[0].reason))?;
                for PlanEntry {
                    email,
                    dn,
                    directory,
                    at,
                    ..
                } in alike
                {
                    let email = email.as_deref().unwrap_or("without an address");
                    let at = at.map_or_else(String::new, |at| format!(", at {at}"));
                    writeln!(f, "    {email}  {}  ({directory}{at})", printable(dn))?;
                }
            }
            if *count > NAMED as u64 {
                writeln!(f, "  and {} more; `plan --json` lists all", count - NAMED as u64)?;
            }
            separator = "\n";
        }
        let nothing: u64 = self.nothing.values().map(|(count, _)| count).sum();
        if nothing == 0 && self.groups.iter().any(|group| group.count > 0) {
            return Ok(());
        }
        f.write_str(separator)?;
        writeln!(f, "{nothing} with nothing to do")?;
        let mut reasons: Vec<_> = self.nothing.iter().collect();
        reasons.sort_by_key(|(_, (count, _))| Reverse(*count));
        for (reason, (count, first)) in reasons.iter().take(NAMED) {
            let reason = printable(reason);
            match count {
                1 => writeln!(f, "  {count:>7}  {reason}  ({})", printable(first))?,
                _ => writeln!(f, "  {count:>7}  {reason}")?,
            }
        }
        if reasons.len() > NAMED {
            writeln!(
                f,
                "  and {} more reasons; `plan --json` lists all",
                reasons.len() - NAMED
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(action: PlannedAction, uid: &str, reason: &str) -> PlanEntry {
        PlanEntry {
            action,
            email: Some(format!("{uid}@example.org")),
            dn: format!("uid={uid},dc=example,dc=org"),
            directory: "main".into(),
            reason: reason.into(),
            at: None,
        }
    }

    #[test]
    fn the_plan_shows_who_would_be_invited_and_why_others_would_not() {
        let mut summary = Summary::default();
        for person in [
            planned(PlannedAction::None, "bob", "was invited before"),
            planned(
                PlannedAction::Invite,
                "ann",
                "matches the filter and has no account",
            ),
            planned(
                PlannedAction::Invite,
                "kim",
                "matches the filter and has no account",
            ),
            planned(PlannedAction::None, "eve", "cannot be invited: has no mail"),
            planned(PlannedAction::None, "dan", "was invited before"),
            planned(PlannedAction::Left, "joe", "no longer matches the filter"),
        ] {
            summary.add(person);
        }
        insta::assert_snapshot!(summary.to_string(), @r"
            2 to be invited
              matches the filter and has no account:
                ann@example.org  uid=ann,dc=example,dc=org  (main)
                kim@example.org  uid=kim,dc=example,dc=org  (main)

            1 to be recorded as having left
              no longer matches the filter:
                joe@example.org  uid=joe,dc=example,dc=org  (main)

            3 with nothing to do
                    2  was invited before
                    1  cannot be invited: has no mail  (uid=eve,dc=example,dc=org)
            ");
    }

    #[test]
    fn a_long_list_is_cut_and_says_where_the_rest_is() {
        let mut summary = Summary::default();
        for n in 0..120 {
            summary.add(planned(PlannedAction::Hold, &format!("p{n}"), "too many"));
        }
        let text = summary.to_string();
        assert!(text.starts_with("120 to be held back\n"), "{text}");
        assert!(
            text.contains("  and 20 more; `plan --json` lists all\n"),
            "{text}"
        );
        assert_eq!(text.matches("too many").count(), 1);
        assert_eq!(text.matches("uid=").count(), 100);
    }
}
