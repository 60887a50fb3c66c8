//! 389-DS, whose content synchronisation can fall silent and leave people out.
//!
//! Its content synchronisation depends on a changelog, and its cookies name a change in it (see `changelog`). A resumed
//! search ignores the attributes that were asked for: `decode` drops the others on arrival. It never names those who ceased
//! to match the filter, so that everyone is listed beside it at each connect.
//!
//! At a size or look-through limit it falls silent in the middle of the refresh. After 15 s of silence the same search is
//! made without the control, on the same connection: its result names the limit. If there is none, the refresh has
//! another 15 s.
//!
//! A stream that is not read for ten seconds dies silently, while its connection still answers. Nothing on the stream
//! itself proves that it is alive, so it is replaced: if the last change number of the root DSE has risen and the stream
//! was silent for a minute, a second search resumes from the last cookie on a new connection. If the second search has
//! something to send, the first was dead, and the session ends after these changes, so that the next one begins with a
//! listing. This costs at most one connection and one short search per minute, on a server on which only other entries
//! change. A change made in the last minute may be reported late by as much. If the stream lost nothing but people who
//! ceased to match the filter, the audit finds them.

use std::time::Duration;

use tokio::time::Instant;

use super::changelog::{Liveness, NO_TARGET, NamedChange};
use super::target::{REFRESH_SILENCE, Target};
use crate::directory::DirectoryError;
use crate::directory::ldap::request::{Item, Request, Search};
use crate::directory::ldap::root_dse;
use crate::directory::ldap::session::{Session, unless_busy};
use crate::model::Cursor;

/// How long 389-DS may be silent in a refresh before the reason is looked for.
const SUSPECT_AFTER: Duration = Duration::from_secs(15);

/// Checks that the changelog still has the changes after `from`, which 389-DS itself does not check.
pub(super) async fn liveness(
    session: &mut Session,
    from: Option<&Cursor>,
) -> Result<Liveness, DirectoryError> {
    let (first, last) = root_dse::change_numbers(session).await?.unwrap_or_default();
    if from.is_some_and(|Cursor(cookie)| NamedChange::of(cookie).is_trimmed(first)) {
        return Err(DirectoryError::CursorRefused {
            server: session.server().to_owned(),
            cause: format!("the changelog was trimmed and begins with change {first}"),
        });
    }
    Ok(Liveness::new(last, Instant::now()))
}

/// The error for cookies that name no change.
pub(super) fn no_target(session: &Session) -> DirectoryError {
    DirectoryError::Unsupported {
        server: session.server().to_owned(),
        cause: NO_TARGET.into(),
    }
}

/// Receives one message of the refresh.
pub(super) async fn receive_refresh(
    session: &mut Session,
    search: &mut Search,
    target: &Target,
    doing: &'static str,
) -> Result<Item, DirectoryError> {
    match session.next(search, SUSPECT_AFTER, doing).await {
        Err(DirectoryError::Silent { .. }) => {
            // If the refresh went on meanwhile, there is no limit.
            unless_busy(find_limit(session, target).await)?;
            session.next(search, SUSPECT_AFTER, doing).await
        }
        item => item,
    }
}

/// Fails with the limit at which the same search without the control ends, if there is one.
async fn find_limit(session: &mut Session, target: &Target) -> Result<(), DirectoryError> {
    let request = Request {
        attributes: vec!["1.1".to_owned()],
        ..target.request()
    };
    let mut search = session.search(request).await?;
    loop {
        let doing = "searching for the limit at which the sync search fell silent";
        match session.next(&mut search, REFRESH_SILENCE, doing).await? {
            Item::Message(_) => {}
            Item::Done(result) if result.rc == 0 => return Ok(()),
            Item::Done(result) => return Err(session.search_error("the sync search", &result)),
        }
    }
}

/// A search on a connection of its own, in place of one that may be dead.
pub(super) struct Replacement {
    pub(super) session: Session,
    pub(super) search: Search,
    pub(super) liveness: Liveness,
}

/// Checks that the connection is alive. Starts a replacement if the stream may be dead.
pub(super) async fn replacement(
    session: &mut Session,
    known: &Liveness,
    target: &Target,
    cursor: Option<&Cursor>,
) -> Result<Option<Replacement>, DirectoryError> {
    let Some(numbers) = unless_busy(root_dse::change_numbers(session).await)? else {
        return Ok(None);
    };
    let (_, last) = numbers.unwrap_or_default();
    if !known.is_suspect(last, Instant::now()) || cursor.is_none() {
        return Ok(None);
    }
    tracing::debug!(
        directory = target.query.settings.name,
        last,
        "other entries changed and the sync search is silent: replacing it"
    );
    let mut session = target.query.connect().await?;
    let liveness = liveness(&mut session, cursor).await?;
    let search = target.sync(&mut session, cursor.cloned()).await?;
    Ok(Some(Replacement {
        session,
        search,
        liveness,
    }))
}
