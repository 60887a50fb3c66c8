//! One HTTP answer: reads a bounded body, and interprets the statuses that mean the same for every call.

use std::time::Duration;

use reqwest::Response;
use reqwest::header::{
    CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, SET_COOKIE, WWW_AUTHENTICATE,
};
use secrecy::SecretString;
use tokio::time::{Instant, timeout};
use url::Url;

use super::settings::shown;
use super::{VaultwardenError, decode};
use crate::foreign;
use crate::http_client::{Failure, retry_after};

/// The largest body that is read, in bytes; a list of accounts has no such bound.
const LARGEST_BODY: usize = 1024 * 1024;

/// The wait after a 429 without `Retry-After` in seconds: the default of Vaultwarden's `ADMIN_RATELIMIT_SECONDS`.
const RATE_LIMIT: Duration = Duration::from_secs(300);

/// The start of the session cookie.
const SESSION_COOKIE: &str = "VW_ADMIN=";

/// What is known of a request, needed to interpret its answer or its failure.
pub(super) struct Exchange {
    /// Vaultwarden's URL without credentials; the prefix of every `url`.
    pub(super) base: String,
    /// The requested URL without credentials.
    pub(super) url: String,
    /// Whether the call has no effect and can be repeated safely.
    pub(super) repeatable: bool,
    /// The longest pause within the answer.
    pub(super) silence: Duration,
    /// The longest duration of the whole answer.
    pub(super) length: Duration,
}

/// An answer. If the status is 200, the body is not read yet; otherwise it was read for its message.
pub(super) struct Answer {
    pub(super) status: u16,
    /// The `message` of Vaultwarden's own error object.
    pub(super) message: Option<String>,
    /// Whether it is the login form, and that asks for a one-time code.
    pub(super) asks_for_code: bool,
    headers: HeaderMap,
    response: Response,
    exchange: Exchange,
    began: Instant,
}

/// The session cookie that a login returns.
pub(super) struct Cookie {
    /// `VW_ADMIN=..`, as it is sent with each call.
    pub(super) pair: SecretString,
    /// `Max-Age`: the lifetime of the session, independent of the clocks of both machines.
    pub(super) lifetime: Option<Duration>,
}

impl Answer {
    /// Wraps an answer whose status and headers have arrived.
    pub(super) async fn receive(response: Response, exchange: Exchange) -> Result<Self, VaultwardenError> {
        let mut answer = Self {
            status: response.status().as_u16(),
            message: None,
            asks_for_code: false,
            headers: response.headers().clone(),
            response,
            exchange,
            began: Instant::now(),
        };
        if answer.status != 200 {
            let body = answer.body().await?;
            answer.asks_for_code = decode::asks_for_code(&body);
            let message = decode::message(&body);
            answer.message = message.map(|words| foreign::shown(&words));
        }
        Ok(answer)
    }

    /// The requested URL without credentials.
    pub(super) fn url(&self) -> String {
        self.exchange.url.clone()
    }

    /// The next piece of the body; `None` at its end.
    ///
    /// # Errors
    /// The server pauses too long, the connection breaks, or the answer does not end in time.
    pub(super) async fn chunk(&mut self) -> Result<Option<Vec<u8>>, VaultwardenError> {
        let Exchange { silence, length, .. } = self.exchange;
        let left = length.saturating_sub(self.began.elapsed());
        match timeout(silence.min(left), self.response.chunk()).await {
            Err(_) if left < silence => Err(self.exchange.endless()),
            Err(_) => Err(self.exchange.silent(silence)),
            Ok(Err(error)) => Err(self.exchange.failed(&error)),
            Ok(Ok(chunk)) => Ok(chunk.map(Into::into)),
        }
    }

