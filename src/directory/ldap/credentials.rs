//! Who we are to the servers of one directory, and whether they refuse us.
//!
//! # Guarantees
//! A password that one server refused (RFC 4511, `invalidCredentials`) is offered to none of them again until it changes
//! or [`REST`] has passed: servers lock accounts after a few such attempts. All connections of a directory share this.
//! The file of the password, where it has one, is read again before a refusal is final.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use crate::directory::DirectoryError;
use crate::directory::ldap::session::Session;
use crate::directory::settings::Bind;

/// How long a refused password is not offered again.
const REST: Duration = Duration::from_secs(15 * 60);

/// What is added to the error meanwhile.
const UNTIL: &str = "; the password is not tried again until it changes, SIGHUP comes, or 15 minutes have passed, so that the account is not locked";

/// Reads the password where it is kept; `None` where it cannot be read.
pub type PasswordSource = Arc<dyn Fn() -> Option<SecretString> + Send + Sync>;

/// As whom the connections of one directory bind.
pub(crate) struct Credentials {
    source: OnceLock<PasswordSource>,
    state: Mutex<State>,
    /// One bind at a time: whoever comes second knows how the first one ended.
    turn: tokio::sync::Mutex<()>,
}

struct State {
    bind: Bind,
    refused: Option<Refused>,
}

/// A refusal of the present password.
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

    /// Says where the password is read again when it is refused.
    pub(crate) fn come_from(&self, source: PasswordSource) {
        // Whoever asked first is asked on.
        let _ = self.source.set(source);
    }

    /// Takes others, or the same ones, which are offered once more.
    pub(crate) fn renew(&self, bind: Bind) {
        *self.state() = State { bind, refused: None };
    }

    /// Whether there is any use in a connection.
    ///
    /// # Errors
    /// The refusal of the password, where it was refused and is the same.
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
    /// The server does not accept who we are, or did not accept it a while ago.
    pub(crate) async fn bind(&self, session: &mut Session) -> Result<(), DirectoryError> {
        let _turn = self.turn.lock().await;
        self.check()?;
        match self.offer(session).await {
            Err(error) if self.refused(&error) => {
                if self.reread() {
                    let again = self.offer(session).await;
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

    async fn offer(&self, session: &mut Session) -> Result<(), DirectoryError> {
        let bind = self.state().bind.clone();
        match bind {
            Bind::Anonymous => Ok(()),
            Bind::Simple { dn, password } => session.bind(&dn, password.expose_secret()).await,
            Bind::External => session.bind_external().await,
        }
    }

    /// Takes note of an error that is the refusal of a password.
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

    /// The error of a refusal that still holds.
    fn refusal(&self) -> Option<DirectoryError> {
        let state = self.state();
        let refused = state.refused.as_ref()?;
        (refused.at.elapsed() < REST).then(|| DirectoryError::Bind {
            server: refused.server.clone(),
            who: refused.who.clone(),
            cause: format!("{}{UNTIL}", refused.cause),
            wrong_password: true,
        })
    }

    /// Takes the password that is kept now, where it is another one than the one that was refused.
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
            "the bind password was refused, and its file has another one: it is tried"
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
