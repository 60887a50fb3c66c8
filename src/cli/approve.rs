//! `approve`, `discard` and `retry`: what to do with actions that a limit holds back, or that Vaultwarden rejected.

use std::path::Path;

use anyhow::bail;

use super::args::People;
use super::exit::Exit;
use super::proposal::Proposal;
use super::state;
use crate::app::{self, Verb};
use crate::model::{ActionState, EmailAddress};
use crate::store::{Store, TaskReport, Which};

/// The words of a command.
trait Words {
    /// The message about an address without such an action.
    fn missing(self) -> &'static str;
    /// The state, for a sentence such as "nobody is ..".
    fn blocked(self) -> &'static str;
    fn participle(self) -> &'static str;
    fn proposal(self) -> Proposal;
}

impl Words for Verb {
    fn missing(self) -> &'static str {
        match self {
            Self::Approve | Self::Discard => "not held back",
            Self::Retry => "neither in quarantine nor invited before",
        }
    }

    fn blocked(self) -> &'static str {
        match self {
            Self::Approve | Self::Discard => "held back",
            Self::Retry => "in quarantine",
        }
    }

    fn participle(self) -> &'static str {
        match self {
            Self::Approve | Self::Retry => "released",
            Self::Discard => "discarded",
        }
    }

    fn proposal(self) -> Proposal {
        match self {
            Self::Approve | Self::Retry => Proposal::CarryOut,
            Self::Discard => Proposal::Drop,
        }
    }
}

/// Shows the actions that are meant and does with them what `verb` says. Asks first, unless `--yes` is given.
pub(super) async fn decide(
    config: Option<&Path>,
    people: &People,
    group: Option<&str>,
    verb: Verb,
) -> anyhow::Result<Exit> {
    let store = state::open(config).await?;
    let named = parse(&people.addresses)?;
    let mut selected = match named.as_slice() {
        [] => store.in_state(verb.state(), Which::All).await?,
        named => select_named(&*store, named, verb).await?,
    };
    if let Some(group) = group {
        let members = app::people_in_group(&super::load(config)?, group).await?;
        selected.retain(|task| members.contains(&(task.directory.clone(), task.entry)));
    }
    if selected.is_empty() {
        let among = group.map_or_else(String::new, |group| format!(" in the group {group}"));
        super::print(&format!("nobody{among} is {}\n", verb.blocked()))?;
        return Ok(Exit::Done);
    }
    let proposal = verb.proposal();
    super::print(&proposal.list(&selected))?;
    if !people.yes && !proposal.confirmed(&selected)? {
        super::print(&format!("nobody was {}\n", verb.participle()))?;
        return Ok(Exit::Failed);
    }
    // Those that were shown: more may be held back while the question is open.
    let count = app::decide(&*store, &selected, !named.is_empty(), verb).await?;
    super::print(&format!("{count} {}\n", verb.participle()))?;
    Ok(Exit::Done)
}

/// The actions that concern these addresses.
async fn select_named(
    store: &dyn Store,
    named: &[EmailAddress],
    verb: Verb,
) -> anyhow::Result<Vec<TaskReport>> {
    let mut selected = store.in_state(verb.state(), Which::To(named)).await?;
    if verb == Verb::Retry {
        // `retry ADDRESS` also invites people again whose invitation is done, because their accounts may be gone.
        let done = store.in_state(ActionState::Done, Which::To(named)).await?;
        selected.extend(done.into_iter().filter(|task| task.kind.is_invite()));
    }
    refuse_missing(&selected, named, verb)?;
    Ok(selected)
}

/// Parses the addresses on the command line, without duplicates.
fn parse(addresses: &[String]) -> anyhow::Result<Vec<EmailAddress>> {
    let mut parsed = Vec::new();
    for address in addresses {
        let one = super::address(address)?;
        if !parsed.contains(&one) {
            parsed.push(one);
        }
    }
    Ok(parsed)
}

/// Fails if an address on the command line has no such action.
fn refuse_missing(selected: &[TaskReport], named: &[EmailAddress], verb: Verb) -> anyhow::Result<()> {
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
    bail!(
        "{}: {}; nobody was {}",
        verb.missing(),
        missing.join(", "),
        verb.participle()
    )
}

#[cfg(test)]
mod tests {
    use super::super::proposal::tests::held;
    use super::*;
    use crate::model::ActionKind;

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
        let held = held(ActionKind::Invite, 3);
        assert!(refuse_missing(&held, &named[..1], Verb::Approve).is_ok());
        let error = refuse_missing(&held, &named, Verb::Approve).unwrap_err();
        assert_eq!(
            error.to_string(),
            "not held back: else@example.org; nobody was released"
        );
    }
}
