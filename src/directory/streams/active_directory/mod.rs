//! Active Directory: change notification as a doorbell (MS-ADTS 3.1.1.3.4.1.9), and update sequence numbers (USN) for
//! whatever it did not hint for.
//!
//! A notification cannot be filtered and says nothing of what changed, and nobody is told of an entry that moved away
//! from a unit. So the whole partition is watched (its root is, too, the one base that every version of Windows
//! allows), and each entry that hints is read again by its identity with the configured filter.
//!
//! # Guarantees
//! The watch stands before the listing begins, so that nothing falls between the two. Every half minute, or after
//! `poll_interval` where that is shorter, the controller is asked for everything whose number is higher than the
//! latest one that it had told before: this catches lost notifications and proves that the connection lives. The same
//! question catches up after an interruption. A resume point holds the number that was the latest before the
//! question, and follows the answer.
//!
//! # Assumptions
//! Numbers count one controller's own database, which its invocationId names: a resume point of another one is of no
//! use, nor is one above the latest number (a backup was restored). Then everyone is listed. The listing and every
//! look-up go to the controller that is watched, because the others may not have heard of a change yet.
//!
//! # Caveats
//! A deletion hints only where the account may read `CN=Deleted Objects`; a unit that moves hints for itself and not for
//! those inside; the primary group is in nobody's `memberOf`. Only a listing finds these, so there is one after
//! each resume, and at the audit's interval.
//!
//! DirSync would tell little more: it needs rights over the whole partition to show moves and deletions, and knows
//! no filter and no unit.

mod watch;

use futures::StreamExt;
use ldap3::Scope;

use crate::directory::DirectoryError;
use crate::directory::ldap::session::Session;
use crate::directory::people::query::Query;
use crate::directory::streams::refetch::Hints;
use crate::model::{Cursor, EntryId};

use crate::directory::ldap::domain_controller::{Controller, Point};
use watch::{Place, Watch};

/// Watches that a connection may have: Microsoft allows five, and Samba ends the first of five.
const WATCHES: usize = 4;

/// Follows the people, from the resume point where it is of use: says whether it is.
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
        .and_then(Point::parse)
        .filter(|point| point.is_covered_by(controller.invocation, watch.usn()));
    if let Some(point) = from {
        watch.catch_up(point.usn);
    }
    watch.keep_points(controller.invocation);
    Ok((watch.hints(), from.is_some()))
}

/// Hints whenever one of these entries changes, wherever it is renamed or moved to. Ends with an error when one of
/// them is deleted, after ringing for it.
///
/// Whoever reads the entries after this returns misses nothing.
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
