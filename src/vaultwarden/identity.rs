//! By what a Vaultwarden is recognised.
//!
//! A Vaultwarden has no name of its own that an administrator's session can read: its configuration is masked, its keys
//! are not shown, its `DOMAIN` may change. But its accounts have random ids, which outlive upgrades, another `DOMAIN`,
//! another host, another kind of database and the return to a backup. So it is recognised by accounts: as long as one
//! of those that were noted is there, it is the same server; when none is, it is another one, or was emptied.

use futures::TryStreamExt;
use futures::stream::BoxStream;
use serde::{Deserialize, Serialize};

use super::{Account, VaultwardenError};

/// So many accounts are noted: enough to outlive those that are deleted.
const WITNESSES: usize = 16;

/// What is noted of a server, to recognise it by. It holds no secret, and less than a kilobyte.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// The ids of some accounts, of registered people where there are any.
    pub(super) accounts: Vec<String>,
    /// Its `DOMAIN`, for people: it may change, and says nothing about who it is.
    #[serde(default)]
    pub(super) domain: Option<String>,
}

/// What comes of comparing a server with an [`Identity`]. Each holds what is to be noted from now on, which is the same
/// as before for most servers at most times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recognition {
    /// There was nothing to compare with: no server was noted, or one without accounts.
    First(Identity),
    /// The server has an account that was noted.
    Same(Identity),
    /// The server has none of the accounts that were noted: it is another one, or its accounts are gone.
    Other(Identity),
}

impl Identity {
    /// Reads a note; what is none counts as nothing noted.
    pub fn from_note(note: &[u8]) -> Self {
        serde_json::from_slice(note).unwrap_or_default()
    }

    /// The note of it, to be stored.
    pub fn to_note(&self) -> Vec<u8> {
        // Strings always become JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The server's `DOMAIN` when it was noted, where it tells (from 1.26 on).
    pub fn domain(&self) -> Option<&str> {
        self.domain.as_deref()
    }

    /// Whether it can be recognised at all.
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// Whether it has room for more accounts.
    pub(super) fn is_full(&self) -> bool {
        self.accounts.len() >= WITNESSES
    }
}

impl Recognition {
    /// What is to be noted from now on.
    pub fn identity(&self) -> &Identity {
        match self {
            Self::First(identity) | Self::Same(identity) | Self::Other(identity) => identity,
        }
    }
}

/// Compares the server whose accounts these are with `known`, and notes its accounts afresh. Reads on until it is clear.
///
/// # Errors
/// The list's.
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
        // Whoever registered stays; those who are invited in one go may be deleted in one go.
        let kind = if account.invited {
            &mut invited
        } else {
            &mut registered
        };
        if kind.len() < WITNESSES {
            kind.push(account.id);
        }
        if registered.len() == WITNESSES && (is_same || known.is_empty()) {
            break;
        }
    }
    registered.extend(invited);
    registered.truncate(WITNESSES);
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
        assert_eq!(known.accounts.len(), WITNESSES);
        let later = of((WITNESSES - 1..200).map(|id| account(id, false)), known).await;
        assert!(matches!(&later, Recognition::Same(renewed) if renewed.is_full()));
        let other = of((WITNESSES..200).map(|id| account(id, false)), known).await;
        assert!(matches!(other, Recognition::Other(_)));
        assert!(matches!(of([], known).await, Recognition::Other(empty) if empty.is_empty()));
        assert!(matches!(of([], &nothing).await, Recognition::First(_)));
    }

    #[tokio::test]
    async fn people_who_registered_are_noted_before_those_who_are_merely_invited() {
        let mixed = (0..40).map(|id| account(id, id != 39));
        let noted = of(mixed, &Identity::default()).await.identity().clone();
        assert_eq!(noted.accounts[..2], ["id-39", "id-0"]);
        assert_eq!(noted.accounts.len(), WITNESSES);
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
