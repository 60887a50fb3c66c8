//! The session with the admin API. A login happens only when an answer requires it, once for all concurrent callers and all
//! processes that share the store, and never more often than Vaultwarden's rate limit allows.

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::answer::{Answer, Cookie};
use super::budget::{LoginBudget, LoginLimits};
use super::client::{Call, Client};
use super::session_note::{Note, ServerLimits};
use super::shared_note::{Claimed, Refused, SharedNote};
use super::totp::{self, Totp};
use super::{Configuration, SessionStore, VaultwardenError, decode};
use crate::clock::{Clock, Timestamp};
use crate::foreign;

/// How long a login waits for Vaultwarden's configuration. Invitations wait for the login.
const CONFIGURATION: Duration = Duration::from_secs(5);

/// The first version that answers 401 to a call without a session. Earlier ones answer 404.
const ANSWERS_401: (u32, u32) = (1, 27);

/// Sends calls with a session.
pub(super) struct AdminSession {
    client: Client,
    token: SecretString,
    totp: Option<Totp>,
    shared: SharedNote,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// `None` until the store was read.
    note: Option<Note>,
    /// The number of logins that this process has tried, or found in the store.
    logins: u64,
    /// The result of the last one.
    last: Option<Result<Session, VaultwardenError>>,
    /// Whether this process has tried one.
    has_tried: bool,
}

/// How the admin API authenticates calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMethod {
    /// A login with the admin token, in this process.
    Token,
    /// A session that another process opened with the same token.
    Session,
    /// None: the admin API is open to everyone (`DISABLE_ADMIN_TOKEN`).
    Open,
}

/// What a call is sent with.
struct Credentials {
    cookie: Option<SecretString>,
    /// The value of [`State::logins`] when these were issued.
    logins: u64,
    smtp_timeout: Option<Duration>,
}

/// A session that a login returned.
#[derive(Clone)]
struct Session {
    cookie: SecretString,
    /// Whether this process has logged in.
    is_new: bool,
}

impl AdminSession {
    pub(super) fn new(
        client: Client,
        token: SecretString,
        totp: Option<Totp>,
        store: Arc<dyn SessionStore>,
        clock: Clock,
    ) -> Self {
        Self {
            shared: SharedNote::new(client.url(), token.clone(), store, clock.clone()),
            client,
            token,
            totp,
            clock,
            state: Mutex::default(),
        }
    }

    /// The client, for calls that need no session.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Sends one call with the current session. If Vaultwarden requires a login, logs in and sends the call once more.
    ///
    /// The status of the answer is never 401. It is 404 without Vaultwarden's own message only for a look-up by address
    /// and for the configuration.
    ///
    /// # Errors
    /// Those of the call or of the login.
    ///
    /// # Cancellation
    /// Vaultwarden may carry out a call that was sent, and counts a login that was sent.
    pub(super) async fn call(&self, call: Call<'_>) -> Result<Answer, VaultwardenError> {
        let credentials = self.credentials().await;
        let answer = self.send(call, &credentials).await?;
        if answer.status == 401 {
            // Requires a login.
        } else if is_missing(call, &answer, credentials.cookie.is_some()) {
            self.explain_not_found(&answer).await?;
        } else {
            return Ok(answer);
        }
        let (mut credentials, is_new) = self.log_in(&credentials).await?;
        let mut answer = self.send(call, &credentials).await?;
        if answer.status == 401 && !is_new {
            // The session of another process, which has not noticed yet that it has ended.
            credentials = self.log_in(&credentials).await?.0;
            answer = self.send(call, &credentials).await?;
        }
        if answer.status == 401 {
            Err(VaultwardenError::SessionRefused { url: answer.url() })
        } else if is_missing(call, &answer, true) {
            Err(answer.blocked())
        } else {
            Ok(answer)
        }
    }

    async fn send(&self, call: Call<'_>, credentials: &Credentials) -> Result<Answer, VaultwardenError> {
        let deadline = self.client.deadline(call, credentials.smtp_timeout);
        let answer = self
            .client
            .send_within(deadline, call, credentials.cookie.as_ref());
        answer.await?.checked()
    }

