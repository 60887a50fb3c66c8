//! `plan`: what `sync` would do.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use anyhow::bail;

use super::exit::Exit;
use crate::app::{self, Action, Planned};
use crate::foreign::printable;

/// How many people of a kind are named; the rest is counted.
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
    /// Those of whom nothing is wanted, by the reason: how many, and the first of them.
    nothing: BTreeMap<String, (u64, String)>,
}

#[derive(Default)]
struct Group {
    count: u64,
    named: Vec<Planned>,
}

/// The groups, in the order in which they matter.
const GROUPS: [(Action, &str); 4] = [
    (Action::Invite, "to be invited"),
    (Action::Hold, "to be held back"),
    (Action::Later, "owed an invitation, but not by this run"),
    (Action::Left, "to be recorded as having left"),
];

impl Summary {
    fn add(&mut self, planned: Planned) {
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
                for Planned {
                    email, dn, directory, ..
                } in alike
                {
                    let email = email.as_deref().unwrap_or("without an address");
                    writeln!(f, "    {email}  {}  ({directory})", printable(dn))?;
                }
            }
            if *count > NAMED as u64 {
                writeln!(
                    f,
                    "  and {} more; `plan --json` names them all",
                    count - NAMED as u64
                )?;
            }
            separator = "\n";
        }
        let nothing: u64 = self.nothing.values().map(|(count, _)| count).sum();
        if nothing == 0 && self.groups.iter().any(|group| group.count > 0) {
            return Ok(());
        }
        f.write_str(separator)?;
        writeln!(f, "{nothing} with whom nothing is to be done")?;
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
                "  and {} more reasons; `plan --json` names them all",
                reasons.len() - NAMED
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(action: Action, uid: &str, reason: &str) -> Planned {
        Planned {
            action,
            email: Some(format!("{uid}@example.org")),
            dn: format!("uid={uid},dc=example,dc=org"),
            directory: "main".into(),
            reason: reason.into(),
        }
    }

    #[test]
    fn a_person_reads_who_would_be_invited_and_why_the_others_would_not() {
        let mut summary = Summary::default();
        for person in [
            planned(Action::None, "bob", "was invited before"),
            planned(Action::Invite, "ann", "matches the filter and has no account"),
            planned(Action::Invite, "kim", "matches the filter and has no account"),
            planned(Action::None, "eve", "cannot be invited: has no mail"),
            planned(Action::None, "dan", "was invited before"),
            planned(Action::Left, "joe", "matches the filter no more"),
        ] {
            summary.add(person);
        }
        insta::assert_snapshot!(summary.to_string(), @r"
            2 to be invited
              matches the filter and has no account:
                ann@example.org  uid=ann,dc=example,dc=org  (main)
                kim@example.org  uid=kim,dc=example,dc=org  (main)

            1 to be recorded as having left
              matches the filter no more:
                joe@example.org  uid=joe,dc=example,dc=org  (main)

            3 with whom nothing is to be done
                    2  was invited before
                    1  cannot be invited: has no mail  (uid=eve,dc=example,dc=org)
            ");
    }

    #[test]
    fn a_long_list_is_cut_and_says_where_the_rest_is() {
        let mut summary = Summary::default();
        for n in 0..120 {
            summary.add(planned(Action::Hold, &format!("p{n}"), "too many"));
        }
        let text = summary.to_string();
        assert!(text.starts_with("120 to be held back\n"), "{text}");
        assert!(
            text.contains("  and 20 more; `plan --json` names them all\n"),
            "{text}"
        );
        assert_eq!(text.matches("too many").count(), 1);
        assert_eq!(text.matches("uid=").count(), 100);
    }
}
