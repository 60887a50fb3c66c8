//! The story of one person, with what the directory and Vaultwarden say of them at this moment.

use std::sync::Arc;

use anyhow::bail;

use super::servers::vaultwarden_settings;
use super::sessions::Sessions;
use super::wiring::policy;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::directory::{Directory, LdapDirectory, same_dn};
use crate::model::{EmailAddress, EntryId};
use crate::store::{Sqlite, Store, Story, Whose};
use crate::vaultwarden::{Account, Admin, Vaultwarden};

/// One person: what the store knows, and what is asked anew.
#[derive(Debug)]
pub struct Explained {
    /// What the store knows.
    pub story: Story,
    /// What their directory says.
    pub directory: InDirectory,
    /// What Vaultwarden says of each address at which they are or were owed an invitation, the present one first.
    pub vaultwarden: Vec<(EmailAddress, InVaultwarden)>,
}

/// What a directory says of a person.
#[derive(Debug, PartialEq, Eq)]
pub enum InDirectory {
    /// Is there, matches, and has this address.
    Member(EmailAddress),
    /// Is there, matches, and cannot be a member, for this reason.
    WithoutAddress(String),
    /// Is gone, or does not match the filter.
    Gone,
    /// Nobody can say, for this reason.
    Unknown(String),
}

/// What Vaultwarden says of an address.
#[derive(Debug)]
pub enum InVaultwarden {
    /// There is this account.
    Account(Account),
    /// There is none.
    None,
    /// Nobody can say, for this reason.
    Unknown(String),
}

/// Whose story a text asks for: an address, a DN or a UUID.
///
/// # Errors
/// It is none of them.
pub fn whose(who: &str) -> anyhow::Result<Whose> {
    let who = who.trim();
    if let Some(id) = EntryId::parse(who.as_bytes()) {
        return Ok(Whose::Id(id));
    }
    // An address may contain "=", a DN need not contain "@".
    if let Ok(address) = EmailAddress::parse(who.as_bytes()) {
        return Ok(Whose::Address(address));
    }
    if who.contains('=') {
        return Ok(Whose::Dn(who.to_owned(), same_dn));
    }
    bail!(
        "{who:?} is neither an address (ann@example.org), nor a DN (uid=ann,ou=people,dc=example,dc=org), nor a UUID; \
         `ldap-usher journal` shows whom there is"
    )
}

/// Finds a person and asks the directory and Vaultwarden about them. Changes nothing; asking Vaultwarden may take a login.
///
/// # Errors
/// The text names nobody who can be looked for, or the state cannot be read. A directory or a Vaultwarden that fails is part
/// of the answer.
pub async fn explain(config: &Config, who: &str) -> anyhow::Result<Vec<Explained>> {
    let whose = whose(who)?;
    let store: Arc<Sqlite> = Arc::new(Sqlite::open_read_only(&config.state).await?);
    let stories = store.stories(whose, 0).await?;
    if stories.is_empty() {
        return Ok(Vec::new());
    }
    let clock = Clock::system();
    let sessions = Sessions::of_command(Some(store), config.sessions.clone());
    let vaultwarden = Vaultwarden::new(&vaultwarden_settings(config), Arc::new(sessions), clock.clone());
    let mut explained = Vec::new();
    for story in stories {
        let directory = match config.directory(&story.directory) {
            Some(directory) => in_directory(config, directory, &story, &clock).await,
            None => InDirectory::Unknown("the directory is not in the configuration".into()),
        };
        let mut said = Vec::new();
        for address in addresses(&story) {
            let answer = match &vaultwarden {
                Ok(vaultwarden) => in_vaultwarden(vaultwarden, &address).await,
                Err(error) => InVaultwarden::Unknown(error.to_string()),
            };
            said.push((address, answer));
        }
        explained.push(Explained {
            story,
            directory,
            vaultwarden: said,
        });
    }
    Ok(explained)
}

/// The present address, then all others at which something is or was owed.
fn addresses(story: &Story) -> Vec<EmailAddress> {
    let mut addresses: Vec<EmailAddress> = story.member.address.iter().cloned().collect();
    for owed in &story.invitations {
        if !addresses.contains(&owed.address) {
            addresses.push(owed.address.clone());
        }
    }
    addresses
}

async fn in_directory(
    config: &Config,
    directory: &config::Directory,
    story: &Story,
    clock: &Clock,
) -> InDirectory {
    let found = match LdapDirectory::new(directory.settings.clone()) {
        Ok(ldap) => ldap.lookup(&[story.member.id]).await,
        Err(error) => Err(error),
    };
    let found = match found {
        Ok(found) => found,
        Err(error) => return InDirectory::Unknown(error.to_string()),
    };
    let policy = policy(config, directory, clock.now());
    match found.first() {
        None => InDirectory::Gone,
        Some(entry) => match policy.address(entry, story.member.address.as_ref()) {
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