    /// Vaultwarden's own configuration. Stores the part that matters for calls.
    ///
    /// # Errors
    /// As [`AdminSession::call`].
    pub(super) async fn configuration(&self) -> Result<Option<Configuration>, VaultwardenError> {
        let mut answer = match self.call(Call::Configuration).await {
            Ok(answer) if answer.status == 200 => answer,
            Ok(_) | Err(VaultwardenError::Blocked { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let configuration = decode::configuration(&answer.body().await?);
        if let Some(configuration) = &configuration {
            let mut state = self.state.lock().await;
            self.learn(&mut state, configuration).await;
        }
        Ok(configuration)
    }

    /// How the admin API authenticated the last call.
    pub(super) async fn auth_method(&self) -> AuthMethod {
        let has_session = self.credentials().await.cookie.is_some();
        match (self.state.lock().await.has_tried, has_session) {
            (true, _) => AuthMethod::Token,
            (false, true) => AuthMethod::Session,
            (false, false) => AuthMethod::Open,
        }
    }

    async fn credentials(&self) -> Credentials {
        let mut state = self.state.lock().await;
        let now = self.clock.now();
        let note = self.note(&mut state).await;
        let cookie = note.session(now).map(Into::into);
        let smtp_timeout = note.server_limits.smtp_timeout;
        Credentials {
            cookie,
            logins: state.logins,
            smtp_timeout,
        }
    }

    /// Logs in. If another caller has tried since `credentials` were issued, or another process has, returns the result of
    /// that login. Returns also whether this process has logged in.
    async fn log_in(&self, credentials: &Credentials) -> Result<(Credentials, bool), VaultwardenError> {
        let mut state = self.state.lock().await;
        let session = match state.last.clone().filter(|_| state.logins != credentials.logins) {
            Some(last) => last?,
            None => self.begin_session(&mut state, credentials).await?,
        };
        let smtp_timeout = self.note(&mut state).await.server_limits.smtp_timeout;
        let issued = Credentials {
            cookie: Some(session.cookie),
            logins: state.logins,
            smtp_timeout,
        };
        Ok((issued, session.is_new))
    }

    async fn begin_session(
        &self,
        state: &mut State,
        credentials: &Credentials,
    ) -> Result<Session, VaultwardenError> {
        let refused = credentials.cookie.as_ref().map(ExposeSecret::expose_secret);
        let claimed = self.shared.claim_login(refused, self.totp.is_some()).await;
        let note = match claimed.map_err(|refused| self.not_allowed(&refused, state.last.as_ref()))? {
            Claimed::Login(note) => note,
            Claimed::Session(note) => {
                let session = Session {
                    cookie: note.cookie.clone().unwrap_or_default().into(),
                    is_new: false,
                };
                state.note = Some(note);
                state.logins += 1;
                state.last = Some(Ok(session.clone()));
                return Ok(session);
            }
        };
        let limits = note.limits();
        state.note = Some(note);
        let now = self.clock.now();
        let opened = self.open(limits, &self.code().await).await;
        state.logins += 1;
        state.has_tried = true;
        let ended = self.shared.end_login(|note| match &opened {
            Ok(cookie) => {
                note.cookie = Some(cookie.pair.expose_secret().into());
                note.expires = cookie.lifetime.map_or(i64::MAX, |lifetime| (now + lifetime).0);
                note.code_refused = false;
            }
            // The next code may be accepted: Vaultwarden refuses one with which a person, or another program, has logged in.
            Err(VaultwardenError::WrongTokenOrCode { .. }) if !note.code_refused => note.code_refused = true,
            Err(VaultwardenError::RateLimited { .. }) => {
                note.logins_whole_at = LoginBudget::exhausted(note.limits(), now).whole_at.0;
            }
            Err(
                VaultwardenError::WrongToken { .. }
                | VaultwardenError::CodeRequired { .. }
                | VaultwardenError::WrongTokenOrCode { .. },
            ) => note.refused = now.0,
            Err(_) => {}
        });
        state.note = Some(ended.await);
        if let Ok(cookie) = &opened
            && let Some(configuration) = self.read_configuration(&cookie.pair).await
        {
            self.learn(state, &configuration).await;
        }
        let outcome = opened.map(|cookie| Session {
            cookie: cookie.pair,
            is_new: true,
        });
        state.last = Some(outcome.clone());
        outcome
    }

    /// The code of the moment, which is stored as used before it is sent.
    async fn code(&self) -> Option<SecretString> {
        let totp = self.totp.as_ref()?;
        let step = totp::step(self.clock.now());
        self.shared.update(|note| note.totp_step = step).await;
        Some(totp.code(step))
    }

    /// The configuration right after a login. If it cannot be read, the stored limits stay in use.
    async fn read_configuration(&self, cookie: &SecretString) -> Option<Configuration> {
        let read = async {
            let answer = self.client.send(Call::Configuration, Some(cookie)).await;
            let mut answer = answer.and_then(Answer::checked).ok()?;
            let is_ok = answer.status == 200;
            decode::configuration(&answer.body().await.ok()?).filter(|_| is_ok)
        };
        timeout(CONFIGURATION, read).await.ok().flatten()
    }

    /// Stores the part of the configuration that matters for calls.
    async fn learn(&self, state: &mut State, configuration: &Configuration) {
        let server_limits = ServerLimits {
            login_burst: configuration.login_burst,
            login_period: configuration.login_period,
            smtp_timeout: configuration.smtp_timeout,
        };
        if self.note(state).await.server_limits == server_limits {
            return;
        }
        let learned = self.shared.update(|note| {
            let before = note.limits();
            note.server_limits = server_limits;
            let budget = LoginBudget {
                whole_at: Timestamp(note.logins_whole_at),
            };
            let budget = budget.under(note.limits(), before, self.clock.now());
            note.logins_whole_at = budget.whole_at.0;
        });
        state.note = Some(learned.await);
    }

    /// Sends one login. From 1.26 on the answer is a page. Earlier versions redirect, even if they refuse the token.
    async fn open(
        &self,
        limits: LoginLimits,
        code: &Option<SecretString>,
    ) -> Result<Cookie, VaultwardenError> {
        let login = Call::Login(&self.token, code.as_ref());
        let answer = self.client.send(login, None).await?;
        if let Some(cookie) = answer.cookie() {
            return Ok(cookie);
        }
        match answer.status {
            401 => {
                let url = self.client.url().into();
                Err(match (answer.asks_for_code, code) {
                    (true, None) => VaultwardenError::CodeRequired { url },
                    (true, Some(_)) => VaultwardenError::WrongTokenOrCode { url },
                    (false, _) => self.wrong_token(),
                })
            }
            429 if !answer.names_wait() => Err(VaultwardenError::RateLimited {
                url: answer.url(),
                wait: limits.period,
            }),
            303 if answer.location().is_some_and(is_admin_page) => Err(self.wrong_token()),
            404 => Err(answer.blocked()),
            _ => Err(answer.checked()?.strange_status("a login")),
        }
    }

    /// Interprets a 404 without Vaultwarden's own message. `Ok` if it may mean that a login is required.
    async fn explain_not_found(&self, answer: &Answer) -> Result<(), VaultwardenError> {
        let page = self.client.send(Call::AdminPage, None).await?.body().await?;
        if String::from_utf8_lossy(&page).contains("admin panel is disabled") {
            return Err(VaultwardenError::AdminDisabled {
                url: self.client.url().into(),
            });
        }
        match self.version().await? {
            Some((_, numbers)) if numbers >= ANSWERS_401 => Err(answer.blocked()),
            Some(_) => Ok(()),
            // Older than 1.25, built outside the repository, or not a Vaultwarden.
            None => self.alive().await,
        }
    }

    /// Vaultwarden's version (from 1.25 on).
    pub(super) async fn version(&self) -> Result<Option<(String, (u32, u32))>, VaultwardenError> {
        let mut answer = self.client.send(Call::Version, None).await?.checked()?;
        match answer.status {
            200 => {
                let version = decode::version(&answer.body().await?);
                Ok(version.map(|(text, numbers)| (foreign::shown(&text), numbers)))
            }
            _ => Ok(None),
        }
    }

    /// Checks that Vaultwarden and its database answer.
    pub(super) async fn alive(&self) -> Result<(), VaultwardenError> {
        let mut answer = self.client.send(Call::Alive, None).await?.checked()?;
        let status = answer.status;
        match status {
            200 if decode::is_text(&answer.body().await?) => Ok(()),
            200 => Err(answer.unexpected("something that is not the time")),
            404 => Err(VaultwardenError::WrongPath {
                url: self.client.url().into(),
            }),
            _ => Err(answer.unavailable()),
        }
    }

    async fn note<'a>(&self, state: &'a mut State) -> &'a mut Note {
        let note = match state.note.take() {
            Some(note) => note,
            None => self.shared.read().await,
        };
        state.note.insert(note)
    }

    fn not_allowed(
        &self,
        refused: &Refused,
        last: Option<&Result<Session, VaultwardenError>>,
    ) -> VaultwardenError {
        match *refused {
            Refused::WrongToken => match last {
                // What this process was told is more precise than what is stored.
                Some(Err(
                    error @ (VaultwardenError::CodeRequired { .. }
                    | VaultwardenError::WrongTokenOrCode { .. }),
                )) => error.clone(),
                _ if self.totp.is_some() => VaultwardenError::WrongTokenOrCode {
                    url: self.client.url().into(),
                },
                _ => self.wrong_token(),
            },
            Refused::Spent(wait) => VaultwardenError::LoginsSpent {
                url: self.client.url().into(),
                wait,
            },
        }
    }

    fn wrong_token(&self) -> VaultwardenError {
        VaultwardenError::WrongToken {
            url: self.client.url().into(),
        }
    }
}

/// Whether this is a 404 for a path that must exist. The look-up by address does not exist before 1.28, and the
/// configuration not before 1.19; their callers handle a 404 themselves.
fn is_missing(call: Call<'_>, answer: &Answer, has_session: bool) -> bool {
    let may_be_missing = match call {
        Call::ByMail(_) => true,
        Call::Configuration => has_session,
        _ => false,
    };
    answer.status == 404 && answer.message.is_none() && !may_be_missing
}

/// Whether a redirect leads to an admin page. Ignores the host, which is that of `DOMAIN` and may differ from the URL.
fn is_admin_page(location: &str) -> bool {
    let path = location.split(['?', '#']).next().unwrap_or_default();
    path.trim_end_matches('/').ends_with("/admin")
}
