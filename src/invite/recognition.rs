//! Whether Vaultwarden is the one that was there before. Another one, or one whose accounts are gone, knows nothing of the
//! people who were invited, and nobody else would tell.

use crate::ledger::{Ledger, LedgerError, VAULTWARDEN_TROUBLE};
use crate::model::TaskState;
use crate::observe::Observer;
use crate::vaultwarden::{Admin, Identity, Recognition};

/// The note of the identity.
const IDENTITY: &str = "vaultwarden-identity";

/// The identity that is noted in a ledger.
///
/// # Errors
/// The ledger's.
pub async fn noted(ledger: &dyn Ledger) -> Result<Identity, LedgerError> {
    let note = ledger.recall(IDENTITY).await?;
    Ok(note.as_deref().map(Identity::from_note).unwrap_or_default())
}

/// Compares Vaultwarden with what is noted of it. What is new about the same server is noted; another one is told of until
/// [`accept`] accepts it. Returns whether an answer came.
pub(super) async fn recognise(
    ledger: &dyn Ledger,
    vaultwarden: &dyn Admin,
    observer: &Observer,
) -> Result<bool, LedgerError> {
    let known = noted(ledger).await?;
    match vaultwarden.recognise(&known).await {
        Ok(Recognition::Other(now)) => {
            let invited = ledger.report().await?.count(TaskState::Done);
            let trouble = trouble(&known, &now);
            observer.another_vaultwarden(&trouble, invited);
            note_trouble(ledger, &trouble).await?;
        }
        Ok(Recognition::First(now) | Recognition::Same(now)) => {
            if now != known {
                ledger.remember(IDENTITY, &now.to_note()).await?;
            }
            note_trouble(ledger, "").await?;
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
/// The ledger's.
pub async fn accept(ledger: &dyn Ledger) -> Result<(), LedgerError> {
    ledger.remember(IDENTITY, b"").await?;
    note_trouble(ledger, "").await
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

async fn note_trouble(ledger: &dyn Ledger, trouble: &str) -> Result<(), LedgerError> {
    let before = ledger.recall(VAULTWARDEN_TROUBLE).await?.unwrap_or_default();
    if before != trouble.as_bytes() {
        ledger.remember(VAULTWARDEN_TROUBLE, trouble.as_bytes()).await?;
    }
    Ok(())
}
