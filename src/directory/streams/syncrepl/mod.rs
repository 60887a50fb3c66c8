//! LDAP Content Synchronisation, refreshAndPersist (RFC 4533).
//!
//! # Guarantees
//! A [`Change::Checkpoint`] comes only after everything that it covers: at the end of the refresh, with a live
//! entry, and with a bare `newcookie`. Cookies inside the refresh are not resume points and are dropped.
//!
//! # Assumptions
//! Cookies are opaque, except those of 389-DS (see `ds389`). The store ensures that they belong to this base, filter and
//! account.
//!
//! # Caveats
//! slapd reports changes incompletely after a crash without `syncprov-checkpoint`, after `slapadd`, and if the account may
//! not read `entryCSN` and `entryUUID`. Only a listing finds the difference.
//!
//! With `memberOf` in the filter, slapd reports some people wrongly: in an entry that changes it does not find values that
//! it computes (overlay dynlist). In that case the search is for people of any group, and its changes are only hints.

mod changelog;
mod ds389;
mod stream;
mod target;

use std::sync::Arc;

use futures::future::{FutureExt, ready};
use futures::{StreamExt, TryStreamExt};
use ldap3::Scope;

use crate::directory::ldap::session::Session;
use crate::directory::people::query::Query;
use crate::directory::streams::refetch::{Hint, Hints};
use crate::directory::{Changes, DirectoryError};
use crate::model::{Change, Cursor, Entry};
use stream::follow;
use target::Target;

/// Opens the stream of the people who match the filter.
pub(crate) async fn open(
    session: Session,
    query: &Arc<Query>,
    from: Option<Cursor>,
) -> Result<Changes, DirectoryError> {
    let target = Target {
        query: query.clone(),
        base: query.settings.base.clone(),
        scope: Scope::Subtree,
        filter: query.settings.filter.to_string(),
        attributes: query.attributes(),
    };
    follow(session, target, from).await
}

/// Opens hints at the changes of people in any group.
pub(crate) async fn hints_for_any_group(
    session: Session,
    query: &Arc<Query>,
) -> Result<Hints, DirectoryError> {
    let filter = query.settings.filter.of_any_group(&query.schema).to_string();
    let from = position(session, query).await?;
    match hints_after(query, &query.settings.base, &filter, from).await {
        Err(DirectoryError::CursorRefused { .. }) => {
            hints_after(query, &query.settings.base, &filter, None).await
        }
        hints => hints,
    }
}

/// The database's present position: the cookie of a search for the base alone. slapd accepts it for any other search too,
/// which then begins without naming everyone.
async fn position(session: Session, query: &Arc<Query>) -> Result<Option<Cursor>, DirectoryError> {
    let target = Target {
        query: query.clone(),
        base: query.settings.base.clone(),
        scope: Scope::Base,
        filter: "(objectClass=*)".to_owned(),
        attributes: vec!["1.1".to_owned()],
    };
    let mut changes = follow(session, target, None).await?;
    until_listed(&mut changes).await?;
    Ok(match changes.next().now_or_never() {
        Some(Some(Ok(Change::Checkpoint(cursor)))) => Some(cursor),
        _ => None,
    })
}

/// Opens hints at the changes of entries below `base` that match `filter`, on a connection of its own.
pub(crate) async fn hints(query: &Arc<Query>, base: &str, filter: &str) -> Result<Hints, DirectoryError> {
    hints_after(query, base, filter, None).await
}

async fn hints_after(
    query: &Arc<Query>,
    base: &str,
    filter: &str,
    from: Option<Cursor>,
) -> Result<Hints, DirectoryError> {
    let target = Target {
        query: query.clone(),
        base: base.to_owned(),
        scope: Scope::Subtree,
        filter: filter.to_owned(),
        attributes: vec!["1.1".to_owned()],
    };
    let session = query.connect().await?;
    let mut changes = follow(session, target, from).await?;
    // After the refresh, the server reports every change.
    until_listed(&mut changes).await?;
    let hints = changes.try_filter_map(|change| {
        ready(Ok(match change {
            Change::Upsert(Entry { id, .. }) | Change::Gone(id) => Some(Hint::Changed(id)),
            Change::Alive => Some(Hint::Alive),
            _ => None,
        }))
    });
    Ok(hints.boxed())
}

/// Skips the refresh.
async fn until_listed(changes: &mut Changes) -> Result<(), DirectoryError> {
    while let Some(change) = changes.try_next().await? {
        if matches!(change, Change::ListingEnd(_)) {
            break;
        }
    }
    Ok(())
}
