//! The account with which all connections of one directory bind, and whether a server has refused it.
//!
//! # Guarantees
//! A password that one server refused (RFC 4511, `invalidCredentials`) is sent to no server again until it changes or
//! [`PAUSE`] has passed, because servers lock accounts after a few such attempts. If the password comes from a file, the file
//! is read again before a refusal is final.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use crate::directory::DirectoryError;
use crate::directory::ldap::session::Session;
use crate::directory::settings::Bind;

/// How long a refused password is not sent again.
const PAUSE: Duration = Duration::from_secs(15 * 60);

/// What is appended to the error meanwhile.
const PAUSE_REMARK: &str = "; the password is not tried again until it changes, SIGHUP comes, or 15 minutes have passed, so that the account is not locked";

/// Reads the password from its source; `None` if it cannot be read.
pub type PasswordSource = Arc<dyn Fn() -> Option<SecretString> + Send + Sync>;

/// The account of one directory.
pub(crate) struct Credentials {
    source: OnceLock<PasswordSource>,
    state: Mutex<State>,
    /// Allows one bind at a time, so that the second one knows the outcome of the first.
    turn: tokio::sync::Mutex<()>,
}

struct State {
    bind: Bind,
    refused: Option<Refused>,
}

/// A refusal of the current password.
struct Refused {
    at: Instant,
    server: String,
    who: String,
    cause: String,
}

impl Credentials {
    pub(crate) fn new(bind: Bind) -> Self {
        Self {
            source: OnceLock::new(),
            state: Mutex::new(State { bind, refused: None }),
            turn: tokio::sync::Mutex::default(),
        }
    }

    /// Sets the source from which a refused password is read again.
    pub(crate) fn come_from(&self, source: PasswordSource) {
        // The first source stays.
        let _ = self.source.set(source);
    }

    /// Replaces the account. A refused password is tried again, even if it is the same.
    pub(crate) fn renew(&self, bind: Bind) {
        *self.state() = State { bind, refused: None };
    }

    /// Checks that a bind may be tried.
    ///
    /// # Errors
    /// The password was refused and has not changed.
    pub(crate) fn check(&self) -> Result<(), DirectoryError> {
        let refusal = self.refusal();
        match refusal {
            Some(_) if self.reread() => Ok(()),
            Some(refusal) => Err(refusal),
            None => Ok(()),
        }
    }

    /// Binds.
    ///
    /// # Errors
    /// The server refuses the account, or a server refused it a while ago.
    pub(crate) async fn bind(&self, session: &mut Session) -> Result<(), DirectoryError> {
        let _turn = self.turn.lock().await;
        self.check()?;
        match self.try_bind(session).await {
            Err(error) if self.refused(&error) => {
                if self.reread() {
                    let again = self.try_bind(session).await;
                    let Err(error) = again else { return again };
                    if !self.refused(&error) {
                        return Err(error);
                    }
                }
                Err(self.refusal().unwrap_or(error))
            }
            bound => bound,
        }
    }

    async fn try_bind(&self, session: &mut Session) -> Result<(), DirectoryError> {
        let bind = self.state().bind.clone();
        match bind {
            Bind::Anonymous => Ok(()),
            Bind::Simple { dn, password } => session.bind(&dn, password.expose_secret()).await,
            Bind::External => session.bind_external().await,
            // The connection was bound when it was opened.
            Bind::Kerberos => Ok(()),
        }
    }

    /// Records the error if it is the refusal of a password. Returns whether it is.
    fn refused(&self, error: &DirectoryError) -> bool {
        let mut state = self.state();
        let DirectoryError::Bind {
            server,
            who,
            cause,
            wrong_password: true,
        } = error
        else {
            return false;
        };
        if !matches!(state.bind, Bind::Simple { .. }) {
            return false;
        }
        state.refused = Some(Refused {
            at: Instant::now(),
            server: server.clone(),
            who: who.clone(),
            cause: cause.clone(),
        });
        true
    }

    /// The error while a refusal is in force.
    fn refusal(&self) -> Option<DirectoryError> {
        let state = self.state();
        let refused = state.refused.as_ref()?;
        (refused.at.elapsed() < PAUSE).then(|| DirectoryError::Bind {
            server: refused.server.clone(),
            who: refused.who.clone(),
            cause: format!("{}{PAUSE_REMARK}", refused.cause),
            wrong_password: true,
        })
    }

    /// Reads the password again. Returns whether it has changed.
    fn reread(&self) -> bool {
        let Some(new) = self.source.get().and_then(|source| source()) else {
            return false;
        };
        let mut state = self.state();
        let State {
            bind: Bind::Simple { dn, password },
            refused,
        } = &mut *state
        else {
            return false;
        };
        if new.expose_secret() == password.expose_secret() {
            return false;
        }
        tracing::info!(
            bind_dn = dn,
            "the bind password was refused, and its file has changed: trying the new one"
        );
        *password = new;
        *refused = None;
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("bind", &self.state().bind)
            .finish_non_exhaustive()
    }
}
