//! The state of a listing in progress.

use crate::listener::Listener;
use crate::model::{Cursor, Event, Hold, Source, What};
use crate::rules::{Noted, Verdict};
use crate::store::ListingOutcome;
use crate::telemetry::{ListingProgress, Purpose};

/// The state of a listing in progress.
pub(super) struct ActiveListing {
    pub(super) progress: ListingProgress,
    /// The number of people and invitations that changed because of it.
    pub(super) outcome: ListingOutcome,
    /// Whether its new people may be invited, once that is decided.
    pub(super) verdict: Option<Verdict>,
    /// The limit that holds its leavers, once that is decided.
    pub(super) leaving: Option<Hold>,
    /// The place of the last difference that was processed ([`Difference::place`](crate::store::Difference::place)).
    pub(super) after: i64,
    /// The resume point that the stream sent during the listing. It covers people who are listed but not decided on yet.
    pub(super) cursor: Option<Cursor>,
}

impl ActiveListing {
    pub(super) fn begin() -> Self {
        Self {
            progress: ListingProgress::begin(),
            outcome: ListingOutcome::default(),
            verdict: None,
            leaving: None,
            after: 0,
            cursor: None,
        }
    }

    /// Counts events that the listing caused.
    pub(super) fn count(&mut self, events: &[Event]) {
        let ListingOutcome {
            joined,
            left,
            queued,
            held,
        } = &mut self.outcome;
        for event in events {
            match event.what {
                What::Joined | What::Rejoined => *joined += 1,
                What::Left { .. } => *left += 1,
                What::Owed { .. } => *queued += 1,
                What::Held {
                    by: Hold::Listing, ..
                } => *held += 1,
                _ => {}
            }
        }
    }

    /// The journal entry about the listing; `None` if it changed nothing.
    pub(super) fn journal_entry(
        &self,
        listener: &Listener,
        directory: i64,
        purpose: Purpose,
    ) -> Option<Noted> {
        let ListingOutcome {
            joined,
            left,
            queued,
            held,
        } = self.outcome;
        let event = Event {
            at: listener.clock.now(),
            directory: listener.name.clone(),
            person: None,
            dn: String::new(),
            address: None,
            source: match purpose {
                Purpose::CatchUp => Source::Listing,
                Purpose::Audit => Source::Audit,
            },
            what: What::Listed {
                joined,
                left,
                queued,
                held,
            },
        };
        (joined + left + queued + held > 0).then_some(Noted { directory, event })
    }
}