    /// The body, cut at 1 MiB.
    pub(super) async fn body(&mut self) -> Result<Vec<u8>, VaultwardenError> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            body.extend_from_slice(&chunk);
            if body.len() >= LARGEST_BODY {
                body.truncate(LARGEST_BODY);
                break;
            }
        }
        Ok(body)
    }

    /// The session cookie in this answer, if it opens a session.
    pub(super) fn cookie(&self) -> Option<Cookie> {
        self.headers
            .get_all(SET_COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .find_map(cookie)
    }

    /// Whether it has `Retry-After`.
    pub(super) fn names_wait(&self) -> bool {
        self.headers.contains_key(RETRY_AFTER)
    }

    /// The target of a redirect.
    pub(super) fn location(&self) -> Option<&str> {
        self.header(&LOCATION)
    }

    /// Returns the answer, unless its status means the same for every call.
    ///
    /// # Errors
    /// Too many requests, a redirect, a foreign page, an authentication challenge, a proxy that refuses the request, or
    /// a server that cannot serve it.
    pub(super) fn checked(self) -> Result<Self, VaultwardenError> {
        let url = self.url();
        let status = self.status;
        Err(match status {
            200 if self.is_page() => self.foreign_page(),
            300..=399 => self.redirected(),
            401 if self.headers.contains_key(WWW_AUTHENTICATE) => VaultwardenError::Guarded {
                url,
                guard: "HTTP authentication".into(),
            },
            403 | 405 | 407 | 451 => self.blocked(),
            429 => VaultwardenError::RateLimited {
                url,
                wait: self
                    .header(&RETRY_AFTER)
                    .and_then(retry_after)
                    .unwrap_or(RATE_LIMIT),
            },
            // The proxy stopped waiting; Vaultwarden may still carry out the request.
            408 | 504 | 524 if !self.exchange.repeatable => VaultwardenError::OutcomeUnknown {
                url,
                cause: format!("a proxy gave up waiting (status {status})"),
            },
            408 | 501.. => self.unavailable(),
            _ => return Ok(self),
        })
    }

    /// The error for a redirect: Vaultwarden has another URL, or a proxy in front of it requires a login.
    fn redirected(&self) -> VaultwardenError {
        let (url, target) = (self.url(), self.location().unwrap_or("nowhere"));
        // The query may hold a secret of the proxy.
        let target = target.split(['?', '#']).next().unwrap_or_default();
        match self.exchange.moved(target) {
            Some(to) => VaultwardenError::Moved {
                url,
                to: foreign::shown(&to),
            },
            None => VaultwardenError::Guarded {
                url,
                guard: format!("a redirect to {}", foreign::shown(target)),
            },
        }
    }

    /// The error for a server that cannot serve requests.
    pub(super) fn unavailable(&self) -> VaultwardenError {
        VaultwardenError::Unavailable {
            url: self.url(),
            status: self.status,
            message: self
                .message
                .as_deref()
                .map_or_else(String::new, |words| format!(": {words}")),
        }
    }

    /// The error for a proxy that blocks the admin API.
    pub(super) fn blocked(&self) -> VaultwardenError {
        VaultwardenError::Blocked {
            url: self.url(),
            status: self.status,
        }
    }

    /// The error for an HTML page instead of JSON.
    pub(super) fn foreign_page(&self) -> VaultwardenError {
        VaultwardenError::Foreign { url: self.url() }
    }

    /// The error for a status that `call` cannot have.
    pub(super) fn strange_status(&self, call: &str) -> VaultwardenError {
        match self.status {
            500 => self.unavailable(),
            status => self.unexpected(format!("status {status} to {call}")),
        }
    }

    /// The error for an answer that no known version gives.
    pub(super) fn unexpected(&self, what: impl Into<String>) -> VaultwardenError {
        VaultwardenError::Unexpected {
            url: self.url(),
            what: what.into(),
        }
    }

    fn is_page(&self) -> bool {
        self.header(&CONTENT_TYPE)
            .is_some_and(|kind| kind.starts_with("text/html"))
    }

    fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    }
}

fn cookie(header: &str) -> Option<Cookie> {
    let mut parts = header.split(';').map(str::trim);
    let pair = parts.next()?;
    let token = pair.strip_prefix(SESSION_COOKIE)?;
    let lifetime = parts.find_map(|part| {
        let (name, value) = part.split_once('=')?;
        let seconds = value.trim().parse().ok()?;
        name.trim()
            .eq_ignore_ascii_case("Max-Age")
            .then(|| Duration::from_secs(seconds))
    });
    (!token.is_empty()).then(|| Cookie {
        pair: pair.into(),
        lifetime,
    })
}

