//! `forget`: drops what is known of a person, or makes the people of a removed directory leavers.

use std::path::Path;

use anyhow::bail;

use super::args::Forget;
use super::exit::Exit;
use super::proposal::confirmed;
use super::state;
use crate::app::{self, Forgotten};
use crate::foreign::printable;
use crate::model::Standing;
use crate::store::{PersonQuery, PersonReport};

/// Shows what would be forgotten, asks, and does it.
pub(super) async fn forget(config: Option<&Path>, what: &Forget) -> anyhow::Result<Exit> {
    match (&what.address, &what.directory) {
        (Some(address), _) => person(config, address, what.yes).await,
        (None, Some(directory)) => removed_directory(config, directory, what.yes).await,
        (None, None) => bail!("name an address or --directory"),
    }
}

async fn person(config: Option<&Path>, address: &str, yes: bool) -> anyhow::Result<Exit> {
    let store = state::open(config).await?;
    let address = super::address(address)?;
    let people = store.people(PersonQuery::Address(address.clone()), 0).await?;
    if people.is_empty() {
        bail!("no one is known by {address}");
    }
    super::print(&people.iter().map(described).collect::<String>())?;
    if !yes && !confirmed("Forget what is known of them?")? {
        super::print("nobody was forgotten\n")?;
        return Ok(Exit::Failed);
    }
    let rows: Vec<i64> = people.iter().map(|person| person.member.row).collect();
    store.forget(rows).await?;
    super::print(&format!("{} forgotten\n", people.len()))?;
    Ok(Exit::Done)
}

/// A person, and what forgetting them means.
fn described(person: &PersonReport) -> String {
    let cared_for = person.invitations().any(|invitation| {
        let account = invitation.account.as_ref();
        account.is_some_and(|account| account.state.exists())
    });
    let mut text = format!(
        "{}  (directory {}): actions {}, events {}\n",
        printable(&person.member.dn),
        person.directory,
        person.actions.len(),
        person.events.len()
    );
    if person.configured && person.member.standing != Standing::Left {
        text.push_str(
            "  is in the directory: counts as new as soon as the entry is seen again, and is invited then if there is no \
             account\n",
        );
    }
    if cared_for {
        text.push_str("  the account stays in Vaultwarden and is not in our care any more\n");
    }
    text
}

async fn removed_directory(config: Option<&Path>, name: &str, yes: bool) -> anyhow::Result<Exit> {
    let store = state::open(config).await?;
    let config = super::load(config)?;
    let forgotten = app::retired_directory(&config, &*store, name).await?;
    super::print(&consequences(name, &forgotten))?;
    if !yes && !confirmed("Have they left?")? {
        super::print("nothing was changed\n")?;
        return Ok(Exit::Failed);
    }
    let left = app::forget_directory(&config, &*store, forgotten.directory).await?;
    super::print(&format!("{left} left\n"))?;
    Ok(Exit::Done)
}

/// What follows if the people of a directory have left.
fn consequences(name: &str, forgotten: &Forgotten) -> String {
    let Forgotten {
        people,
        action,
        grace,
        ..
    } = forgotten;
    let accounts = match action {
        None => "their accounts are left alone, because `action` of [leave] is \"none\"".to_owned(),
        Some(action) => format!(
            "their accounts that are in our care and not protected are {} after {}; none is held back by a limit",
            action.participle(),
            humantime::format_duration(*grace)
        ),
    };
    let who = if *people == 1 { "person" } else { "people" };
    format!("{people} {who} of the directory {name} would count as having left:\n  {accounts}\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::ActionKind;

    #[test]
    fn the_consequences_name_the_action_and_the_grace() {
        let mut forgotten = Forgotten {
            directory: 1,
            people: 40,
            action: Some(ActionKind::Disable),
            grace: Duration::from_secs(3600),
        };
        insta::assert_snapshot!(consequences("branch", &forgotten), @r"
            40 people of the directory branch would count as having left:
              their accounts that are in our care and not protected are disabled after 1h; none is held back by a limit
            ");
        forgotten.action = None;
        assert!(consequences("branch", &forgotten).contains("left alone"));
    }
}
