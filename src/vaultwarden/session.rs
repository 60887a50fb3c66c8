//! The session with the admin page: opened only when an answer asks for it, by one caller for all, and never more
//! often than Vaultwarden's limiter allows.

use std::hash::{DefaultHasher, Hash, Hasher};
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

/// After a refused token this process does not try again for so long: what is left of the burst is for the restart
/// with a better token.
const AFTER_WRONG_TOKEN: Duration = Duration::from_secs(300);

/// A configuration that does not come within this time is not waited for: invitations wait behind it.
const CONFIGURATION: Duration = Duration::from_secs(5);

/// The first version that answers 401 to a call without a session. Before, it was 404.
const ANSWERS_401: (u32, u32) = (1, 27);

/// Calls with a session.
pub(super) struct Session {
    client: Client,
    token: SecretString,
    store: Arc<dyn SessionStore>,
    clock: Clock,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Absent until the store was read.
    note: Option<Note>,
    /// How many logins have ended, and how the last one did.
    logins: u64,
    last: Option<Result<SecretString, VaultwardenError>>,
    /// When Vaultwarden last refused the token.
    refused: Option<Timestamp>,
}

/// What is known between runs. It belongs to one URL and is worth nothing under another.
#[derive(Clone, Serialize, Deserialize)]
struct Note {
    url: String,
    /// The [`check_value`] of the token that opened the session.
    #[serde(default)]
    token: u16,
    cookie: Option<String>,
    /// When the cookie is worth nothing any more, in milliseconds since 1970.
    expires: i64,
    /// See [`LoginBudget`].
    logins_whole_at: i64,
    #[serde(default)]
    measures: Measures,
}

/// What Vaultwarden's configuration has told that matters for calls.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Measures {
    login_burst: Option<u32>,
    login_period: Option<Duration>,
    smtp_timeout: Option<Duration>,
}

/// By what the admin API lets us in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Entrance {
    /// By a login with the admin token, in this process.
    Token,
    /// By a session that an earlier process opened with the same token.
    Session,
    /// By nothing: it is open to everyone (`DISABLE_ADMIN_TOKEN`).
    Open,
}

/// What a call goes out with.
struct Pass {
    cookie: Option<SecretString>,
    /// How many logins had ended by then.
    logins: u64,
    smtp_timeout: Option<Duration>,
}

impl Session {
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

    /// Calls that need no session.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Sends one call with the session at hand; where Vaultwarden wants a login, logs in and sends it once more.
    ///
    /// The answer is neither 401 nor, but for a look-up by mail and the configuration, a 404 that is not Vaultwarden's
    /// own.
    ///
    /// # Errors
    /// The call's, or the login's.
    ///
    /// # Cancellation
    /// A call that was sent may be carried out; a login that was sent counts.
    pub(super) async fn call(&self, call: Call<'_>) -> Result<Answer, VaultwardenError> {
        let pass = self.pass().await;
        let answer = self.send(call, &pass).await?;
        if answer.status == 401 {
            // Wants a login, and says so.
        } else if is_missing(call, &answer, pass.cookie.is_some()) {
            self.explain_not_found(&answer).await?;
        } else {
            return Ok(answer);
        }
        let cookie = self.log_in(&pass).await?;
        let pass = Pass {
            cookie: Some(cookie),
            ..self.pass().await
        };
        let answer = self.send(call, &pass).await?;
        if answer.status == 401 {
            Err(VaultwardenError::SessionRefused { url: answer.url() })
        } else if is_missing(call, &answer, true) {
            Err(answer.blocked())
        } else {
            Ok(answer)
        }
    }

    async fn send(&self, call: Call<'_>, pass: &Pass) -> Result<Answer, VaultwardenError> {
        let patience = self.client.patience(call, pass.smtp_timeout);
        let answer = self.client.send_within(patience, call, pass.cookie.as_ref());
        answer.await?.checked()
    }

