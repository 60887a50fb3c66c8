//! `explain`: the history of one person, and their current state in the directory and in Vaultwarden.

use std::sync::Arc;

use anyhow::bail;

use super::policies::{leave, reminders};
use super::servers::vaultwarden_settings;
use super::sessions::Sessions;
use super::wiring::policy;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::directory::{Directory, LdapDirectory, same_dn};
use crate::model::{EmailAddress, EntryId};
use crate::rules::{LeavePolicies, ReminderPolicy};
use crate::store::{self, PersonQuery, PersonReport};
use crate::vaultwarden::{Account, Admin, Vaultwarden};

/// One person: the stored history, and the current answers of the servers.
#[derive(Debug)]
pub struct Explained {
    /// The history in the store.
    pub person: PersonReport,
    /// The current answer of their directory.
    pub directory: InDirectory,
    /// The current answer of Vaultwarden for each of their addresses, current or former; the current one comes first.
    pub vaultwarden: Vec<(EmailAddress, InVaultwarden)>,
    /// What the configuration says about their account.
    pub policies: Policies,
}

/// What the configuration says about the accounts of people.
#[derive(Debug, Clone)]
pub struct Policies {
    /// What happens when they leave.
    pub leave: Arc<LeavePolicies>,
    /// When they are reminded.
    pub reminders: ReminderPolicy,
}

/// A person's current state in a directory.
#[derive(Debug, PartialEq, Eq)]
pub enum InDirectory {
    /// The entry matches the filter and has this address.
    Member(EmailAddress),
    /// The entry matches the filter, but the person cannot be invited, for this reason.
    WithoutAddress(String),
    /// The entry is gone or does not match the filter.
    Gone,
    /// The directory cannot be queried, for this reason.
    Unknown(String),
}

/// The current state of an address in Vaultwarden.
#[derive(Debug)]
pub enum InVaultwarden {
    /// The address has this account.
    Account(Account),
    /// The address has no account.
    None,
    /// Vaultwarden cannot be queried, for this reason.
    Unknown(String),
}

/// Parses the argument that names a person: an address, a DN or a UUID.
///
/// # Errors
/// It is none of these.
pub fn parse_person(who: &str) -> anyhow::Result<PersonQuery> {
    let who = who.trim();
    if let Some(id) = EntryId::parse(who.as_bytes()) {
        return Ok(PersonQuery::Id(id));
    }
    // An address may contain "=", a DN need not contain "@".
    if let Ok(address) = EmailAddress::parse(who.as_bytes()) {
        return Ok(PersonQuery::Address(address));
    }
    if who.contains('=') {
        return Ok(PersonQuery::Dn(who.to_owned(), same_dn));
    }
    bail!(
        "{who:?} is neither an address (ann@example.org), nor a DN (uid=ann,ou=people,dc=example,dc=org), nor a UUID; \
         `ldap-usher journal` shows the people who are known"
    )
}

/// Finds a person and asks the directory and Vaultwarden about them. Changes nothing; asking Vaultwarden may take a login.
///
/// # Errors
/// The text is not the name of a person, or the state cannot be read. A failing directory or Vaultwarden is part of the
/// answer.
pub async fn explain(config: &Config, who: &str) -> anyhow::Result<Vec<Explained>> {
    let query = parse_person(who)?;
    let store = store::open_read_only(&config.state).await?;
    let people = store.people(query, 0).await?;
    if people.is_empty() {
        return Ok(Vec::new());
    }
    let clock = Clock::system();
    let sessions = Sessions::of_command(Some(store), config.sessions.clone());
    let vaultwarden = Vaultwarden::new(&vaultwarden_settings(config), Arc::new(sessions), clock.clone());
    let policies = Policies {
        leave: Arc::new(leave(config)),
        reminders: reminders(config),
    };
    let mut explained = Vec::new();
    for person in people {
        let directory = match config.directory(&person.directory) {
            Some(directory) => in_directory(config, directory, &person, &clock).await,
            None => InDirectory::Unknown("the directory is not in the configuration".into()),
        };
        let mut answers = Vec::new();
        for address in addresses(&person) {
            let answer = match &vaultwarden {
                Ok(vaultwarden) => in_vaultwarden(vaultwarden, &address).await,
                Err(error) => InVaultwarden::Unknown(error.to_string()),
            };
            answers.push((address, answer));
        }
        explained.push(Explained {
            person,
            directory,
            vaultwarden: answers,
            policies: policies.clone(),
        });
    }
    Ok(explained)
}

/// The current address, then all others that have or had an invitation.
fn addresses(person: &PersonReport) -> Vec<EmailAddress> {
    let mut addresses: Vec<EmailAddress> = person.member.address.iter().cloned().collect();
    for invitation in person.invitations() {
        if !addresses.contains(&invitation.address) {
            addresses.push(invitation.address.clone());
        }
    }
    addresses
}

async fn in_directory(
    config: &Config,
    directory: &config::Directory,
    person: &PersonReport,
    clock: &Clock,
) -> InDirectory {
    let found = match LdapDirectory::new(directory.settings.clone()) {
        Ok(ldap) => ldap.lookup(&[person.member.id]).await,
        Err(error) => Err(error),
    };
    let found = match found {
        Ok(found) => found,
        Err(error) => return InDirectory::Unknown(error.to_string()),
    };
    let policy = policy(config, directory, clock.now());
    match found.first() {
        None => InDirectory::Gone,
        Some(entry) => match policy.address(entry, person.member.address.as_ref()) {
            Ok(address) => InDirectory::Member(address),
            Err(reason) => InDirectory::WithoutAddress(reason),
        },
    }
}

async fn in_vaultwarden(vaultwarden: &Vaultwarden, address: &EmailAddress) -> InVaultwarden {
    match vaultwarden.account(address).await {
        Ok(Some(account)) => InVaultwarden::Account(account),
        Ok(None) => InVaultwarden::None,
        Err(error) => InVaultwarden::Unknown(error.to_string()),
    }
}
