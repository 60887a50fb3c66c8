//! Vaultwarden's admin API. The only folder that knows `reqwest`.

mod error;

use futures::future::BoxFuture;
use futures::stream::BoxStream;

use crate::model::{EmailAddress, Outcome};

pub use error::VaultwardenError;

/// A future of this module.
pub type Reply<'a, T> = BoxFuture<'a, Result<T, VaultwardenError>>;

/// What the invite worker needs of Vaultwarden.
pub trait Admin: Send + Sync {
    /// Invites an address. An existing account is a success ([`Outcome::HadAccount`]).
    fn invite<'a>(&'a self, address: &'a EmailAddress) -> Reply<'a, Outcome>;

    /// The account of an address, if there is one.
    fn account<'a>(&'a self, address: &'a EmailAddress) -> Reply<'a, Option<Account>>;

    /// All accounts, as they arrive: nothing but the current one is held in memory.
    fn accounts(&self) -> BoxStream<'_, Result<Account, VaultwardenError>>;

    /// Whether Vaultwarden answers at all (`/alive`); no session is needed.
    fn alive(&self) -> Reply<'_, ()>;
}

/// An account, as far as this program looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Vaultwarden's id of the user.
    pub id: String,
    /// The address, in lower case.
    pub email: String,
    /// Whether the person was invited and has not registered yet (`_status` 1).
    pub invited: bool,
    /// Whether the account is enabled; `None` before 1.25.1, which does not say.
    pub enabled: Option<bool>,
}
