//! How changes are learned. `select` chooses the kind of stream, and each kind has a file or a folder: `syncrepl`,
//! `persistent_search`, `active_directory`, `poll`. If a server only hints that an entry changed, `refetch` reads the people
//! again whom the hint may concern; `groups` turns changes of groups into such hints.

pub(crate) mod active_directory;
pub(crate) mod groups;
pub(crate) mod persistent_search;
pub(crate) mod poll;
pub(crate) mod refetch;
pub(crate) mod select;
pub(crate) mod syncrepl;

use std::sync::Arc;

use futures::stream;
use futures::{StreamExt, TryStreamExt};

use crate::directory::ldap::capabilities::Family;
use crate::directory::ldap::replication;
use crate::directory::ldap::session::Session;
use crate::directory::people::query::Query;
use crate::directory::people::{listing, lookup};
use crate::directory::settings::StreamKind;
use crate::directory::streams::refetch::Hints;
use crate::directory::{DirectoryError, Opened};
use crate::model::{Change, Cursor};

/// Opens one kind of stream. `why` is the reason for this kind, for the log.
pub(crate) async fn open(
    (kind, why): (StreamKind, &'static str),
    session: Session,
    query: &Arc<Query>,
    from: Option<Cursor>,
) -> Result<Opened, DirectoryError> {
    let server = session.server().to_owned();
    let family = session.capabilities().family;
    // No resume point covers changes of groups during an interruption.
    let from = from.filter(|_| query.groups.is_none());
    // Subscribes before listing, so that a change in between is not missed.
    let mut hints: Vec<Hints> = groups::hints(query, kind).await?.into_iter().collect();
    let (mut resumed, mut reconcile) = (false, false);
    let changes = match kind {
        StreamKind::Syncrepl if family == Family::Other && query.asks_for_groups() => {
            hints.push(syncrepl::hints_for_any_group(session, query).await?);
            listing::open(query.clone()).await?
        }
        StreamKind::Syncrepl => {
            resumed = from.is_some();
            // After a cookie, 389-DS does not report people who ceased to match the filter.
            reconcile = family == Family::Sun;
            syncrepl::open(session, query, from).await?
        }
        StreamKind::PersistentSearch => {
            hints.push(persistent_search::open(session, query).await?);
            listing::open(query.clone()).await?
        }
        StreamKind::ActiveDirectory => {
            let (notifications, goes_on) = active_directory::open(session, query, from).await?;
            hints.push(notifications);
            (resumed, reconcile) = (goes_on, goes_on);
            if resumed {
                refetch::only_changes()
            } else {
                listing::open(query.clone()).await?
            }
        }
        StreamKind::Poll => poll::open(session, query).await?,
    };
    let seen = query.clone();
    let changes = changes.inspect_ok(move |change| {
        if let Change::Checkpoint(cursor) = change {
            seen.access().raise(replication::Watermarks::of_cursor(cursor));
        }
    });
    let changes = changes.boxed();
    let changes = if hints.is_empty() {
        changes
    } else {
        let hints = stream::select_all(hints).boxed();
        refetch::refetched(hints, changes, lookup::Lookup::new(query.clone()))
    };
    let changes = match &query.groups {
        Some(groups) => groups::with_identities(changes, groups.cursor()),
        None => changes,
    };
    Ok(Opened {
        server,
        stream: kind,
        why,
        refused: Vec::new(),
        resumed,
        reconcile,
        changes,
    })
}
