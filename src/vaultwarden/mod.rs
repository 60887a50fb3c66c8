//! Vaultwarden's admin API. The only folder that knows `reqwest`.
//!
//! Speaks with every version from 1.19 on. [`Vaultwarden`] is the client: each call goes out with the session that
//! is at hand, and only an answer that asks for a login leads to one. What a refused invitation means is told in
//! `refusal` and `smtp`, how often to log in in `budget`, what the answers look like in `decode`; these four are pure.
//! `identity` tells one Vaultwarden from another, and `diagnose` asks what people want to know.

mod admin;
mod answer;
mod budget;
mod client;
mod decode;
mod diagnose;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod identity;
mod refusal;
mod session;
mod settings;
mod smtp;
mod store;

use std::sync::Arc;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::BoxStream;

use crate::model::{EmailAddress, Outcome};

pub use admin::Vaultwarden;
pub use diagnose::{Configuration, Portal, SignUps, SingleSignOn, presented};
pub use error::VaultwardenError;
pub use identity::{Identity, Recognition};
pub use refusal::judge_reason;
pub use session::Entrance;
pub use settings::{Settings, check_headers};
pub use store::{InMemory, SessionStore};

/// A future of this module.
pub type Reply<'a, T> = BoxFuture<'a, Result<T, VaultwardenError>>;

/// What the invite worker needs of Vaultwarden.
pub trait Admin: Send + Sync {
    /// Invites an address. An existing account is a success ([`Outcome::HadAccount`]).
    fn invite<'a>(&'a self, address: &'a EmailAddress) -> Reply<'a, Outcome>;

    /// The account of an address, if there is one.
    fn account<'a>(&'a self, address: &'a EmailAddress) -> Reply<'a, Option<Account>>;

    /// All accounts, as they arrive: nothing but the current one is held in memory. Where only this list cannot be had,
    /// the error is [`VaultwardenError::NoList`]: invitations are answered all the same.
    fn accounts(&self) -> BoxStream<'_, Result<Account, VaultwardenError>>;

    /// Whether Vaultwarden answers at all (`/alive`); no session is needed.
    fn alive(&self) -> Reply<'_, ()>;

    /// Whether this is the server of which `known` was noted.
    fn recognise<'a>(&'a self, known: &'a Identity) -> Reply<'a, Recognition> {
        identity::compare(self.accounts(), known).boxed()
    }
}

impl<T: Admin + ?Sized> Admin for Arc<T> {
    fn invite<'a>(&'a self, address: &'a EmailAddress) -> Reply<'a, Outcome> {
        (**self).invite(address)
    }

    fn account<'a>(&'a self, address: &'a EmailAddress) -> Reply<'a, Option<Account>> {
        (**self).account(address)
    }

    fn accounts(&self) -> BoxStream<'_, Result<Account, VaultwardenError>> {
        (**self).accounts()
    }

    fn alive(&self) -> Reply<'_, ()> {
        (**self).alive()
    }

    fn recognise<'a>(&'a self, known: &'a Identity) -> Reply<'a, Recognition> {
        (**self).recognise(known)
    }
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
