//! Vaultwarden's admin API.
//!
//! Supports every version from 1.19 on. [`Vaultwarden`] is the client. It sends each call with the session that it has
//! and logs in only when an answer requires it. `account` is what it reads and changes. `refusal` and `smtp` interpret a
//! refused call, `budget` tracks the login rate limit, and `decode` decodes answers; these five are pure. `identity`
//! detects another server.

mod account;
mod admin;
mod answer;
mod budget;
mod client;
mod decode;
mod error;
#[cfg(fuzzing)]
pub mod fuzzing;
mod identity;
mod refusal;
mod server_info;
mod session;
mod session_note;
mod settings;
mod shared_note;
mod smtp;
mod store;
mod totp;

use futures::future::{BoxFuture, FutureExt};
use futures::stream::BoxStream;

use crate::model::EmailAddress;

pub use account::{Account, AccountChange, Changed, Invitation};
pub use admin::Vaultwarden;
pub use error::VaultwardenError;
pub use identity::{Identity, Recognition};
pub use refusal::judge_reason;
pub use server_info::{Configuration, ServerInfo, SignUps, SingleSignOn};
pub use session::AuthMethod;
pub use settings::ClientSettings;
pub use store::{InMemory, SessionStore};
pub use totp::check_totp;

/// The future that a call to Vaultwarden returns.
pub type Reply<'a, T> = BoxFuture<'a, Result<T, VaultwardenError>>;

/// The calls to Vaultwarden that the worker needs.
pub trait Admin: Send + Sync {
    /// Invites an address. An existing account is a success ([`Outcome::HadAccount`](crate::model::Outcome::HadAccount)).
    fn invite<'a>(&'a self, address: &'a EmailAddress) -> Reply<'a, Invitation>;

    /// Changes the account with this id.
    ///
    /// # Errors
    /// - [`Disposition::Ambiguous`](crate::model::Disposition::Ambiguous) if the request was sent and its answer is lost.
    ///   It can be repeated, except an [`AccountChange::Resend`], which would send a second mail.
    /// - [`Disposition::Reject`](crate::model::Disposition::Reject) if it can never succeed: the last owner of an
    ///   organization cannot be deleted, and no id but a UUID is sent.
    /// - [`VaultwardenError::NoEndpoint`] if this Vaultwarden, or a proxy in front of it, has no such call.
    fn change<'a>(&'a self, account: &'a str, change: AccountChange) -> Reply<'a, Changed>;

    /// The account of an address, if there is one.
    fn account<'a>(&'a self, address: &'a EmailAddress) -> Reply<'a, Option<Account>>;

    /// The account with this id, if there is one. An id that is not a UUID is an error, and is not sent.
    fn account_by_id<'a>(&'a self, id: &'a str) -> Reply<'a, Option<Account>>;

    /// Streams all accounts; only the current one is held in memory. The error is [`VaultwardenError::NoList`] if only
    /// the list fails and other calls work.
    fn accounts(&self) -> BoxStream<'_, Result<Account, VaultwardenError>>;

    /// Whether Vaultwarden sends mail. `None` if it does not say, as before 1.19.
    fn sends_mail(&self) -> Reply<'_, Option<bool>>;

    /// Checks that Vaultwarden and its database answer (`/alive`). Needs no session.
    fn alive(&self) -> Reply<'_, ()>;

    /// Compares the server with the stored identity `known`.
    fn recognise<'a>(&'a self, known: &'a Identity) -> Reply<'a, Recognition> {
        identity::compare(self.accounts(), known).boxed()
    }
}
