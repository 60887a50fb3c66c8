//! Searches the configured directories for people whom no stored state names.

use std::collections::HashSet;

use anyhow::{Context, bail};
use futures::TryStreamExt;

use crate::config::{self, Config};
use crate::directory::{Directory, DirectoryError, DirectorySettings, Filter, LdapDirectory};
use crate::model::{Change, EmailAddress, Entry, EntryId, Listing};

/// Those whom the configured directories find and who are in this group, each with the name of the directory.
///
/// # Errors
/// No directory has the group, or one cannot be listed completely.
pub async fn people_in_group(config: &Config, group: &str) -> anyhow::Result<HashSet<(String, EntryId)>> {
    let mut people = HashSet::new();
    let mut exists = false;
    for directory in &config.directories {
        let name = &directory.settings.name;
        let settings = DirectorySettings {
            groups: vec![group.to_owned()],
            ..directory.settings.clone()
        };
        let ldap = LdapDirectory::new(settings).with_context(|| format!("directory {name}"))?;
        let listed = each_entry(&ldap, |entry| {
            people.insert((name.clone(), entry.id));
        });
        match listed.await {
            Ok(Listing::Partial(why)) => {
                bail!("directory {name}: the group {group} cannot be listed completely: {why}")
            }
            Ok(_) => exists = true,
            Err(DirectoryError::NoGroup { .. }) => {}
            Err(error) => return Err(error).with_context(|| format!("directory {name}")),
        }
    }
    if !exists {
        bail!(
            "no configured directory has a group {group} that its bind account may read; check the DN, or name people by \
             their addresses"
        );
    }
    Ok(people)
}

/// The entries of a directory that match its filter and have this address.
///
/// # Errors
/// The directory failed.
pub(super) async fn with_address(
    ldap: &LdapDirectory,
    directory: &config::Directory,
    address: &EmailAddress,
) -> Result<Vec<Entry>, DirectoryError> {
    let values = |attribute: &String| {
        // Active Directory writes the kind of address before it in `proxyAddresses`.
        [address.to_string(), format!("smtp:{address}")].map(|value| Filter::equal(attribute, value))
    };
    let has_address = Filter::any(directory.mail_attributes.iter().flat_map(values));
    let mut found = Vec::new();
    each_entry(&ldap.narrowed_by(&has_address), |entry| found.push(entry)).await?;
    Ok(found)
}

/// Lists everyone. Returns how the listing ended.
async fn each_entry(ldap: &LdapDirectory, mut on: impl FnMut(Entry)) -> Result<Listing, DirectoryError> {
    let mut changes = ldap.list().await?;
    while let Some(change) = changes.try_next().await? {
        match change {
            Change::Upsert(entry) | Change::Together { entry, .. } => on(entry),
            Change::ListingEnd(end) => return Ok(end),
            _ => {}
        }
    }
    Ok(Listing::Partial("it ended without a result".into()))
}
