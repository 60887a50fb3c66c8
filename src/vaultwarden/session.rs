//! The session with the admin API. A login happens only when an answer requires it, once for all concurrent callers, and
//! never more often than Vaultwarden's rate limit allows.

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::answer::{Answer, Cookie};
use super::budget::{LoginBudget, LoginLimits};
use super::client::{Call, Client};
use super::{Configuration, SessionStore, VaultwardenError, decode};
use crate::clock::{Clock, Timestamp};
use crate::foreign;

/// How long this process waits after a refused token. The logins that the rate limit still allows are kept for a restart
/// with the right token.
const AFTER_WRONG_TOKEN: Duration = Duration::from_secs(300);

/// How long a login waits for Vaultwarden's configuration. Invitations wait for the login.
const CONFIGURATION: Duration = Duration::from_secs(5);

/// The first version that answers 401 to a call without a session. Earlier ones answer 404.
const ANSWERS_401: (u32, u32) = (1, 27);

/// Sends calls with a session.
pub(super) struct AdminSession {
    client: Client,
    token: SecretString,
    store: Arc<dyn SessionStore>,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// `None` until the store was read.
    note: Option<Note>,
    /// The number of logins that this process has tried.
    logins: u64,
    /// The result of the last login.
    last: Option<Result<SecretString, VaultwardenError>>,
    /// When Vaultwarden last refused the token.
    refused: Option<Timestamp>,
}

/// What is stored between runs. It is valid for one URL only.
#[derive(Clone, Serialize, Deserialize)]
struct Note {
    url: String,
    /// The [`check_value`] of the token that opened the session.
    #[serde(default)]
    token: u16,
    cookie: Option<String>,
    /// When the cookie expires, in milliseconds since 1970.
    expires: i64,
    /// [`LoginBudget::whole_at`], in milliseconds since 1970.
    logins_whole_at: i64,
    #[serde(default, rename = "measures")]
    server_limits: ServerLimits,
}

/// The part of Vaultwarden's configuration that matters for calls.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct ServerLimits {
    login_burst: Option<u32>,
    login_period: Option<Duration>,
    smtp_timeout: Option<Duration>,
}

/// How the admin API authenticates calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMethod {
    /// A login with the admin token, in this process.
    Token,
    /// A session that an earlier process opened with the same token.
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

impl AdminSession {
    pub(super) fn new(
        client: Client,
        token: SecretString,
        store: Arc<dyn SessionStore>,
        clock: Clock,
    ) -> Self {
        Self {
            client,
            token,
            store,
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
        let cookie = self.log_in(&credentials).await?;
        let credentials = Credentials {
            cookie: Some(cookie),
            ..self.credentials().await
        };
        let answer = self.send(call, &credentials).await?;
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
            let note = self.note(&mut state).await.clone();
            self.learn(&mut state, note, configuration).await;
        }
        Ok(configuration)
    }

    /// How the admin API authenticated the last call.
    pub(super) async fn auth_method(&self) -> AuthMethod {
        match self.credentials().await {
            Credentials { logins: 1.., .. } => AuthMethod::Token,
            Credentials { cookie: Some(_), .. } => AuthMethod::Session,
            Credentials { cookie: None, .. } => AuthMethod::Open,
        }
    }

    async fn credentials(&self) -> Credentials {
        let mut state = self.state.lock().await;
        let now = self.clock.now();
        let note = self.note(&mut state).await;
        let cookie = note.cookie.clone().filter(|_| now.0 < note.expires);
        let smtp_timeout = note.server_limits.smtp_timeout;
        Credentials {
            cookie: cookie.map(Into::into),
            logins: state.logins,
            smtp_timeout,
        }
    }

