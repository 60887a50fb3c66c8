//! Sends one request: URL, headers and deadlines.

use std::time::Duration;

use reqwest::header::{ACCEPT, CONTENT_TYPE, COOKIE, HeaderMap, HeaderValue};
use reqwest::{Method, RequestBuilder};
use secrecy::{ExposeSecret, SecretString};
use url::Url;

use super::answer::{Answer, Exchange};
use super::settings::shown;
use super::{AccountChange, ClientSettings, VaultwardenError};
use crate::http_client::{self, SetupError};
use crate::model::EmailAddress;

/// A longer `SMTP_TIMEOUT` counts as this one. Six times this is four minutes; an invitation without an answer by then is
/// looked up instead.
const LONGEST_SMTP_TIMEOUT: Duration = Duration::from_secs(40);

/// Every call that this program makes.
#[derive(Clone, Copy)]
pub(super) enum Call<'a> {
    /// With the admin token, and the one-time code if there is one.
    Login(&'a SecretString, Option<&'a SecretString>),
    Invite(&'a EmailAddress),
    Change(&'a str, AccountChange),
    ByMail(&'a EmailAddress),
    ById(&'a str),
    Users,
    Configuration,
    AdminPage,
    Alive,
    Version,
    Config,
}

impl Call<'_> {
    fn path(&self) -> &[&str] {
        match self {
            Self::Login(..) | Self::AdminPage => &["admin"],
            Self::Invite(_) => &["admin", "invite"],
            Self::ByMail(_) => &["admin", "users", "by-mail"],
            Self::Users | Self::ById(_) | Self::Change(..) => &["admin", "users"],
            Self::Configuration => &["admin", "diagnostics", "config"],
            Self::Alive => &["alive"],
            Self::Version => &["api", "version"],
            Self::Config => &["api", "config"],
        }
    }
}

/// Sends requests to one Vaultwarden and nowhere else: redirects are not followed, and proxies named in the
/// environment are not used, only the one in the settings.
pub(super) struct Client {
    http: reqwest::Client,
    base: Url,
    /// `base` without credentials, for messages.
    shown: String,
    timeout: Duration,
    slow_timeout: Duration,
}

impl Client {
    pub(super) fn new(settings: &ClientSettings) -> Result<Self, VaultwardenError> {
        let base = settings.url.clone();
        let shown = shown(&base);
        if !matches!(base.scheme(), "https" | "http") {
            return Err(VaultwardenError::Url {
                url: shown,
                cause: "it must begin with https:// or http://",
            });
        }
        let json = HeaderValue::from_static("application/json");
        let setup = |cause: String| VaultwardenError::Setup {
            url: shown.clone(),
            cause,
        };
        let mut headers = match &settings.headers {
            Some(text) => http_client::read_headers(text)
                .map_err(|problem| setup(format!("in its headers, {problem}")))?,
            None => HeaderMap::new(),
        };
        headers.entry(ACCEPT).or_insert(json);
        let builder = http_client::builder(base.scheme() == "https", &settings.tls, settings.proxy.as_ref());
        let builder = builder.map_err(|error| match error {
            SetupError::Tls(error) => error.into(),
            SetupError::Proxy => setup("its proxy is not a URL".into()),
        })?;
        let builder = builder
            .default_headers(headers)
            .connect_timeout(settings.connect_timeout)
            // Vaultwarden closes an idle connection after five seconds. An invitation sent at that moment would have an
            // unknown outcome.
            .pool_idle_timeout(Duration::from_secs(4));
        let http = builder.build().map_err(|error| setup(error.to_string()))?;
        Ok(Self {
            http,
            base,
            shown,
            timeout: settings.timeout,
            slow_timeout: settings.slow_timeout,
        })
    }

    /// Vaultwarden's URL without credentials.
    pub(super) fn url(&self) -> &str {
        &self.shown
    }

    /// Sends one request and waits for its answer, with the usual deadline of the call.
    ///
    /// # Errors
    /// As [`Client::send_within`].
    ///
    /// # Cancellation
    /// As [`Client::send_within`].
    pub(super) async fn send(
        &self,
        call: Call<'_>,
        cookie: Option<&SecretString>,
    ) -> Result<Answer, VaultwardenError> {
        self.send_within(self.deadline(call, None), call, cookie).await
    }

    /// How long to wait for the start of an answer. An invitation waits for the mail server about six times in turn: for
    /// the connection and for about five replies, each of which may take up to `SMTP_TIMEOUT`. Other changes wait for the
    /// push service of each device, or for every file of a vault to be deleted.
    pub(super) fn deadline(&self, call: Call<'_>, smtp_timeout: Option<Duration>) -> Duration {
        match call {
            Call::Invite(_) | Call::Change(_, AccountChange::Resend) => {
                let dialogue = 6 * smtp_timeout.unwrap_or_default().min(LONGEST_SMTP_TIMEOUT);
                self.slow_timeout.max(dialogue)
            }
            Call::Users | Call::Change(..) => self.slow_timeout,
            _ => self.timeout,
        }
    }

    /// Sends one request and waits up to `deadline` for its answer. The body of a 200 is not read yet.
    ///
    /// # Errors
    /// There is no answer. [`Answer::checked`] interprets the status.
    ///
    /// # Cancellation
    /// Vaultwarden may carry out a request that was sent.
    pub(super) async fn send_within(
        &self,
        deadline: Duration,
        call: Call<'_>,
        cookie: Option<&SecretString>,
    ) -> Result<Answer, VaultwardenError> {
        let url = self.endpoint(call);
        let mut request = match call {
            Call::Login(token, code) => {
                let mut form = vec![("token", token.expose_secret())];
                form.extend(code.map(|code| ("totp", code.expose_secret())));
                self.http.post(url.clone()).form(&form)
            }
            Call::Invite(address) => self
                .json(Method::POST, url.clone())
                .body(serde_json::json!({ "email": address.as_str() }).to_string()),
            // Vaultwarden ignores the body. Without one there is no `Content-Length`, which some proxies refuse (411).
            Call::Change(..) => self.json(Method::POST, url.clone()).body("{}"),
            _ => self.json(Method::GET, url.clone()),
        };
        if let Some(value) = cookie.and_then(cookie_header) {
            request = request.header(COOKIE, value);
        }
        let exchange = Exchange {
            base: self.shown.clone(),
            url: shown(&url),
            repeatable: !matches!(call, Call::Invite(_) | Call::Change(..)),
            silence: self.timeout,
            length: match call {
                // A list of 100,000 accounts takes about 30 seconds.
                Call::Users => 10 * self.slow_timeout,
                _ => self.timeout,
            },
        };
        match http_client::send(request, &self.route(call), deadline).await {
            Err(_) => Err(exchange.silent(deadline)),
            Ok(Err(error)) => Err(exchange.failed(&error)),
            Ok(Ok(response)) => Answer::receive(response, exchange).await,
        }
    }

    /// Since 1.33 Vaultwarden requires the content type JSON, even without a body.
    fn json(&self, method: Method, url: Url) -> RequestBuilder {
        self.http
            .request(method, url)
            .header(CONTENT_TYPE, "application/json")
    }

    /// The path of a call, without whom it concerns.
    fn route(&self, call: Call<'_>) -> String {
        let whom: &[&str] = match call {
            Call::ByMail(_) => &["{mail}"],
            Call::ById(_) | Call::Change(..) => &["{id}"],
            _ => &[],
        };
        let what = match call {
            Call::Change(_, change) => change.path(),
            _ => &[],
        };
        let base = self.base.path().trim_end_matches('/');
        [&[base], call.path(), whom, what].concat().join("/")
    }

    fn endpoint(&self, call: Call<'_>) -> Url {
        let mut url = self.base.clone();
        url.set_query(None);
        url.set_fragment(None);
        // Only URLs that `new` refuses have no path segments.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(call.path());
            match call {
                Call::ByMail(address) => path.push(address.as_str()),
                Call::ById(id) => path.push(id),
                Call::Change(id, change) => path.push(id).extend(change.path()),
                _ => &mut path,
            };
        }
        url
    }
}

fn cookie_header(cookie: &SecretString) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(cookie.expose_secret()).ok()?;
    value.set_sensitive(true);
    Some(value)
}
