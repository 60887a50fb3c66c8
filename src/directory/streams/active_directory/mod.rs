//! Active Directory: change notifications (MS-ADTS 3.1.1.3.4.1.9) as hints, and searches by update sequence number (USN) for
//! changes without a notification.
//!
//! A notification cannot be filtered and does not show what changed, and there is none for an entry that is moved out of an
//! organizational unit. So the whole partition is watched, whose root is also the only base that every version of Windows
//! allows, and each entry with a notification is read again by its identity with the configured filter.
//!
//! # Guarantees
//! The watch is registered before the listing begins, so that a change in between is not missed. Every half minute, or after
//! `poll_interval` if that is shorter, a search asks for all entries with a higher number than the highest one before. It
//! finds changes whose notification was lost, and checks that the connection is alive. The same search catches up after an
//! interruption. A resume point holds the highest number before the search, and follows the results of the search.
//!
//! # Assumptions
//! Numbers count within the database of one controller, which its invocationId names. A resume point of another database
//! is not used, nor is one above the highest number (a backup was restored): everyone is listed instead. The listing and
//! every look-up use the controller that is watched, because the others may not have a change yet.
//!
//! # Caveats
//! A deletion is reported only if the account may read `CN=Deleted Objects`. The move of an organizational unit is reported
//! for the unit and not for the entries in it. The primary group is in no `memberOf`. Only a listing finds these changes, so
//! there is one after each resume, and at the interval of the audit.
//!
//! DirSync would report little more: it needs rights on the whole partition to show moves and deletions, and supports
//! neither a filter nor a base within the partition.

mod watch;

use futures::StreamExt;
use ldap3::Scope;

use crate::directory::DirectoryError;
use crate::directory::ldap::domain_controller::{Controller, Position};
use crate::directory::ldap::session::Session;
use crate::directory::people::query::Query;
use crate::directory::streams::refetch::Hints;
use crate::model::{Cursor, EntryId};
use watch::{Place, Watch};

/// The number of watches on one connection: Microsoft allows five, and Samba ends the first of five.
const WATCHES: usize = 4;

/// Opens hints at the changes of all entries, after the resume point if it can be used. Returns whether it is used.
pub(crate) async fn open(
    mut session: Session,
    query: &Query,
    from: Option<Cursor>,
) -> Result<(Hints, bool), DirectoryError> {
    let controller = Controller::read(&mut session, &query.settings.base).await?;
    let place = Place {
        base: controller.partition.clone(),
        scope: Scope::Subtree,
        who: None,
    };
    let mut watch = Watch::begin(session, &controller, &query.settings, vec![place]).await?;
    let from = from
        .as_ref()
        .and_then(Position::parse)
        .filter(|point| point.is_covered_by(controller.invocation, watch.usn()));
    if let Some(point) = from {
        watch.catch_up(point.usn);
    }
    watch.keep_points(controller.invocation);
    Ok((watch.hints(), from.is_some()))
}

/// Opens hints at the changes of these entries, even if they are renamed or moved. Ends with an error after the hint at the
/// deletion of one of them.
///
/// A caller that reads the entries after this returns misses no change.
pub(crate) async fn watch(query: &Query, who: &[EntryId]) -> Result<Hints, DirectoryError> {
    let mut all = Vec::new();
    for some in who.chunks(WATCHES) {
        let mut session = query.connect().await?;
        let controller = Controller::read(&mut session, &query.settings.base).await?;
        let places = some.iter().map(|&id| Place {
            base: format!("<GUID={id}>"),
            scope: Scope::Base,
            who: Some(id),
        });
        let watch = Watch::begin(session, &controller, &query.settings, places.collect()).await?;
        all.push(watch.hints());
    }
    Ok(futures::stream::select_all(all).boxed())
}