    /// Logs in. If another caller has tried since `credentials` were issued, returns the result of that login.
    async fn log_in(&self, credentials: &Credentials) -> Result<SecretString, VaultwardenError> {
        let mut state = self.state.lock().await;
        if let Some(last) = state.last.as_ref().filter(|_| state.logins != credentials.logins) {
            return last.clone();
        }
        let now = self.clock.now();
        if state.refused.is_some_and(|at| now.since(at) < AFTER_WRONG_TOKEN) {
            return Err(self.wrong_token());
        }
        let mut note = self.note(&mut state).await.clone();
        note.cookie = None;
        note.spend(now).map_err(|wait| VaultwardenError::LoginsSpent {
            url: self.client.url().into(),
            wait,
        })?;
        // Saved before the login, so that a crash in between does not lose count of it.
        self.save(&mut state, note.clone()).await;

        let opened = self.open(note.limits()).await;
        state.logins += 1;
        state.refused = matches!(opened, Err(VaultwardenError::WrongToken { .. })).then_some(now);
        match &opened {
            Ok(cookie) => {
                note.cookie = Some(cookie.pair.expose_secret().into());
                note.expires = cookie.lifetime.map_or(i64::MAX, |lifetime| (now + lifetime).0);
                self.save(&mut state, note.clone()).await;
                if let Some(configuration) = self.read_configuration(&cookie.pair).await {
                    self.learn(&mut state, note, &configuration).await;
                }
            }
            Err(VaultwardenError::RateLimited { .. }) => {
                note.logins_whole_at = LoginBudget::exhausted(note.limits(), now).whole_at.0;
                self.save(&mut state, note).await;
            }
            Err(_) => {}
        }
        let outcome = opened.map(|cookie| cookie.pair);
        state.last = Some(outcome.clone());
        outcome
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
    async fn learn(&self, state: &mut State, mut note: Note, configuration: &Configuration) {
        let server_limits = ServerLimits {
            login_burst: configuration.login_burst,
            login_period: configuration.login_period,
            smtp_timeout: configuration.smtp_timeout,
        };
        if note.server_limits != server_limits {
            let before = note.limits();
            note.server_limits = server_limits;
            let budget = LoginBudget {
                whole_at: Timestamp(note.logins_whole_at),
            };
            let budget = budget.under(note.limits(), before, self.clock.now());
            note.logins_whole_at = budget.whole_at.0;
            self.save(state, note).await;
        }
    }

    /// Sends one login. From 1.26 on the answer is a page. Earlier versions redirect, even if they refuse the token.
    async fn open(&self, limits: LoginLimits) -> Result<Cookie, VaultwardenError> {
        let answer = self.client.send(Call::Login(&self.token), None).await?;
        if let Some(cookie) = answer.cookie() {
            return Ok(cookie);
        }
        match answer.status {
            401 => Err(self.wrong_token()),
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
            None => self.stored().await,
        };
        state.note.insert(note)
    }

    /// Reads the note from the store. The session in it is used only with the token that opened it.
    async fn stored(&self) -> Note {
        let token = check_value(&self.token);
        let stored = self.store.load().await;
        let stored = stored
            .and_then(|note| serde_json::from_slice(&note).ok())
            .filter(|note: &Note| note.url == self.client.url());
        match stored {
            Some(note) if note.token == token => note,
            other => Note {
                url: self.client.url().into(),
                token,
                cookie: None,
                expires: 0,
                logins_whole_at: other
                    .as_ref()
                    .map_or(LoginBudget::UNTOUCHED.whole_at.0, |note| note.logins_whole_at),
                server_limits: other.map(|note| note.server_limits).unwrap_or_default(),
            },
        }
    }

    async fn save(&self, state: &mut State, note: Note) {
        // Serialising strings and numbers cannot fail.
        let bytes = serde_json::to_vec(&note).unwrap_or_default();
        state.note = Some(note);
        self.store.save(bytes).await;
    }

    fn wrong_token(&self) -> VaultwardenError {
        VaultwardenError::WrongToken {
            url: self.client.url().into(),
        }
    }
}

/// A 16-bit hash of the token: enough to detect another token, too little to guess it. It is stored, so it must be the same
/// in every version of this program: FNV-1a of 32 bits, XOR-folded.
fn check_value(token: &SecretString) -> u16 {
    let hash = token.expose_secret().bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    let [a, b, c, d] = hash.to_be_bytes();
    u16::from_be_bytes([a ^ c, b ^ d])
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

impl Note {
    fn spend(&mut self, now: Timestamp) -> Result<(), Duration> {
        let budget = LoginBudget {
            whole_at: Timestamp(self.logins_whole_at),
        };
        self.logins_whole_at = budget.spend(self.limits(), now)?.whole_at.0;
        Ok(())
    }

    fn limits(&self) -> LoginLimits {
        LoginLimits::new(self.server_limits.login_burst, self.server_limits.login_period)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_a_token_is_the_published_one_of_fnv_1a() {
        // 0x811c9dc5 and 0xbf9cf968 by the test vectors of FNV-1a.
        assert_eq!(check_value(&"".into()), 0x811c ^ 0x9dc5);
        assert_eq!(check_value(&"foobar".into()), 0xbf9c ^ 0xf968);
    }
}
