//! Shows what a command would do to held or quarantined actions, and asks.

use std::io::{self, BufRead, IsTerminal};

use anyhow::{Context, bail};

use crate::foreign::printable;
use crate::model::ActionKind;
use crate::store::TaskReport;

/// The number of people of each kind that are shown by name before the question; the others are counted.
const NAMED: usize = 20;

/// What is proposed to do with the actions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Proposal {
    /// They are carried out.
    CarryOut,
    /// They are dropped.
    Drop,
}

/// The actions of each kind that occurs, in the order of the kinds.
fn by_kind(tasks: &[TaskReport]) -> impl Iterator<Item = (ActionKind, Vec<&TaskReport>)> {
    ActionKind::ALL.into_iter().filter_map(|kind| {
        let alike: Vec<&TaskReport> = tasks.iter().filter(|task| task.kind == kind).collect();
        (!alike.is_empty()).then_some((kind, alike))
    })
}

impl Proposal {
    /// The list of the people concerned, by what would be done.
    pub(super) fn list(self, tasks: &[TaskReport]) -> String {
        let mut text = String::new();
        for (kind, tasks) in by_kind(tasks) {
            text.push_str(&format!("{} {}:\n", tasks.len(), self.heading(kind, tasks.len())));
            for task in tasks.iter().take(NAMED) {
                let mut line = format!("{}  {}", task.address, task.dn);
                if !task.reason.is_empty() {
                    line.push_str(&format!("  ({})", task.reason));
                }
                text.push_str(&format!("  {}\n", printable(&line)));
            }
            if tasks.len() > NAMED {
                text.push_str(&format!("  and {} more\n", tasks.len() - NAMED));
            }
        }
        text
    }

    fn heading(self, kind: ActionKind, count: usize) -> String {
        let whose = match (kind, count) {
            (ActionKind::Invite | ActionKind::Resend, _) => "",
            (kind, 1) if kind.is_leave() => "account of a leaver ",
            (kind, _) if kind.is_leave() => "accounts of leavers ",
            (_, 1) => "account ",
            _ => "accounts ",
        };
        let negation = match self {
            Self::CarryOut => "",
            Self::Drop => "not ",
        };
        format!("{whose}{negation}to be {}", kind.participle())
    }

    /// The question, without the choice of answers.
    fn question(self, tasks: &[TaskReport]) -> String {
        let parts: Vec<String> = by_kind(tasks)
            .map(|(kind, tasks)| self.phrase(kind, tasks.len()))
            .collect();
        let text = parts.join(", and ");
        let mut letters = text.chars();
        letters.next().map_or_else(String::new, |first| {
            format!("{}{}?", first.to_uppercase(), letters.as_str())
        })
    }

    fn phrase(self, kind: ActionKind, count: usize) -> String {
        let people = if count == 1 { "person" } else { "people" };
        let accounts = if count == 1 { "account" } else { "accounts" };
        if self == Self::Drop {
            return match kind {
                ActionKind::Invite | ActionKind::Resend => {
                    let noun = kind.noun();
                    let plural = if count == 1 { "" } else { "s" };
                    format!("drop {count} {noun}{plural}")
                }
                _ => format!("leave {count} {accounts} as they are"),
            };
        }
        match kind {
            ActionKind::Invite => format!("invite {count} {people}"),
            ActionKind::Resend => format!("remind {count} {people}"),
            ActionKind::Deauthorize => format!("log {count} {people} out everywhere"),
            ActionKind::Disable => format!("disable {count} {accounts}"),
            ActionKind::Delete => format!("delete {count} {accounts} with everything in them"),
            ActionKind::Enable => format!("enable {count} {accounts} again"),
        }
    }

    /// Asks whether to go on. Returns whether the answer is yes.
    pub(super) fn confirmed(self, tasks: &[TaskReport]) -> anyhow::Result<bool> {
        confirmed(&self.question(tasks))
    }
}

/// Asks at the terminal. Returns whether the answer is yes.
pub(super) fn confirmed(question: &str) -> anyhow::Result<bool> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        bail!("there is no terminal to ask for confirmation; use --yes to go on without asking");
    }
    super::print(&format!("{question} [y/N] "))?;
    let mut answer = String::new();
    stdin
        .lock()
        .read_line(&mut answer)
        .context("the answer cannot be read")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::clock::Timestamp;
    use crate::model::EntryId;

    /// So many held actions of a kind.
    pub(in crate::cli) fn held(kind: ActionKind, count: u8) -> Vec<TaskReport> {
        (0..count)
            .map(|i| TaskReport {
                row: i64::from(i),
                kind,
                address: format!("p{i}@example.org"),
                entry: EntryId::from_slice(&[i; 16]).unwrap(),
                has_account: kind != ActionKind::Invite,
                dn: format!("uid=p{i},dc=example,dc=org"),
                directory: "main".into(),
                reason: String::new(),
                attempts: 0,
                arrived: Timestamp(0),
            })
            .collect()
    }

    fn mixed() -> Vec<TaskReport> {
        let mut tasks = held(ActionKind::Disable, 2);
        tasks[0].reason = "more leavers in an hour than limits.leavers_per_hour".into();
        tasks.extend(held(ActionKind::Invite, 1));
        tasks
    }

    #[test]
    fn each_kind_has_its_own_list_with_the_reasons() {
        insta::assert_snapshot!(Proposal::CarryOut.list(&mixed()), @r"
            1 to be invited:
              p0@example.org  uid=p0,dc=example,dc=org
            2 accounts of leavers to be disabled:
              p0@example.org  uid=p0,dc=example,dc=org  (more leavers in an hour than limits.leavers_per_hour)
              p1@example.org  uid=p1,dc=example,dc=org
            ");
        insta::assert_snapshot!(Proposal::Drop.list(&held(ActionKind::Delete, 1)), @r"
            1 account of a leaver not to be deleted:
              p0@example.org  uid=p0,dc=example,dc=org
            ");
    }

    #[test]
    fn the_first_twenty_people_are_named_and_the_others_are_counted() {
        let many = Proposal::CarryOut.list(&held(ActionKind::Invite, 25));
        assert!(many.starts_with("25 to be invited:\n"));
        assert!(many.contains("p19@") && !many.contains("p20@"));
        assert!(many.ends_with("\n  and 5 more\n"));
    }

    #[test]
    fn the_question_names_everything_that_would_be_done() {
        assert_eq!(
            Proposal::CarryOut.question(&mixed()),
            "Invite 1 person, and disable 2 accounts?"
        );
        assert_eq!(
            Proposal::Drop.question(&mixed()),
            "Drop 1 invitation, and leave 2 accounts as they are?"
        );
        assert_eq!(
            Proposal::CarryOut.question(&held(ActionKind::Delete, 3)),
            "Delete 3 accounts with everything in them?"
        );
    }
}
