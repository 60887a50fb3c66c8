//! The spans of changes and listings.

use super::active_listing::ActiveListing;
use crate::clock::Timestamp;
use crate::model::{Event, Listing, Source};
use crate::telemetry::Purpose;
use crate::traces::Span;

/// For each person to whom the change that arrived at `arrived` owes something: the way from the directory into the store. The
/// worker's attempts are in the same trace.
pub(super) fn changes(directory: &str, source: Source, arrived: Timestamp, events: &[Event]) {
    for event in events.iter().filter(|event| event.what.is_due()) {
        let Some(person) = event.person else { continue };
        let change = Span::new("change")
            .of(&(person, arrived))
            .with("ldap_usher.directory", directory.to_owned())
            .with("ldap_usher.source", source.as_str())
            .with("ldap_usher.event", event.what.name());
        change.ended(arrived.0);
    }
}

/// A listing that ended now.
pub(super) fn listing(
    directory: &str,
    purpose: Purpose,
    end: &Listing,
    active: &ActiveListing,
    now: Timestamp,
) {
    let took = i64::try_from(active.progress.took().as_millis()).unwrap_or(0);
    let listing = Span::new("listing")
        .with("ldap_usher.directory", directory.to_owned())
        .with("ldap_usher.purpose", purpose.as_str())
        .with("ldap_usher.complete", *end == Listing::Complete)
        .count("ldap_usher.seen", active.progress.seen())
        .count("ldap_usher.joined", active.outcome.joined)
        .count("ldap_usher.left", active.outcome.left);
    listing.ended(now.0.saturating_sub(took));
}
