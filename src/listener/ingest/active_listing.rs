//! A listing under way, and what it has brought so far.

use crate::listener::Listener;
use crate::model::{Cursor, Event, Hold, Source, What};
use crate::rules::{Noted, Verdict};
use crate::store::ListingOutcome;
use crate::telemetry::{ListingProgress, Purpose};

/// A listing under way.
pub(super) struct ActiveListing {
    pub(super) progress: ListingProgress,
    /// What it has brought so far.
    pub(super) outcome: ListingOutcome,
    /// What becomes of the new people whom it brings, once that was judged.
    pub(super) verdict: Option<Verdict>,
    /// The place of the last difference that was dealt with.
    pub(super) after: i64,
    /// The resume point that the stream told meanwhile, which covers what was only named yet.
    pub(super) cursor: Option<Cursor>,
}

impl ActiveListing {
    pub(super) fn begin() -> Self {
        Self {
            progress: ListingProgress::begin(),
            outcome: ListingOutcome::default(),
            verdict: None,
            after: 0,
            cursor: None,
        }
    }

    /// Adds what happened because of it.
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
                What::Held { by: Hold::Listing } => *held += 1,
                _ => {}
            }
        }
    }

    /// What the journal says of it, if it brought anything about.
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
