//! `approve` and `retry`: a person has looked at those whom `limits.invites_per_listing` holds back, or at those whom
//! Vaultwarden refused, and lets them in.

use std::io::{self, BufRead, IsTerminal};
use std::path::Path;

use anyhow::{Context, bail};

use super::args::People;
use super::exit::Exit;
use super::state;
use crate::clock::Clock;
use crate::config;
use crate::foreign::printable;
use crate::model::{ActionState, EmailAddress, Release};
use crate::store::{Store, TaskReport, Which};
use crate::worker::server_identity;

/// How many people the question names; the rest is counted.
const NAMED: usize = 20;

/// Which invitations are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// By the brake.
    Held,
    /// By what Vaultwarden said of them.
    Quarantined,
}

impl Kept {
    fn state(self) -> ActionState {
        match self {
            Self::Held => ActionState::Held,
            Self::Quarantined => ActionState::Quarantined,
        }
    }

    /// What is said of an address that is not among them.
    fn not(self) -> &'static str {
        match self {
            Self::Held => "not held back",
            Self::Quarantined => "neither in quarantine nor invited before",
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
    let store = state::open(&config::state_file(config)?).await?;
    let named = parse(&people.addresses)?;
    let which = if named.is_empty() {
        Which::All
    } else {
        Which::To(&named)
    };
    let mut meant = store.in_state(kept.state(), which).await?;
    // People who were invited are invited again where they are named: their accounts are gone.
    let again = match (kept, which) {
        (Kept::Quarantined, Which::To(_)) => store.in_state(ActionState::Done, which).await?,
        _ => Vec::new(),
    };
    let repeats = !again.is_empty();
    meant.extend(again);
    missing(&meant, &named, kept)?;
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
    let states: &[ActionState] = if repeats {
        &[ActionState::Quarantined, ActionState::Done]
    } else {
        &[kept.state()]
    };
    let because = match kept {
        Kept::Held => Release::Approved,
        Kept::Quarantined => Release::Retried,
    };
    let released = store.release(states, Which::To(&addresses), because, now).await?;
    if repeats {
        server_identity::accept(&store).await?;
    }
    super::print(&format!("{} released\n", released.len()))?;
    Ok(Exit::Done)
}

/// The addresses that were given.
fn parse(addresses: &[String]) -> anyhow::Result<Vec<EmailAddress>> {
    let mut parsed = Vec::new();
    for address in addresses {
        let one = EmailAddress::parse(address.as_bytes())
            .map_err(|problem| anyhow::anyhow!("{address:?} {problem}"))?;
        if !parsed.contains(&one) {
            parsed.push(one);
        }
    }
    Ok(parsed)
}

/// Refuses addresses that are not among those who are meant.
fn missing(meant: &[TaskReport], named: &[EmailAddress], kept: Kept) -> anyhow::Result<()> {
    let is_missing = |address: &&EmailAddress| meant.iter().all(|task| task.address != address.as_str());
    let mut missing: Vec<&str> = named
        .iter()
        .filter(is_missing)
        .map(EmailAddress::as_str)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    missing.sort_unstable();
    let what = kept.not();
    bail!("{what}: {}; nobody was released", missing.join(", "))
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
    fn addresses_are_read_whatever_their_case_and_each_once() {
        let parsed = parse(&["P1@Example.ORG".into(), "p1@example.org".into()]).unwrap();
        assert_eq!(
            parsed.iter().map(EmailAddress::as_str).collect::<Vec<_>>(),
            ["p1@example.org"]
        );
        let error = parse(&["p1".into()]).unwrap_err();
        assert!(
            error.to_string().starts_with("\"p1\" is not an e-mail address"),
            "{error}"
        );
    }

    #[test]
    fn an_address_that_is_not_held_releases_nobody() {
        let named = parse(&["p1@example.org".into(), "else@example.org".into()]).unwrap();
        assert!(missing(&held(3), &named[..1], Kept::Held).is_ok());
        let error = missing(&held(3), &named, Kept::Held).unwrap_err();
        assert_eq!(
            error.to_string(),
            "not held back: else@example.org; nobody was released"
        );
    }
}
