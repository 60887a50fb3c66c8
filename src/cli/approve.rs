//! `approve` and `retry`: release invitations that a limit holds back, or that Vaultwarden rejected.

use std::io::{self, BufRead, IsTerminal};
use std::path::Path;

use anyhow::{Context, bail};

use super::args::People;
use super::exit::Exit;
use super::state;
use crate::clock::Clock;
use crate::foreign::printable;
use crate::model::{ActionState, EmailAddress, Release};
use crate::store::{TaskReport, Which};
use crate::worker::server_identity;

/// The number of people that are shown by name before the question; the others are counted.
const NAMED: usize = 20;

/// The kind of invitations that a command releases.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Blocked {
    /// Held back by a limit: `approve`.
    Held,
    /// Rejected by Vaultwarden: `retry`.
    Quarantined,
}

impl Blocked {
    fn state(self) -> ActionState {
        match self {
            Self::Held => ActionState::Held,
            Self::Quarantined => ActionState::Quarantined,
        }
    }

    /// The message about an address without such an invitation.
    fn missing(self) -> &'static str {
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

/// Shows and releases invitations. Asks first, unless `--yes` is given.
pub(super) async fn release(
    config: Option<&Path>,
    people: &People,
    blocked: Blocked,
) -> anyhow::Result<Exit> {
    let store = state::open(config).await?;
    let named = parse(&people.addresses)?;
    let which = if named.is_empty() {
        Which::All
    } else {
        Which::To(&named)
    };
    let mut selected = store.in_state(blocked.state(), which).await?;
    // `retry ADDRESS` also invites people again whose invitation is done, because their accounts may be gone.
    let again = match (blocked, which) {
        (Blocked::Quarantined, Which::To(_)) => store.in_state(ActionState::Done, which).await?,
        _ => Vec::new(),
    };
    let repeats = !again.is_empty();
    selected.extend(again);
    refuse_missing(&selected, &named, blocked)?;
    if selected.is_empty() {
        super::print(&format!("nobody is {}\n", blocked.as_str()))?;
        return Ok(Exit::Done);
    }
    super::print(&list(&selected))?;
    if !people.yes && !confirmed()? {
        super::print("nobody was released\n")?;
        return Ok(Exit::Failed);
    }
    // Release only the people who were shown: a listing may hold back more while the question is open.
    let addresses: Vec<EmailAddress> = selected
        .iter()
        .filter_map(|task| EmailAddress::parse(task.address.as_bytes()).ok())
        .collect();
    let now = Clock::system().now();
    let states: &[ActionState] = if repeats {
        &[ActionState::Quarantined, ActionState::Done]
    } else {
        &[blocked.state()]
    };
    let because = match blocked {
        Blocked::Held => Release::Approved,
        Blocked::Quarantined => Release::Retried,
    };
    let released = store.release(states, Which::To(&addresses), because, now).await?;
    if repeats {
        server_identity::accept(&*store).await?;
    }
    super::print(&format!("{} released\n", released.len()))?;
    Ok(Exit::Done)
}

/// Parses the addresses on the command line, without duplicates.
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

/// Fails if an address on the command line has no such invitation.
fn refuse_missing(selected: &[TaskReport], named: &[EmailAddress], blocked: Blocked) -> anyhow::Result<()> {
    let is_missing = |address: &&EmailAddress| selected.iter().all(|task| task.address != address.as_str());
    let mut missing: Vec<&str> = named
        .iter()
        .filter(is_missing)
        .map(EmailAddress::as_str)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    missing.sort_unstable();
    let what = blocked.missing();
    bail!("{what}: {}; nobody was released", missing.join(", "))
}

/// The list of people to be invited.
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

/// Asks at the terminal. Returns whether the answer is yes.
fn confirmed() -> anyhow::Result<bool> {
    let stdin = io::stdin();
    if !stdin.is_terminal() {
        bail!("there is no terminal to ask for confirmation; use --yes to invite them without asking");
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
    use crate::model::ActionKind;

    fn held(count: usize) -> Vec<TaskReport> {
        (0..count)
            .map(|i| TaskReport {
                row: i64::try_from(i).unwrap(),
                kind: ActionKind::Invite,
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
    fn the_first_twenty_people_are_named_and_the_others_are_counted() {
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
    fn addresses_are_parsed_case_insensitively_and_without_duplicates() {
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
        assert!(refuse_missing(&held(3), &named[..1], Blocked::Held).is_ok());
        let error = refuse_missing(&held(3), &named, Blocked::Held).unwrap_err();
        assert_eq!(
            error.to_string(),
            "not held back: else@example.org; nobody was released"
        );
    }
}