    /// Vaultwarden's own configuration, as far as it tells. What matters for calls is noted.
    ///
    /// # Errors
    /// As [`Session::call`].
    pub(super) async fn configuration(&self) -> Result<Option<Configuration>, VaultwardenError> {
        let mut answer = match self.call(Call::Configuration).await {
            Ok(answer) if answer.status == 200 => answer,
            Ok(_) | Err(VaultwardenError::Blocked { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let told = decode::configuration(&answer.body().await?);
        if let Some(told) = &told {
            let mut state = self.state.lock().await;
            let note = self.note(&mut state).await.clone();
            self.learn(&mut state, note, told).await;
        }
        Ok(told)
    }

    /// By what the last call was let in.
    pub(super) async fn entrance(&self) -> Entrance {
        match self.pass().await {
            Pass { logins: 1.., .. } => Entrance::Token,
            Pass { cookie: Some(_), .. } => Entrance::Session,
            Pass { cookie: None, .. } => Entrance::Open,
        }
    }

    async fn pass(&self) -> Pass {
        let mut state = self.state.lock().await;
        let now = self.clock.now();
        let note = self.note(&mut state).await;
        let cookie = note.cookie.clone().filter(|_| now.0 < note.expires);
        let smtp_timeout = note.measures.smtp_timeout;
        Pass {
            cookie: cookie.map(Into::into),
            logins: state.logins,
            smtp_timeout,
        }
    }

    /// Opens a session, unless someone else has tried since `pass` was given out: then theirs counts.
    async fn log_in(&self, pass: &Pass) -> Result<SecretString, VaultwardenError> {
        let mut state = self.state.lock().await;
        if let Some(last) = state.last.as_ref().filter(|_| state.logins != pass.logins) {
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
        // Saved first: a process that dies now must not forget that it logged in.
        self.save(&mut state, note.clone()).await;

        let opened = self.open(note.limits()).await;
        state.logins += 1;
        state.refused = matches!(opened, Err(VaultwardenError::WrongToken { .. })).then_some(now);
        match &opened {
            Ok(cookie) => {
                note.cookie = Some(cookie.pair.expose_secret().into());
                note.expires = cookie.lifetime.map_or(i64::MAX, |lifetime| (now + lifetime).0);
                self.save(&mut state, note.clone()).await;
                if let Some(told) = self.ask_configuration(&cookie.pair).await {
                    self.learn(&mut state, note, &told).await;
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

    /// The configuration, right after a login; without it, what was known goes on to count.
    async fn ask_configuration(&self, cookie: &SecretString) -> Option<Configuration> {
        let ask = async {
            let answer = self.client.send(Call::Configuration, Some(cookie)).await;
            let mut answer = answer.and_then(Answer::checked).ok()?;
            let is_told = answer.status == 200;
            decode::configuration(&answer.body().await.ok()?).filter(|_| is_told)
        };
        timeout(CONFIGURATION, ask).await.ok().flatten()
    }

    /// Notes what matters for calls.
    async fn learn(&self, state: &mut State, mut note: Note, told: &Configuration) {
        let measures = Measures {
            login_burst: told.login_burst,
            login_period: told.login_period,
            smtp_timeout: told.smtp_timeout,
        };
        if note.measures != measures {
            let before = note.limits();
            note.measures = measures;
            let budget = LoginBudget {
                whole_at: Timestamp(note.logins_whole_at),
            };
            let budget = budget.under(note.limits(), before, self.clock.now());
            note.logins_whole_at = budget.whole_at.0;
            self.save(state, note).await;
        }
    }

    /// One login. The answer is a page from 1.26 on, and a redirect before, which a refused token gets as well.
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

    /// What a 404 means that is not Vaultwarden's own; `Ok` if it may want a login.
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
            // Either older than 1.25, or built outside its repository, or no Vaultwarden at all.
            None => self.alive().await,
        }
    }

    /// Vaultwarden's version, as far as it tells (from 1.25 on).
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

    /// Whether Vaultwarden and its database answer.
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

    /// The note of the store; the session in it counts only for the token that opened it.
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
                measures: other.map(|note| note.measures).unwrap_or_default(),
            },
        }
    }

    async fn save(&self, state: &mut State, note: Note) {
        // A note is made of strings and numbers, which always become JSON.
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

/// Sixteen bits of a token: enough to see that it is another one, too few to guess it by.
fn check_value(token: &SecretString) -> u16 {
    let mut hasher = DefaultHasher::new();
    token.expose_secret().hash(&mut hasher);
    let [one, other, ..] = hasher.finish().to_le_bytes();
    u16::from_le_bytes([one, other])
}

/// Whether it is a 404 where the admin API should be. A look-up by mail does not exist before 1.28, and whoever asks
/// for it knows what to do instead; the configuration is not told before 1.19, and can be done without.
fn is_missing(call: Call<'_>, answer: &Answer, has_session: bool) -> bool {
    let may_be_missing = match call {
        Call::ByMail(_) => true,
        Call::Configuration => has_session,
        _ => false,
    };
    answer.status == 404 && answer.message.is_none() && !may_be_missing
}

/// Whether a redirect leads to an admin page: the origin is that of `DOMAIN`, which need not be the one called.
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
        LoginLimits::new(self.measures.login_burst, self.measures.login_period)
    }
}
