//! Detects that the URL leads to another Vaultwarden than before.
//!
//! The admin API exposes no id of the server: its configuration is masked, its keys are hidden, and its `DOMAIN` may
//! change. But its accounts have random ids, which survive upgrades, a change of `DOMAIN`, host or database, and a
//! restored backup. So the ids of some accounts are stored. As long as one of them exists, it is the same server; if none
//! does, it is another one, or its accounts were deleted.

use futures::TryStreamExt;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use super::{Account, VaultwardenError};

/// The number of account ids that are stored: enough that some are left when accounts are deleted.
const MAX_ACCOUNTS: usize = 16;

/// What is stored of a server to recognise it. It holds no secret and is smaller than a kilobyte.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The ids of some accounts, preferably of people who have registered.
    pub(super) accounts: Vec<String>,
    /// `DOMAIN`, for messages only, because it may change.
    #[serde(default)]
    pub(super) domain: Option<String>,
}

/// The result of comparing a server with an [`Identity`]. Each variant holds the identity to store from now on, which is
/// usually unchanged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recognition {
    /// There is nothing to compare with: no server is stored, or one without accounts.
    First(Identity),
    /// The server has one of the stored accounts.
    Same(Identity),
    /// The server has none of the stored accounts: it is another one, or its accounts were deleted.
    Other(Identity),
}

impl Identity {
    /// Decodes a stored note. Malformed bytes give an empty identity.
    pub fn from_note(note: &[u8]) -> Self {
        serde_json::from_slice(note).unwrap_or_default()
    }

    /// Encodes the note to store.
    pub fn to_note(&self) -> Vec<u8> {
        // Serialising strings cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The server's `DOMAIN` when the identity was stored; `None` before 1.26.
    pub fn domain(&self) -> Option<&str> {
        self.domain.as_deref()
    }

    /// Whether no account is stored, so that the server cannot be recognised.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// Whether no more accounts are needed.
    pub(super) fn is_full(&self) -> bool {
        self.accounts.len() >= MAX_ACCOUNTS
    }
}

impl Recognition {
    /// The identity to store from now on.
    pub fn identity(&self) -> &Identity {
        match self {
            Self::First(identity) | Self::Same(identity) | Self::Other(identity) => identity,
        }
    }
}

/// Compares the accounts of a server with `known` and selects the accounts to store. Stops reading the list as soon as
/// both are decided.
///
/// # Errors
/// Those of the list.
pub(super) async fn compare(
    mut accounts: BoxStream<'_, Result<Account, VaultwardenError>>,
    known: &Identity,
) -> Result<Recognition, VaultwardenError> {
    let (mut registered, mut invited) = (Vec::new(), Vec::new());
    let mut is_same = false;
    while let Some(account) = accounts.try_next().await? {
        if account.id.is_empty() {
            continue;
        }
        is_same |= known.accounts.contains(&account.id);
        // Accounts of people who have registered last longer: invited ones may be deleted all at once.
        let kind = if account.invited {
            &mut invited
        } else {
            &mut registered
        };
        if kind.len() < MAX_ACCOUNTS {
            kind.push(account.id);
        }
        if registered.len() == MAX_ACCOUNTS && (is_same || known.is_empty()) {
            break;
        }
    }
    registered.extend(invited);
    registered.truncate(MAX_ACCOUNTS);
    let identity = Identity {
        accounts: registered,
        domain: None,
    };
    Ok(if is_same {
        Recognition::Same(identity)
    } else if known.is_empty() {
        Recognition::First(identity)
    } else {
        Recognition::Other(identity)
    })
}

#[cfg(test)]
mod tests {
    use futures::StreamExt;
    use futures::stream::iter;

    use super::*;

    fn account(id: usize, invited: bool) -> Account {
        Account {
            id: format!("id-{id}"),
            email: format!("{id}@example.org"),
            invited,
            enabled: None,
        }
    }

    async fn of(accounts: impl IntoIterator<Item = Account> + Send, known: &Identity) -> Recognition {
        let accounts: Vec<_> = accounts.into_iter().map(Ok).collect();
        compare(iter(accounts).boxed(), known).await.unwrap()
    }

    #[tokio::test]
    async fn a_server_is_the_same_as_long_as_one_noted_account_is_left() {
        let nothing = Identity::default();
        let first = of((0..100).map(|id| account(id, false)), &nothing).await;
        assert!(matches!(first, Recognition::First(_)));
        let known = first.identity();
        assert_eq!(known.accounts.len(), MAX_ACCOUNTS);
        let later = of((MAX_ACCOUNTS - 1..200).map(|id| account(id, false)), known).await;
        assert!(matches!(&later, Recognition::Same(renewed) if renewed.is_full()));
        let other = of((MAX_ACCOUNTS..200).map(|id| account(id, false)), known).await;
        assert!(matches!(other, Recognition::Other(_)));
        assert!(matches!(of([], known).await, Recognition::Other(empty) if empty.is_empty()));
        assert!(matches!(of([], &nothing).await, Recognition::First(_)));
    }

    #[tokio::test]
    async fn people_who_registered_are_noted_before_those_who_are_merely_invited() {
        let mixed = (0..40).map(|id| account(id, id != 39));
        let noted = of(mixed, &Identity::default()).await.identity().clone();
        assert_eq!(noted.accounts[..2], ["id-39", "id-0"]);
        assert_eq!(noted.accounts.len(), MAX_ACCOUNTS);
    }

    #[test]
    fn a_note_is_read_as_it_was_written_and_garbage_is_nothing_noted() {
        let identity = Identity {
            accounts: vec!["63ef".into()],
            domain: Some("https://vault.example.org".into()),
        };
        assert_eq!(Identity::from_note(&identity.to_note()), identity);
        assert!(Identity::from_note(b"\xff{").is_empty());
    }
}