impl Exchange {
    /// The URL to configure instead, if the redirect leads to the same path under another base URL, or from HTTP to
    /// HTTPS on the same host.
    fn moved(&self, target: &str) -> Option<String> {
        let asked = Url::parse(&self.url).ok()?;
        let target = asked.join(target).ok()?;
        let path = self.url.strip_prefix(&self.base)?;
        if let Some(base) = shown(&target).strip_suffix(path) {
            return (base != self.base).then(|| base.to_owned());
        }
        let secured = (asked.scheme(), target.scheme()) == ("http", "https") && asked.host() == target.host();
        let folder = asked.path().strip_suffix(path)?;
        secured.then(|| target.origin().ascii_serialization() + folder)
    }

    /// The error for a server that sends nothing for `wait`.
    pub(super) fn silent(&self, wait: Duration) -> VaultwardenError {
        self.lost(format!("no answer within {}s", wait.as_secs_f32()))
    }

    /// The error for an answer that does not end in time.
    fn endless(&self) -> VaultwardenError {
        self.lost(format!(
            "its answer does not end within {}s",
            self.length.as_secs_f32()
        ))
    }

    /// The error for a request that failed in the HTTP library.
    pub(super) fn failed(&self, error: &reqwest::Error) -> VaultwardenError {
        let url = self.url.clone();
        match Failure::of(error, url.starts_with("https:")) {
            Failure::Untrusted(cause) => VaultwardenError::Untrusted { url, cause },
            Failure::Unconnected(cause) => VaultwardenError::Unreachable { url, cause },
            Failure::Lost(cause) => self.lost(cause),
        }
    }

    /// The error for a request that was sent and has no answer.
    fn lost(&self, cause: String) -> VaultwardenError {
        let url = self.url.clone();
        if self.repeatable {
            VaultwardenError::Unreachable { url, cause }
        } else {
            VaultwardenError::OutcomeUnknown { url, cause }
        }
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn the_session_and_its_lifetime_are_read_from_the_cookie() {
        let read = cookie("VW_ADMIN=a.b.c; HttpOnly; SameSite=Strict; Path=/admin; Max-Age=1200").unwrap();
        assert_eq!(read.pair.expose_secret(), "VW_ADMIN=a.b.c");
        assert_eq!(read.lifetime, Some(Duration::from_secs(1200)));
        assert_eq!(cookie("VW_ADMIN=a.b.c").unwrap().lifetime, None);
    }

    #[test]
    fn a_redirect_to_the_same_thing_elsewhere_names_the_url_to_configure_and_one_to_a_login_does_not() {
        let moved = |base: &str, target: &str| {
            let exchange = Exchange {
                base: base.into(),
                url: format!("{base}/admin/users"),
                repeatable: true,
                silence: Duration::ZERO,
                length: Duration::ZERO,
            };
            exchange.moved(target)
        };
        let plain = "http://vault.example.org";
        for (base, target, to) in [
            (
                plain,
                "https://vault.example.org/admin/users",
                Some("https://vault.example.org"),
            ),
            (
                plain,
                "https://v.example.org/sub/admin/users/",
                Some("https://v.example.org/sub"),
            ),
            (
                plain,
                "https://vault.example.org/",
                Some("https://vault.example.org"),
            ),
            (
                "http://v.org:8080/sub",
                "https://v.org:8443/",
                Some("https://v.org:8443/sub"),
            ),
            (
                plain,
                "/vault/admin/users",
                Some("http://vault.example.org/vault"),
            ),
            (
                plain,
                "https://ann:secret@v.org/admin/users",
                Some("https://v.org"),
            ),
            (plain, "https://sso.example.org/login", None),
            (plain, "/login", None),
            (plain, "/admin/users/", None),
            (plain, "nowhere", None),
        ] {
            assert_eq!(moved(base, target).as_deref(), to, "{base} to {target}");
        }
    }

    #[test]
    fn other_cookies_and_one_that_is_being_removed_are_no_session() {
        assert!(cookie("rl_page_init=x; Path=/").is_none());
        assert!(cookie("VW_ADMIN=; Max-Age=0").is_none());
        assert!(cookie("").is_none());
    }
}
