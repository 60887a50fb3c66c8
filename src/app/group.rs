//! Finds who is in a group of a directory now.

use std::collections::HashSet;

use anyhow::{Context, bail};
use futures::TryStreamExt;

use crate::config::{self, Config};
use crate::directory::{Directory, DirectoryError, DirectorySettings, LdapDirectory};
use crate::model::{Change, EntryId, Listing};

/// Those whom the configured directories find and who are in this group, each with the name of the directory.
///
/// # Errors
/// No directory has the group, or one cannot be listed completely.
pub async fn people_in_group(config: &Config, group: &str) -> anyhow::Result<HashSet<(String, EntryId)>> {
    let mut people = HashSet::new();
    let mut exists = false;
    for directory in &config.directories {
        let name = &directory.settings.name;
        match list(directory, group).await {
            Ok(Ok(found)) => {
                exists = true;
                people.extend(found.into_iter().map(|id| (name.clone(), id)));
            }
            Ok(Err(why)) => bail!("directory {name}: the group {group} cannot be listed completely: {why}"),
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

/// The identities of those in a group, or why the listing is not complete.
async fn list(
    directory: &config::Directory,
    group: &str,
) -> Result<Result<Vec<EntryId>, String>, DirectoryError> {
    let settings = DirectorySettings {
        groups: vec![group.to_owned()],
        ..directory.settings.clone()
    };
    let mut changes = LdapDirectory::new(settings)?.list().await?;
    let mut found = Vec::new();
    while let Some(change) = changes.try_next().await? {
        match change {
            Change::Upsert(entry) | Change::Together { entry, .. } => found.push(entry.id),
            Change::ListingEnd(Listing::Partial(why)) => return Ok(Err(why)),
            Change::ListingEnd(_) => break,
            _ => {}
        }
    }
    Ok(Ok(found))
}
