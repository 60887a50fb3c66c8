//! Detects that Vaultwarden was replaced by another one, or lost its accounts. The people who were invited earlier are then
//! unknown to it, and no call would fail.

use std::time::Duration;

use tokio::time::Instant;

use crate::model::ActionState;
use crate::store::{ACCOUNTS_TROUBLE, BaseStore, StoreError, VAULTWARDEN_TROUBLE};
use crate::telemetry::Observer;
use crate::vaultwarden::{Admin, Identity, Recognition};

/// The name of the note with the identity.
const IDENTITY: &str = "vaultwarden-identity";
/// The time from the first known account to the first check.
const FIRST: Duration = Duration::from_secs(60);
/// The time between two checks.
const INTERVAL: Duration = Duration::from_secs(3600);
/// The time to the next check if Vaultwarden did not answer.
const RETRY: Duration = Duration::from_secs(600);

/// When the identity is checked; never before it is known that there is an account.
pub(super) struct Schedule(Option<Instant>);

impl Schedule {
    /// The first check is due at once if an identity is stored, because invited people may be missing. Otherwise it waits
    /// for [`Schedule::account_exists`], so that the check does not need a login of its own.
    ///
    /// # Errors
    /// The store's.
    pub(super) async fn load(store: &dyn BaseStore) -> Result<Self, StoreError> {
        let known = stored(store).await?;
        Ok(Self((!known.is_empty()).then(Instant::now)))
    }

    /// Records that there is an account, which makes a check possible.
    pub(super) fn account_exists(&mut self) {
        self.0.get_or_insert_with(|| Instant::now() + FIRST);
    }

    /// Whether to check now.
    pub(super) fn is_due(&self) -> bool {
        self.0.is_some_and(|at| at <= Instant::now())
    }

    /// Records a check and whether Vaultwarden answered it.
    pub(super) fn checked(&mut self, answered: bool) {
        self.0 = Some(Instant::now() + if answered { INTERVAL } else { RETRY });
    }
}

/// The identity in the store; empty if none is stored.
///
/// # Errors
/// The store's.
pub async fn stored(store: &dyn BaseStore) -> Result<Identity, StoreError> {
    let note = store.get_note(IDENTITY).await?;
    Ok(note.as_deref().map(Identity::from_note).unwrap_or_default())
}

/// Compares Vaultwarden with the stored identity. Updates the identity of the same server; reports another server until
/// an administrator accepts it ([`accept`]). Returns whether Vaultwarden answered.
///
/// # Errors
/// The store's.
pub(super) async fn check(
    store: &dyn BaseStore,
    vaultwarden: &dyn Admin,
    observer: &Observer,
) -> Result<bool, StoreError> {
    let known = stored(store).await?;
    match vaultwarden.recognise(&known).await {
        Ok(Recognition::Other(now)) => {
            let invited = store.report().await?.count(ActionState::Done);
            let difference = difference(&known, &now);
            observer.another_vaultwarden(&difference, invited);
            store_difference(store, &difference).await?;
        }
        Ok(Recognition::First(now) | Recognition::Same(now)) => {
            if now != known {
                store.set_note(IDENTITY, &now.to_note()).await?;
            }
            store_difference(store, "").await?;
        }
        // Invitations fail for the same reason, and those failures are logged.
        Err(error) => {
            tracing::debug!(%error, "cannot check whether Vaultwarden was replaced");
            return Ok(false);
        }
    }
    Ok(true)
}

/// Accepts the current Vaultwarden and that many accounts are missing from it: deletes the stored identity, so that the next
/// check stores a new one.
///
/// # Errors
/// The store's.
pub async fn accept(store: &dyn BaseStore) -> Result<(), StoreError> {
    store.set_note(IDENTITY, b"").await?;
    store.set_note(ACCOUNTS_TROUBLE, b"").await?;
    store_difference(store, "").await
}

/// Describes, for people, a Vaultwarden that has none of the known accounts.
pub fn difference(known: &Identity, now: &Identity) -> String {
    match (known.domain(), now.domain()) {
        (Some(before), Some(domain)) if before != domain => format!(
            "this is another Vaultwarden ({domain}) than before ({before}): it has none of the accounts that were there"
        ),
        _ => "none of the accounts that were there before is there: this is another Vaultwarden, or it was emptied".into(),
    }
}

async fn store_difference(store: &dyn BaseStore, difference: &str) -> Result<(), StoreError> {
    let before = store.get_note(VAULTWARDEN_TROUBLE).await?.unwrap_or_default();
    if before != difference.as_bytes() {
        store.set_note(VAULTWARDEN_TROUBLE, difference.as_bytes()).await?;
    }
    Ok(())
}
