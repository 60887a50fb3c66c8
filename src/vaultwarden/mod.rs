//! Vaultwarden's admin API.
//!
//! Supports every version from 1.19 on. [`Vaultwarden`] is the client. It sends each call with the session that it has
//! and logs in only when an answer requires it. `refusal` and `smtp` interpret a refused invitation, `budget` tracks the
//! login rate limit, and `decode` decodes answers; these four are pure. `identity` detects another server, and `diagnose`
//! collects information for people.

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
mod server_info;
mod session;
mod settings;
mod smtp;
mod store;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::BoxStream;

use crate::model::{EmailAddress, Outcome};

pub use admin::Vaultwarden;
pub use diagnose::presented;
pub use error::VaultwardenError;
pub use identity::{Identity, Recognition};
pub use refusal::judge_reason;
pub use server_info::{Configuration, ServerInfo, SignUps, SingleSignOn};
pub use session::AuthMethod;
pub use settings::{ClientSettings, check_headers};
pub use store::{InMemory, SessionStore};

/// The future that a call to Vaultwarden returns.
pub type Reply<'a, T> = BoxFuture<'a, Result<T, VaultwardenError>>;

/// The calls to Vaultwarden that the worker needs.
pub trait Admin: Send + Sync {
    /// Invites an address. An existing account is a success ([`Outcome::HadAccount`]).
    fn invite<'a>(&'a self, address: &'a EmailAddress) -> Reply<'a, Outcome>;

    /// The account of an address, if there is one.
    fn account<'a>(&'a self, address: &'a EmailAddress) -> Reply<'a, Option<Account>>;

    /// Streams all accounts; only the current one is held in memory. The error is [`VaultwardenError::NoList`] if only
    /// the list fails and other calls work.
    fn accounts(&self) -> BoxStream<'_, Result<Account, VaultwardenError>>;

    /// Checks that Vaultwarden and its database answer (`/alive`). Needs no session.
    fn alive(&self) -> Reply<'_, ()>;

    /// Compares the server with the stored identity `known`.
    fn recognise<'a>(&'a self, known: &'a Identity) -> Reply<'a, Recognition> {
        identity::compare(self.accounts(), known).boxed()
    }
}

/// The parts of an account that this program uses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Vaultwarden's id of the user.
    pub id: String,
    /// The address, in lower case.
    pub email: String,
    /// Whether the person was invited and has not registered yet (`_status` 1).
    pub invited: bool,
    /// Whether the account is enabled; `None` before 1.25.1.
    pub enabled: Option<bool>,
}
