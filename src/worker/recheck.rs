//! Looks a leaver up again, by identity and on a connection of that moment, before their account is touched.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::Notify;

use crate::clock::Clock;
use crate::directory::{Directory, DirectoryError};
use crate::model::{Action, Entry, EntryId, Source};
use crate::rules::membership::{Account, Policy, Sighting};
use crate::rules::{LeavePolicies, Limits, Verdict};
use crate::store::{ChangeBatch, Decisions, QueueStore, StoreError};
use crate::telemetry::Observer;

/// The number of other members that are looked up as well. If none of them is found, the directory hides everyone.
const WITNESSES: u32 = 5;

/// The directories, and what is needed to decide on what they answer.
#[derive(Default)]
pub struct Recheck {
    /// By name.
    pub directories: BTreeMap<String, (Arc<dyn Directory>, Policy)>,
    /// The limits on the number of new people, and of leavers.
    pub limits: Limits,
    /// What happens to the accounts of leavers.
    pub leave: Arc<LeavePolicies>,
    /// Wakes the worker.
    pub wake: Arc<Notify>,
}

/// Why a look-up does not tell whether a person is in their directory.
#[derive(Debug, thiserror::Error)]
pub enum LookUpError {
    /// The directory failed.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Neither the person nor any other member was found.
    #[error(
        "the directory does not return any of {witnesses} other members either, so that it may hide everyone from this service"
    )]
    HidesEveryone {
        /// The number of other members that were looked up.
        witnesses: usize,
    },
}

/// Looks an entry up by identity, on a connection of its own, together with some other members of the directory in this row of
/// the store. Returns `None` if only this entry is gone or does not match.
///
/// # Errors
/// Nobody can tell.
pub async fn look_up(
    directory: &dyn Directory,
    store: &dyn QueueStore,
    row: i64,
    id: EntryId,
) -> Result<Option<Entry>, LookUpError> {
    let mut witnesses = store.witnesses(row, WITNESSES).await?;
    witnesses.retain(|witness| *witness != id);
    let who: Vec<EntryId> = [id].into_iter().chain(witnesses.clone()).collect();
    let found = directory.lookup(&who).await?;
    if !witnesses.is_empty() && found.is_empty() {
        let witnesses = witnesses.len();
        return Err(LookUpError::HidesEveryone { witnesses });
    }
    Ok(found.into_iter().find(|entry| entry.id == id))
}

/// Whether a person is in their directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    /// The entry is gone, does not match, or is disabled.
    Gone,
    /// The person is in the directory, and is a member again in the store.
    Present,
}

impl Recheck {
    /// Looks the person of an action up. If they are found, decides on what was found, as on any change.
    ///
    /// # Errors
    /// Nobody can tell, for this reason: the person is not treated as a leaver now.
    pub(super) async fn look(
        &self,
        action: &Action,
        store: &dyn QueueStore,
        observer: &Observer,
        clock: &Clock,
    ) -> Result<Presence, String> {
        let failed = |error: StoreError| error.to_string();
        let Some((directory, policy)) = self.directories.get(&action.directory) else {
            return Err("the directory is not in the configuration".into());
        };
        let looked = look_up(&**directory, store, action.directory_row, action.entry).await;
        let found = looked.map_err(|error| error.to_string())?;
        let policy = policy.at(clock.now());
        let Some(entry) = &found else {
            return Ok(Presence::Gone);
        };
        let facts = policy.facts(entry);
        if matches!(facts.account, Account::Disabled(_)) {
            return Ok(Presence::Gone);
        }
        tracing::warn!(
            directory = action.directory,
            dn = entry.dn,
            "a person who was reported as gone is found when they are looked up; their account is left alone"
        );
        let batch = ChangeBatch {
            directory: action.directory_row,
            source: Source::LookUp,
            summarised: false,
            sightings: vec![Sighting::Entry(facts)],
            together: std::collections::HashMap::new(),
            cursor: None,
            arrived: policy.now,
            policy,
            limits: self.limits,
            leave: self.leave.clone(),
            listing: Verdict::Hold,
            leaving: None,
        };
        let events = store.apply(batch).await.map_err(failed)?;
        observer.record(&events);
        if events.iter().any(|event| event.what.is_due()) {
            self.wake.notify_one();
        }
        Ok(Presence::Present)
    }
}
