//! `approve` and `retry`: a person has looked at those whom `limits.invites_per_listing` holds back, or at those whom
//! Vaultwarden refused, and lets them in.

use std::collections::HashSet;
use std::io::{self, BufRead, IsTerminal};
use std::path::Path;

use anyhow::{Context, bail};

use super::args::People;
use super::exit::Exit;
use super::printable::printable;
use super::state;
use crate::clock::Clock;
use crate::config;
use crate::ledger::{Ledger, TaskReport, Which};
use crate::model::{EmailAddress, TaskState};

/// How many people the question names; the rest is counted.
const NAMED: usize = 20;

/// Which invitations are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// By the brake.
    Held,
    /// By what Vaultwarden said of them; and those who were invited, where they are named.
    Quarantined,
}

impl Kept {
    /// The states of these invitations; `named` are those of people who are named.
    fn states(self, named: bool) -> &'static [TaskState] {
        match self {
            Self::Held => &[TaskState::Held],
            Self::Quarantined if named => &[TaskState::Quarantined, TaskState::Done],
            Self::Quarantined => &[TaskState::Quarantined],
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Held => "held back",
            Self::Quarantined => "in quarantine",
        }
    }
}

/// Releases such invitations, after a question unless `--yes` answers it.
pub(super) async fn release(config: Option<&Path>, people: &People, kept: Kept) -> anyhow::Result<Exit> {
    let ledger = state::open(&config::state_file(config)?).await?;
    let states = kept.states(!people.addresses.is_empty());
    let mut all = Vec::new();
    for state in states {
        all.extend(ledger.in_state(*state).await?);
    }
    let meant = choose(all, &people.addresses, kept)?;
    if meant.is_empty() {
        super::print(&format!("nobody is {}\n", kept.as_str()))?;
        return Ok(Exit::Done);
    }
    super::print(&list(&meant))?;
    if !people.yes && !confirmed()? {
        super::print("nobody was released\n")?;
        return Ok(Exit::Failed);
    }
    // Exactly those who were shown: a listing may hold more people back while the question stands.
    let addresses: Vec<EmailAddress> = meant
        .iter()
        .filter_map(|task| EmailAddress::parse(task.address.as_bytes()).ok())
        .collect();
    let now = Clock::system().now();
    let released = ledger.release(states, Which::To(&addresses), now).await?;
    super::print(&format!("{} released\n", released.len()))?;
    Ok(Exit::Done)
}

/// Those of `all` who are meant: all of them where no address is given.
fn choose(all: Vec<TaskReport>, addresses: &[String], kept: Kept) -> anyhow::Result<Vec<TaskReport>> {
    if addresses.is_empty() {
        return Ok(all);
    }
    let mut wanted = HashSet::new();
    for address in addresses {
        let parsed = EmailAddress::parse(address.as_bytes());
        wanted.insert(
            parsed
                .map_err(|problem| anyhow::anyhow!("{address:?} {problem}"))?
                .to_string(),
        );
    }
    let (chosen, _): (Vec<_>, Vec<_>) = all.into_iter().partition(|task| wanted.remove(&task.address));
    if !wanted.is_empty() {
        let mut missing: Vec<_> = wanted.into_iter().collect();
        missing.sort();
        bail!(
            "not {}: {}; nobody was released",
            kept.as_str(),
            missing.join(", ")
        );
    }
    Ok(chosen)
}

/// Who would be invited.
fn list(tasks: &[TaskReport]) -> String {
    let mut text = format!("{} to be invited:\n", tasks.len());
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
    text
}

/// Asks at the terminal.
fn confirmed() -> anyhow::Result<bool> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        bail!("there is no terminal to ask at; say --yes if they are all to be invited");
    }
    super::print("Invite them? [y/N] ")?;
    let mut answer = String::new();
    stdin
        .lock()
        .read_line(&mut answer)
        .context("the answer cannot be read")?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    fn held(count: usize) -> Vec<TaskReport> {
        (0..count)
            .map(|i| TaskReport {
                address: format!("p{i}@example.org"),
                dn: format!("uid=p{i},dc=example,dc=org"),
                directory: "main".into(),
                reason: String::new(),
                attempts: 0,
                arrived: Timestamp(0),
            })
            .collect()
    }

    #[test]
    fn the_first_twenty_are_named_and_the_rest_is_counted() {
        insta::assert_snapshot!(list(&held(2)), @r"
            2 to be invited:
              p0@example.org  uid=p0,dc=example,dc=org
              p1@example.org  uid=p1,dc=example,dc=org
            ");
        let many = list(&held(25));
        assert!(many.starts_with("25 to be invited:\n"));
        assert!(many.contains("p19@") && !many.contains("p20@"));
        assert!(many.ends_with("\n  and 5 more\n"));
    }

    #[test]
    fn without_addresses_everyone_is_meant() {
        assert_eq!(choose(held(3), &[], Kept::Held).unwrap(), held(3));
    }

    #[test]
    fn addresses_choose_whatever_their_case() {
        let chosen = choose(
            held(3),
            &["P1@Example.ORG".into(), "p1@example.org".into()],
            Kept::Held,
        )
        .unwrap();
        assert_eq!(chosen, held(3)[1..2]);
    }

    #[test]
    fn an_address_that_is_not_held_releases_nobody() {
        let error = choose(
            held(3),
            &["p1@example.org".into(), "else@example.org".into()],
            Kept::Held,
        )
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "not held back: else@example.org; nobody was released"
        );
        let error = choose(held(3), &["p1".into()], Kept::Held).unwrap_err();
        assert!(
            error.to_string().starts_with("\"p1\" is not an e-mail address"),
            "{error}"
        );
    }
}
