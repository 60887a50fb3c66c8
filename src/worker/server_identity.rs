//! Whether Vaultwarden is the one that was there before. Another one, or one whose accounts are gone, knows nothing of the
//! people who were invited, and nobody else would tell.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::ActionState;
use crate::store::{Store, StoreError, VAULTWARDEN_TROUBLE};
use crate::telemetry::Observer;
use crate::vaultwarden::{Admin, Identity, Recognition};

/// The note of the identity.
const IDENTITY: &str = "vaultwarden-identity";
/// How long after the first account it is noted.
const SOON: Duration = Duration::from_secs(60);
/// Vaultwarden is looked at this often, where something is to be done there anyway ..
const OFTEN: Duration = Duration::from_secs(3600);
/// .. and so long after it gave no answer.
const AGAIN: Duration = Duration::from_secs(600);

/// When Vaultwarden is looked at.
pub(super) struct Timetable(Option<Instant>);

impl Timetable {
    /// At once where accounts are noted, because those who were invited may be missing; else not before somebody has an
    /// account, because whoever is invited first opens a session.
    pub(super) async fn begin(store: &dyn Store) -> Result<Self, StoreError> {
        let noted = noted(store).await?;
        Ok(Self((!noted.is_empty()).then(Instant::now)))
    }

    /// Somebody has an account.
    pub(super) fn somebody_is_there(&mut self) {
        self.0.get_or_insert_with(|| Instant::now() + SOON);
    }

    pub(super) fn is_due(&self) -> bool {
        self.0.is_some_and(|at| at <= Instant::now())
    }

    /// It was looked at, and answered or did not.
    pub(super) fn looked(&mut self, answered: bool) {
        self.0 = Some(Instant::now() + if answered { OFTEN } else { AGAIN });
    }
}

/// The identity that is noted in a store.
///
/// # Errors
/// The store's.
pub async fn noted(store: &dyn Store) -> Result<Identity, StoreError> {
    let note = store.get_note(IDENTITY).await?;
    Ok(note.as_deref().map(Identity::from_note).unwrap_or_default())
}

/// Compares Vaultwarden with what is noted of it. What is new about the same server is noted; another one is told of until
/// [`accept`] accepts it. Returns whether an answer came.
pub(super) async fn identify(
    store: &dyn Store,
    vaultwarden: &dyn Admin,
    observer: &Observer,
) -> Result<bool, StoreError> {
    let known = noted(store).await?;
    match vaultwarden.recognise(&known).await {
        Ok(Recognition::Other(now)) => {
            let invited = store.report().await?.count(ActionState::Done);
            let trouble = trouble(&known, &now);
            observer.another_vaultwarden(&trouble, invited);
            note_trouble(store, &trouble).await?;
        }
        Ok(Recognition::First(now) | Recognition::Same(now)) => {
            if now != known {
                store.set_note(IDENTITY, &now.to_note()).await?;
            }
            note_trouble(store, "").await?;
        }
        // Whatever is wrong shows in the invitations.
        Err(error) => {
            tracing::debug!(%error, "whether this is the Vaultwarden that was there before is not known");
            return Ok(false);
        }
    }
    Ok(true)
}

/// Takes the Vaultwarden that is there now for the one that is meant.
///
/// # Errors
/// The store's.
pub async fn accept(store: &dyn Store) -> Result<(), StoreError> {
    store.set_note(IDENTITY, b"").await?;
    note_trouble(store, "").await
}

/// What is wrong with a Vaultwarden that has none of the accounts that were noted.
pub fn trouble(known: &Identity, now: &Identity) -> String {
    match (known.domain(), now.domain()) {
        (Some(before), Some(domain)) if before != domain => format!(
            "this is another Vaultwarden ({domain}) than before ({before}): it has none of the accounts that were there"
        ),
        _ => "none of the accounts that were there before is there: this is another Vaultwarden, or it was emptied".into(),
    }
}

async fn note_trouble(store: &dyn Store, trouble: &str) -> Result<(), StoreError> {
    let before = store.get_note(VAULTWARDEN_TROUBLE).await?.unwrap_or_default();
    if before != trouble.as_bytes() {
        store.set_note(VAULTWARDEN_TROUBLE, trouble.as_bytes()).await?;
    }
    Ok(())
}
